"""Mistakes in site documents are found before anything is written, each with its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from adapters.store.sites.contracts import in_languages, local_instant
from adapters.store.sites.site_file import SiteError, wanted_state
from tests.unit.adapters.store.park import document, ruleset, tariff
from twin.ports import SiteDocument

Edit = Callable[[dict[str, Any]], None]


def put(path: str, value: Any) -> Edit:
    """An edit that sets one place, written like `tenants.0.supplies.0.tariff`; a list grows at its end with `+`."""

    def edit(data: dict[str, Any]) -> None:
        place: Any = data
        *parents, last = path.split(".")
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        if last == "+":
            place.append(value)
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return edit


SUPPLY = {"meter": "em-002", "tariff": "shop-flat"}
WRONG: dict[str, tuple[Edit, str]] = {
    "zone": (put("timezone", "Mars/Base"), "timezone: unknown time zone 'Mars/Base'"),
    "interval": (put("interval", "15x"), "interval: '15x' is not a duration"),
    "no interval": (put("interval", "0s"), "interval: an interval must be longer than nothing"),
    "device twice": (
        put("devices.+", {"id": "em-001", "kind": "breaker"}),
        "devices[5].id: 'em-001' is used twice",
    ),
    "gateway and device": (
        put("devices.+", {"id": "gw-01", "kind": "breaker"}),
        "devices[5].id: 'gw-01' is used twice",
    ),
    "unknown gateway": (
        put("devices.1.gateway", "gw-9"),
        "devices[1].gateway: unknown gateway 'gw-9'; known: gw-01",
    ),
    "device interval": (put("devices.1.interval", "x"), "devices[1].interval: 'x' is not a duration"),
    "tenant twice": (put("tenants.1.id", "t-001"), "tenants[1].id: 't-001' is used twice"),
    "credit": (put("tenants.0.opening_credit", "1.0000000001"), "tenants[0].opening_credit: money"),
    "emergency": (put("tenants.1.emergency_credit", "x"), "tenants[1].emergency_credit: money"),
    "protected": (put("tenants.1.protected_until", "2026-13-01T00:00:00"), "tenants[1].protected_until: '2026-13-01"),
    "unknown meter": (
        put("tenants.0.supplies.0.meter", "em-9"),
        "tenants[0].supplies[0].meter: unknown device 'em-9'; known meters: em-001",
    ),
    "no meter": (put("tenants.0.supplies.0.meter", "br-001"), "tenants[0].supplies[0].meter: breaker, not a meter"),
    "unknown breaker": (
        put("tenants.1.supplies.0.breaker", "br-9"),
        "tenants[1].supplies[0].breaker: unknown device 'br-9'; known breakers: br-001, em-001, wm-001",
    ),
    "cannot switch": (
        put("tenants.1.supplies.0.breaker", "em-002"),
        "tenants[1].supplies[0].breaker: 'em-002' (electricity_meter) cannot",
    ),
    "unknown tariff": (
        put("tenants.0.supplies.0.tariff", "x"),
        "tenants[0].supplies[0].tariff: unknown tariff 'x'; known: shop-flat, water",
    ),
    "wrong utility": (
        put("tenants.0.supplies.0.tariff", "water"),
        "tenants[0].supplies[0].tariff: 'water' prices water, the meter is a",
    ),
    "no instant": (put("tenants.0.supplies.0.from", "2026-02-30T00:00:00"), "tenants[0].supplies[0].from: '2026-02-30"),
    "ends before": (put("tenants.0.supplies.0.to", "2025-01-01T00:00:00"), "tenants[0].supplies[0].to: 2025-01-01T00"),
    "two tenants": (
        put("tenants.0.supplies.+", SUPPLY),
        "tenants[1].supplies[0].meter: 'em-002' is paid for by tenant 't-001'",
    ),
    "one tenant twice": (
        put("tenants.1.supplies.+", SUPPLY),
        "tenants[1].supplies[1].meter: 'em-002' is paid for by another supply",
    ),
    "shared breaker": (
        put("tenants.0.supplies.1.breaker", "br-001"),
        "tenants[1].supplies[0].breaker: 'br-001' belongs to the supply",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_named_with_its_place(name: str) -> None:
    edit, expected = WRONG[name]
    wanted = document()
    data = copy.deepcopy(wanted.site)
    edit(data)
    with pytest.raises(SiteError) as refused:
        wanted_state(SiteDocument(data, wanted.tariffs, wanted.rulesets))
    assert any(problem.startswith(expected) for problem in refused.value.problems), refused.value.problems


def test_all_mistakes_are_told_at_once() -> None:
    wanted = document(timezone="Mars/Base", interval="x")
    with pytest.raises(SiteError) as refused:
        wanted_state(wanted)
    assert len(refused.value.problems) == 2


def test_a_tariff_and_a_ruleset_that_do_not_compile_are_named() -> None:
    broken = tariff()
    broken["versions"][0]["price"] = "0.12345678"
    rules = ruleset()
    rules["rules"][0]["when"] = "reading.delta >"
    wanted = document()
    with pytest.raises(SiteError) as refused:
        wanted_state(SiteDocument(wanted.site, {**wanted.tariffs, "shop-flat": broken}, {"prepaid": rules}))
    assert refused.value.problems[0].startswith("tariffs[shop-flat]: versions[0].price")
    assert refused.value.problems[1].startswith("rulesets[prepaid]: rules[0].when")


def test_supplies_that_follow_each_other_do_not_overlap() -> None:
    wanted = document()
    data = copy.deepcopy(wanted.site)
    data["tenants"][1]["supplies"][0]["to"] = "2026-02-01T00:00:00"
    data["tenants"][0]["supplies"].append({**SUPPLY, "from": "2026-02-01T00:00:00"})
    state = wanted_state(SiteDocument(data, wanted.tariffs, wanted.rulesets))
    assert len(state.supplies) == 4


def test_local_instants_and_names() -> None:
    assert local_instant("2026-01-01T00:00:00", "Asia/Shanghai") == 1_767_196_800_000
    assert local_instant("2026-01-01T00:00:00Z", "Asia/Shanghai") == 1_767_225_600_000
    assert local_instant("2026-01-01T00:00:00.250+08:00", "UTC") == 1_767_196_800_250
    assert in_languages("x") == {"und": "x"}
    assert in_languages({"zh": "x"}) == {"zh": "x"}

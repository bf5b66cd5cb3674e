"""Tariff files that cannot be meant: each error names the place and what is wrong there."""

from typing import Any

import pytest

from billing.tariff import TariffError, compile_tariff
from tests.unit.billing.contract import SHANGHAI, flat, shop_tou

DAY = {"00:00-24:00": "flat"}


def change(path: list, value: Any) -> dict[str, Any]:
    """The contract's tariff with one place below its version changed; `...` removes it."""
    document = shop_tou()
    spot: Any = document["versions"][0]
    for step in path[:-1]:
        spot = spot[step]
    if value is ...:
        del spot[path[-1]]
    else:
        spot[path[-1]] = value
    return document


BROKEN_VERSIONS = [
    (["mode"], "block", "versions[0].mode", "must be one of flat, tou, tiers, tou+tiers"),
    (["mode"], "tou", "versions[0].tiers", "is not used by mode tou"),
    (["price"], "1.0", "versions[0].price", "is not used by mode tou+tiers"),
    (["periods"], ..., "versions[0].periods", "is missing"),
    (["calendar"], ..., "versions[0].calendar", "is missing"),
    (["tiers"], ..., "versions[0].tiers", "is missing"),
    (["from"], "2026-01-01T00:00:00+08:00", "versions[0].from", "without an offset"),
    (["from"], "2026-02-30T00:00:00", "versions[0].from", "without an offset"),
    (["from"], "2026-01-01T00:00:00.5", "versions[0].from", "to the second"),
    (["from"], "1960-01-01T00:00:00", "versions[0].from", "outside the years"),
    (["from"], 20260101, "versions[0].from", "must be a text"),
    (["periods", "peak"], "1.2034567", "versions[0].periods.peak", "at most 6"),
    (["periods", "peak"], 1.2, "versions[0].periods.peak", "quoted"),
    (["periods", "peak"], "-1", "versions[0].periods.peak", "negative"),
    (["periods"], {}, "versions[0].periods", "names no period"),
    (["calendar"], [], "versions[0].calendar", "at least one item"),
    (["calendar", 0, "days"], "workday", "versions[0].calendar[0].days", "must be all, weekday"),
    (["calendar", 0, "days"], "holiday:XX", "versions[0].calendar[0].days", "not known"),
    (["calendar", 0, "days"], "holiday:DE-ZZ", "versions[0].calendar[0].days", "not known"),
    (["calendar", 0, "days"], ["monday", "mon"], "versions[0].calendar[0].days[1]", "must be one of monday"),
    (["calendar", 0, "months"], [7, 13], "versions[0].calendar[0].months[1]", "from 1 to 12"),
    (["calendar", 0, "months"], "july", "versions[0].calendar[0].months", "must be a list"),
    (["calendar", 0, "slots"], ..., "versions[0].calendar[0].slots", "is missing"),
    (
        ["calendar", 1, "slots"],
        {"00:00-08:00": "flat"},
        "versions[0].calendar[1].slots",
        "08:00 to 24:00 is covered by no",
    ),
    (
        ["calendar", 1, "slots"],
        {"00:00-08:00": "flat", "09:00-24:00": "flat"},
        "versions[0].calendar[1].slots",
        "08:00 to 09:00 is covered by no slot",
    ),
    (
        ["calendar", 1, "slots"],
        {"00:00-08:30": "flat", "08:00-24:00": "peak"},
        "versions[0].calendar[1].slots",
        "08:00 to 08:30 is covered by two slots",
    ),
    (
        ["calendar", 1, "slots"],
        {"22:00-08:00": "flat"},
        'versions[0].calendar[1].slots["22:00-08:00"]',
        "cut a span over midnight",
    ),
    (["calendar", 1, "slots"], {"00:00-24:30": "flat"}, 'versions[0].calendar[1].slots["00:00-24:30"]', "after 24:00"),
    (["calendar", 1, "slots"], {"0-24": "flat"}, 'versions[0].calendar[1].slots["0-24"]', "span of the day"),
    (["calendar", 1, "slots"], {"00:00-24:00": "noon"}, 'versions[0].calendar[1].slots["00:00-24:00"]', "has no price"),
    (["calendar", 1, "days"], "weekday", "versions[0].calendar", "2026-01-03T00:00 is covered by no entry (a saturday"),
    (["calendar", 1, "days"], "holiday:CN", "versions[0].calendar", "2026-01-01T00:00 is covered by no entry"),
    (["calendar", 1, "months"], [1, 2, 3], "versions[0].calendar", "2026-04-01T00:00 is covered by no entry"),
    (["tiers"], [], "versions[0].tiers", "at least one item"),
    (["tiers", 1, "upto"], "240", "versions[0].tiers[1].upto", "above the end of the tier before"),
    (["tiers", 0, "upto"], "0", "versions[0].tiers[0].upto", "above zero"),
    (["tiers", 1, "upto"], ..., "versions[0].tiers[1].upto", "only the last tier"),
    (["tiers", 2, "upto"], "500", "versions[0].tiers[2].upto", "the last tier has no end"),
    (["tiers", 0, "upto"], "0.0001", "versions[0].tiers[0].upto", "at most 3"),
    (["tiers", 0, "price"], "1", "versions[0].tiers[0]", "either price"),
    (["tiers", 0, "add"], ..., "versions[0].tiers[0]", "either price"),
    (["tiers", 0, "add"], "-0.5", "versions[0].tiers[0]", "falls below zero in period valley"),
    (["tier_period"], "week", "versions[0].tier_period", "must be one of month, year"),
    (["surcharges", 0, "per_unit"], 0.015, "versions[0].surcharges[0].per_unit", "quoted"),
    (["surcharges"], [{"name": "a"}], "versions[0].surcharges[0].per_unit", "is missing"),
    (
        ["surcharges"],
        [{"name": "a", "per_unit": "1"}, {"name": "a", "per_unit": "2"}],
        "versions[0].surcharges[1].name",
        "named twice",
    ),
    (["fixed", 0, "per_month"], "-30", "versions[0].fixed[0].per_month", "negative"),
    (["fixed", 0, "while_disconnected"], "yes", "versions[0].fixed[0].while_disconnected", "true or false"),
    (["demand", "window"], "15 min", "versions[0].demand.window", "must be a duration"),
    (["demand", "slip"], "4m", "versions[0].demand.slip", "must divide the window"),
    (["minimum_per_month"], 0, "versions[0].minimum_per_month", "quoted"),
]


@pytest.mark.parametrize(("place", "value", "path", "message"), BROKEN_VERSIONS)
def test_a_broken_version_is_refused_where_it_is_broken(place, value, path, message):
    with pytest.raises(TariffError) as caught:
        compile_tariff(change(place, value), SHANGHAI)
    assert caught.value.path == path
    assert message in caught.value.message
    assert str(caught.value) == f"{caught.value.path}: {caught.value.message}"


def test_the_contract_example_itself_compiles():
    assert compile_tariff(shop_tou(), SHANGHAI).name == "shop-tou"


def test_versions_must_rise():
    document = flat()
    document["versions"].append(dict(document["versions"][0]))
    with pytest.raises(TariffError, match=r"versions\[1\]\.from: must be later .*2000-01-01T00:00:00"):
        compile_tariff(document, SHANGHAI)


def test_versions_that_one_clock_jump_skips_are_one_instant():
    document = flat()
    later = dict(document["versions"][0])
    document["versions"] = [dict(later, **{"from": f"2026-03-29T02:{minute}:00"}) for minute in (10, 40)]
    with pytest.raises(TariffError, match="must be later"):
        compile_tariff(document, "Europe/Berlin")
    assert len(compile_tariff(document, SHANGHAI).versions) == 2


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"utility": "electricity", "versions": []}, "tariff"),
        ({"tariff": "a", "utility": "gas", "versions": []}, "utility"),
        ({"tariff": "a", "utility": "water", "versions": []}, "versions"),
        ({"tariff": "a", "utility": "water", "versions": "none"}, "versions"),
        ({"tariff": "a", "utility": "water", "versions": [7]}, "versions[0]"),
        ({"tariff": "a", "utility": "water", "versions": [{}]}, "versions[0].mode"),
    ],
)
def test_a_document_without_its_parts_is_refused(document, path):
    with pytest.raises(TariffError) as caught:
        compile_tariff(document, SHANGHAI)
    assert caught.value.path == path


@pytest.mark.parametrize("zone", ["Asia/Nowhere", "../etc/passwd", ""])
def test_an_unknown_time_zone_is_refused(zone):
    with pytest.raises(TariffError, match="timezone"):
        compile_tariff(flat(), zone)


def test_mode_tiers_needs_prices_and_flat_no_tier_period():
    tiers = {"tariff": "a", "utility": "water", "versions": [{"from": "2026-01-01T00:00:00", "mode": "tiers"}]}
    tiers["versions"][0]["tiers"] = [{"add": "1"}]
    with pytest.raises(TariffError, match=r"tiers\[0\]\.add: mode tiers has no price to add to"):
        compile_tariff(tiers, SHANGHAI)
    with pytest.raises(TariffError, match=r"tier_period: is not used by mode flat"):
        compile_tariff(flat(tier_period="month"), SHANGHAI)


def test_a_discount_may_not_eat_the_price():
    discount = [{"name": "subsidy", "per_unit": "-0.90"}]
    with pytest.raises(TariffError, match=r"versions\[0\]\.price: falls below zero"):
        compile_tariff(flat(price="0.8523", surcharges=discount), SHANGHAI)
    segment = compile_tariff(flat(price="0.90", surcharges=discount), SHANGHAI).segment_at(10**12)
    assert segment.price_micro == 0


def test_demand_is_for_electricity():
    water = dict(flat(demand={"price": "1", "window": "15m"}), utility="water")
    with pytest.raises(TariffError, match=r"demand: a demand price is for electricity, not for water"):
        compile_tariff(water, SHANGHAI)

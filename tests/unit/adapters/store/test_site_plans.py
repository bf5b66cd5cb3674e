"""Schedules and load limits of a site file: every problem with its path; a rebuild keeps what people released."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.contracts import breaker_contract
from adapters.store.sites.plans_desk import SqlPlans
from adapters.store.sites.rebuild import rebuilt_groups
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.site_file import SiteError
from adapters.store.sites.site_plans import check_plans
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, document, entry, site
from twin.core.effects import LockChanged
from twin.core.plans import CALENDAR
from twin.ports import Caller

NIGHT = {"off": [{"times": ["23:00-06:00"]}]}


def devices(**plan: Any) -> list[dict[str, Any]]:
    return [{**device, **plan} if device["id"] == "br-001" else device for device in site()["devices"]]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"devices": devices(schedule="night")}, "devices[3].schedule: there is no schedule 'night' (known: none)"),
        (
            {"schedules": {"nights": NIGHT}, "devices": devices(schedule="night")},
            "devices[3].schedule: there is no schedule 'night' (did you mean nights?)",
        ),
        (
            {"schedules": {"x": {"off": [{"times": ["09:00-09:00"]}]}}},
            "schedules.x.off[0].times: '09:00-09:00' is not a span of the day: write \"16:00-24:00\"",
        ),
        (
            {"schedules": {"x": {**NIGHT, "special": [{"dates": "holidays/XX", "times": []}]}}},
            "schedules.x.special[0].dates: no holidays are known for 'holidays/XX': write holidays/ and a two-letter"
            " country",
        ),
        (
            {"limits": {"x": {"limit_w": 9}}, "devices": devices(limit="x")},
            "devices[3].limit: no ruleset of this site reads the parameter limit_w; add one such as the pack `safety`",
        ),
    ],
)
async def test_a_problem_has_its_path(database: Database, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(SiteError) as caught:
        await SqlRegistry(database).difference(document(**changes))
    assert caught.value.problems == (problem,)


def test_what_cannot_switch_has_no_schedule() -> None:
    wrong = {"schedules": {"x": NIGHT}, "devices": [{"id": "em", "kind": "electricity_meter", "schedule": "x"}]}
    assert check_plans(wrong, {}) == [
        "devices[0].schedule: 'em' cannot switch; give it to the breaker, or say `relay: true`"
    ]


def test_a_contract_carries_the_plan_and_not_its_title() -> None:
    settings = {"schedules": {"night": {**NIGHT, "title": {"zh": "熄灯"}}}}
    contract = breaker_contract(settings, {"id": "b", "kind": "breaker", "schedule": "night"}, ())
    assert (contract.schedule, contract.load_limit) == ({"name": "night", **NIGHT}, None)


async def test_a_rebuild_knows_the_plan_its_lock_and_who_took_it_off(park: Database, ledger: SqlLedger) -> None:
    desk = SqlPlans(park)
    by = Caller("ann", "lights out", NOW, "k1")
    await desk.define(SITE, "schedules", "night", NIGHT, by)
    await desk.assign(SITE, "schedules", ["br-001", "em-001"], "night", Caller("ann", "room", NOW, "k2"))
    placed = [LockChanged(name, "schedule", True, CALENDAR, "schedule night", NOW) for name in ("br-001", "em-001")]
    freed = LockChanged("br-001", "schedule", False, "bob", "a party", NOW + 5)
    await ledger.post(SITE, [entry(1, *placed), entry(2, freed)])
    breakers = {
        name: (group.breaker_contracts[name], breaker)
        async for group in rebuilt_groups(park, SITE)
        for name, breaker in group.breakers.items()
    }
    contract, freed_one = breakers["br-001"]
    assert contract.schedule == {"name": "night", **NIGHT}
    assert (list(freed_one.locks), freed_one.freed_at) == ([], NOW + 5)
    _, locked_one = breakers["em-001"]
    assert (list(locked_one.locks), locked_one.freed_at) == (["schedule"], None)
    audited = await park.fetch("SELECT what, who FROM audit WHERE what LIKE 'schedule%' ORDER BY id")
    assert [tuple(row) for row in audited] == [("schedule.define", "ann"), ("schedule.assign", "ann")]

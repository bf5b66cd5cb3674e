"""Consents and approvals whose decisions were not posted when the twins were lost: new twins carry them out, once."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from adapters.store.past.held_firings import SqlHeldFirings
from adapters.store.wallets.consents import SqlConsents
from adapters.twins.change import newborn
from adapters.twins.codec import decode_group, encode_group
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import GUARDED, NOW, SITE, document
from tests.unit.adapters.store.stage import HOUR, MINUTE, Stage
from twin.core.arrears import PREPAID_SINCE
from twin.core.messages import DeviceEvent, Tick
from twin.core.policy import EMERGENCY_TAKEN
from twin.ports import TopUp


async def rebuilt(stage: Stage) -> None:
    """Twins from SQL, woken as the store wakes them."""
    await stage.start()
    stage.now += MINUTE
    for name in sorted(stage.groups):
        stage.groups[name] = newborn(stage.groups[name], generation=2, wake=stage.now)
        stage.play(name, Tick())


async def poor(database: Database, credit: str = "0.10") -> Stage:
    """A tenant to whom an emergency credit is offered as soon as its balance is used up."""
    stage = Stage(database)
    wanted = document()
    entry = wanted.site["tenants"][0]
    entry |= {"opening_credit": credit, "emergency_credit": "30.00"}
    wanted.rulesets["prepaid"]["params"] = {
        "emergency_credit": {"type": "money", "default": "0"},
        "emergency_opt_in": {"type": "bool", "default": True},
    }
    await stage.registry.apply(wanted, who="test", now=NOW)
    await stage.start()
    await stage.settle()
    for step in range(1, 5):
        stage.now = NOW + step * 15 * MINUTE
        stage.read("em-001", 120_000 + step * 100)
    await stage.settle()
    return stage


async def takes(stage: Stage, key: str = "k") -> None:
    stage.now += MINUTE
    await SqlConsents(stage.database).take_emergency(SITE, "t-001", who="t-001", ts=stage.now, key=key)


def taken(stage: Stage) -> bool:
    tenant = stage.groups["t-001"].tenant
    return tenant is not None and bool(tenant.params.get(EMERGENCY_TAKEN))


async def told(stage: Stage) -> int:
    return len(await stage.database.fetch("SELECT 1 FROM notification WHERE template = 'emergency_taken'"))


@pytest.mark.parametrize("heard", [False, True])
async def test_an_emergency_credit_that_was_taken_outlives_the_twins_once(database: Database, heard: bool) -> None:
    stage = await poor(database)
    await takes(stage)
    if heard:
        await stage.deliver()
        assert taken(stage)
    await rebuilt(stage)
    await stage.settle()
    assert (taken(stage), await told(stage)) == (True, 1)
    await rebuilt(stage)
    await stage.settle()
    assert (taken(stage), await told(stage)) == (True, 1)
    assert stage.groups["t-001"].owed is None


async def test_an_emergency_credit_that_was_posted_is_not_taken_again(database: Database) -> None:
    stage = await poor(database)
    await takes(stage)
    await stage.settle()
    await rebuilt(stage)
    await stage.settle()
    assert (taken(stage), await told(stage)) == (True, 1)


async def test_an_emergency_credit_that_is_not_offered_is_not_taken_by_losing_the_twins(database: Database) -> None:
    stage = await poor(database, credit="100.00")
    await takes(stage)
    await rebuilt(stage)
    await stage.settle()
    assert (taken(stage), await told(stage)) == (False, 0)


async def test_a_consent_that_was_repaid_meanwhile_does_not_stand_for_ever(database: Database) -> None:
    stage = await poor(database)
    await takes(stage)
    await stage.ledger.top_up(SITE, TopUp("t-001", 50 * 10**9, "cash", "", "p-1", "desk", stage.now))
    await rebuilt(stage)
    await stage.settle()
    assert not taken(stage)


async def held(database: Database) -> Stage:
    """Two meters whose rule is due at once; the guard holds the second one back until a person approves."""
    stage = Stage(database)
    wanted = document()
    wanted.rulesets["guarded"] = GUARDED
    wanted.site["rulesets"] = [*wanted.site.get("rulesets", []), "guarded"]
    await stage.registry.apply(wanted, who="test", now=NOW)
    await stage.start()
    await stage.settle()
    stage.now += MINUTE
    stage.guards = {"guarded/trip": 1, "trip": 1}
    stage.play("t-002", DeviceEvent("em-002", "trip", stage.now))
    await stage.settle()
    assert locked(stage) == []
    return stage


async def approves(stage: Stage) -> None:
    book = SqlHeldFirings(stage.database)
    waiting = await book.waiting(SITE)
    assert [one.twin for one in waiting] == ["em-002"]
    stage.now += MINUTE
    await book.approve(SITE, waiting, who="admin", why="looked", until=stage.now + HOUR, now=stage.now)


def locked(stage: Stage) -> list[str]:
    return list(stage.groups["t-002"].breakers["br-001"].locks)


@pytest.mark.parametrize("heard", [False, True])
async def test_an_approval_outlives_the_twins_once(database: Database, heard: bool) -> None:
    stage = await held(database)
    await approves(stage)
    if heard:
        await stage.deliver()
        assert locked(stage) == ["overload"]
    await rebuilt(stage)
    await stage.settle()
    assert locked(stage) == ["overload"]
    rows = await database.fetch("SELECT transition FROM rule_change WHERE twin = 'em-002' AND transition = 'approved'")
    assert len(rows) == 1
    await rebuilt(stage)
    await stage.settle()
    rows = await database.fetch("SELECT transition FROM rule_change WHERE twin = 'em-002' AND transition = 'approved'")
    assert len(rows) == 1


async def test_an_approval_of_what_waited_no_more_does_not_wait_for_the_next(database: Database) -> None:
    stage = await held(database)
    await approves(stage)
    twin = stage.groups["t-002"].meters["em-002"]
    twin.rules.clear()
    await stage.settle()
    await rebuilt(stage)
    assert stage.groups["t-002"].owed is None
    assert await database.fetch("SELECT 1 FROM act WHERE owed = 1") == []


@pytest.mark.parametrize("heard", [False, True])
async def test_who_pays_beforehand_from_now_on_keeps_its_day_of_grace(database: Database, heard: bool) -> None:
    stage = Stage(database)
    wanted = document()
    wanted.site["tenants"][0]["mode"] = "postpaid"
    await stage.registry.apply(wanted, who="test", now=NOW)
    await stage.start()
    await stage.settle()
    wanted.site["tenants"][0]["mode"] = "prepaid"
    stage.now += HOUR
    await stage.registry.apply(wanted, who="test", now=stage.now)
    if heard:
        await stage.deliver()
    await rebuilt(stage)
    await stage.settle()
    tenant = stage.groups["t-001"].tenant
    assert tenant is not None
    since = tenant.params[PREPAID_SINCE]
    await rebuilt(stage)
    await stage.settle()
    tenant = stage.groups["t-001"].tenant
    assert tenant is not None
    assert tenant.params[PREPAID_SINCE] == since


async def test_what_a_group_owes_is_stored_with_it_and_due_at_once(database: Database) -> None:
    stage = await poor(database)
    await takes(stage)
    await stage.start()
    group = newborn(stage.groups["t-001"], generation=3, wake=stage.now)
    assert group.wake == 0
    stored = {field.encode(): value for field, value in encode_group(group).items()}
    assert decode_group(SITE, "t-001", stored).owed == group.owed != ()

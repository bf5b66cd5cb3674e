"""Locks that people place and take off, while twins that have not heard of it decide otherwise, and are then lost."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from tests.integration.test_meter_life import staged
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, document
from tests.unit.adapters.store.stage import HOUR, MINUTE, Stage
from twin.core.effects import LockChanged
from twin.core.messages import Tick
from twin.ports import Entry

SAID = {"site": SITE, "breaker": "br-001", "who": "lin", "why": "works on the line"}


async def active(stage: Stage) -> list[str]:
    rows = await stage.database.fetch("SELECT lock FROM standing_lock WHERE active ORDER BY lock")
    return [row[0] for row in rows]


def tick(stage: Stage, group: str = "t-002") -> None:
    stage.groups[group].wake = 0
    stage.play(group, Tick())


async def lost(stage: Stage, group: str = "t-002") -> list[str]:
    """The twins are lost and made from SQL; then everything that is due is looked at."""
    await stage.start()
    tick(stage, group)
    await stage.settle()
    return list(stage.groups[group].breakers["br-001"].locks)


async def ending(park: Database, lock: str = "manual") -> Stage:
    """A person's lock that ends in an hour, known to the twin."""
    stage = await staged(park)
    await stage.ledger.place_lock(**SAID, lock=lock, ts=stage.now, key="first", until=stage.now + HOUR)
    await stage.settle()
    return stage


@pytest.mark.parametrize("lock", ["manual", "maintenance"])
async def test_a_lock_placed_again_outlives_the_end_of_the_first_and_the_loss_of_the_twins(
    park: Database, lock: str
) -> None:
    stage = await ending(park, lock)
    stage.now += HOUR - MINUTE
    await stage.ledger.place_lock(**SAID, lock=lock, ts=stage.now, key="longer", until=None)
    stage.now += 2 * MINUTE
    tick(stage)
    assert stage.groups["t-002"].breakers["br-001"].locks == {}, "the twin has not heard of it yet"
    await stage.post()
    assert await active(stage) == [lock]
    assert await lost(stage) == [lock]


async def test_a_lock_placed_again_stands_when_the_twin_hears_of_it(park: Database) -> None:
    stage = await ending(park)
    stage.now += HOUR - MINUTE
    await stage.ledger.place_lock(**SAID, lock="manual", ts=stage.now, key="longer", until=None)
    stage.now += 2 * MINUTE
    tick(stage)
    await stage.settle()
    assert list(stage.groups["t-002"].breakers["br-001"].locks) == ["manual"]
    assert await active(stage) == ["manual"]
    await stage.ledger.release_lock(**SAID, lock="manual", ts=stage.now, key="done")
    await stage.settle()
    assert (await active(stage), await lost(stage)) == ([], [])


async def test_a_second_wish_for_what_stands_is_a_wish_of_its_own(park: Database) -> None:
    """A rule's lock stands; a person wants it, too; the rule lets go before the twin hears of the person."""
    stage = await staged(park)
    placed = LockChanged("br-001", "manual", True, "rule", "storm", stage.now, None, "storm", 1, 1)
    await stage.ledger.post(SITE, [Entry(f"{NOW}-900", "t-002", (placed,))])
    await stage.ledger.place_lock(**SAID, lock="manual", ts=stage.now, key="mine", until=None)
    freed = LockChanged("br-001", "manual", False, "rule", "storm", stage.now + 1, None, "storm", 1, 1)
    await stage.ledger.post(SITE, [Entry(f"{NOW}-901", "t-002", (freed,))])
    assert await active(stage) == ["manual"]


async def test_a_release_outlives_what_the_twin_decided_before_it_heard_of_it(park: Database) -> None:
    stage = await ending(park)
    seen = stage.groups["t-002"].acts_seq
    await stage.ledger.release_lock(**SAID, lock="manual", ts=stage.now, key="off")
    longer = LockChanged("br-001", "manual", True, "lin", "longer", stage.now + 5, None, acts_seq=seen)
    await stage.ledger.post(SITE, [Entry(f"{NOW}-900", "t-002", (longer,))])
    assert (await active(stage), await lost(stage)) == ([], [])


async def test_what_is_decided_after_an_act_holds_whatever_the_clocks_say(park: Database) -> None:
    """The clock of who takes the act is an hour ahead of the one that decides."""
    stage = await staged(park)
    await stage.ledger.place_lock(**SAID, lock="manual", ts=stage.now + HOUR, key="a", until=stage.now + 2 * MINUTE)
    await stage.settle()
    stage.now += 5 * MINUTE
    tick(stage)
    await stage.post()
    assert await active(stage) == []


async def test_who_has_a_breaker_no_more_does_not_take_off_what_people_placed_with_the_next(park: Database) -> None:
    stage = await ending(park)
    stage.now += HOUR - MINUTE
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="t-001", at=stage.now, tenant="t-002")
    await stage.ledger.place_lock(**SAID, lock="manual", ts=stage.now, key="longer", until=None)
    stage.now += 2 * MINUTE
    tick(stage)
    await stage.post()
    assert await active(stage) == ["manual"]
    await stage.settle()
    assert list(stage.groups["t-001"].breakers["br-001"].locks) == ["manual"]


async def test_who_got_a_breaker_takes_off_what_people_placed_with_the_one_before(park: Database) -> None:
    stage = await ending(park)
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="t-001", at=stage.now, tenant="t-002")
    await stage.settle()
    assert list(stage.groups["t-001"].breakers["br-001"].locks) == ["manual"]
    stage.now += HOUR + MINUTE
    tick(stage, "t-001")
    await stage.settle()
    assert (await active(stage), await lost(stage, "t-001")) == ([], [])


async def test_a_vacant_breaker_is_locked_although_somebody_is_to_move_in(park: Database) -> None:
    """Until the new tenant comes nobody has it but itself: the act is not for a group that has no such breaker."""
    stage = await staged(park)
    stage.now += HOUR
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="", at=stage.now, tenant="t-002")
    await stage.settle()
    moves_in = stage.now + 50 * HOUR
    body = {"from_tenant": "", "to_tenant": "t-001", "at": moves_in, "tenant": "t-001", "meters": ["em-002"]}
    await stage.act("meter.handover", **body)
    await stage.settle()
    (holder,) = [name for name, group in stage.groups.items() if "br-001" in group.breakers]
    await stage.ledger.place_lock(**SAID, lock="manual", ts=stage.now, key="vacant", until=None)
    await stage.settle()
    assert list(stage.groups[holder].breakers["br-001"].locks) == ["manual"]


async def test_a_lock_goes_along_with_a_breaker_whose_meter_was_never_read(database: Database) -> None:
    """No chain, nothing to hand over: the breaker changes its group by an import alone."""
    stage = Stage(database)
    lone = document()
    tenant = lone.site["tenants"][1]
    supplies = tenant.pop("supplies")
    await stage.registry.apply(lone, who="test", now=NOW)
    await stage.start()
    await stage.ledger.place_lock(**SAID, lock="manual", ts=stage.now, key="spare", until=None)
    await stage.settle()
    assert list(stage.groups["@br-001"].breakers["br-001"].locks) == ["manual"]
    stage.now += HOUR
    tenant["supplies"] = supplies
    for device in lone.site["devices"]:
        if device["id"] == "em-002":
            del device["opening_wh"]
    await stage.registry.apply(lone, who="test", now=stage.now)
    await stage.settle()
    assert list(stage.groups["t-002"].breakers["br-001"].locks) == ["manual"]

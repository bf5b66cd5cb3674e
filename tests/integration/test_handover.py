"""Hand-over of a charged meter: one command, nothing lost and nothing charged twice, wherever it is interrupted."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, PRICE_MICRO, SITE, document
from tests.unit.adapters.store.stage import HOUR, MINUTE, Stage
from twin.ports import MoneyRefusedError

STEPS = ("nothing", "command", "release", "post release", "take", "post take")


async def staged(park: Database) -> Stage:
    stage = Stage(park)
    await stage.start()
    await stage.settle()
    for step in range(1, 5):
        stage.now = NOW + step * 10 * MINUTE
        stage.read("em-002", step * 100)
    return stage


@pytest.mark.parametrize("lost", [False, True], ids=["process dies", "twins are lost"])
@pytest.mark.parametrize("stop", STEPS)
async def test_a_hand_over_survives_a_death_at_every_step(park: Database, stop: str, lost: bool) -> None:
    stage = await staged(park)
    await stage.post()
    stage.now = NOW + 50 * MINUTE
    for step in STEPS:
        if step == "command":
            await stage.act("meter.handover", from_tenant="t-002", to_tenant="t-001", at=stage.now, tenant="t-002")
        elif step in ("release", "take"):
            await stage.deliver()
        elif step != "nothing":
            await stage.post()
        if step == stop and lost:
            await stage.start()
        elif step == stop:
            await stage.ledger.doubt_deliveries(1_000)
    await stage.settle()
    assert stage.holder("em-002") == "t-001"
    assert "br-001" in stage.groups["t-001"].breakers
    stage.now = NOW + 3 * HOUR
    assert stage.read("em-002", 1_000)
    stage.now += 3 * HOUR
    stage.read("em-002", 1_000)
    await stage.settle()
    assert sum((await stage.charged()).values()) == 1_000 * PRICE_MICRO
    states = await park.fetch("SELECT state FROM handover")
    assert [row[0] for row in states] == ["done"]
    assert await stage.rate_again() == []
    assert await stage.breaches() == []


async def test_a_reading_at_the_instant_is_the_border(park: Database) -> None:
    stage = await staged(park)
    stage.now = NOW + 50 * MINUTE
    body = {"from_tenant": "t-002", "to_tenant": "t-001", "at": stage.now, "tenant": "t-002"}
    told = await stage.act("meter.handover", **body, readings={"em-002": 450})
    assert told.body["handovers"] == {"em-002": "H1"}
    await stage.settle()
    stage.now = NOW + 2 * HOUR
    stage.read("em-002", 600)
    stage.now += HOUR
    stage.read("em-002", 600)
    await stage.settle()
    assert await stage.charged() == {"t-002": 450 * PRICE_MICRO, "t-001": 150 * PRICE_MICRO}
    marks = await park.fetch("SELECT meter FROM rerate_mark")
    assert [row[0] for row in marks] == ["em-002"], "rated again, and nothing will be found"
    assert await stage.rate_again() == []
    assert await park.fetch("SELECT 1 FROM adjustment") == []
    assert await stage.breaches() == []


async def test_the_breaker_goes_along_and_only_arrears_stay_behind(park: Database) -> None:
    stage = await staged(park)
    for kind in ("manual", "credit"):
        await stage.ledger.place_lock(
            SITE, breaker="br-001", lock=kind, who="lin", why="works", ts=stage.now, key=kind, until=None
        )
        await stage.deliver()
        assert kind in stage.groups["t-002"].breakers["br-001"].locks
    fence = stage.groups["t-002"].breakers["br-001"].fence
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="t-001", at=stage.now, tenant="t-002")
    await stage.settle()
    breaker = stage.groups["t-001"].breakers["br-001"]
    assert list(breaker.locks) == ["manual"]
    assert breaker.fence >= fence
    rows = await park.fetch("SELECT lock FROM standing_lock WHERE active")
    assert [row[0] for row in rows] == ["manual"]


async def test_locks_of_a_breaker_on_its_way_are_those_that_people_want(park: Database) -> None:
    """Nobody's twin hears of them, and who works on the line must be safe all the same."""
    stage = await staged(park)
    said = {"site": SITE, "breaker": "br-001", "who": "lin", "why": "works"}
    await stage.ledger.place_lock(**said, lock="manual", ts=stage.now, key="before", until=None)
    await stage.deliver()
    stage.now += MINUTE
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="t-001", at=stage.now, tenant="t-002")
    await stage.deliver()
    assert stage.holder("em-002") is None
    stage.now += MINUTE
    until = stage.now + 5 * HOUR
    await stage.ledger.place_lock(**said, lock="maintenance", ts=stage.now, key="meanwhile", until=until)
    await stage.ledger.release_lock(**said, lock="manual", ts=stage.now, key="taken off")
    await stage.deliver()
    await stage.settle()
    locks = stage.groups["t-001"].breakers["br-001"].locks
    assert {kind: lock.until for kind, lock in locks.items()} == {"maintenance": until}
    stage.now += MINUTE
    await stage.ledger.release_lock(**said, lock="maintenance", ts=stage.now, key="done")
    await stage.settle()
    assert stage.groups["t-001"].breakers["br-001"].locks == {}
    assert await stage.breaches() == []


async def test_moving_out_charges_the_landlord_live_and_moving_in_ends_that(database: Database) -> None:
    stage = Stage(database)
    await stage.registry.apply(document(vacancy={"electricity": "shop-flat"}), who="test", now=NOW)
    await stage.start()
    stage.now = NOW + HOUR
    stage.read("em-002", 100)
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="", at=stage.now, tenant="t-002")
    await stage.settle()
    assert stage.holder("em-002") == "@em-002"
    stage.now = NOW + 2 * HOUR
    stage.read("em-002", 130)
    at = stage.now
    await stage.act("meter.handover", from_tenant="", to_tenant="t-001", at=at, tenant="t-001", meters=["em-002"])
    await stage.settle()
    stage.now = NOW + 3 * HOUR
    stage.read("em-002", 150)
    stage.now += HOUR
    stage.read("em-002", 150)
    await stage.settle()
    assert await database.fetch("SELECT reason FROM refused_effect") == []
    assert await stage.charged() == {"t-002": 100 * PRICE_MICRO, "": 30 * PRICE_MICRO, "t-001": 20 * PRICE_MICRO}
    assert await stage.rate_again() == []
    assert await stage.breaches() == []
    exported = await stage.registry.document(SITE)
    told = await stage.registry.difference(exported)
    assert (told.lines, told.refused) == ((), ())


async def test_a_date_in_the_future_comes_by_itself(park: Database) -> None:
    stage = await staged(park)
    at = NOW + 5 * HOUR
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="t-001", at=at, tenant="t-002")
    await stage.settle()
    assert stage.holder("em-002") == "t-002"
    assert await stage.meters.carry_out_due(at - 1) == []
    stage.now = at
    assert await stage.meters.carry_out_due(at)
    await stage.settle()
    assert stage.holder("em-002") == "t-001"
    assert await stage.meters.carry_out_due(at + 1) == []
    assert await stage.breaches() == []


async def test_what_cannot_be_handed_over_is_said(park: Database) -> None:
    stage = await staged(park)
    at = stage.now
    for body, code in (
        ({"from_tenant": "t-001", "to_tenant": "t-002", "meters": ["em-002"]}, "handover"),
        ({"from_tenant": "t-002", "to_tenant": "t-999"}, "unknown_tenant"),
        ({"from_tenant": "t-002", "to_tenant": "t-002"}, "handover"),
        ({"from_tenant": "t-002", "to_tenant": "t-001", "meters": ["em-777"]}, "unknown_meter"),
        ({"from_tenant": "t-002", "to_tenant": "t-001", "readings": {"em-002": -1}}, "reading"),
    ):
        with pytest.raises(MoneyRefusedError) as refused:
            await stage.act("meter.handover", **body, at=at, tenant="t-002")
        assert refused.value.code == code
    assert await stage.ledger.undelivered(SITE, limit=10) == []
    await stage.act("meter.handover", from_tenant="t-002", to_tenant="t-001", at=at, tenant="t-002")
    with pytest.raises(MoneyRefusedError) as refused:
        await stage.act("meter.reading", meter="em-002", reading=500, ts=at)
    assert refused.value.code == "handing_over"


async def test_what_was_charged_live_across_the_border_is_split_at_the_instant(park: Database) -> None:
    """The pair of samples around the instant is shared by time; rating again once more finds nothing."""
    stage = await staged(park)
    stage.now = NOW + 50 * MINUTE
    body = {"from_tenant": "t-002", "to_tenant": "t-001", "at": stage.now, "tenant": "t-002"}
    await stage.act("meter.handover", **body)
    await stage.settle()
    stage.now = NOW + 60 * MINUTE
    stage.read("em-002", 500)
    stage.now = NOW + 3 * HOUR
    stage.read("em-002", 500)
    await stage.settle()
    assert await stage.charged() == {"t-002": 400 * PRICE_MICRO, "t-001": 100 * PRICE_MICRO}
    assert await stage.rate_again() == []
    owed = await park.fetch("SELECT charges_nano - credits_nano FROM account WHERE tenant = 't-002'")
    assert [row[0] for row in owed] == [450 * PRICE_MICRO]
    assert await stage.breaches() == []


@pytest.mark.parametrize("shown", [400, 450], ids=["nothing used since", "50 Wh used since"])
@pytest.mark.parametrize("lost", ["before the twin has it", "before it is posted", "when all is done"])
async def test_a_reading_at_the_instant_outlives_the_twins(park: Database, shown: int, lost: str) -> None:
    """What both have read stands in SQL from the start: no row carries it while nothing is used, or until it is posted,
    and the border must not move for that."""
    stage = await staged(park)
    await stage.post()
    stage.now = NOW + 50 * MINUTE
    body = {"from_tenant": "t-002", "to_tenant": "t-001", "at": stage.now, "tenant": "t-002"}
    await stage.act("meter.handover", **body, readings={"em-002": shown})
    if lost != "before the twin has it":
        await stage.deliver()
    if lost == "when all is done":
        await stage.settle()
    await stage.start()
    await stage.settle()
    stage.now = NOW + 2 * HOUR
    assert stage.read("em-002", 600)
    stage.now += HOUR
    stage.read("em-002", 600)
    await stage.settle()
    assert await stage.rate_again() == []
    rows = await park.fetch(
        "SELECT l.account, sum(l.amount_nano) FROM leg l JOIN journal j ON j.site = l.site AND j.seq = l.seq"
        " WHERE j.kind IN ('charge', 'adjustment') AND l.account LIKE 'tenant:%' GROUP BY l.account"
    )
    paid = {row[0].split(":")[1]: -int(row[1]) // PRICE_MICRO for row in rows}
    assert paid == {"t-002": shown, "t-001": 600 - shown}
    assert await stage.breaches() == []


async def test_a_person_s_reading_is_charged_although_the_twins_are_lost(park: Database) -> None:
    stage = await staged(park)
    await stage.post()
    stage.now = NOW + 50 * MINUTE
    await stage.act("meter.reading", meter="em-002", reading=5_000, ts=stage.now)
    await stage.deliver()
    await stage.start()
    assert stage.groups["t-002"].meters["em-002"].register.seen == 5_000
    for _ in range(2):
        stage.now += HOUR
        stage.read("em-002", 5_000)
    await stage.settle()
    assert await stage.charged() == {"t-002": 5_000 * PRICE_MICRO}
    assert await stage.breaches() == []

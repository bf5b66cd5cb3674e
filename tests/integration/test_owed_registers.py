"""A register is replaced, and the twins are lost before its epoch is posted: twins made from SQL open it."""

from __future__ import annotations

import msgspec

from adapters.store.engine.database import Database
from adapters.twins.change import newborn
from adapters.twins.codec import decode_group, encode_group
from tests.integration.test_meter_life import staged
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import PRICE_MICRO, SITE
from tests.unit.adapters.store.stage import HOUR, MINUTE, Stage
from twin.core.messages import Tick

COLUMNS = "site, meter, kind, ts, body, who, why, made_ts"
EPOCHS = "SELECT epoch, opening, head_qty, reason, ratio FROM register_epoch WHERE meter = 'em-001' ORDER BY epoch"


async def replaced(stage: Stage, **more: object) -> None:
    """The old register ends at 120 430 Wh, 30 Wh after its last reading; the new one begins above that."""
    stage.now += 5 * MINUTE
    body = {"meter": "em-001", "ts": stage.now, "final": 120_430, "opening": 124_000}
    await stage.act("meter.replace", **{**body, **more})
    stage.now += MINUTE


async def epochs(stage: Stage) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await stage.database.fetch(EPOCHS)]


async def goes_on(stage: Stage, shown: int) -> None:
    """The store wakes every group after a rebuild; then the meter is read."""
    for name in sorted(stage.groups):
        stage.play(name, Tick())
    stage.now += HOUR
    stage.read("em-001", shown)
    stage.now += HOUR
    stage.read("em-001", shown)
    await stage.settle()


async def holds(stage: Stage, wh: int) -> None:
    assert (await stage.charged())["t-001"] == wh * PRICE_MICRO
    assert [tuple(row) for row in await stage.database.fetch("SELECT reason FROM refused_effect")] == []
    assert await stage.rate_again() == []
    assert await stage.breaches() == []


async def test_an_act_that_no_twin_has_heard_of_is_carried_out_by_the_twin_made_from_sql(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage)
    await stage.start()
    await goes_on(stage, 124_050)
    assert [row[:4] for row in await epochs(stage)] == [
        (1, 120_000, 120_430, "import"),
        (2, 124_000, 124_050, "replacement"),
    ]
    await holds(stage, 430 + 50)
    await stage.start()
    assert stage.groups["t-001"].meters["em-001"].owed == ()


async def test_an_act_that_was_delivered_and_not_posted_is_not_lost_with_the_twins(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage)
    assert await stage.deliver()
    await stage.start()
    await goes_on(stage, 124_050)
    await holds(stage, 430 + 50)
    assert len(await epochs(stage)) == 2


async def test_what_the_lost_twin_had_said_may_still_be_posted(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage)
    await stage.deliver()
    said = list(stage.entries)
    await stage.start()
    await stage.ledger.post(SITE, said)
    await goes_on(stage, 124_050)
    await holds(stage, 430 + 50)
    assert len(await epochs(stage)) == 2


async def test_registers_with_other_ratios_and_digits_are_carried_out_in_their_order(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage, opening=130_000, ratio=40, digits=200_000)
    await replaced(stage, final=130_001, opening=7, ratio=1, digits=1_000_000)
    await stage.start()
    (first, second) = stage.groups["t-001"].meters["em-001"].owed
    assert (first.final, first.ratio, first.modulus, first.opening) == (120_430, 1, 1_000_000_000, 5_200_000)
    assert (second.final, second.ratio, second.modulus, second.opening) == (130_001, 40, 8_000_000, 7)
    await goes_on(stage, 57)
    assert [row[1:5] for row in await epochs(stage)] == [
        (120_000, 120_430, "import", 1),
        (5_200_000, 5_200_040, "replacement", 40),
        (7, 57, "replacement", 1),
    ]
    await holds(stage, 430 + 40 + 50)


async def test_acts_from_before_acts_were_numbered_are_not_carried_out_again(park: Database) -> None:
    stage = await staged(park)
    body = msgspec.json.encode({"meter": "em-001", "ts": stage.now, "final": 120_400, "opening": 5}).decode()
    said = (SITE, "em-001", "replacement", stage.now, body, "carol", "broken", stage.now)
    async with park.write() as tx:
        await tx.execute(f"INSERT INTO meter_event ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *said)
    await stage.start()
    assert stage.groups["t-001"].meters["em-001"].owed == ()


async def test_what_a_twin_owes_is_stored_with_it_and_due_at_any_time(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage)
    await stage.start()
    group = newborn(stage.groups["t-001"], generation=3, wake=stage.now)
    assert group.wake == 0, "a clock that is set back must not let a reading pass first"
    stored = {field.encode(): value for field, value in encode_group(group).items()}
    known = decode_group(SITE, "t-001", stored)
    assert known.meters["em-001"].owed == group.meters["em-001"].owed != ()
    assert newborn(stage.groups["t-002"], generation=3, wake=stage.now).wake == stage.now

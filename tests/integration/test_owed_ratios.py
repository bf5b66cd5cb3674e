"""A meter's ratio changes, and the twins are lost before its epoch is posted: twins made from SQL open it."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from adapters.store.sites.site_file import SiteError
from tests.integration.test_meter_life import staged
from tests.integration.test_owed_registers import epochs, goes_on, holds, replaced
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, document
from tests.unit.adapters.store.stage import MINUTE, Stage
from twin.ports import SiteDocument


async def changed(stage: Stage, ratio: int = 40, reading: int | None = 120_410) -> None:
    """Other transformers, 10 shown units after the last reading."""
    stage.now += 5 * MINUTE
    await stage.act("meter.ratio", meter="em-001", ratio=ratio, reading=reading, ts=stage.now)
    stage.now += MINUTE


def with_ratio(ratio: int, **changes: object) -> SiteDocument:
    wanted = document(**changes)
    for device in wanted.site["devices"]:
        if device["id"] == "em-001":
            device["ratio"] = ratio
    return wanted


async def incidents(stage: Stage) -> list[str]:
    rows = await stage.database.fetch("SELECT kind FROM incident WHERE device = 'em-001' AND resolved_ts IS NULL")
    return [row[0] for row in rows]


@pytest.mark.parametrize("told", ["never", "delivered", "posted later"])
async def test_a_ratio_whose_epoch_was_not_posted_is_carried_out_by_the_twin_made_from_sql(
    park: Database, told: str
) -> None:
    stage = await staged(park)
    await changed(stage)
    if told != "never":
        assert await stage.deliver()
    said = list(stage.entries)
    await stage.start()
    if told == "posted later":
        await stage.ledger.post(SITE, said)
    await goes_on(stage, 120_420)
    assert [row[1:] for row in await epochs(stage)] == [
        (120_000, 120_410, "import", 1),
        (120_410 * 40, 120_420 * 40, "ratio 1 to 40", 40),
    ]
    await holds(stage, 410 + 10 * 40)
    assert await incidents(stage) == [], "the reading at the change is known"
    await stage.start()
    assert stage.groups["t-001"].meters["em-001"].owed == ()


async def test_a_ratio_that_was_posted_is_not_carried_out_again(park: Database) -> None:
    stage = await staged(park)
    await changed(stage)
    await stage.settle()
    await stage.start()
    assert stage.groups["t-001"].meters["em-001"].owed == ()
    await goes_on(stage, 120_420)
    assert len(await epochs(stage)) == 2
    await holds(stage, 410 + 10 * 40)


async def test_ratios_and_registers_are_carried_out_in_their_order(park: Database) -> None:
    stage = await staged(park)
    await changed(stage)
    await replaced(stage, final=120_412, opening=7, digits=200_000)
    await changed(stage, ratio=3, reading=None)
    await stage.start()
    owed = stage.groups["t-001"].meters["em-001"].owed
    assert [(one.opening, one.ratio, one.modulus) for one in owed] == [
        (None, 1, 1_000_000_000),
        (7 * 40, 40, 40_000_000_000),
        (None, 40, 8_000_000),
    ]
    await goes_on(stage, 57)
    assert [row[1:] for row in await epochs(stage)] == [
        (120_000, 120_410, "import", 1),
        (120_410 * 40, 120_412 * 40, "ratio 1 to 40", 40),
        (7 * 40, 7 * 40, "replacement", 40),
        (7 * 3, 57 * 3, "ratio 40 to 3", 3),
    ]
    await holds(stage, 410 + 2 * 40 + 50 * 3)
    assert await incidents(stage) == ["ratio_unread"], "of the second one nobody took a reading"


async def test_a_ratio_of_an_import_is_carried_out_too_and_what_nobody_knows_is_told(park: Database) -> None:
    """Use between the last posted reading and the change cannot be told from use after it: a person must look."""
    stage = await staged(park)
    stage.now += 5 * MINUTE
    await stage.registry.apply(with_ratio(40), who="test", now=stage.now)
    await stage.start()
    await goes_on(stage, 120_420)
    assert [row[1:] for row in await epochs(stage)] == [
        (120_000, 120_400, "import", 1),
        (120_400 * 40, 120_420 * 40, "ratio 1 to 40", 40),
    ]
    await holds(stage, 400 + 20 * 40)
    assert await incidents(stage) == ["ratio_unread"]
    rows = await park.fetch("SELECT kind, who FROM meter_event WHERE meter = 'em-001'")
    assert [tuple(row) for row in rows] == [("ratio", "test")]
    await stage.start()
    assert stage.groups["t-001"].meters["em-001"].owed == ()


async def test_a_ratio_from_before_the_first_reading_is_nothing_to_carry_out(database: Database) -> None:
    stage = Stage(database)
    first = document()
    for device in first.site["devices"]:
        device.pop("opening_wh", None)
    await stage.registry.apply(first, who="test", now=NOW)
    for device in first.site["devices"]:
        if device["id"] == "em-001":
            device["ratio"] = 40
    await stage.registry.apply(first, who="test", now=NOW + 1)
    await stage.start()
    stage.now = NOW + MINUTE
    stage.read("em-001", 5)
    await stage.settle()
    await stage.start()
    assert stage.groups["t-001"].meters["em-001"].owed == ()


async def test_a_ratio_does_not_change_together_with_the_tenant(park: Database) -> None:
    stage = await staged(park)
    wanted = with_ratio(40)
    first, second = wanted.site["tenants"]
    second["supplies"].append({**first["supplies"].pop(0), "from": "2026-01-01T00:30:00"})
    with pytest.raises(SiteError, match="em-001: its ratio"):
        await stage.registry.apply(wanted, who="test", now=stage.now)

"""Readings that people give between another register, or another ratio, and the posting of its epoch."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from tests.integration.test_meter_life import late, staged
from tests.integration.test_owed_ratios import changed
from tests.integration.test_owed_registers import epochs, goes_on, holds, replaced
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.stage import MINUTE, Stage
from twin.core.messages import Tick
from twin.ports import MoneyRefusedError


async def gives(stage: Stage, shown: int, ago: int = 0) -> None:
    await stage.act("meter.reading", meter="em-001", reading=shown, ts=stage.now - ago)
    stage.now += MINUTE


@pytest.mark.parametrize("opening", [5, 124_000])
async def test_a_reading_of_a_new_register_is_judged_by_it(park: Database, opening: int) -> None:
    stage = await staged(park)
    await replaced(stage, opening=opening)
    await gives(stage, opening + 30)
    at = stage.now - MINUTE
    assert await late(park) == [(2, opening + 30, opening + 30, at, "manual")]
    await stage.settle()
    await goes_on(stage, opening + 50)
    assert len(await epochs(stage)) == 2
    await holds(stage, 430 + 50)


@pytest.mark.parametrize("heard", [False, True])
async def test_a_reading_of_a_new_register_and_the_loss_of_the_twins(park: Database, heard: bool) -> None:
    stage = await staged(park)
    await replaced(stage, opening=5)
    await gives(stage, 35)
    if heard:
        await stage.deliver()
    await stage.start()
    stage.play("t-001", Tick())
    await stage.settle()
    await goes_on(stage, 55)
    assert [row[:4] for row in await epochs(stage)] == [(1, 120_000, 120_430, "import"), (2, 5, 55, "replacement")]
    await holds(stage, 430 + 50)


async def test_a_reading_that_a_new_register_cannot_show_is_refused(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage, opening=124_000)
    with pytest.raises(MoneyRefusedError) as refused:
        await gives(stage, 123_990)
    assert refused.value.code == "reading_contradicts"
    assert "124000" in refused.value.detail


async def test_a_reading_from_before_is_of_the_old_register_and_not_above_its_last(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage, opening=5)
    with pytest.raises(MoneyRefusedError) as refused:
        await gives(stage, 120_431, ago=3 * MINUTE)
    assert refused.value.code == "reading_contradicts"
    await gives(stage, 120_415, ago=3 * MINUTE)
    assert [row[:3] for row in await late(park)] == [(1, 120_415, 120_415)]
    await stage.settle()
    await goes_on(stage, 55)
    await holds(stage, 430 + 50)


async def test_a_second_register_follows_the_first_one(park: Database) -> None:
    stage = await staged(park)
    await replaced(stage, opening=5)
    with pytest.raises(MoneyRefusedError) as refused:
        await stage.act("meter.replace", meter="em-001", ts=stage.now - 2 * MINUTE, final=8, opening=1)
    assert refused.value.code == "replacement"
    await replaced(stage, final=25, opening=124_000)
    await stage.settle()
    await goes_on(stage, 124_050)
    assert [row[1:4] for row in await epochs(stage)] == [
        (120_000, 120_430, "import"),
        (5, 25, "replacement"),
        (124_000, 124_050, "replacement"),
    ]
    await holds(stage, 430 + 20 + 50)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_reading_after_another_ratio_has_that_ratio(park: Database, lost: bool) -> None:
    stage = await staged(park)
    await changed(stage)
    await gives(stage, 120_415)
    assert [row[:3] for row in await late(park)] == [(1, 120_410, 120_410), (2, 120_415, 120_415 * 40)]
    if lost:
        await stage.start()
        stage.play("t-001", Tick())
    await stage.settle()
    await goes_on(stage, 120_420)
    await holds(stage, 410 + 10 * 40)

"""Who reads the effect stream without hurry lets entries gather; neither the first one nor a backlog waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from adapters.twins.memory import MemoryEffectStream, MemoryRedis, MemoryTwinStore
from tests.unit.twin.scene import Scene
from twin.core.effects import IncidentOpened
from twin.flows import consume_effects
from twin.flows.consume_effects import ConsumerLoop
from twin.ports import Entry, GroupChange

SITE = "park-1"


class Reader:
    """A consumer that notes how many entries each portion had."""

    name = "reader"

    def __init__(self, stream: MemoryEffectStream) -> None:
        self.stream = stream
        self.portions: list[int] = []

    async def start(self, site: str) -> None:
        await self.stream.join(site, self.name)

    async def consume(self, site: str, entries: Sequence[Entry]) -> None:
        self.portions.append(len(entries))

    async def idle(self, site: str) -> None:
        """Nothing to do."""


class Park:
    """A store with one group, and a way to write an entry."""

    def __init__(self) -> None:
        redis = MemoryRedis()
        self.store, self.stream = MemoryTwinStore(redis), MemoryEffectStream(redis)
        self.group = Scene().group

    async def build(self) -> None:
        async def groups():
            yield self.group

        await self.store.replace_site(SITE, 1, groups(), wake=0)

    async def write(self, count: int) -> None:
        for number in range(count):
            before = (await self.store.load(SITE, [self.group.id]))[self.group.id]
            effect = IncidentOpened("em-001", "doubt", number)
            await self.store.commit(SITE, [GroupChange(before, before, (effect,))], now=number)


async def portions(
    park: Park, gather_s: float, waves: Sequence[int] = (), apart_s: float = 0.0, waiting: int = 0
) -> list[int]:
    """Sizes of the portions in which entries are consumed: those `waiting`, then waves of more that come so far
    apart."""
    wanted = waiting + sum(waves)
    reader, stop = Reader(park.stream), asyncio.Event()
    loop = ConsumerLoop(park.stream, reader, "w", gather_s=gather_s)
    running = asyncio.create_task(loop.run(SITE, stop))
    for count in waves:
        await park.write(count)
        await asyncio.sleep(apart_s)
    async with asyncio.timeout(5):
        while sum(reader.portions) < wanted:  # noqa: ASYNC110 - a consumer has no event
            await asyncio.sleep(0.01)
    stop.set()
    await running
    return reader.portions


@pytest.fixture
async def park() -> Park:
    made = Park()
    await made.build()
    return made


async def test_what_comes_meanwhile_is_one_portion(park: Park) -> None:
    assert await portions(park, 0.5, [1, 1, 1, 1], 0.02) == [1, 3]


async def test_without_gathering_each_is_read_at_once(park: Park) -> None:
    assert await portions(park, 0.0, [1, 1, 1, 1], 0.05) == [1, 1, 1, 1]


async def test_a_backlog_is_not_slowed_down(park: Park, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume_effects, "BATCH", 2)
    await park.write(20)
    assert await portions(park, 3_600.0, waiting=20) == [2] * 10

"""Who reads the effect stream without hurry lets entries gather; neither the first one nor a backlog waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

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

    async def consume(self, site: str, entries: list[Entry]) -> None:
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


class Sleeper:
    """The module asyncio as the loop sees it, but whoever sleeps there is woken by the test alone."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._wake = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._wake.wait()
        self._wake.clear()

    def wake(self) -> None:
        self._wake.set()


class Gathering:
    """A park with a reader of its stream at work."""

    def __init__(self, park: Park, gather_s: float) -> None:
        self.park, self.reader, self._stop = park, Reader(park.stream), asyncio.Event()
        self._loop = ConsumerLoop(park.stream, self.reader, "w", gather_s=gather_s)

    async def __aenter__(self) -> Gathering:
        self._running = asyncio.create_task(self._loop.run(SITE, self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._running

    async def consumed(self, count: int) -> list[int]:
        """Sizes of the portions, as soon as so many entries were consumed."""
        await until(lambda: sum(self.reader.portions) >= count)
        return self.reader.portions


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - a consumer has no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def park() -> Park:
    made = Park()
    await made.build()
    return made


async def test_what_comes_meanwhile_is_one_portion(park: Park, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = Sleeper()
    monkeypatch.setattr(consume_effects, "asyncio", sleeper)
    async with Gathering(park, 0.5) as gathering:
        await park.write(1)
        assert await gathering.consumed(1) == [1], "the first one does not wait"
        await until(lambda: sleeper.asked == [0.5])
        for _ in range(3):
            await park.write(1)
            await asyncio.sleep(0.01)
        assert gathering.reader.portions == [1]
        sleeper.wake()
        assert await gathering.consumed(4) == [1, 3]
        await until(lambda: sleeper.asked == [0.5, 0.5])
        sleeper.wake()


async def test_without_gathering_each_is_read_at_once(park: Park) -> None:
    async with Gathering(park, 0.0) as gathering:
        for written in range(1, 5):
            await park.write(1)
            assert await gathering.consumed(written) == [1] * written


async def test_a_backlog_is_not_slowed_down(park: Park, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume_effects, "BATCH", 2)
    await park.write(20)
    async with Gathering(park, 3_600.0) as gathering:
        assert await gathering.consumed(20) == [2] * 10

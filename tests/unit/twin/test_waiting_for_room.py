"""The effect stream is full: who feeds the twins waits, who reads the stream does not, and neither stands in the
other's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from adapters.twins.memory import MemoryEffectStream, MemoryRedis, MemoryTwinStore
from tests.unit.twin.scene import MINUTE, Scene, make_policy
from twin.core.messages import LockPlaced, Message, Tick
from twin.core.model import Group
from twin.flows.apply_messages import Applier
from twin.ports import StoreFullError

SITE = "park-1"


class House:
    """One group in a store whose effect stream takes two entries, both of them written."""

    def __init__(self) -> None:
        redis = MemoryRedis()
        self.store = MemoryTwinStore(redis, stream_max=2)
        self.stream = MemoryEffectStream(redis)
        scene = Scene()
        self.now, self.group = scene.now + MINUTE, scene.group
        self.acts = scene.act
        policy = make_policy()

        async def policy_of(_site: str) -> object:
            return policy

        self.applier = Applier(self.store, SimpleNamespace(policy=policy_of), SimpleNamespace(now=lambda: self.now))  # type: ignore[arg-type]

    def lock(self, kind: str) -> dict[str, list[Message]]:
        self.acts += 1
        return {"t-001": [LockPlaced(self.acts, "em-001", kind, "lin", "works", self.now, None)]}

    async def fill(self) -> None:
        async def groups() -> AsyncIterator[Group]:
            yield self.group

        await self.store.replace_site(SITE, 1, groups(), wake=self.now)
        await self.stream.join(SITE, "ledger")
        for kind in ("manual", "maintenance"):
            await self.applier.apply(SITE, self.lock(kind))

    async def entries(self) -> list[str]:
        read = await self.stream.read(SITE, "ledger", "w", count=9, block_ms=0)
        return [entry.id for entry in read]


@pytest.fixture
async def house() -> House:
    house = House()
    await house.fill()
    return house


async def test_who_reads_passes_who_waits(house: House) -> None:
    waits = asyncio.create_task(house.applier.apply(SITE, house.lock("leakage")))
    await asyncio.sleep(0.05)
    assert not waits.done()
    group = (await house.store.load(SITE, ["t-001"]))["t-001"]
    house.now = group.wake or house.now
    await asyncio.wait_for(house.applier.apply(SITE, {"t-001": [Tick()]}, beyond_bound=True), 60)
    known = await house.entries()
    assert len(known) > 2, "he has written, too"
    await house.stream.acknowledge(SITE, "ledger", known)
    await house.stream.trim(SITE, ledger_position=known[-1], keep=0)
    outcome = await asyncio.wait_for(waits, 60)
    assert not outcome.failures
    assert set(outcome.groups["t-001"].breakers["em-001"].locks) == {"manual", "maintenance", "leakage"}


async def test_who_must_not_wait_is_refused(house: House) -> None:
    with pytest.raises(StoreFullError):
        await house.applier.apply(SITE, house.lock("leakage"), wait_for_room=False)

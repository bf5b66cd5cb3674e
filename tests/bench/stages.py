"""The way of a reading taken apart: the same code as live, one stage after the other, with nothing else in the process.

A batch of packets goes through reader, decoding and checking, the decision, the commit and the ledger; the CPU time of
the process is read between the stages. Awaiting Redis or SQLite costs no CPU here, so what is counted is our own work,
the threads of SQLite included. What Redis itself uses is read from its process. What a whole live platform uses beyond
the sum of the stages is its event loop, sockets, timers and consumers that look for work.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from adapters.mqtt.reader import Delivery, PacketReader
from api.bootstrap import Platform, open_platform
from api.settings import Settings
from schemas.telemetry import decode_telemetry
from schemas.topics import parse_topic
from tests.bench.load import frames
from tests.bench.machine import cpu_us
from twin.core.decide import decide_all
from twin.flows import translate
from twin.flows.apply_messages import _change
from twin.flows.consume_effects import LedgerWriter

BATCH = 1_000
STAGES = ("packets", "decode and check", "translate and route", "load", "decide", "commit", "ledger posting")


class StagesRole:
    """Takes batches apart at one site, whose twins must exist. No other process may work on it meanwhile."""

    def __init__(self, settings: Settings, redis_pid: int) -> None:
        self._settings = settings
        self._redis_pid = redis_pid
        self._platform: Platform | None = None
        self._spent: defaultdict[str, int] = defaultdict(int)
        self._since = 0

    async def run(self, site: str, meters: int, rounds: Sequence[int]) -> dict[str, float]:
        """CPU microseconds a reading by stage, and of Redis during the commits. The first round is not counted: it
        fills memories, and closes the intervals since the last run."""
        if self._platform is None:
            self._platform = await open_platform(self._settings)
            await self._platform.prepare()
        await self._warm(site, meters, rounds[0])
        self._spent.clear()
        packets = frames(site, meters, rounds[1:], 1)[0]
        redis_us = 0
        for at in range(0, len(packets), BATCH):
            before = cpu_us(self._redis_pid)
            await self._batch(site, b"".join(packets[at : at + BATCH]))
            redis_us += cpu_us(self._redis_pid) - before
        await self._post(site)
        count = len(packets)
        found = {stage: self._spent[stage] / 1000 / count for stage in STAGES}
        return {**found, "redis": redis_us / count}

    async def close(self) -> None:
        """Close the platform's connections."""
        if self._platform is not None:
            with contextlib.suppress(Exception):
                await self._platform.close()

    async def _warm(self, site: str, meters: int, round_number: int) -> None:
        packets = frames(site, meters, [round_number], 1)[0]
        for at in range(0, len(packets), BATCH):
            await self._batch(site, b"".join(packets[at : at + BATCH]))
        await self._post(site)

    async def _batch(self, site: str, data: bytes) -> None:
        platform = self._platform
        assert platform is not None
        self._since = time.process_time_ns()
        deliveries: list[Delivery] = []
        reader = PacketReader()
        for at in range(0, len(data), 65_536):  # a socket gives no more at once
            reader.feed(data[at : at + 65_536], deliveries)
        self._mark("packets")
        read = [decode_telemetry(delivery.payload) for delivery in deliveries]
        self._mark("decode and check")
        timed = await self._route(deliveries, read)
        self._mark("translate and route")
        groups = await platform.store.load(site, list(timed))
        self._mark("load")
        policy = await platform.policies.policy(site)
        guards = await platform.store.guards_used(site, policy.guard_windows, now=platform.clock.now())
        self._mark("load")
        changes = [
            _change(groups[name], decide_all(groups[name], messages, policy, guards))
            for name, messages in timed.items()
        ]
        self._mark("decide")
        refused = await platform.store.commit(site, changes, now=platform.clock.now())
        self._mark("commit")
        if refused:
            raise RuntimeError(f"{len(refused)} groups were changed by somebody else; the figures would be wrong")

    async def _route(self, deliveries: Sequence[Delivery], read: Sequence[list[dict]]) -> dict[str, list[Any]]:
        platform = self._platform
        assert platform is not None
        timed: defaultdict[str, list[Any]] = defaultdict(list)
        for delivery, envelopes in zip(deliveries, read, strict=True):
            topic = parse_topic(delivery.topic)
            assert topic is not None
            site, device, _ = topic
            group = await platform.store.group_of(site, device)
            assert group is not None
            for envelope in envelopes:
                platform.clock.observe(envelope["ts"])
                now = platform.clock.now()
                timed[group].append((translate.telemetry(device, envelope, now), now))
        return timed

    async def _post(self, site: str) -> None:
        """Let the ledger take all the effects that the batches left behind."""
        platform = self._platform
        assert platform is not None
        self._since = time.process_time_ns()
        writer = LedgerWriter(platform.stream, platform.ledger)
        await writer.start(site)
        while entries := await platform.stream.read(site, writer.name, "stages", count=500, block_ms=1):
            await writer.consume(site, entries)
            await platform.stream.acknowledge(site, writer.name, [entry.id for entry in entries])
        self._mark("ledger posting")

    def _mark(self, stage: str) -> None:
        now = time.process_time_ns()
        self._spent[stage] += now - self._since
        self._since = now

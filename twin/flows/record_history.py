"""The recorder: everything that devices send, kept as it came, for replay and for explanations of the past.

It has an MQTT session of its own, so it costs the way of a reading nothing: when it is slow or away, the broker holds
its copies, and the twins are none the worse. A batch is acknowledged after its commit; what comes twice is harmless.
Small batches linger a little, so that a quiet site writes a block a second and not one a message.

What is recorded: telemetry, events, states, connections and births of sites that exist. Not recorded: answers to
commands (replays have nobody to command) and messages so large that the way in refuses them too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import structlog

from schemas.telemetry import PAYLOAD_BYTES_MAX, ContractError, decode_telemetry
from schemas.topics import parse_topic
from twin.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.ports import Clock, Delivery, Registry
    from twin.recorded import History

log = structlog.get_logger(__name__)

RECORDED_VERBS = ("tele", "event", "state", "conn", "birth")
LINGER_S = 1.0
LINGER_BELOW = 1_000
"""Batches of fewer messages wait for company."""
CARE_EVERY_S = 30.0
DAY_MS = 24 * 3_600_000


class RecorderCounters(msgspec.Struct):
    """What was recorded, for metrics; `cpu_ns` is CPU time of this thread spent on it, writing to SQL aside."""

    messages: int = 0
    payload_bytes: int = 0
    skipped: int = 0
    sorted: int = 0
    forgotten: int = 0
    cpu_ns: int = 0
    write_ms: int = 0
    """How long the last batch took to be written."""


class Recorder:
    """Writes batches of deliveries to the history, sorts it, and forgets what is older than `keep_days`."""

    def __init__(
        self, history: History, registry: Registry, clock: Clock, *, keep_days: int, follows_telemetry: bool = False
    ) -> None:
        self._history = history
        self._registry = registry
        self._clock = clock
        self._keep_ms = keep_days * DAY_MS
        self._follows_telemetry = follows_telemetry
        self._sites: frozenset[str] = frozenset()
        self._looked = 0.0
        self.linger_s = LINGER_S
        self.counters = RecorderCounters()

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Record a batch. Raises where it cannot be written; then nothing of it may be acknowledged."""
        began = time.thread_time_ns()
        by_site: defaultdict[str, list[Recorded]] = defaultdict(list)
        now = self._clock.now()
        for delivery in deliveries:
            topic = parse_topic(delivery.topic)
            payload = delivery.payload
            if topic is None or topic.verb not in RECORDED_VERBS or not 0 < len(payload) <= PAYLOAD_BYTES_MAX:
                self.counters.skipped += 1
                continue
            if self._follows_telemetry:
                now = self._observe(topic.verb, payload)
            by_site[topic.site].append(Recorded(now, topic.device, topic.verb, payload))
        self.counters.cpu_ns += time.thread_time_ns() - began
        writing_ns = time.perf_counter_ns()
        if by_site.keys() - self._sites:
            await self._look_for_sites()
        for site, messages in by_site.items():
            if site not in self._sites:
                self.counters.skipped += len(messages)
                continue
            await self._history.append(site, messages)
            self.counters.messages += len(messages)
            self.counters.payload_bytes += sum(len(message.payload) for message in messages)
        self.counters.write_ms = (time.perf_counter_ns() - writing_ns) // 1_000_000
        if len(deliveries) < LINGER_BELOW and self.linger_s:
            await asyncio.sleep(self.linger_s)

    def _observe(self, verb: str, payload: bytes) -> int:
        """Where time follows telemetry, the recorder tells its clock of samples as the way in does."""
        if verb == "tele":
            with contextlib.suppress(ContractError):
                for envelope in decode_telemetry(payload):
                    self._clock.observe(envelope["ts"])
        return self._clock.now()

    async def _look_for_sites(self) -> None:
        now = time.monotonic()
        if self._looked and now - self._looked < 1.0:
            return
        self._looked = now
        self._sites = frozenset(await self._registry.sites())

    async def care(self, stop: asyncio.Event) -> None:
        """Sort and forget until told to stop."""
        while not stop.is_set():
            await self.care_once()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), CARE_EVERY_S)

    async def care_once(self) -> None:
        """Sort every window that is ready, and delete what is too old."""
        now = self._clock.now()
        for site in await self._registry.sites():
            while done := await self._history.compact(site, now=now):
                self.counters.sorted += done
            gone = await self._history.forget(site, before=now - self._keep_ms)
            if gone:
                self.counters.forgotten += gone
                log.info("recorded history forgotten", site=site, blocks=gone)

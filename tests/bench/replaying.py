"""How fast a changed rule is replayed over a month, and what recording costs.

220 tenants on the recorded load profiles, a meter and a relay each, one reading in fifteen minutes for thirty days, in
SQLite as the recorder leaves them: sorted into windows. Credit runs out for many in the course of the month, and peaks
reach the limit now and then. The candidate is the contract's ruleset with a shorter grace and an earlier first alarm,
so that the sides differ. Nothing is asserted here.
"""

from __future__ import annotations

import asyncio
import copy
import time
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import orjson

from adapters.store.engine.database import open_database
from adapters.store.engine.migrate import migrate
from adapters.store.past.history import SqlHistory
from adapters.store.past.past import SqlPast
from adapters.store.sites.registry import SqlRegistry
from api.replaying import replay
from simulators.profiles import load_profiles
from simulators.replay import build_day, spread_meters
from tests.integration.park import SITE, ZONE, site_document
from twin.flows.record_history import Recorder
from twin.flows.replay_rules import prepare
from twin.recorded import Recorded

START_MS = int(datetime(2026, 1, 12, tzinfo=ZONE).timestamp() * 1000)
DAY_MS = 24 * 3_600_000


class _Stopped:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = START_MS

    def now(self) -> int:
        return self.at

    def observe(self, ts: int) -> None:
        """Samples do not move it."""

    async def sleep(self, seconds: float) -> None:
        """Nobody sleeps here."""


class _Delivery(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    retain: bool = False


def readings(tenants: int, days: int) -> list[Recorded]:
    """The month as it would be received, in the order of time."""
    meters = spread_meters(tenants, seed=2016)
    day = build_day(load_profiles(), meters, START_MS, 24 * days, 900)
    return [Recorded(reading.ts, reading.device, "tele", orjson.dumps(reading.body)) for reading in day]


async def measure_replay(folder: Path, tenants: int, days: int, *, workers: int = 2) -> dict[str, float]:
    """Figures of recording and of replaying: CPU and bytes a message, seconds of the whole."""
    url = f"sqlite:///{folder / 'replay.sqlite3'}"
    await migrate(url)
    database = await open_database(url)
    try:
        return await _measure(database, url, tenants, days, workers)
    finally:
        await database.close()


async def _measure(database: Any, url: str, tenants: int, days: int, workers: int) -> dict[str, float]:
    registry, history, past = SqlRegistry(database), SqlHistory(database), SqlPast(database)
    meters = spread_meters(tenants, seed=2016)
    kinds = {meter.device: ("flat", "tou", "tiers")[number % 3] for number, meter in enumerate(meters)}
    document = site_document(meters, kinds, START_MS, credit="900.00")
    for tenant, meter in zip(document.site["tenants"], meters, strict=True):
        tenant["params"] = {"limit_w": meter.peak * 95 // 100}
    await registry.apply(document, who="bench", now=START_MS)
    messages = readings(tenants, days)
    figures = await _record(registry, history, messages)
    extent = await history.extent(SITE)
    assert extent is not None
    sources = await registry.policy_sources(SITE)
    candidate = copy.deepcopy(next(iter(sources.rulesets.values())))
    candidate["version"] += 1
    candidate["params"]["grace"]["default"] = "2h"
    candidate["params"]["low1"]["default"] = "80.00"
    plan = await prepare(history, sources, candidate, START_MS + 1, START_MS + days * DAY_MS + 1, skew_ms=300_000)
    began = time.monotonic()
    result = await replay(past, url, plan, workers=workers)
    return {
        **figures,
        "history bytes a message": extent.blob_bytes / extent.messages,
        "replayed messages": result.messages,
        "replay, s": time.monotonic() - began,
        "replay, CPU s of all processes": result.cpu_ms / 1000,
        "replay, CPU us a message": 1000 * result.cpu_ms / result.messages,
        "findings alike": result.comparison.same,
        "differences": len(result.comparison.differences),
    }


async def _record(registry: SqlRegistry, history: SqlHistory, messages: list[Recorded]) -> dict[str, float]:
    """Through the recorder, as from the broker, then sorted."""
    clock = _Stopped()
    recorder = Recorder(history, registry, clock, keep_days=62)
    recorder.linger_s = 0
    began = time.process_time()
    for at, together in groupby(messages, key=attrgetter("received_at")):
        batch, clock.at = list(together), at
        await recorder.handle(
            [_Delivery(f"twinmeter/v1/{SITE}/{message.device}/tele", message.payload) for message in batch]
        )
    recorded = time.process_time()
    clock.at = messages[-1].received_at + 2 * DAY_MS
    await recorder.care_once()
    sorted_at = time.process_time()
    return {
        "messages": len(messages),
        "payload bytes a message": recorder.counters.payload_bytes / len(messages),
        "recording, CPU us a message": 1e6 * (recorded - began) / len(messages),
        "of it before SQL, CPU us a message": recorder.counters.cpu_ns / 1000 / len(messages),
        "sorting, CPU us a message": 1e6 * (sorted_at - recorded) / len(messages),
    }


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="twinmeter-bench-") as found:
        size = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (220, 30)
        for name, value in asyncio.run(measure_replay(Path(found), *size)).items():
            print(f"{name:40} {value:,.2f}")

"""Ingest over several real processes: one is killed, one is frozen beyond its lease and wakes up as a zombie, and a
ledger dies; every charge stays exact to the nano-unit against a calculation that knows nothing of the product."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from adapters.embedded import start_redis
from api.bootstrap import Platform, open_platform
from api.settings import Settings
from simulators.profiles import load_profiles
from simulators.replay import build_day, publish_readings, spread_meters
from tests.integration.park import SITE, ZONE, charges_of, expected_charges, import_document, site_document
from tests.integration.servers import broker_at
from tests.integration.test_oracle import DEBIAN_REDIS, Trio
from tests.integration.workers import Watch, Workers
from twin.flows.verify_site import verify_site

START_MS = int(datetime(2026, 1, 12, tzinfo=ZONE).timestamp() * 1000)
METERS = spread_meters(60, seed=17)
OPENINGS = {meter.device: meter.opening for meter in METERS}
MIXED = {meter.device: ("flat", "tou", "tiers")[number % 3] for number, meter in enumerate(METERS)}
LEASE_S = 3.0
SLACK_S = 57.0
"""Cores that others use too: a beat may be late, and a process is not the quickest to connect. How soon it is where
there is room, the benchmarks tell."""
SHARDS = 6


@pytest.fixture
def trio(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trio]:
    """Debian's servers."""
    postgres = request.getfixturevalue("postgres_server")
    with start_redis(tmp_path / "redis", executable=DEBIAN_REDIS) as redis, broker_at(tmp_path / "broker") as broker:
        yield Trio(redis.url, broker.url, postgres.fresh_database())


async def until(
    holds: Callable[[], Awaitable[bool]], workers: Workers, what: str, within_s: float, pause_s: float = 0.05
) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            workers.fail(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(pause_s)


def divided(workers: Workers, *hosts: str) -> Callable[[], Awaitable[bool]]:
    """Every shard has an owner, and these hosts have a fair share each."""

    async def holds() -> bool:
        owned = await workers.owned("ingest")
        counts = [list(owned.values()).count(host) for host in hosts]
        return len(owned) == sum(counts) == SHARDS and max(counts) - min(counts) <= 1

    return holds


def held_by_others(
    workers: Workers, host: str, kind: str = "ingest", pieces: int = SHARDS
) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        owned = await workers.owned("ingest")
        return len(owned) == SHARDS and host not in owned.values()

    return holds


async def writer_of(workers: Workers) -> str:
    """Who writes the ledger; somebody, as soon as nobody is between two."""
    found: dict[str, str] = {}

    async def holds() -> bool:
        found.update(await workers.owned("ledger"))
        return SITE in found

    await until(holds, workers, "somebody writes the ledger", 90)
    return found[SITE]


def subscribed(platform: Platform) -> Callable[[], Awaitable[bool]]:
    """Every shard's session is connected with the filters of this layout."""

    async def holds() -> bool:
        noted = await platform.leases.notes("layouts")
        return len([note for note in noted if note.endswith(f":{SHARDS}/0")]) == SHARDS

    return holds


class Passage:
    """Readings on their way to the broker, with a look at how far they are."""

    def __init__(self, port: int, readings: list) -> None:
        self._port = port
        self._readings = readings
        self.acked = 0
        self.most = 0.45
        """No more than this share for now: however slow the others are, the next fault falls into the middle of it."""

    async def run(self) -> None:
        """Publish all, in order."""
        step = 200
        async with aiomqtt.Client("127.0.0.1", self._port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            for first in range(0, len(self._readings), step):
                while first >= self.most * len(self._readings):  # noqa: ASYNC110 - the test sets it
                    await asyncio.sleep(0.02)
                await publish_readings(client, SITE, self._readings[first : first + step])
                self.acked = first + step
                await asyncio.sleep(0.2)

    async def reached(self, share: float) -> None:
        while self.acked < share * len(self._readings):  # noqa: ASYNC110 - it is a counter
            await asyncio.sleep(0.02)


async def opened(trio: Trio, folder: Path) -> Platform:
    settings = Settings(**msgspec.structs.asdict(trio), data=str(folder), clock="telemetry", http="127.0.0.1:0")
    platform = await open_platform(settings, remember=False)
    await import_document(platform, site_document(METERS, MIXED, START_MS))
    await platform.prepare()
    return platform


async def settle(platform: Platform, workers: Workers, expected: dict[str, int]) -> None:
    """Wait until the twins have charged everything, and the ledger has all that they posted."""

    async def charged() -> bool:
        charges = await charges_of(platform)
        return all(charges[tenant] == nano for tenant, nano in expected.items())

    async def posted() -> bool:
        return not await platform.stream.lag(SITE, "ledger")

    try:
        await until(charged, workers, "every tenant is charged", 150, pause_s=0.3)
    except BaseException:
        charges = await charges_of(platform)
        print({tenant: (charges[tenant], nano) for tenant, nano in expected.items() if charges[tenant] != nano})
        raise
    await until(posted, workers, "the ledger has everything", 90)


@pytest.mark.timeout(900)  # six processes of the command line, on whatever is left of the machine
async def test_a_killed_and_a_frozen_process_hand_over_and_change_no_money(trio: Trio, tmp_path: Path):
    readings = build_day(load_profiles(), METERS, START_MS, 24, 900)
    expected = expected_charges(readings, MIXED, OPENINGS)
    whole, platform = Watch(), await opened(trio, tmp_path / "data")
    settings = {"ingest_shards": str(SHARDS), "shard_spread": "0", "lease_s": str(LEASE_S)}
    with Workers(tmp_path, **msgspec.structs.asdict(trio), **settings) as workers:
        try:
            for host in ("one", "two", "three"):
                workers.start("ingest", host)
            for host in ("book-1", "book-2"):
                workers.start("ledger", host)
            await until(divided(workers, "one", "two", "three"), workers, "three have two shards each", 150)
            await until(subscribed(platform), workers, "every shard has subscribed", 60)
            whole.tell("three processes share six shards after")
            passage = Passage(int(trio.mqtt_url.rsplit(":", 1)[-1]), readings)
            publishing = asyncio.create_task(passage.run())

            await passage.reached(0.15)
            watch = Watch()
            workers.all["one"].kill9()
            await until(held_by_others(workers, "one"), workers, "the killed one's shards have owners", 90)
            assert watch.tell("killed -9: its shards have new owners after") < LEASE_S + SLACK_S

            watch, passage.most = Watch(), 0.65
            workers.all["two"].freeze()
            await until(held_by_others(workers, "two"), workers, "the frozen one's shards have owners", 90)
            assert watch.tell("frozen: its shards have new owners after") < LEASE_S + SLACK_S
            passage.most = 0.8
            writer = await writer_of(workers)
            workers.all[writer].kill9()
            await passage.reached(0.8)
            workers.all["two"].thaw()
            passage.most = 1.0
            await until(divided(workers, "two", "three"), workers, "the zombie has a fair share again", 90)
            await publishing
            await settle(platform, workers, expected)
            assert "its work stops at once" in (told := workers.all["two"].log) or "stopped by its fence" in told
            assert await writer_of(workers) != writer
            proof = await verify_site(platform, SITE)
            assert proof.ok, proof.findings[:5]
            assert proof.totals.meters == len(METERS)
            whole.tell("the whole test")
        finally:
            await platform.close()
    assert "service failed" not in workers.all["three"].log

"""From one process to three shards and back, with messages waiting at the broker at every change: nothing is lost, and
no session is left behind that would go on collecting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
from structlog.testing import capture_logs

import api.shards
from adapters.embedded import start_redis
from api.bootstrap import Platform, open_platform
from api.services import Services
from api.settings import Settings
from schemas.topics import VERBS_UP
from simulators.profiles import load_profiles
from simulators.replay import Reading, build_day, publish_readings, spread_meters
from tests.integration.park import SITE, ZONE, charges_of, expected_charges, import_document, site_document
from tests.integration.servers import broker_at
from twin.flows import keep_leases
from twin.flows.keep_leases import LeaseKeeper
from twin.flows.letter_gate import NO_SITE
from twin.flows.spread_shards import EVERYTHING
from twin.flows.verify_site import verify_site

START_MS = int(datetime(2026, 1, 12, tzinfo=ZONE).timestamp() * 1000)
METERS = spread_meters(12, seed=3)
OPENINGS = {meter.device: meter.opening for meter in METERS}
LEASE_S, BEAT_S = 60.0, 0.2
"""Sessions linger for the lease of the settings, a second. The leases themselves last longer than any pause of the
machine: every message is counted here, and what comes to the next owner would be counted twice."""
MIXED = {meter.device: ("flat", "tou", "tiers")[number % 3] for number, meter in enumerate(METERS)}


class Town:
    """One installation that is started again and again with another layout."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sent: list[Reading] = []
        self._waiting = build_day(load_profiles(), METERS, START_MS, 24, 900)

    @contextlib.asynccontextmanager
    async def running(self, shards: int, *more: str, **settings: int) -> AsyncIterator[Platform]:
        """All services but the recorder and the API in this process, and `more` of them."""
        settings = {"ingest_shards": shards, "shard_spread": 0} | settings
        platform = await open_platform(
            msgspec.structs.replace(self.settings, clock="telemetry", lease_s=1.0, **settings)
        )
        services = Services(platform, ("ingest", "ledger", "commands", "scheduler", *more))
        task = asyncio.create_task(services.run())
        try:
            await asyncio.wait_for(services.ready.wait(), 90)
            yield platform
            assert services.failures == {}
        finally:
            services.stop.set()
            await asyncio.wait_for(task, 90)

    async def publish(self, rounds: int) -> None:
        """The next readings of every meter."""
        some = self._waiting[: rounds * len(METERS)]
        del self._waiting[: rounds * len(METERS)]
        port = int(self.settings.mqtt_url.rsplit(":", 1)[-1])
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await publish_readings(client, SITE, some)
        self.sent += some

    async def settled(self, platform: Platform) -> None:
        """Every tenant is charged what was sent."""
        expected = expected_charges(self.sent, MIXED, OPENINGS)

        async def charged() -> bool:
            charges = await charges_of(platform)
            return all(charges[tenant] == nano for tenant, nano in expected.items())

        await until(charged)


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 90.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.1)


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.setattr(api.shards, "LOOK_EVERY_S", 0.3)
    monkeypatch.setattr(keep_leases, "BEATS_A_LIFE", LEASE_S / BEAT_S)
    monkeypatch.setattr(api.shards, "LeaseKeeper", lambda *a, **more: LeaseKeeper(*a, **more | {"ttl_s": LEASE_S}))
    with start_redis(tmp_path / "redis") as redis, broker_at(tmp_path / "broker") as broker:
        yield Town(Settings(redis_url=redis.url, mqtt_url=broker.url, data=str(tmp_path / "data"),
                            database_url=f"sqlite:///{tmp_path / 'ledger.sqlite3'}"))  # fmt: skip


async def test_one_process_three_shards_one_shard_one_process(town: Town):
    async with town.running(0) as platform:
        await import_document(platform, site_document(METERS, MIXED, START_MS))
        await town.publish(8)
        await town.settled(platform)
    await town.publish(8)
    async with town.running(3) as platform:
        await town.settled(platform)

        async def narrowed() -> bool:
            return not EVERYTHING & await platform.leases.notes("twinmeter-ingest-00") and await noted(platform, 3)

        await until(narrowed)
        filters = [await platform.leases.notes(f"twinmeter-ingest-{number:02d}") for number in range(3)]
        assert sum(len(some) for some in filters) == len(METERS) + 1, "every meter and the gateway, once"
        await asyncio.sleep(1.5)
        before = platform.ingest.counters.messages
        await town.publish(8)
        await town.settled(platform)
        assert platform.ingest.counters.messages - before == 8 * len(METERS), "each message is heard once"
        assert platform.ingest.counters.dead == 0, "commands come back by the same filters and are passed over"
    await town.publish(8)
    async with town.running(1) as platform:
        await town.settled(platform)

        async def emptied() -> bool:
            return await platform.leases.notes("sessions") == {"00"}

        await until(emptied)

        async def forgotten() -> bool:
            return [lease.name for lease in (await platform.leases.view("ingest")).leases] == ["00"]

        await until(forgotten)
        await town.publish(8)
        await town.settled(platform)
    await town.publish(8)
    async with town.running(0) as platform:
        await town.settled(platform)

        async def posted() -> bool:
            return not await platform.stream.lag(SITE, "ledger")

        await until(posted)
        proof = await verify_site(platform, SITE)
        assert proof.ok, proof.findings[:5]


async def noted(platform: Platform, shards: int) -> bool:
    return len(await platform.leases.notes("layouts")) == shards


@pytest.mark.parametrize(("spread", "history_days"), [(0, 62), (5_000, 62), (0, 0)])
async def test_a_divided_layout_leaves_one_letter_of_who_is_unknown(town: Town, spread: int, history_days: int):
    filters_of_all = len(VERBS_UP) if spread else len(METERS) + 1
    running = town.running(3, "recorder", shard_spread=spread, history_days=history_days)
    with capture_logs() as logs:
        found = await _letters_of_the_unknown(town, running, filters_of_all, logs)
    assert found == (["unknown device nobody"], ["unknown site nowhere"])


async def _letters_of_the_unknown(
    town: Town, running: Any, filters_of_all: int, logs: list[Any]
) -> tuple[list[str], list[str]]:
    """Reasons of the letters of the site and of no site, after one message of each stranger."""
    hears_all = {"twinmeter-recorder", "twinmeter-strays"}
    async with running as platform:
        platform.recorder.linger_s = 0.05
        await import_document(platform, site_document(METERS, MIXED, START_MS))

        async def listening() -> bool:
            filters = [await platform.leases.notes(f"twinmeter-ingest-{number:02d}") for number in range(3)]
            connected = {line["client_id"] for line in logs if line["event"] == "mqtt.connected"}
            known = sum(f"/{SITE}/" in one for some in filters for one in some)
            return known == filters_of_all and bool(hears_all & connected) and await noted(platform, 3)

        await until(listening)
        await asyncio.sleep(0.5)  # and the broker has heard of it
        await town.publish(1)
        await town.settled(platform)
        port = int(town.settings.mqtt_url.rsplit(":", 1)[-1])
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            for topic in (f"{SITE}/nobody/tele", "nowhere/em-001/tele"):
                await client.publish(f"twinmeter/v1/{topic}", reading_of(1), qos=1)
        await town.publish(1)
        await town.settled(platform)

        async def letters() -> tuple[list[str], list[str]]:
            ours, others = [await platform.store.dead_letters(site, limit=20) for site in (SITE, NO_SITE)]
            return [letter.reason for letter in ours], [letter.reason for letter in others]

        async def told() -> bool:
            return all(await letters())

        await until(told)
        await asyncio.sleep(1)  # a second letter of the same would come now
        return await letters()


def reading_of(register_wh: int) -> bytes:
    body = {"v": 1, "sid": "s1", "seq": 1, "ts": START_MS, "d": {"import_wh": register_wh}}
    return msgspec.json.encode(body)

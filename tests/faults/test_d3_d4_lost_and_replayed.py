"""D3: somebody who recorded a month plays it back, word for word and as if it were new; nothing moves. D4: every other
reading is lost; the energy is exact with the next one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import aiomqtt
import msgspec

from adapters.embedded import start_redis
from simulators.profiles import load_profiles
from simulators.replay import Reading, build_day, mistreat, publish_readings, spread_meters
from tests.integration.park import (
    SITE,
    ZONE,
    charges_of,
    expected_charges,
    import_document,
    running_platform,
    settled,
    site_document,
)
from tests.integration.servers import broker_at
from twin.flows.verify_site import verify_site

START_MS = int(datetime(2026, 1, 12, tzinfo=ZONE).timestamp() * 1000)
DAY_MS = 24 * 3_600_000
METERS = spread_meters(20, seed=50)
FLAT = {meter.device: "flat" for meter in METERS}
OPENINGS = {meter.device: meter.opening for meter in METERS}


def as_if_new(reading: Reading, number: int) -> Reading:
    """The same sample under another session and number, as somebody sends it who wants to be believed."""
    body = {**reading.body, "sid": "f" * 8, "seq": number}
    return msgspec.structs.replace(reading, body=body)


async def test_half_is_lost_and_a_month_old_capture_comes_back(tmp_path: Path) -> None:
    whole = build_day(load_profiles(), METERS, START_MS, 24, 900)
    kept = mistreat(whole, seed=50, drop=0.5)
    with start_redis(tmp_path / "redis") as redis, broker_at(tmp_path / "broker") as broker:
        urls = {"redis_url": redis.url, "mqtt_url": broker.url, "database_url": f"sqlite:///{tmp_path / 'books.db'}"}
        async with running_platform(tmp_path / "data", **urls) as (platform, services):
            await import_document(platform, site_document(METERS, FLAT, START_MS))

            async def play(readings: list[Reading]) -> dict[str, int]:
                before = platform.ingest.counters.readings
                async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
                    await publish_readings(client, SITE, readings)
                await settled(platform, before + len(readings))
                return await charges_of(platform)

            charged = await play(kept)
            assert charged == expected_charges(whole, FLAT, OPENINGS), "what was lost is in the next reading"
            platform.clock.observe(START_MS + 30 * DAY_MS)
            assert await play(whole) == charged, "word for word"
            assert await play([as_if_new(one, number) for number, one in enumerate(whole, 1)]) == charged, "as if new"
            assert await platform.database.fetch("SELECT 1 FROM refused_effect") == []
            assert services.failures == {}
            proof = await verify_site(platform, SITE)
            assert proof.ok, proof.findings[:5]

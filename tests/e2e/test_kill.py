"""kill -9 of `twinmeter up` again and again in the middle of a day, and a Redis that forgets everything: the
money does not notice."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime
from pathlib import Path

import aiomqtt
import pytest
import redis

from adapters.embedded import start_redis
from simulators.profiles import load_profiles
from simulators.replay import build_day, publish_readings, spread_meters
from tests.e2e.installation import Installation
from tests.integration.park import SITE, ZONE, expected_charges, site_document
from tests.integration.servers import broker_at
from twin.core.model import Group

START_MS = int(datetime(2026, 1, 12, tzinfo=ZONE).timestamp() * 1000)
SEED = 20
KILLS = 20
METERS = spread_meters(220, seed=2016)
FLAT = {meter.device: "flat" for meter in METERS}


@pytest.mark.timeout(900)
def test_twenty_kills_and_a_flush_change_no_money(tmp_path: Path):
    rng = random.Random(SEED)
    readings = build_day(load_profiles(), METERS, START_MS, 24, 900)
    expected = expected_charges(readings, FLAT, {meter.device: meter.opening for meter in METERS})
    memory = start_redis(tmp_path / "redis")
    broker = broker_at(tmp_path / "broker")
    try:
        place = Installation(
            tmp_path / "installation",
            redis=memory.url,
            mqtt=broker.url,
            database=f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        )
        place.set(TWINMETER_CLOCK="telemetry")
        place.take_over_soon()
        imported = place.import_site(site_document(METERS, FLAT, START_MS))
        assert imported.returncode == 0, imported.stderr
        place.start()
        flush_at = rng.randrange(KILLS)
        cuts = sorted(rng.sample(range(1, len(readings)), KILLS))
        for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(readings)], strict=True)):
            asyncio.run(publish(broker.url, readings[begin:end]))
            if number == flush_at:
                redis.Redis.from_url(memory.url).flushall()
                time.sleep(rng.uniform(0, 0.5))
            if number < KILLS:
                time.sleep(rng.uniform(0, 0.2))
                place.kill()
                place.start()
        charges = wait_for_charges(memory.url, expected)
        wrong = {
            tenant: (charges.get(tenant), nano) for tenant, nano in expected.items() if charges.get(tenant) != nano
        }
        assert wrong == {}, f"seed {SEED}: {len(wrong)} tenants differ: {dict(list(wrong.items())[:3])}"
        proved = place.verify()
        assert proved.returncode == 0, proved.stdout + proved.stderr
        assert place.stop() == 0
        again = place.verify()
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        if "place" in locals() and place.up is not None and place.up.poll() is None:
            place.up.kill()
        broker.stop()
        memory.stop()


async def publish(url: str, readings) -> None:
    port = int(url.rsplit(":", 1)[-1])
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await publish_readings(client, SITE, readings)


def wait_for_charges(url: str, expected: dict[str, int], within_s: float = 240.0) -> dict[str, int]:
    """Charges of all tenants as Redis has them, once they are what is expected or time is up."""
    from redis.asyncio import Redis

    from adapters.twins.store import RedisTwinStore

    async def read() -> dict[str, int]:
        store = RedisTwinStore(Redis.from_url(url))
        found: dict[str, int] = {}
        group: Group
        async for group in await store.groups(SITE):
            if group.tenant is not None:
                found[group.tenant.id] = group.tenant.charges_nano
        await store.close()
        return found

    deadline = time.monotonic() + within_s
    while True:
        charges = asyncio.run(read())
        if charges == expected or time.monotonic() > deadline:
            return charges
        time.sleep(0.5)

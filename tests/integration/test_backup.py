"""A backup, an hour more, the backup restored: noticed, rebuilt, healed by the next reading, payments booked again."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.embedded import RunningServer, start_redis
from adapters.store.engine.backups import BackupError, create_backup, restore_backup, verify_backup
from api.bootstrap import Platform, open_platform
from api.settings import Settings
from tests.integration.servers import PostgresServer
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from twin.core.messages import ConnectionChanged, Telemetry
from twin.flows.find_lost_acts import WENT_BACK
from twin.flows.import_site import import_site
from twin.flows.verify_site import verify_site
from twin.ports import MoneyRefusedError, TopUp

HOUR = 3_600_000
FIRST_WH = 120_000


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'books.sqlite3'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.fresh_database()


@asynccontextmanager
async def platform_on(redis: RunningServer, url: str, folder: Path) -> AsyncIterator[Platform]:
    """What a process has, from its start to its end."""
    settings = Settings(redis_url=redis.url, mqtt_url="mqtt://127.0.0.1:1", database_url=url, data=str(folder))
    platform = await open_platform(settings)
    try:
        yield platform
    finally:
        await platform.close()


async def read(platform: Platform, seq: int, import_wh: int, ts: int) -> None:
    reading = Telemetry("em-001", "s1", seq, ts, {"import_wh": import_wh, "power_w": 0}, received_at=ts)
    outcome = await platform.applier.apply_timed(SITE, {"t-001": [(reading, ts)]})
    assert not outcome.failures, outcome.failures


async def post(platform: Platform) -> None:
    """The ledger writes what the twins have decided."""
    loop = platform.consumers()["ledger"]
    await loop._consumer.start(SITE)
    while entries := await platform.stream.read(SITE, "ledger", "test", count=500, block_ms=0):
        await loop._consumer.consume(SITE, entries)
        await platform.stream.acknowledge(SITE, "ledger", [entry.id for entry in entries])


async def pay(platform: Platform, yuan: int, reference: str) -> None:
    """A payment with the reference of its channel."""
    top_up = TopUp("t-001", yuan * 10**9, "cash", reference, reference, "lin", platform.clock.now())
    await platform.ledger.top_up(SITE, top_up)
    await platform.delivery.sweep()


async def balance(platform: Platform) -> int:
    group = (await platform.store.load(SITE, ["t-001"]))["t-001"]
    assert group.tenant is not None
    return group.tenant.balance_nano


async def test_restored_to_an_hour_ago_and_nothing_is_lost_for_good(
    redis: RunningServer, url: str, tmp_path: Path
) -> None:
    async with platform_on(redis, url, tmp_path) as platform:
        await platform.redis.flushall()
        await import_site(platform, parks.document(), who="test")
        start = platform.clock.now() - 3 * HOUR
        await platform.applier.apply(SITE, {"t-001": [ConnectionChanged("em-001", "online", "s1", start)]})
        await read(platform, 1, FIRST_WH, start)
        await read(platform, 2, FIRST_WH + 1_000, start + HOUR)
        await pay(platform, 5, "kept")
        await post(platform)
        backup = tmp_path / "backup"
        manifest = await create_backup(url, backup, now=start + HOUR)
        assert (manifest.sites[0].site, manifest.sites[0].payments) == (SITE, 1)
        await read(platform, 3, FIRST_WH + 4_000, start + 2 * HOUR)
        await pay(platform, 12, "lost-1")
        await pay(platform, 7, "lost-2")
        await post(platform)
        before_nano = await balance(platform)

    assert await verify_backup(backup) == manifest
    with pytest.raises(BackupError, match="--replace"):
        await restore_backup(backup, url)
    assert await restore_backup(backup, url, replace=True) == manifest

    async with platform_on(redis, url, tmp_path) as platform:
        await platform.recover()
        reason = platform.rebuilt[SITE]
        assert reason == WENT_BACK or "SQL is older than the store" in reason
        incidents = (await platform.queries.incidents(SITE, open_only=True)).items
        (lost,) = [one for one in incidents if one.kind == "ledger_went_back"]
        assert "19.000000000 are lost" in lost.detail
        # Energy heals by the next reading, wherever the register is by now.
        await read(platform, 4, FIRST_WH + 4_000, start + 2 * HOUR + 600_000)
        assert await balance(platform) == before_nano - 19 * 10**9
        # Payments are entered again from the statement of the channel; one that is there is refused.
        await pay(platform, 12, "lost-1")
        await pay(platform, 7, "lost-2")
        with pytest.raises(MoneyRefusedError, match="credited already"):
            await platform.ledger.top_up(
                SITE, TopUp("t-001", 5 * 10**9, "cash", "kept", "another key", "lin", platform.clock.now())
            )
        assert await balance(platform) == before_nano
        said = {"who": "lin", "why": "booked again", "ts": platform.clock.now(), "key": "close"}
        await platform.delivery.deliver([await platform.incidents.close(SITE, incident=lost.id, **said)])
        assert (await platform.gauges.read(SITE)).incidents.get("ledger_went_back", 0) == 0
        await post(platform)
        proof = await verify_site(platform, SITE, within_s=0)
        assert not [finding for finding in proof.findings if finding.severity != "warning"], proof.findings


async def test_a_backup_that_is_not_what_it_was_is_refused(tmp_path: Path, redis: RunningServer) -> None:
    url = f"sqlite:///{tmp_path / 'books.sqlite3'}"
    async with platform_on(redis, url, tmp_path):
        pass
    folder = tmp_path / "backup"
    await create_backup(url, folder, now=1)
    assert sorted(path.name for path in folder.iterdir()) == ["ledger.sqlite3", "manifest.json"]
    with pytest.raises(BackupError, match="exists"):
        await create_backup(url, folder, now=2)
    file = folder / "ledger.sqlite3"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BackupError, match="SHA-256"):
        await verify_backup(folder)
    file.write_bytes(whole[:-10])
    with pytest.raises(BackupError, match="bytes"):
        await restore_backup(folder, f"sqlite:///{tmp_path / 'new.sqlite3'}")
    assert not (tmp_path / "new.sqlite3").exists()
    manifest = folder / "manifest.json"
    file.write_bytes(whole)
    told = json.loads(manifest.read_text())
    told["engine"] = "postgres"
    manifest.write_text(json.dumps(told))
    with pytest.raises(BackupError, match="not there"):
        await restore_backup(folder, f"sqlite:///{tmp_path / 'new.sqlite3'}")
    manifest.unlink()
    with pytest.raises(BackupError, match="no backup"):
        await verify_backup(folder)
    with pytest.raises(BackupError, match="nothing to back up"):
        await create_backup(f"sqlite:///{tmp_path / 'none.sqlite3'}", tmp_path / "other", now=3)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".other")], "no half backup is left"

"""SQL restored from an older copy under newer twins, with nothing but payments and locks in between."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.embedded import RunningServer, start_redis
from api.bootstrap import Platform, open_platform
from api.settings import Settings
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from twin.flows.find_lost_acts import WENT_BACK
from twin.flows.import_site import import_site
from twin.ports import Receipt, StoreLostError, TopUp


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory):
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def platform_on(redis: RunningServer, folder: Path) -> AsyncIterator[Platform]:
    """What a process has, from its start to its end."""
    settings = Settings(
        redis_url=redis.url,
        mqtt_url="mqtt://127.0.0.1:1",
        database_url=f"sqlite:///{folder / 'books.sqlite3'}",
        data=str(folder),
    )
    platform = await open_platform(settings)
    try:
        yield platform
    finally:
        await platform.close()


def copy(folder: Path, name: str) -> Path:
    """A consistent copy of the database, as a nightly backup makes it."""
    target = folder / name
    with sqlite3.connect(folder / "books.sqlite3") as source, sqlite3.connect(target) as backup:
        source.backup(backup)
    return target


def restore(folder: Path, backup: Path) -> None:
    """Put a copy in the place of the database."""
    for file in folder.glob("books.sqlite3*"):
        file.unlink()
    shutil.copy(backup, folder / "books.sqlite3")


async def pay(platform: Platform, tenant: str, yuan: int, key: str) -> Receipt:
    """A payment that reaches its twin."""
    now = platform.clock.now()
    receipt = await platform.ledger.top_up(SITE, TopUp(tenant, yuan * 10**9, "cash", key, key, "lin", now))
    await platform.delivery.sweep()
    return receipt


async def credited(platform: Platform, tenant: str) -> int:
    group = (await platform.store.load(SITE, [tenant]))[tenant]
    assert group.tenant is not None
    return group.tenant.credits_nano // 10**9


@pytest.fixture
async def backup(redis: RunningServer, tmp_path: Path) -> Path:
    """A park whose copy lacks two payments of t-001 and a lock on br-001; the store knows all of them."""
    async with platform_on(redis, tmp_path) as platform:
        await platform.redis.flushall()
        await import_site(platform, parks.document(), who="test")
        await pay(platform, "t-001", 5, "kept")
        made = copy(tmp_path, "backup.sqlite3")
        await pay(platform, "t-001", 12, "lost-1")
        await pay(platform, "t-001", 7, "lost-2")
        now = platform.clock.now()
        await platform.ledger.place_lock(
            SITE, breaker="br-001", lock="manual", who="wang", why="works on the line", ts=now, key="lock"
        )
        await platform.delivery.sweep()
        assert await credited(platform, "t-001") == 124
    return made


async def test_noticed_at_start_told_and_healed(redis: RunningServer, tmp_path: Path, backup: Path) -> None:
    restore(tmp_path, backup)
    async with platform_on(redis, tmp_path) as platform:
        await platform.recover()
        assert platform.rebuilt == {SITE: WENT_BACK}
        assert await credited(platform, "t-001") == 105
        told = {row.device: row.detail for row in (await platform.queries.incidents(SITE, open_only=True)).items}
        assert "lacks acts 4 to 5" in told["t-001"] or "lacks acts 3 to 4" in told["t-001"], told
        assert "19.000000000 are lost" in told["t-001"]
        assert "manual on br-001" in told["t-002"]
        alarms = (await platform.alarms.page(SITE, now=platform.clock.now(), active=True)).items
        assert {(alarm.twin, alarm.rule, alarm.severity) for alarm in alarms} == {
            ("t-001", "@ledger_went_back", "critical"), ("t-002", "@ledger_went_back", "critical"),
        }  # fmt: skip
        breaker = (await platform.store.load(SITE, ["t-002"]))["t-002"].breakers["br-001"]
        assert (breaker.locks["manual"].who, breaker.locks["manual"].why) == ("wang", "works on the line")
        platform.rebuilt.clear()
        await platform.recover()
        assert platform.rebuilt == {}, "told once"
        await pay(platform, "t-001", 12, "lost-1")
        await pay(platform, "t-001", 7, "lost-2")
        assert await credited(platform, "t-001") == 124, "booked again from the receipts"


async def test_noticed_at_the_first_touch_even_after_as_many_new_payments(
    redis: RunningServer, tmp_path: Path, backup: Path
) -> None:
    restore(tmp_path, backup)
    async with platform_on(redis, tmp_path) as platform:
        with pytest.raises(StoreLostError, match="restored from an older copy"):
            await platform.delivery.require_same_history()
        for number in range(3):  # as many acts as are missing, of the same tenants: the numbers agree, the history not
            now = platform.clock.now()
            payment = TopUp("t-001", 10**9, "cash", f"new-{number}", f"new-{number}", "lin", now)
            await platform.ledger.top_up(SITE, payment)
        with pytest.raises(StoreLostError, match="restored from an older copy"):
            await platform.delivery.sweep()
        await platform.prepare()
        assert platform.rebuilt == {SITE: WENT_BACK}
        assert await credited(platform, "t-001") == 108


async def test_a_database_that_goes_on_is_never_doubted(redis: RunningServer, tmp_path: Path, backup: Path) -> None:
    async with platform_on(redis, tmp_path) as platform:
        await platform.recover()
        await pay(platform, "t-002", 3, "new")
        await platform.recover()
        assert platform.rebuilt == {}
        assert (await platform.queries.incidents(SITE, open_only=True)).items == []

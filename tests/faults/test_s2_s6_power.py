"""S2 and S6: the machine loses its power. SQLite loses nothing that was committed; Redis loses nothing with `always`
and at most its last seconds with `everysec`. That the platform then makes them good: `test_rows_of_servers.py`. How
a disk loses power: `disks.py`."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from adapters.embedded import start_redis
from adapters.store.engine.database import open_database
from adapters.store.engine.migrate import migrate
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from adapters.twins import RedisTwinStore, connect
from tests.conformance.twin_values import a_group, charge, stream_of
from tests.faults.disks import MortalDisk
from tests.integration.servers import freeze
from tests.unit.adapters.store.park import NOW, SITE, document
from twin.ports import TopUp

ROWS = 200


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[MortalDisk]:
    with MortalDisk(tmp_path, mib=96) as found:
        yield found


_SLOPPY = """
import signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=" + sys.argv[2])
database.execute("CREATE TABLE kept (n INTEGER)")
database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
for number in range(int(sys.argv[3])):
    database.execute("INSERT INTO kept VALUES (?)", (number,))
print("done", flush=True)
signal.pause()
"""


def survivors(folder: Path, synchronous: str) -> int:
    """How many rows a disk of its own still has after it lost its power."""
    with MortalDisk(folder) as disk:
        command = [sys.executable, "-c", _SLOPPY, str(disk.folder / "kept.db"), synchronous, str(ROWS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "done\n"
            after = disk.after_power_loss()
            writer.kill()
        found = 0
        with closing(sqlite3.connect(after / "kept.db")) as database, suppress(sqlite3.OperationalError):
            ((found,),) = database.execute("SELECT count(*) FROM kept").fetchall()
        return int(found)


def test_the_disk_forgets_what_was_not_synchronised_and_nothing_else(tmp_path: Path) -> None:
    """The instrument itself: the setting that we do not use loses rows, ours does not. Where memory is short, or the
    writer slow, the kernel saves unasked what nobody synchronised: not every time."""
    assert survivors(tmp_path / "full", "FULL") == ROWS
    assert any(survivors(tmp_path / f"normal-{number}", "NORMAL") < ROWS for number in range(5))


async def test_every_confirmed_payment_survives_in_sqlite(disk: MortalDisk) -> None:
    url = f"sqlite://{disk.folder / 'ledger.db'}"
    await migrate(url)
    database = await open_database(url)
    try:
        await SqlRegistry(database).apply(document(), who="test", now=NOW)
        ledger = SqlLedger(database)
        for number in range(20):
            await ledger.top_up(SITE, TopUp("t-002", 10**9, "cash", f"R-{number}", f"k-{number}", "bob", NOW))
        after = await asyncio.to_thread(disk.after_power_loss)
    finally:
        await database.close()
    again = await open_database(f"sqlite://{after / 'ledger.db'}")
    try:
        assert len(await again.fetch("SELECT 1 FROM payment WHERE key LIKE 'k-%'")) == 20
        assert [finding async for finding in verify_sql(again, SITE) if finding.severity == "error"] == []
    finally:
        await again.close()


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_redis_comes_back_with_a_beginning_of_what_it_had(disk: MortalDisk, appendfsync: str) -> None:
    """`always` keeps every acknowledged commit; `everysec` keeps a prefix of them, whole commits, and it is noticed."""
    server = start_redis(disk.folder / "redis", appendfsync=appendfsync)  # type: ignore[arg-type]
    store = RedisTwinStore(connect(server.url, timeout_s=60))
    restarted = None
    try:
        client = connect(server.url)
        await client.config_set("appendfsync", "always")  # so much is safe with either
        await store.replace_site(SITE, 1, stream_of([a_group(SITE)]), wake=NOW)
        await client.config_set("appendfsync", appendfsync)
        await client.aclose()
        for _ in range(ROWS):
            group = (await store.load(SITE, ["t-1"]))["t-1"]
            assert await store.commit(SITE, [charge(group)], now=NOW) == frozenset()
        freeze(server)
        after = await asyncio.to_thread(disk.after_power_loss)
        with suppress(OSError):
            (after / "redis" / "redis.lock").unlink()
        restarted = start_redis(after / "redis", appendfsync=appendfsync)  # type: ignore[arg-type]
        newcomer = RedisTwinStore(connect(restarted.url, timeout_s=60))
        tenant = (await newcomer.load(SITE, ["t-1"]))["t-1"].tenant
        assert tenant is not None
        kept = tenant.charges_nano
        assert (await newcomer.generation(SITE) or (0, ""))[0] == 1
        await newcomer.close()
        assert kept == ROWS if appendfsync == "always" else kept <= ROWS, kept
    finally:
        await store.close()
        server.stop(10)
        if restarted is not None:
            restarted.stop(10)
        shutil.rmtree(disk.folder / "redis", ignore_errors=True)

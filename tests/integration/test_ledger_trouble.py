"""A database that cannot be written to: top-ups are refused for now, health says so, and nothing was half done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from httpx import AsyncClient

from adapters.store.engine.database import open_database
from adapters.store.posting.ledger import SqlLedger
from tests.integration.servers import PostgresServer
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW
from tests.unit.adapters.store.park import SITE as STORE_SITE
from tests.unit.api.conftest import client, migrated, stage  # noqa: F401 -- fixtures
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, open_client, open_stage
from twin.ports import LedgerUnavailableError, TopUp

TOPUPS = f"/api/v1/sites/{SITE}/tenants/t-001/topups"
MIB = 1 << 20


def keyed(key: str) -> dict[str, str]:
    return {**ADMIN, "Idempotency-Key": key, "Accept-Language": "en"}


async def top_up(client: AsyncClient, key: str, amount: str = "50.00"):  # noqa: F811 -- a fixture of the same name
    return await client.post(TOPUPS, json={"amount": amount, "channel": "cash", "reference": key}, headers=keyed(key))


async def pages(stage: Stage, most: int | None) -> None:  # noqa: F811
    """Let the database grow to so many pages only; None takes the bound away."""
    async with stage.database.write() as tx:
        now = (await tx.fetch("PRAGMA page_count"))[0][0]
        await tx.fetch(f"PRAGMA max_page_count = {now + most if most is not None else 1 << 30}")


async def ready(client: AsyncClient) -> str:  # noqa: F811
    return str((await client.get("/health/ready")).json()["checks"]["database"]["ok"])


async def fill_up(client: AsyncClient) -> str:  # noqa: F811
    """Top up until it is refused; returns the key that was."""
    for number in range(400):
        answer = await top_up(client, f"k{number:03d}-{'x' * 150}")
        if answer.status_code != 201:
            assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable"), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"]
            return f"k{number:03d}-{'x' * 150}"
    raise AssertionError("the database never became full")


async def test_a_full_database_refuses_for_now_and_health_says_so(client: AsyncClient, stage: Stage) -> None:  # noqa: F811
    await pages(stage, 2)
    refused = await fill_up(client)
    assert await ready(client) == "False"
    assert (await client.get(f"/api/v1/sites/{SITE}/tenants/t-001/payments", headers=ADMIN)).status_code == 200
    await pages(stage, None)
    assert await ready(client) == "True"
    again = await top_up(client, refused)
    assert again.status_code == 201, "the same call may be repeated"
    assert "Idempotency-Hit" not in again.headers, "nothing of the first try was kept"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode  # fmt: skip
    if not mounted:
        pytest.skip("mounting a small disk takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
async def crowded(small_disk: Path, migrated: Path) -> AsyncIterator[tuple[Stage, AsyncClient]]:  # noqa: F811
    async with open_stage(small_disk, migrated) as opened, open_client(opened) as reader:
        yield opened, reader


async def test_a_full_disk(small_disk: Path, crowded: tuple[Stage, AsyncClient]) -> None:
    _, reader = crowded
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(b"x" * (free - 64 * 1024))
    refused = await fill_up(reader)
    assert await ready(reader) == "False"
    ballast.unlink()
    assert await ready(reader) == "True"
    assert (await top_up(reader, refused)).status_code == 201


async def test_a_postgres_that_stops_is_trouble_and_not_a_fault(postgres_server: PostgresServer) -> None:
    """A database that refuses writes (as one that ran out of disk does) answers the same way."""
    from adapters.store.engine.migrate import migrate
    from adapters.store.sites.registry import SqlRegistry
    from tests.unit.adapters.store.park import document

    url = postgres_server.fresh_database()
    await migrate(url)
    database = await open_database(url)
    try:
        await SqlRegistry(database).apply(document(), who="test", now=NOW)
        async with database.write() as tx:
            name = (await tx.fetch("SELECT current_database()"))[0][0]
        postgres_server.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await database.close()
        database = await open_database(url)
        with pytest.raises(LedgerUnavailableError):
            await SqlLedger(database).top_up(STORE_SITE, TopUp("t-002", 1, "cash", "R", "k", "bob", NOW))
        with pytest.raises(LedgerUnavailableError):
            await database.require_writable()
    finally:
        await database.close()

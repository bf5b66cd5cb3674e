"""A process is asked to stop in the middle of a settlement: quietly, and what is left comes with the next start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.scheduler.ringer import ring_until
from adapters.store.engine.database import Database, Transaction
from adapters.store.proofs.verify import verify_sql
from tests.integration.test_settlement_killed import contents, fresh, one_by_one, ready
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.settling import SITE, Park


class HesitantDatabase:
    """A database that stands still inside one transaction, until it is told to go on or whoever waits gives up."""

    def __init__(self, database: Database, at: int) -> None:
        self._database = database
        self._at = at
        self._commits = 0
        self.hesitates = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        self._commits += 1
        async with self._database.write() as tx:
            yield tx
            if self._commits == self._at:
                self.hesitates.set()
                await asyncio.sleep(600)


async def test_stopped_inside_a_transaction_again_and_again_it_ends_with_the_same_bills(
    database: Database,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wanted = await one_by_one(Park(database), monkeypatch)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    other = await fresh(request, tmp_path, database.engine)
    try:
        park = Park(other)
        await ready(park)
        stops = 0
        for at in range(1, 6):
            park.book.database = hesitant = HesitantDatabase(other, at)  # type: ignore[assignment]
            stop = asyncio.Event()
            work = ring_until(stop, "settlement", lambda: park.settle(202601), every_s=60, ends_within_s=0.1)
            ringing = asyncio.create_task(work)
            await asyncio.wait_for(hesitant.hesitates.wait(), 60)
            stop.set()
            await asyncio.wait_for(ringing, 60)
            stops += 1
        park.book.database = other
        assert (await park.settle(202601)).state == "done"
        assert stops == 5
        assert await contents(park) == wanted
        assert [finding async for finding in verify_sql(other, SITE) if finding.severity == "error"] == []
        assert problems == []
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    finally:
        await other.close()

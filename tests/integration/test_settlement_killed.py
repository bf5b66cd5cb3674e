"""A settlement that dies at any commit goes on with the same bills; several processes settle once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.store.engine.alone import alone
from adapters.store.engine.database import Database, Transaction, open_database
from adapters.store.proofs.verify import verify_sql
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.settling import DAY, SITE, Park
from twin.flows import settle_month
from twin.ports import MoneyRefusedError


class PowerCutError(BaseException):
    """The process dies: nothing of ours may catch it."""


class MortalDatabase:
    """A database whose process dies at a chosen commit: before it, or just after it."""

    def __init__(self, database: Database, at: int, *, after: bool) -> None:
        self._database = database
        self._at = at
        self._after = after
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        self.commits += 1
        dies = self.commits == self._at
        async with self._database.write() as tx:
            yield tx
            if dies and not self._after:
                raise PowerCutError
        if dies:
            raise PowerCutError


async def ready(park: Park) -> None:
    """January is used and paid; the 2nd of February."""
    await park.import_site()
    await park.month(202601)
    await park.pay("t-1", 500, "jan", park.start_of(202601) + 5 * DAY)
    park.clock.at = park.start_of(202602) + DAY


async def contents(park: Park) -> list[tuple[Any, ...]]:
    """Everything that a bill consists of, in order; what differs from run to run (ids of rows) left out."""
    rows = await park.database.fetch(
        "SELECT bill, number, state, charges_nano, credits_nano, closing_nano FROM bill WHERE site = ? ORDER BY number",
        SITE,
    )
    lines = await park.database.fetch(
        "SELECT bill, place, kind, meter, quantity, amount_nano FROM bill_line WHERE site = ? ORDER BY bill, place",
        SITE,
    )
    fees = await park.database.fetch(
        "SELECT kind, tenant, meter, name, month, day, revision, amount_nano FROM fee_line WHERE site = ?"
        " ORDER BY kind, tenant, meter, name, month, day, revision",
        SITE,
    )
    return [tuple(row) for row in (*rows, *lines, *fees)]


async def one_by_one(park: Park, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The bills of a settlement that nothing disturbs, with small chunks, so that there are many commits."""
    monkeypatch.setattr(settle_month, "CHUNK", 1)
    await ready(park)
    assert (await park.settle(202601)).state == "done"
    return await contents(park)


async def test_killed_at_ten_points_it_ends_with_the_same_bills(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = Park(database)
    wanted = await one_by_one(undisturbed, monkeypatch)
    counted = MortalDatabase(database, 0, after=False)
    chosen = random.Random(f"kills-{database.engine}")
    kills = [(chosen.randint(1, 4), chosen.random() < 0.5) for _ in range(10)]
    other = await fresh(request, tmp_path, database.engine)
    try:
        park = Park(other)
        await ready(park)
        outcome = None
        for ahead, after in kills:
            park.book.database = MortalDatabase(other, ahead, after=after)  # type: ignore[assignment]
            try:
                outcome = await park.settle(202601)
            except PowerCutError:
                continue
        park.book.database = other
        outcome = await park.settle(202601)
        assert outcome.state == "done"
        assert await contents(park) == wanted
        assert [finding async for finding in verify_sql(other, SITE) if finding.severity == "error"] == []
        assert counted.commits == 0
    finally:
        await other.close()


async def fresh(request: pytest.FixtureRequest, folder: Path, engine: str) -> Database:
    """Another database of the same engine."""
    from tests.unit.adapters.store.engines import fresh_url

    return await open_database(fresh_url(request, folder, engine))


async def test_every_single_commit_can_be_the_last(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kill before and after each commit in turn: the run dies once at each and still ends."""
    if database.engine != "sqlite":
        pytest.skip("the seeded kills run on PostgreSQL; every commit is tried where a database costs a file")
    undisturbed = Park(database)
    wanted = await one_by_one(undisturbed, monkeypatch)
    other = await fresh(request, tmp_path, "sqlite")
    try:
        park = Park(other)
        await ready(park)
        deaths = 0
        for number in range(200):
            # A run makes one commit to be opened; the second is the first that is new.
            mortal = park.book.database = MortalDatabase(other, 2, after=bool(number % 2))  # type: ignore[assignment]
            try:
                outcome = await park.settle(202601)
            except PowerCutError:
                deaths += 1
                # Killed before a commit nothing was done: let the next one through.
                if not number % 2:
                    park.book.database = MortalDatabase(other, 3, after=True)  # type: ignore[assignment]
                    try:
                        await park.settle(202601)
                    except PowerCutError:
                        deaths += 1
                continue
            if outcome.state == "done" and mortal.commits <= 1:
                break
        park.book.database = other
        assert (await park.settle(202601)).state == "done"
        assert deaths > 10
        assert await contents(park) == wanted
    finally:
        await other.close()


async def test_one_process_settles_at_a_time(database: Database) -> None:
    park = Park(database)
    await ready(park)
    async with alone(database, f"settlement of {SITE}"):
        with pytest.raises(MoneyRefusedError) as refusal:
            await park.settle(202601)
        assert refusal.value.code == "busy"
    outcomes = await asyncio.gather(*(park.settle(202601) for _ in range(4)), return_exceptions=True)
    done = [one for one in outcomes if not isinstance(one, BaseException)]
    assert done
    assert {one.state for one in done} == {"done"}
    assert all(one.code == "busy" for one in outcomes if isinstance(one, MoneyRefusedError))
    rows = await database.fetch("SELECT number FROM bill ORDER BY number")
    assert [row[0] for row in rows] == [1, 2]


_SETTLE = """
import asyncio, sys
from adapters.store.engine.database import open_database
from tests.unit.adapters.store.settling import DAY, Park
from twin.flows import settle_month
settle_month.CHUNK = 1

async def main():
    database = await open_database(sys.argv[1])
    park = Park(database)
    park.clock.at = park.start_of(202602) + DAY
    say = lambda step, done, whole: print(step, done, flush=True)
    options = settle_month.SettleOptions(who="tester")
    await park.settlement.settle("park-s", 202601, options, say)
    await database.close()

asyncio.run(main())
"""


async def test_processes_killed_by_the_system(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of a real process at three steps; the lock dies with it and the next one goes on."""
    wanted = await one_by_one(Park(database), monkeypatch)
    other = await fresh(request, tmp_path, database.engine)
    url = _url_of(other)
    try:
        park = Park(other)
        await ready(park)
        for step in ("fees 2", "shares 1", "bills 1"):
            await asyncio.to_thread(_kill_at, url, step)
        outcome = await _settle_when_free(park)
        assert outcome.state == "done"
        assert await contents(park) == wanted
    finally:
        await other.close()


def _kill_at(url: str, step: str) -> None:
    """Settle in a process of its own, and kill it when it tells this step."""
    process = subprocess.Popen([sys.executable, "-c", _SETTLE, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == step:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(60)


async def _settle_when_free(park: Park) -> Any:
    """PostgreSQL notices a dead connection a moment later than we do."""
    for _ in range(600):
        try:
            return await park.settle(202601)
        except MoneyRefusedError:
            await asyncio.sleep(0.1)
    raise AssertionError("the lock of a dead process is still held")


def _url_of(database: Database) -> str:
    if database.sqlite_path is not None:
        return f"sqlite://{database.sqlite_path}"
    parts = database.context.db("default")
    return f"postgresql://{parts.user}@{parts.host}:{parts.port}/{parts.database}"

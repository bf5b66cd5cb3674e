"""S7: conflicts and limits of PostgreSQL: deadlocks, serialization failures, statements and locks that take too long,
more writers than connections. All are trouble for now: nothing is half done, and the same call succeeds later."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from adapters.store.engine.database import Database, open_database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from tests.integration.servers import PostgresServer
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.engines import fresh_url
from tests.unit.adapters.store.park import NOW, SITE, charge, document, entry
from twin.ports import LedgerUnavailableError, TopUp

WALLET = "tenant:t-002:wallet"
CREDITED = "SELECT count(*) FROM payment WHERE key LIKE 'k-%'"
WITHIN_S = 120.0


@pytest.fixture
async def books(request: pytest.FixtureRequest, postgres_template: PostgresServer) -> str:
    """URL of a migrated PostgreSQL database with the park in it."""
    url = fresh_url(request, Path(), "postgres")
    database = await open_database(url)
    await SqlRegistry(database).apply(document(), who="test", now=NOW)
    await database.close()
    return url


async def pay(database: Database, key: str) -> None:
    """One yuan for t-002."""
    await SqlLedger(database).top_up(SITE, TopUp("t-002", 10**9, "cash", key, key, "bob", NOW))


async def pay_at_last(database: Database, key: str) -> None:
    """The same payment again until it is taken: on a machine that does other things any statement may take too long."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            return await pay(database, key)
        except LedgerUnavailableError:
            assert time.monotonic() < deadline, "what is trouble for now is not over"
            await asyncio.sleep(0.05)


async def credited(database: Database) -> int:
    """Payments of the test, by their number."""
    return int((await database.fetch(CREDITED))[0][0])


async def other(url: str) -> asyncpg.Connection:
    """Somebody else at the same database."""
    return await asyncpg.connect(url.replace("asyncpg://", "postgresql://"))


async def limited(url: str, setting: str) -> Database:
    """The database with a limit of its server's operator set for new connections."""
    somebody = await other(url)
    name = await somebody.fetchval("SELECT current_database()")
    await somebody.execute(f'ALTER DATABASE "{name}" SET {setting}')
    await somebody.close()
    return await open_database(url)


@pytest.mark.parametrize("setting", ["statement_timeout = '300ms'", "lock_timeout = '300ms'"])
async def test_a_statement_or_a_lock_that_takes_too_long_is_trouble_for_now(books: str, setting: str) -> None:
    database, somebody = await limited(books, setting), await other(books)
    try:
        async with somebody.transaction():
            await somebody.execute("SELECT 1 FROM site WHERE id = $1 FOR UPDATE", SITE)
            with pytest.raises(LedgerUnavailableError):
                await pay(database, "k-1")
            assert await somebody.fetchval(CREDITED) == 0
        await pay_at_last(database, "k-1")
        await pay_at_last(database, "k-1")
        assert await somebody.fetchval(CREDITED) == 1
    finally:
        await somebody.close()
        await database.close()


async def test_a_deadlock_costs_one_try(books: str) -> None:
    database, somebody = await limited(books, "deadlock_timeout = '200ms'"), await other(books)
    try:
        await pay(database, "k-0")  # so that the wallet has a row
        paid, error = 0, None
        while error is None:  # the other one is the victim where the machine was slow: whoever waits looks round once
            paid += 1
            assert paid < 30, "the payment is never the victim"
            error = await cross(database, somebody, f"k-{paid}")
        assert "deadlock" in str(error)
        assert await credited(database) == paid
        await pay(database, f"k-{paid}")
        assert await credited(database) == paid + 1
        assert [finding async for finding in verify_sql(database, SITE)] == []
    finally:
        await somebody.close()
        await database.close()


async def cross(database: Database, somebody: asyncpg.Connection, key: str) -> LedgerUnavailableError | None:
    """A payment and somebody else want the same two rows, each the other's first: why the payment was turned away."""
    with suppress(asyncpg.DeadlockDetectedError):
        async with somebody.transaction():
            await somebody.execute("SET LOCAL deadlock_timeout = '2s'")  # the other one shall be the victim
            await somebody.execute("SELECT 1 FROM account WHERE account = $1 FOR UPDATE", WALLET)
            paying = asyncio.create_task(pay(database, key))
            while not await somebody.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await somebody.execute("SELECT 1 FROM site WHERE id = $1 FOR UPDATE", SITE)
    try:
        await paying
    except LedgerUnavailableError as error:
        return error
    return None


async def test_serialization_failures_turn_a_writer_away_and_post_nothing_twice(books: str) -> None:
    """Where an operator makes everything serializable, writers are turned away; the same batch again is posted once."""
    database, stop = await limited(books, "default_transaction_isolation = 'serializable'"), asyncio.Event()
    ledger, turned_away = SqlLedger(database), 0
    rivals = asyncio.create_task(_rivals(books, stop))
    try:
        number = 0
        while number < 20 or (turned_away < 2 and number < 500):
            number += 1
            for _ in range(100):
                try:
                    await ledger.post(SITE, [entry(number, charge((number - 1) * 10, number * 10))])
                    break
                except LedgerUnavailableError:
                    turned_away += 1
                    await asyncio.sleep(0.02)
        assert turned_away > 1, "nobody was in anybody's way"
        charged = await database.fetch("SELECT charges_nano FROM account WHERE account = ?", WALLET)
        assert charged[0][0] == number * 10 * 850_000
        assert [finding async for finding in verify_sql(database, SITE)] == []
    finally:
        stop.set()
        await rivals
        await database.close()


async def _rivals(url: str, stop: asyncio.Event) -> None:
    """Somebody who writes the site's row again and again, so that whoever waits for it cannot be serialized."""
    somebody = await other(url)
    while not stop.is_set():
        async with somebody.transaction(isolation="read_committed"):
            await somebody.execute("UPDATE site SET id = id WHERE id = $1", SITE)
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
    await somebody.close()


async def test_more_writers_than_connections_queue(books: str) -> None:
    database, somebody = await open_database(books, pool_size=3), await other(books)
    try:
        async with somebody.transaction():
            await somebody.execute("SELECT 1 FROM site WHERE id = $1 FOR UPDATE", SITE)
            paying = [asyncio.create_task(pay(database, f"k-{number}")) for number in range(20)]
            await asyncio.sleep(0.5)
            assert not any(task.done() for task in paying)
        await asyncio.wait_for(asyncio.gather(*paying), WITHIN_S)
        assert await credited(database) == 20
        assert [finding async for finding in verify_sql(database, SITE)] == []
    finally:
        await somebody.close()
        await database.close()


async def test_a_transaction_that_fell_asleep_is_ended_and_told_as_trouble(books: str) -> None:
    database, somebody = await limited(books, "idle_in_transaction_session_timeout = '60s'"), await other(books)
    there = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
    try:
        with pytest.raises(LedgerUnavailableError):  # noqa: PT012 -- the whole transaction is meant
            async with database.write() as tx:
                ((asleep,),) = await tx.fetch("SELECT pg_backend_pid()")
                await tx.execute("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
                async with asyncio.timeout(WITHIN_S):
                    while await somebody.fetchval(there, asleep):  # noqa: ASYNC110 -- a server has no event
                        await asyncio.sleep(0.02)
                await tx.execute("SELECT 1")
        await pay(database, "k-1")
        assert await credited(database) == 1
    finally:
        await somebody.close()
        await database.close()

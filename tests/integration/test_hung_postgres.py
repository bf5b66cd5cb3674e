"""A PostgreSQL that has hung is trouble for now, within the time that was set, and no wait for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from adapters.store.engine.database import Database, open_database
from tests.integration.servers import PostgresServer
from twin.ports import LedgerUnavailableError

Found = TypeVar("Found")
LIMIT_S = 1.0
PATIENCE_S = 60.0
"""Far from both: from the limit, because others use the machine, and from never."""


@contextmanager
def hung(server: PostgresServer) -> Iterator[None]:
    """All processes of a server stopped: its sockets stay open and silent."""
    children = subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, text=True, check=True).stdout
    pids = [server.pid, *map(int, children.split())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def write(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute("INSERT INTO noted VALUES (?) ON CONFLICT DO NOTHING", 2)


async def again(what: Callable[[], Awaitable[Found]]) -> Found:
    """What must come right by itself; with a second for each answer, a busy machine may need several attempts."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await what()
        except LedgerUnavailableError:
            if time.monotonic() > until:
                raise


async def hang_in_the_middle(server: PostgresServer, database: Database) -> None:
    async with database.write() as tx:
        await tx.execute("INSERT INTO noted VALUES (?)", 3)
        with hung(server):
            await tx.execute("INSERT INTO noted VALUES (?)", 4)


async def test_a_hung_server_is_trouble_and_is_used_again_when_it_answers() -> None:
    with PostgresServer() as server:
        url = server.fresh_database()
        await prepare(url)
        database = await open_database(url, pool_size=2, answer_within_s=LIMIT_S)
        try:
            await again(lambda: database.fetch("SELECT 1"))  # over a connection that there is before the hang
            assert await _hang_twice(server, database) < PATIENCE_S
            await again(lambda: write(database))
            rows = await again(lambda: database.fetch("SELECT number FROM noted ORDER BY number"))
            assert [row[0] for row in rows] == [1, 2]
        finally:
            await database.close()


async def test_nobody_waits_for_a_new_connection_to_a_hung_server_longer_than_for_an_answer() -> None:
    with PostgresServer() as server:
        database = await open_database(server.fresh_database(), pool_size=1, answer_within_s=LIMIT_S)
        try:
            began = time.monotonic()
            with hung(server), pytest.raises(LedgerUnavailableError):
                await database.fetch("SELECT 1")
            assert time.monotonic() - began < PATIENCE_S / 2, "the driver's own patience is a minute"
            assert [tuple(row) for row in await again(lambda: database.fetch("SELECT 1"))] == [(1,)]
        finally:
            await database.close()


async def prepare(url: str) -> None:
    """A table with one number, made without a hurry."""
    database = await open_database(url)
    async with database.write() as tx:
        await tx.execute("CREATE TABLE noted (number bigint PRIMARY KEY)")
        await tx.execute("INSERT INTO noted VALUES (?)", 1)
    await database.close()


async def _hang_twice(server: PostgresServer, database: Database) -> float:
    """Seconds until both were told as trouble."""
    began = time.monotonic()
    with hung(server), pytest.raises(LedgerUnavailableError):
        await database.fetch("SELECT number FROM noted")
    with pytest.raises(LedgerUnavailableError):
        await hang_in_the_middle(server, database)
    return time.monotonic() - began


async def test_a_statement_that_takes_too_long_is_given_up(postgres_server: PostgresServer) -> None:
    database = await open_database(postgres_server.fresh_database(), pool_size=1, answer_within_s=LIMIT_S)
    began = time.monotonic()
    with pytest.raises(LedgerUnavailableError):
        await database.fetch("SELECT pg_sleep(240)")
    assert time.monotonic() - began < PATIENCE_S
    assert [tuple(row) for row in await again(lambda: database.fetch("SELECT 1"))] == [(1,)]
    await database.close()

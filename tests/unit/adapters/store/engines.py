"""Databases for the store's tests: migrated once a session, then copied for each test, on both engines."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from adapters.store.engine.database import Database, open_database
from adapters.store.engine.migrate import migrate
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.registry import SqlRegistry
from tests.integration.servers import PostgresServer, fresh_name
from tests.unit.adapters.store.park import NOW, document

__all__ = [
    "attack",
    "database",
    "ledger",
    "park",
    "registry",
    "url",
]

ENGINES = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
_TEMPLATE = "twinmeter_template"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(migrate(f"sqlite://{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(request: pytest.FixtureRequest) -> PostgresServer:
    """A PostgreSQL server with a migrated template database."""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    server.sql(f'CREATE DATABASE "{_TEMPLATE}"')
    asyncio.run(migrate(server.url_of(_TEMPLATE)))
    return server


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh migrated database: the test runs once on each engine."""
    return fresh_url(request, tmp_path, request.param)


def fresh_url(request: pytest.FixtureRequest, folder: Path, engine: str) -> str:
    """URL of a fresh migrated database of one engine."""
    if engine == "sqlite":
        path = folder / f"{fresh_name('store')}.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite://{path}"
    server: PostgresServer = request.getfixturevalue("postgres_template")
    name = fresh_name("store").replace("-", "_")
    server.sql(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')
    return server.url_of(name)


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """The fresh database, open."""
    opened = await open_database(url)
    try:
        yield opened
    finally:
        await opened.close()


@pytest_asyncio.fixture
async def park(database: Database) -> Database:
    """The database with the park of `park.py` imported."""
    await SqlRegistry(database).apply(document(), who="test", now=NOW)
    return database


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    """The ledger over it."""
    return SqlLedger(database)


@pytest.fixture
def registry(database: Database) -> SqlRegistry:
    """The registry over it."""
    return SqlRegistry(database)


Attack = Callable[[str], Awaitable[None]]


@pytest.fixture
def attack(url: str) -> Attack:
    """Raw SQL as somebody with a plain client would run it: no PRAGMA set, no ORM, one transaction a call."""
    return raw_sql(url)


def raw_sql(url: str) -> Attack:
    """A plain client of the database behind a URL. It raises the driver's own error."""
    if url.startswith("sqlite://"):
        return lambda statements: _sqlite_script(url.removeprefix("sqlite://"), statements)
    return lambda statements: _postgres_script(url.replace("asyncpg://", "postgresql://"), statements)


async def _sqlite_script(path: str, statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, statements.split(";")):
            connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        connection.close()


async def _postgres_script(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(statements)
    finally:
        await connection.close()

"""Databases for the store's tests: migrated once a session, then copied for each test, on both engines."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.store.database import Database, open_database
from adapters.store.ledger import SqlLedger
from adapters.store.migrate import migrate
from adapters.store.registry import SqlRegistry
from tests.integration.servers import PostgresServer, fresh_name

ENGINES = ("sqlite", "postgres")
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


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    """The ledger over it."""
    return SqlLedger(database)


@pytest.fixture
def registry(database: Database) -> SqlRegistry:
    """The registry over it."""
    return SqlRegistry(database)


Attack = Callable[[str], None]


@pytest.fixture
def attack(url: str, request: pytest.FixtureRequest) -> Attack:
    """Run raw SQL as somebody with a plain client would: no PRAGMA set, no ORM. Raises the driver's error."""
    return raw_sql(url)


def raw_sql(url: str) -> Attack:
    """A plain synchronous client of the database behind a URL; each call is one transaction."""
    if url.startswith("sqlite://"):
        return lambda statements: _sqlite_script(url.removeprefix("sqlite://"), statements)
    return lambda statements: asyncio.run(_postgres_script(url, statements))


def _sqlite_script(path: str, statements: str) -> None:
    import sqlite3

    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        connection.close()


async def _postgres_script(url: str, statements: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url.replace("asyncpg://", "postgresql://"))
    try:
        async with connection.transaction():
            await connection.execute(statements)
    finally:
        await connection.close()

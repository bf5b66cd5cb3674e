"""One SQL database, SQLite or PostgreSQL, behind one small set of verbs.

Theory of operation. Tortoise owns the models, the migrations and the connections; the statements of the ledger are
written by hand, because their locks, their order and their bulk form are what makes them exact and fast. Statements use
`?` placeholders and the common subset of both engines.

* PostgreSQL: READ COMMITTED. Writers of one site queue on its `site` row; uniqueness, foreign keys and triggers do the
  rest.
* Values are integers, text, bytes, booleans or NULL. Anything else is refused before the driver sees it, because
  asyncpg cuts a float or a Decimal off to an integer without a word.
* SQLite: write-ahead log with `synchronous=FULL`; writers take `BEGIN IMMEDIATE`, so two processes queue instead of
  failing at commit. Reads use a connection of their own and never wait for a batch.

A `snapshot` is a read transaction on a connection of its own: verification and rebuilding see one instant of the
ledger.
"""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import unquote, urlsplit

import aiosqlite
import asyncpg
from tortoise.context import TortoiseContext

from adapters.store.engine.trouble import troubles_told
from twin.ports import LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

Engine = Literal["sqlite", "postgres"]
Row = Any
"""A row of either driver: by position or by column name."""


class InexactValueError(TypeError):
    """A value of a type that no column of ours holds, such as a float: it would be rounded on its way in."""


REFUSALS: tuple[type[Exception], ...] = (
    InexactValueError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    OverflowError,
    UnicodeEncodeError,
)
"""What the drivers raise when the data is at fault; everything else is the database's or the network's trouble."""

_EXACT = frozenset({int, str, bytes, bool, type(None)})
_BUSY_TIMEOUT_MS = 15_000
_PRAGMAS = {
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "foreign_keys": "ON",
    "busy_timeout": str(_BUSY_TIMEOUT_MS),
    "journal_size_limit": str(64 * 1024 * 1024),
}
_POOL_SIZE = 8
CONNECTS_WITHIN_S = 60.0
"""A new connection takes no longer than that, however long a statement may."""
_SESSION = {
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
"""A process that is frozen, or cut off, in the middle of a transaction must not hold a site's row against whoever took
its work over."""
_STREAMED = 1_000
"""Rows fetched at a time while streaming."""
_PROBE_CHARACTERS = 256 * 1024
"""More than any act of a person takes up."""


class DatabaseURLError(ValueError):
    """A database URL that names no engine we have."""


class Transaction(Protocol):
    """Statements inside one transaction."""

    engine: Engine

    async def fetch(self, sql: str, *values: Any) -> Sequence[Row]:
        """All rows of a query."""
        ...

    def stream(self, sql: str, *values: Any) -> AsyncIterator[Row]:
        """The rows of a query one by one, however many there are: never more than a page of them is held."""
        ...

    async def execute(self, sql: str, *values: Any) -> None:
        """Run one statement."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for many rows."""
        ...


class SQLiteTransaction:
    """Statements on one aiosqlite connection."""

    engine: Engine = "sqlite"

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Any) -> Sequence[Row]:
        """All rows of a query."""
        require_exact(values)
        return list(await self._connection.execute_fetchall(sql, values))

    async def stream(self, sql: str, *values: Any) -> AsyncIterator[Row]:
        """The rows of a query one by one."""
        require_exact(values)
        async with self._connection.execute(sql, values) as cursor:
            while page := await cursor.fetchmany(_STREAMED):
                for row in page:
                    yield row

    async def execute(self, sql: str, *values: Any) -> None:
        """Run one statement."""
        require_exact(values)
        cursor = await self._connection.execute(sql, values)
        await cursor.close()

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for many rows, in one hop to the connection's thread."""
        require_exact(chain.from_iterable(rows))
        cursor = await self._connection.executemany(sql, rows)
        await cursor.close()


class PostgresTransaction:
    """Statements on one asyncpg connection; `?` becomes `$n`."""

    engine: Engine = "postgres"

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Any) -> Sequence[Row]:
        """All rows of a query."""
        require_exact(values)
        with self._answered():
            rows: Sequence[Row] = await self._connection.fetch(numbered(sql), *values)
        return rows

    async def stream(self, sql: str, *values: Any) -> AsyncIterator[Row]:
        """The rows of a query one by one, by a cursor of the server."""
        require_exact(values)
        with self._answered():
            async for row in self._connection.cursor(numbered(sql), *values, prefetch=_STREAMED):
                yield row

    async def execute(self, sql: str, *values: Any) -> None:
        """Run one statement."""
        require_exact(values)
        with self._answered():
            await self._connection.execute(numbered(sql), *values)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for many rows, pipelined."""
        require_exact(chain.from_iterable(rows))
        with self._answered():
            await self._connection.executemany(numbered(sql), rows)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Drop a connection whose server did not answer in time: a rollback, or giving it back, would wait for the same
        server, and without a limit."""
        try:
            yield
        except TimeoutError:
            self._connection.terminate()
            raise


def require_exact(values: Iterable[Any]) -> None:
    """Let through what a column holds as it is, and lists of it. Raises InexactValueError for anything else."""
    for kind, value in {type(value): value for value in values}.items():
        if kind in _EXACT:
            continue
        if kind is not list:
            raise InexactValueError(f"{value!r} is a {kind.__name__}; columns hold integers, text, bytes and booleans")
    for value in values if isinstance(values, tuple) else ():
        if type(value) is list:
            require_exact(value)


@lru_cache(maxsize=1024)
def numbered(sql: str) -> str:
    """Rewrite `?` placeholders to PostgreSQL's `$1`, `$2`, ... No statement of ours has a `?` inside a literal."""
    head, *tail = sql.split("?")
    return head + "".join(f"${number}{part}" for number, part in enumerate(tail, 1))


class Database:
    """An open database. Build it with `open_database`, end it with `close`."""

    def __init__(self, engine: Engine, context: TortoiseContext, sqlite_path: str | None) -> None:
        self.engine: Engine = engine
        self.context = context
        self.sqlite_path = sqlite_path
        self.cannot_write = ""
        """Why the last transaction that wanted to write could not; an empty text when it could."""

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that may write: commits at the end of the block, rolls back when it raises.

        Raises LedgerUnavailableError where the database itself is at fault.
        """
        try:
            with troubles_told():
                async with self._writing() as tx:
                    yield tx
        except LedgerUnavailableError as error:
            self.cannot_write = str(error)
            raise
        self.cannot_write = ""

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Transaction]:
        if self.engine == "sqlite":
            async with self._sqlite("default") as connection:
                try:
                    await connection.execute("BEGIN IMMEDIATE")
                    yield SQLiteTransaction(connection)
                    await connection.execute("COMMIT")
                except BaseException:
                    # Queued behind whatever a cancelled caller left running; does nothing without a transaction.
                    await connection.rollback()
                    raise
        else:
            async with self._client("default").acquire_connection() as connection, connection.transaction():
                yield PostgresTransaction(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """A read-only transaction that sees one instant of the database, on a connection of its own."""
        with troubles_told():
            async with self._snapshot() as tx:
                yield tx

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Transaction]:
        if self.engine == "sqlite":
            assert self.sqlite_path is not None
            async with aiosqlite.connect(self.sqlite_path, isolation_level=None) as connection:
                connection.row_factory = aiosqlite.Row
                await connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
                await connection.execute("PRAGMA query_only=ON")
                await connection.execute("BEGIN")
                yield SQLiteTransaction(connection)
                await connection.execute("ROLLBACK")
        else:
            async with (
                self._client("default").acquire_connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield PostgresTransaction(connection)

    async def fetch(self, sql: str, *values: Any) -> Sequence[Row]:
        """All rows of one query outside any transaction; sees everything committed before."""
        with troubles_told():
            if self.engine == "sqlite":
                async with self._sqlite("reader") as connection:
                    return await SQLiteTransaction(connection).fetch(sql, *values)
            async with self._client("default").acquire_connection() as connection:
                return await PostgresTransaction(connection).fetch(sql, *values)

    async def require_writable(self) -> None:
        """Returns when the database could write the last time it was asked to, or can again.

        A write that takes up room and gives it back is tried only after one has failed. Raises LedgerUnavailableError.
        """
        if self.cannot_write:
            async with self.write() as tx:
                await tx.execute("INSERT INTO write_probe (filler) VALUES (?)", "." * _PROBE_CHARACTERS)
                await tx.execute("DELETE FROM write_probe")

    async def close(self) -> None:
        """Close every connection."""
        await self.context.close_connections()

    def _client(self, name: str) -> Any:
        return self.context.db(name)

    @asynccontextmanager
    async def _sqlite(self, name: str) -> AsyncIterator[aiosqlite.Connection]:
        client = self._client(name)
        if client._connection is None:
            async with client._lock:
                await client.create_connection(with_db=True)
        async with client.acquire_connection() as connection:
            yield connection


async def open_database(url: str, *, pool_size: int = _POOL_SIZE, answer_within_s: float | None = None) -> Database:
    """Open `sqlite:///path/to.db` or `postgresql://user:password@host:port/name`.

    `answer_within_s` bounds every statement on PostgreSQL, and every new connection: a server that has hung is trouble
    of the database then (LedgerUnavailableError), and its connection is dropped. None waits for ever, as long
    maintenance must.

    Raises DatabaseURLError for any other URL. Connections are made when they are first needed.
    """
    engine, connections, path = _connections(url, pool_size, answer_within_s)
    context = TortoiseContext()
    with context:
        await context.init(config=tortoise_config(connections))
    return Database(engine, context, path)


def tortoise_config(connections: dict[str, Any]) -> dict[str, Any]:
    """Tortoise's configuration: our models and migrations over the given connections."""
    store = {
        "models": ["adapters.store.models"],
        "default_connection": "default",
        "migrations": "adapters.store.migrations",
    }
    return {"connections": connections, "apps": {"store": store}}


def _connections(url: str, pool_size: int, answer_within_s: float | None) -> tuple[Engine, dict[str, Any], str | None]:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest and ":memory:" not in rest:
        reader = {"file_path": rest, **_PRAGMAS, "query_only": "ON"}
        writer = {"file_path": rest, **_PRAGMAS}
        connections = {
            "default": {"engine": "tortoise.backends.sqlite", "credentials": writer},
            "reader": {"engine": "tortoise.backends.sqlite", "credentials": reader},
        }
        return "sqlite", connections, rest
    if scheme in ("postgres", "postgresql", "asyncpg"):
        credentials = {**_postgres_credentials(url, pool_size), "command_timeout": answer_within_s}
        credentials["timeout"] = min(answer_within_s or CONNECTS_WITHIN_S, CONNECTS_WITHIN_S)
        return "postgres", {"default": {"engine": "tortoise.backends.asyncpg", "credentials": credentials}}, None
    raise DatabaseURLError(
        f"database URL {_without_password(url)!r}: expected sqlite:///path/to/file.db or "
        "postgresql://user:password@host:port/database"
    )


def _postgres_credentials(url: str, pool_size: int) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 5432,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password) if parts.password else None,
        "database": parts.path.lstrip("/"),
        "minsize": 1,
        "maxsize": pool_size,
        "application_name": "twinmeter",
        "server_settings": dict(_SESSION),
    }


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url

"""The simulated database server: real SQLite on a file in memory, called at once and in virtual time.

The product's own `Database` runs on it, with its transactions, its rollbacks and its guards; only the connections are
ours. Writers queue as at `BEGIN IMMEDIATE`; readers see what was committed. A process that is killed loses its
connections, which rolls back what it had begun. A copy of the whole database can be taken and put back at any time.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.store.engine.database import Database, SQLiteTransaction
from tests.simulation.loop import Process, current_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

Way = "Callable[[Process, str, Callable[[], Any]], Awaitable[Any]]"
BUSY_TIMEOUT_S = 15.0
FULL, BUSY, AWAY = sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN


def trouble(code: int, said: str) -> sqlite3.OperationalError:
    """What the driver raises when the database itself is at fault."""
    error = sqlite3.OperationalError(said)
    error.sqlite_errorcode = code
    return error


class Hold:
    """One turn of one process at writing."""

    __slots__ = ("ended", "process", "turn")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.turn: asyncio.Future[None] | None = None
        self.ended = False


class SqlServer:
    """One database file and those who are connected to it."""

    def __init__(self, path: Path, way: Any) -> None:
        self.path = path
        self.way = way
        self.full = False
        self.committed: Callable[[], object] = lambda: None
        """Told after every commit."""
        self.before_commit: Callable[[], object] = lambda: None
        """Told of every commit just before it happens."""
        self.commits = 0
        self.epoch = 0
        """Grows whenever every connection is lost: what was begun before is gone."""
        self.restores = 0
        self._holder: Hold | None = None
        self._waiting: deque[Hold] = deque()
        self._snapshots: dict[Hold, sqlite3.Connection] = {}
        self._idle: list[sqlite3.Connection] = []
        self.writer = self._connect()
        self.reader = self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def close(self) -> None:
        """Close every connection."""
        for connection in [*self._snapshots.values(), *self._idle]:
            connection.close()
        self.writer.close()
        self.reader.close()

    # --- the writers' queue

    async def acquire(self, process: Process) -> Hold:
        """Wait for the write lock, as long as SQLite's busy timeout. Raises the driver's error after that."""
        mine = Hold(process)
        if self._holder is None:
            self._holder = mine
            return mine
        mine.turn = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(BUSY_TIMEOUT_S):
                await mine.turn
        except BaseException as error:
            self.release(mine)
            if isinstance(error, TimeoutError):
                raise trouble(BUSY, "database is locked") from None
            raise
        return mine

    def release(self, hold: Hold) -> None:
        """Give the write lock to the next in the queue."""
        hold.ended = True
        if self._holder is not hold:
            return
        self._holder = None
        while self._waiting and self._holder is None:
            follower = self._waiting.popleft()
            if follower.process.alive and not follower.ended and follower.turn is not None:
                self._holder = follower
                if not follower.turn.done():
                    follower.turn.set_result(None)

    # --- what happens to it

    def forget(self, process: Process) -> None:
        """A process was killed: what it had begun is rolled back."""
        self.time_out(process)
        for hold in [hold for hold in self._snapshots if hold.process is process]:
            self.end_snapshot(hold)

    def time_out(self, process: Process) -> None:
        """A client that holds a transaction and says nothing: the server ends it (`idle_in_transaction`)."""
        if self._holder is not None and self._holder.process is process:
            self._roll_back()
            self.release(self._holder)

    def copy(self) -> sqlite3.Connection:
        """A backup: all that is committed now."""
        kept = sqlite3.connect(":memory:")
        self.reader.backup(kept)
        return kept

    def drop_connections(self) -> None:
        """Every connection breaks, as when the server stops."""
        self.epoch += 1
        self._roll_back()
        for hold in list(self._snapshots):
            self.end_snapshot(hold)

    def restore(self, copy: sqlite3.Connection) -> None:
        """Every connection breaks, and the database is that of the backup."""
        self.drop_connections()
        self.restores += 1
        copy.backup(self.writer)

    def _roll_back(self) -> None:
        if self.writer.in_transaction:
            self.writer.rollback()

    def begin_snapshot(self, process: Process) -> tuple[Hold, sqlite3.Connection]:
        """A connection that goes on seeing this instant."""
        connection = self._idle.pop() if self._idle else self._connect()
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        hold = Hold(process)
        self._snapshots[hold] = connection
        return hold, connection

    def end_snapshot(self, hold: Hold) -> None:
        """End it; the connection is kept for the next one."""
        hold.ended = True
        connection = self._snapshots.pop(hold)
        if connection.in_transaction:
            connection.rollback()
        self._idle.append(connection)


class _Cursor:
    """Rows of a statement that has run."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    async def close(self) -> None:
        """Nothing to close."""

    async def fetchmany(self, size: int) -> list[Any]:
        """The next rows."""
        page, self._rows = self._rows[:size], self._rows[size:]
        return page


class _Running:
    """A statement under way: to be awaited, or entered as a context."""

    def __init__(self, work: Awaitable[list[Any]]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, _Cursor]:
        return self._cursor().__await__()

    async def _cursor(self) -> _Cursor:
        return _Cursor(await self._work)

    async def __aenter__(self) -> _Cursor:
        return await self._cursor()

    async def __aexit__(self, *_: object) -> None:
        return None


class SimConnection:
    """One connection with the face of aiosqlite's."""

    def __init__(
        self, server: SqlServer, connection: sqlite3.Connection, process: Process, name: str, hold: Hold | None = None
    ) -> None:
        self._server = server
        self._connection = connection
        self._process = process
        self._name = name
        self._hold = hold
        self._epoch = server.epoch

    def execute(self, sql: str, values: Any = ()) -> _Running:
        """Run a statement."""
        return _Running(self._run(sql, lambda: self._connection.execute(sql, values).fetchall()))

    async def execute_fetchall(self, sql: str, values: Any = ()) -> list[Any]:
        """All rows of a query."""
        return await self._run(sql, lambda: self._connection.execute(sql, values).fetchall())

    async def executemany(self, sql: str, rows: Any) -> _Cursor:
        """Run a statement for many rows."""
        return _Cursor(await self._run(sql, lambda: self._connection.executemany(sql, rows).fetchall()))

    async def rollback(self) -> None:
        """Undo what was begun here, also for a process that is being cleaned away."""
        if self._process.alive and self._hold is not None and not self._hold.ended and self._connection.in_transaction:
            self._connection.rollback()

    async def _run(self, sql: str, work: Any) -> list[Any]:
        word = sql.split(None, 1)[0].lower()
        op = f"{self._name}.{word}"
        rows: list[Any] = await self._server.way(self._process, op, lambda: self._at_server(word, work))
        return rows

    def _at_server(self, word: str, work: Any) -> list[Any]:
        server = self._server
        is_write = self._connection is server.writer
        if self._epoch != server.epoch or (self._hold is not None and self._hold.ended):
            raise trouble(AWAY, "the connection was lost")
        if server.full and word in ("insert", "update", "commit") and is_write:
            raise trouble(FULL, "database or disk is full")
        if word == "commit" and is_write:
            server.before_commit()
        rows: list[Any] = work()
        if word == "commit":
            server.commits += 1
            server.committed()
        return rows


class SimDatabase(Database):
    """The product's database over connections of the simulated server."""

    def __init__(self, server: SqlServer) -> None:
        self.engine = "sqlite"
        self.context = None  # type: ignore[assignment] -- there are no connections of Tortoise
        self.sqlite_path = str(server.path)
        self.cannot_write = ""
        self._server = server

    @asynccontextmanager
    async def _sqlite(self, name: str) -> AsyncIterator[Any]:
        server, process = self._server, current_process()
        if name != "default":
            yield SimConnection(server, server.reader, process, "sql.read")
            return
        hold = await server.acquire(process)
        try:
            yield SimConnection(server, server.writer, process, "sql.write", hold)
        finally:
            if process.alive:
                server.release(hold)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[SQLiteTransaction]:
        server, process = self._server, current_process()
        hold, connection = server.begin_snapshot(process)
        try:
            yield SQLiteTransaction(SimConnection(server, connection, process, "sql.snapshot", hold))  # type: ignore[arg-type]
        finally:
            if process.alive and not hold.ended:
                server.end_snapshot(hold)

    async def close(self) -> None:
        """Nothing to close."""

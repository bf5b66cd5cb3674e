"""Bring a database to the present schema, once, however many services start at the same time."""

from __future__ import annotations

import asyncio
import fcntl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from tortoise.migrations.executor import MigrationExecutor
from tortoise.migrations.schema_generator.state import State
from tortoise.migrations.schema_generator.state_apps import StateApps

from adapters.store.engine.database import open_database, tortoise_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from tortoise.migrations.graph import MigrationKey

    from adapters.store.engine.database import Database

_ADVISORY_LOCK = 0x7477696E6D657465
"""`twinmete` in ASCII: the advisory lock that services take on PostgreSQL while they migrate."""


class _ListedState(State):
    """The models as a list of fields, never built into classes.

    Tortoise copies and builds the whole state for every operation, which makes a new database cost seconds of CPU that
    grow with the square of the tables. Our operations write their own DDL and read no state.
    """

    def clone(self) -> State:
        """Nobody compares before and after."""
        return self

    def reload_models(self, models_to_reload: Iterable[tuple[str, str]]) -> None:
        """Nothing was built."""

    def validate_relations_initialized(self) -> None:
        """Our models have no relations that Tortoise knows of."""


class _ForwardExecutor(MigrationExecutor):
    """Applies migrations forward over a listed state."""

    async def _project_state(self, applied: set[MigrationKey], *, upto: MigrationKey | None = None) -> State:
        state = _ListedState(models={}, apps=StateApps())
        for key in self._full_plan():
            if key == upto:
                break
            migration = self.loader.graph.nodes[key]
            if key in applied and migration is not None:
                await migration.apply(state, dry_run=True, schema_editor=None)
        return state


async def migrate(url: str, progress: Callable[[str], object] | None = None) -> list[str]:
    """Apply the migrations that the database at `url` does not have yet; returns their names in order.

    `progress` is told one line before each. Doing it twice does nothing. Raises DatabaseURLError for a URL of no known
    engine, and the driver's own error where the database cannot be reached.
    """
    database = await open_database(url, pool_size=3)
    applied: list[str] = []

    def report(event: str, _app: str, name: str) -> None:
        if event == "apply_start":
            applied.append(name)
            if progress is not None:
                progress(f"database: migration {name}")

    try:
        async with _alone(database):
            apps = tortoise_config({})["apps"]
            with database.context:
                await _ForwardExecutor(database.context.db("default"), apps).migrate(progress=report)
    finally:
        await database.close()
    return applied


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[None]:
    """Hold the migration lock: a file beside an SQLite database, an advisory lock in PostgreSQL."""
    if database.sqlite_path is not None:
        path = Path(database.sqlite_path)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        with path.with_name(path.name + ".migrating").open("w") as lock_file:
            await asyncio.to_thread(fcntl.flock, lock_file, fcntl.LOCK_EX)
            yield
    else:
        connection: asyncpg.Connection
        async with database.context.db("default").acquire_connection() as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", _ADVISORY_LOCK)
            try:
                yield
            finally:
                await connection.execute("SELECT pg_advisory_unlock($1)", _ADVISORY_LOCK)

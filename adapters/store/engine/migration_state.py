"""Which engine a database URL leads to, and which migrations it has; looks only, changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from adapters.store.engine.database import open_database

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

_FOLDER = Path(__file__).parent.parent / "migrations"
_TABLE = "tortoise_migrations"
_EXISTS = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
    "postgres": "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ?",
}
_VERSION = {"sqlite": "SELECT sqlite_version()", "postgres": "SHOW server_version"}


class MigrationState(msgspec.Struct, frozen=True):
    """Engine and version as people name them, and the migrations that are not applied yet, in order."""

    engine: str
    version: str
    missing: tuple[str, ...]
    exists: bool = True
    """False: an SQLite file that will be made at the first start."""


async def migration_state(url: str) -> MigrationState:
    """Raises DatabaseURLError for a URL of no known engine, and the driver's error where it cannot be read."""
    database = await open_database(url, pool_size=2)
    try:
        known = sorted(file.stem for file in _FOLDER.glob("[0-9]*.py"))
        path = database.sqlite_path
        if path is not None and not await asyncio.to_thread(Path(path).exists):
            return MigrationState("sqlite", "", tuple(known), exists=False)
        version = (await database.fetch(_VERSION[database.engine]))[0][0]
        applied = await _applied(database)
        return MigrationState(database.engine, str(version), tuple(name for name in known if name not in applied))
    finally:
        await database.close()


async def _applied(database: Database) -> set[str]:
    if not await database.fetch(_EXISTS[database.engine], _TABLE):
        return set()
    return {row[0] for row in await database.fetch(f"SELECT name FROM {_TABLE} WHERE app = 'store'")}  # noqa: S608

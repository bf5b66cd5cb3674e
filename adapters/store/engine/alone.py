"""One process at a time: a lock that ends with whoever holds it, also when that is killed.

A session lock in PostgreSQL, a lock on a file beside an SQLite database. Neither leaves anything behind.
"""

from __future__ import annotations

import fcntl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from twin.ports import MoneyRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Database

_KEY = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
_RELEASE = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"


@asynccontextmanager
async def alone(database: Database, what: str) -> AsyncIterator[None]:
    """Hold the lock of this name. Raises MoneyRefusedError `busy` where another process (or task) has it."""
    if database.sqlite_path is not None:
        path = Path(database.sqlite_path)
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in what)
        with path.with_name(f"{path.name}.{name}.lock").open("w") as lock_file:
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise _busy(what) from None
            yield
        return
    async with database.context.db("default").acquire_connection() as connection:
        if not await connection.fetchval(_KEY, what):
            raise _busy(what)
        try:
            yield
        finally:
            await connection.execute(_RELEASE, what)


def _busy(what: str) -> MoneyRefusedError:
    return MoneyRefusedError("busy", f"{what} is in progress already; look at its status, it can be asked for again")

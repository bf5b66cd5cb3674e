"""Trouble of the database itself, told apart from faults of the data, and raised as one error that callers know.

A full disk, a server that is away or shuts down, a file that cannot be written: nothing was done, and the same call may
succeed later. What the data is at fault for stays the driver's own error (`database.REFUSALS`).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg

from twin.ports import LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SQLITE: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
_POSTGRES: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    # Two transactions in each other's way: a deadlock, a serialization failure, a lock that was not had in time.
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
)


def is_trouble(error: BaseException) -> bool:
    """Whether the database is at fault, and not what it was asked to store."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _SQLITE
    return isinstance(error, (*_POSTGRES, OSError, TimeoutError))


@contextmanager
def troubles_told() -> Iterator[None]:
    """Raise LedgerUnavailableError in place of whatever the driver raises for trouble of the database."""
    try:
        yield
    except LedgerUnavailableError:
        raise
    except Exception as error:
        if not is_trouble(error):
            raise
        raise LedgerUnavailableError(f"the database is in trouble: {error}") from error

"""Many rows in one statement: `executemany` on SQLite, arrays through `unnest` on PostgreSQL.

On PostgreSQL one statement for all rows also lets the statement-level triggers check them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction


class BulkInsert:
    """An INSERT into one table, written once for both engines.

    `columns` are names with an optional PostgreSQL type behind a colon (`text` when there is none); `conflict` is what
    follows `ON CONFLICT`. With `DO UPDATE` the rows of one call must have different keys. `once` names the key of a
    table whose rows are posted for good, where a row that is there already is passed over: SQLite's guard against
    replacement would refuse the insert before its conflict is looked at.
    """

    def __init__(self, table: str, columns: str, conflict: str = "", *, once: str = "") -> None:
        pairs = [column.partition(":") for column in columns.split()]
        names = ", ".join(name for name, _, _ in pairs)
        tail = f" ON CONFLICT {conflict}" if conflict else ""
        arrays = ", ".join(f"?::{kind or 'text'}[]" for _, _, kind in pairs)
        marks = ", ".join("?" for _ in pairs)
        self.width = len(pairs)
        self._sqlite = f"INSERT INTO {table} ({names}) VALUES ({marks}){tail}"  # noqa: S608 -- constants
        if once:
            places = {name: f"?{place}" for place, (name, _, _) in enumerate(pairs, 1)}
            same = " AND ".join(f"{name} IS {places[name]}" for name in once.split())
            there = f"SELECT 1 FROM {table} WHERE {same}"  # noqa: S608
            self._sqlite = (
                f"INSERT INTO {table} ({names}) SELECT {', '.join(places.values())} WHERE NOT EXISTS ({there})"
            )
        self._postgres = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}){tail}"  # noqa: S608

    async def run(self, tx: Transaction, rows: Sequence[Sequence[Any]]) -> None:
        """Insert the rows, in order."""
        if not rows:
            return
        assert len(rows[0]) == self.width
        if tx.engine == "sqlite":
            await tx.execute_many(self._sqlite, rows)
        else:
            await tx.execute(self._postgres, *map(list, zip(*rows, strict=True)))

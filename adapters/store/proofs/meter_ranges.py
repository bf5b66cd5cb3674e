"""Ranges of meters, so that the database proves a piece of the chains at a time, however large the site is.

A statement over the whole of `energy` and `rating` would have the database sort or hash all of them at once; one
that looks each row up would take many times as long. Between the two: both tables cut at the same meters, which is
where the indexes of both begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Transaction

METERS = 50
"""Meters in a range: some hundred thousand rows for each month kept."""
_METERS = "SELECT DISTINCT meter FROM register_epoch WHERE site = ? AND meter > ? ORDER BY meter LIMIT ?"
_FIRST = _METERS.replace(" AND meter > ?", "")


class MeterRange(msgspec.Struct, frozen=True):
    """Meters after one and up to another, in the order of the database; None: without end on that side."""

    after: str | None
    last: str | None

    def within(self, table: str) -> str:
        """A condition, with AND in front, that a table's row is of the range; `values` are its placeholders'."""
        low = f" AND {table}.meter > ?" if self.after is not None else ""
        return low + (f" AND {table}.meter <= ?" if self.last is not None else "")

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(name for name in (self.after, self.last) if name is not None)


async def meter_ranges(tx: Transaction, site: str) -> AsyncIterator[MeterRange]:
    """Ranges that together hold every meter there can be, also one that the site does not know."""
    after: str | None = None
    rows = await tx.fetch(_FIRST, site, METERS)
    while rows:
        yield MeterRange(after, rows[-1][0])
        after = rows[-1][0]
        rows = await tx.fetch(_METERS, site, after, METERS)
    yield MeterRange(after, None)

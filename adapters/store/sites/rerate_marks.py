"""Marks: which meters must be rated again, and from when on.

Theory of operation. Whoever changes what charges follow from (a late sample, a tenancy, a price, a decision about a
reading) marks the meter in the same transaction; so a change is never without its mark. A meter has one mark, which
grows: it begins where the earliest change began. Each mark raises the version; rating again takes a mark away only
in the version it has read, so what came meanwhile is not lost.

A sticky mark stays when the meter has been rated again. It stands where the live twin goes on with a counter of use
(for tiers) that is not the ledger's, or may still post what it charged before the change: what it posts from then on
needs another look, when its chain has grown by an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapters.store.engine.database import Database, Row, Transaction

_MARK = (
    "INSERT INTO rerate_mark (site, meter, from_ts, reason, sticky, due, ts, version, head_ts, trouble)"
    " VALUES (?, ?, ?, ?, ?, TRUE, ?, 1, NULL, '') ON CONFLICT (site, meter) DO UPDATE SET"
    " from_ts = CASE WHEN excluded.from_ts < rerate_mark.from_ts THEN excluded.from_ts ELSE rerate_mark.from_ts END,"
    " reason = excluded.reason, sticky = (excluded.sticky OR rerate_mark.sticky), due = TRUE,"
    " ts = CASE WHEN excluded.ts > rerate_mark.ts THEN excluded.ts ELSE rerate_mark.ts END,"
    " version = rerate_mark.version + 1, trouble = ''"
)
_MARKS = "SELECT site, meter, from_ts, reason, sticky, due, ts, version, trouble FROM rerate_mark"
_GROWN = (
    "EXISTS (SELECT 1 FROM register_epoch p WHERE p.site = rerate_mark.site AND p.meter = rerate_mark.meter"
    " AND p.head_ts IS NOT NULL AND (rerate_mark.head_ts IS NULL OR p.head_ts >= rerate_mark.head_ts + 3600000))"
)
_MOST_REASON = 200


class Mark(msgspec.Struct, frozen=True):
    """A meter to be rated again for what was used since `from_ts` (Unix ms); `ts` is when it was last marked."""

    site: str
    meter: str
    from_ts: int
    reason: str
    sticky: bool
    due: bool
    ts: int
    version: int
    trouble: str


async def mark(
    tx: Transaction, site: str, meter: str, from_ts: int | None, reason: str, now: int, *, sticky: bool = False
) -> None:
    """Mark a meter: what it was charged for use since `from_ts` (Unix ms; None: from the beginning) is in question.

    `reason` is for people and appears on the adjustments that follow. Runs in the transaction of the change.
    """
    await tx.execute(_MARK, site, meter, max(from_ts or 0, 0), reason[:_MOST_REASON], sticky, now)


async def mark_all(
    tx: Transaction, site: str, changes: Iterable[tuple[str, int | None]], reason: str, now: int
) -> None:
    """Mark many meters, each given as (meter, from_ts), for one reason; a meter may come more than once."""
    earliest: dict[str, int] = {}
    for meter, from_ts in changes:
        earliest[meter] = min(max(from_ts or 0, 0), earliest.get(meter, from_ts or 0))
    for meter, from_ts in sorted(earliest.items()):
        await mark(tx, site, meter, from_ts, reason, now)


async def due_marks(database: Database, quiet_before: int, *, site: str | None = None, limit: int = 100) -> list[Mark]:
    """Marks to be worked on that have been quiet since `quiet_before` (Unix ms), oldest first: those that are due, and
    sticky ones whose chain has grown by an hour. Of all sites without `site`.

    Marks in trouble wait until they are marked again or somebody rates by hand.
    """
    where, values = (" AND site = ?", [site]) if site is not None else ("", [])
    sql = f"{_MARKS} WHERE (due OR {_GROWN}) AND trouble = '' AND ts <= ?{where} ORDER BY ts, id LIMIT ?"
    return [_mark(row) for row in await database.fetch(sql, quiet_before, *values, limit)]


async def marks_of(tx: Transaction | Database, site: str, meters: Sequence[str] | None = None) -> list[Mark]:
    """All marks of a site, due or only sticky, by meter; of some meters where they are named."""
    rows = await tx.fetch(f"{_MARKS} WHERE site = ? ORDER BY meter", site)
    wanted = None if meters is None else set(meters)
    return [_mark(row) for row in rows if wanted is None or row["meter"] in wanted]


async def settle_mark(tx: Transaction, done: Mark, *, keep_from: int | None, head_ts: int | None) -> None:
    """The meter has been rated again for this mark: take it away, or keep it as a sticky one from an instant on.

    `head_ts` is where the chain ended. Does nothing where the meter was marked anew meanwhile.
    """
    if keep_from is None:
        sql = "DELETE FROM rerate_mark WHERE site = ? AND meter = ? AND version = ?"
        await tx.execute(sql, done.site, done.meter, done.version)
    else:
        sql = (
            "UPDATE rerate_mark SET due = FALSE, sticky = TRUE, from_ts = ?, head_ts = ?, trouble = ''"
            " WHERE site = ? AND meter = ? AND version = ?"
        )
        await tx.execute(sql, keep_from, head_ts, done.site, done.meter, done.version)


async def mark_in_trouble(tx: Transaction, failed: Mark, trouble: str) -> None:
    """Rating again failed for a reason that a person must mend; the mark stays and says why."""
    sql = "UPDATE rerate_mark SET trouble = ? WHERE site = ? AND meter = ? AND version = ?"
    await tx.execute(sql, trouble, failed.site, failed.meter, failed.version)


def _mark(row: Row) -> Mark:
    site, meter, from_ts, reason, sticky, due, ts, version, trouble = row
    return Mark(site, meter, from_ts, reason, bool(sticky), bool(due), ts, version, trouble)

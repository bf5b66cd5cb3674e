"""The epochs of a register and the samples that were accepted in their time, as the ledger has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from billing.points import Point, in_order, unpack

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction

_EPOCHS = (
    "SELECT epoch, opening, opened_ts, head_qty, head_ts, ratio FROM register_epoch WHERE site = ? AND meter = ?"
    " ORDER BY epoch"
)
_ROWS = (
    "SELECT from_qty, to_qty, from_ts, to_ts, points, estimated FROM energy WHERE site = ? AND meter = ? AND epoch = ?"
    " AND to_ts IS NOT NULL AND to_ts >= ? AND COALESCE(from_ts, to_ts) <= ? ORDER BY to_qty"
)
_BEFORE = (
    "SELECT max(to_ts) FROM energy WHERE site = ? AND meter = ? AND epoch = ? AND to_ts < ?"
    " AND (points IS NULL OR length(points) > 0)"
)
_AFTER = (
    "SELECT min(to_ts) FROM energy WHERE site = ? AND meter = ? AND epoch = ? AND from_ts > ?"
    " AND (points IS NULL OR length(points) > 0)"
)


class Epoch(msgspec.Struct, frozen=True):
    """One life of a register in the ledger; `ends_ts` is when the next one began, `final_qty` what a person read last
    where no row has it yet."""

    epoch: int
    opening: int
    opened_ts: int | None
    head_qty: int
    head_ts: int | None
    ratio: int
    ends_ts: int | None = None
    final_qty: int | None = None


async def epochs_of(tx: Transaction | Database, site: str, meter: str) -> list[Epoch]:
    """The epochs of a meter in their order."""
    rows = [Epoch(*row) for row in await tx.fetch(_EPOCHS, site, meter)]
    following = [row.opened_ts for row in rows[1:]] + [None]
    return [msgspec.structs.replace(row, ends_ts=ends) for row, ends in zip(rows, following, strict=True)]


def epoch_at(epochs: list[Epoch], ts: int) -> Epoch | None:
    """The epoch in whose time an instant (Unix ms) lies; None before the first. One without a known beginning
    reaches back for ever."""
    for epoch in reversed(epochs):
        if epoch.opened_ts is None or ts >= epoch.opened_ts:
            return epoch
    return None


async def points_around(
    tx: Transaction | Database, site: str, meter: str, epoch: int, from_ts: int, to_ts: int
) -> list[Point]:
    """The samples of an epoch from the last one before `from_ts` to the first one after `to_ts`, and a few more.

    Rows that were posted before samples were kept count by their ends, unless these were estimated.
    """
    key = (site, meter, epoch)
    low = (await tx.fetch(_BEFORE, *key, from_ts))[0][0]
    high = (await tx.fetch(_AFTER, *key, to_ts))[0][0]
    span = (from_ts if low is None else low, to_ts if high is None else high)
    found: list[Point] = []
    for from_qty, to_qty, row_from, row_to, packed, estimated in await tx.fetch(_ROWS, *key, *span):
        if packed:
            found += unpack(bytes(packed))
        elif packed is None and (from_qty is None or (not estimated and row_from is not None)):
            found.append(Point(row_to, to_qty))
    return in_order(found)


def neighbours(points: list[Point], ts: int) -> tuple[Point | None, Point | None]:
    """The last sample at or before an instant, and the first one after it."""
    before = after = None
    for point in points:
        if point.ts <= ts:
            before = point
        else:
            after = point
            break
    return before, after

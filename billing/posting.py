"""Posting: slices become ledger rows, one an interval, bounded in number and exact in money.

Theory of operation. The price split comes first (`billing.rating`); posting only cuts a slice where a posting
interval ends, and joins slices of one price within an interval. Neither changes what a price is charged on, so the
sum of amounts is that of the slices.

A slice that spans many intervals is a gap in the data, and a gap must not invent a load profile: it is cut only at
its first and its last boundary, so at most three rows come of it. The row before the gap and the row after it stay
whole intervals that later readings can extend.
"""

from collections.abc import Iterable
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from billing.apportion import allocate
from billing.local_time import DAY_MS, MINUTE_MS, month_index_at, month_spans
from billing.rating import Slice

# Every zone's offset is a multiple of a quarter of an hour, so quarters of UTC are quarters of every wall clock.
_QUARTER_MS = 15 * MINUTE_MS


class PostingGrid:
    """The posting intervals of a site: `interval_ms` long, aligned to the local wall clock from midnight.

    Intervals that divide a quarter of an hour are aligned to UTC, which is the same thing and cheaper. For longer
    ones a clock jump that is no multiple of the interval ends an interval early: no row spans more real time than
    `interval_ms`.
    """

    __slots__ = ("_zone", "interval_ms")

    def __init__(self, interval_ms: int, timezone: str) -> None:
        """Raises ValueError unless the interval divides a day; ZoneInfoNotFoundError for an unknown zone."""
        if interval_ms <= 0 or DAY_MS % interval_ms:
            raise ValueError(f"posting interval must divide 24 hours without remainder, found {interval_ms} ms")
        self.interval_ms = interval_ms
        self._zone = None if _QUARTER_MS % interval_ms == 0 else ZoneInfo(timezone)

    def bounds(self, ts_ms: int) -> tuple[int, int]:
        """The posting interval [start, end) that contains a real instant (Unix ms)."""
        if self._zone is None:
            start = ts_ms - ts_ms % self.interval_ms
            return start, start + self.interval_ms
        return self._local_bounds(self._zone, ts_ms)

    def _local_bounds(self, zone: ZoneInfo, ts_ms: int) -> tuple[int, int]:
        # Midnight on the first is a boundary of every grid, so the spans of the month are enough to look at.
        spans = month_spans(zone, month_index_at(zone, ts_ms))
        low, high, phase = spans[0][0], spans[0][1], spans[0][2] % self.interval_ms
        for start, end, offset in spans[1:]:
            if offset % self.interval_ms == phase:
                high = end
            elif ts_ms >= start:
                low, high, phase = start, end, offset % self.interval_ms
            else:
                break
        aligned = ts_ms - (ts_ms + phase) % self.interval_ms
        return max(low, aligned), min(high, aligned + self.interval_ms)


def cut_for_posting(slices: Iterable[Slice], grid: PostingGrid) -> list[Slice]:
    """Cuts each slice at the first and the last posting boundary inside it.

    The quantity is shared by real elapsed time in whole Wh or litres, largest remainder first, ties to the earlier;
    price and `estimated` stay as they are, and pieces without quantity are dropped. A boundary on an end of the
    slice cuts nothing.
    """
    pieces: list[Slice] = []
    for slice_ in slices:
        first = grid.bounds(slice_.from_ts)[1]
        if first >= slice_.to_ts:
            pieces.append(slice_)
            continue
        last = grid.bounds(slice_.to_ts - 1)[0]
        edges = [slice_.from_ts, first, *([last] if last > first else []), slice_.to_ts]
        pieces.extend(_cut(slice_, edges))
    return pieces


def can_extend(open_row: Slice, following: Slice, grid: PostingGrid) -> bool:
    """Whether `following` continues `open_row`: the next of the register, the same price facts, the same interval.

    Time between the two without use does not matter; a slice without duration counts to the interval just before it.
    """
    return (
        following.from_qty == open_row.to_qty
        and following.from_ts >= open_row.to_ts
        and following.price_micro == open_row.price_micro
        and following.period == open_row.period
        and following.tier == open_row.tier
        and following.version == open_row.version
        and following.month == open_row.month
        and following.estimated == open_row.estimated
        and grid.bounds(following.to_ts - 1) == grid.bounds(open_row.to_ts - 1)
    )


def extend(open_row: Slice, following: Slice) -> Slice:
    """The row that covers both; only for slices of which `can_extend` holds."""
    assert following.from_qty == open_row.to_qty
    assert following.price_micro == open_row.price_micro
    return msgspec.structs.replace(
        open_row,
        to_ts=following.to_ts,
        to_qty=following.to_qty,
        amount_nano=open_row.amount_nano + following.amount_nano,
    )


def _cut(slice_: Slice, edges: list[int]) -> list[Slice]:
    spans = list(pairwise(edges))
    shares = allocate(slice_.quantity, [end - start for start, end in spans])
    pieces: list[Slice] = []
    position = slice_.from_qty
    for (start, end), share in zip(spans, shares, strict=True):
        if share == 0:
            continue
        pieces.append(
            msgspec.structs.replace(
                slice_,
                from_ts=start,
                to_ts=end,
                from_qty=position,
                to_qty=position + share,
                amount_nano=slice_.price_micro * share,
            )
        )
        position += share
    return pieces

"""Rating: a register delta between two samples becomes slices, each with one price and an exact amount.

Theory of operation. A delta is first split in time, where the price, the month or the price version changes, then
on the register, where cumulative use crosses a tier.

- In time: if samples lie on the boundaries nothing is crossed and nothing is guessed. Otherwise the delta is shared
  by real elapsed time in whole Wh (or litres), largest remainder first, ties to the earlier, and every slice of it is
  flagged `estimated`: the register says how much, not when.
- On the register: the split is exact, so it flags nothing. The instant of the crossing is interpolated within the
  span, rounded down to the ms, to give the slices timestamps.

A delta without duration (two samples of one instant) belongs to the segment just before that instant: what a
register shows was used before it was read, and segments are half-open.

Amounts are price (micro-units) x quantity (Wh, litres) = nano-units, exactly. So for one price the sum over a chain
does not depend on how the chain is cut.
"""

from collections.abc import Sequence

import msgspec

from billing.apportion import allocate
from billing.money import INT64_MAX, MoneyError
from billing.tariff import Segment, Tariff


class RatingError(ValueError):
    """A delta that no meter can have used: the register or the time runs backwards, or a quantity is no integer."""


class Slice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A charge at one price for the register interval [from_qty, to_qty), used in [from_ts, to_ts).

    Stored by position: new fields go to the end. Quantities in Wh or litres, instants in Unix ms, `month` local
    (202601), `version` the start of the price version (Unix ms), `tier` counted from 0, `price_micro` the full
    price with tier and surcharges. `estimated` says that the quantity is a share by time of a delta that crossed a
    boundary.
    """

    from_ts: int
    to_ts: int
    from_qty: int
    to_qty: int
    month: int
    version: int
    period: str | None
    tier: int | None
    price_micro: int
    amount_nano: int
    estimated: bool

    @property
    def quantity(self) -> int:
        """Wh or litres charged."""
        return self.to_qty - self.from_qty


class Rated(msgspec.Struct, frozen=True):
    """The slices of a delta, and the cumulative use after it: what the next call takes as `month`, `month_use`."""

    slices: list[Slice]
    month: int
    month_use: int


def rate(
    tariff: Tariff,
    from_ts: int,
    to_ts: int,
    from_qty: int,
    to_qty: int,
    month: int,
    month_use: int,
    cuts: Sequence[int] = (),
) -> Rated:
    """Charges the register interval [from_qty, to_qty) used between two samples at from_ts and to_ts (Unix ms).

    `month_use` is the meter's use (Wh or litres) at `from_ts` cumulated in `month` (a segment's `use_key`: 202601, or
    2026 under yearly tiers); in a segment of another month it restarts at 0, so a new meter starts with `0, 0`.
    `cuts` are further instants to split at, such as a change of tenant: they share the delta by the same rule.
    Slices are in ascending order, sum to the delta and never have quantity zero.

    Raises RatingError if register or time runs backwards or a quantity is no int, TariffError if the tariff has no
    version for a part of the span, MoneyError if an amount exceeds int64.
    """
    quantity = to_qty - from_qty
    if type(quantity) is not int or quantity < 0:
        raise RatingError(f"register must be whole numbers that do not fall: {from_qty!r} to {to_qty!r}")
    if to_ts <= from_ts:
        if to_ts < from_ts:
            raise RatingError(f"time runs backwards: {from_ts} to {to_ts} (Unix ms)")
        segment = tariff.segment_at(to_ts - 1)
    else:
        segment = tariff.segment_at(from_ts)
        if cuts or to_ts > segment.end_ms:
            spans = _spans(tariff, from_ts, to_ts, cuts)
            if len(spans) > 1:
                return _rate_spans(spans, from_qty, quantity, month, month_use)
    use = month_use if segment.use_key == month else 0
    slices: list[Slice] = []
    if quantity:
        _charge(slices, segment, from_ts, to_ts, from_qty, to_qty, use, estimated=False)
    return Rated(slices, segment.use_key, use + quantity)


def _spans(tariff: Tariff, from_ts: int, to_ts: int, cuts: Sequence[int]) -> list[tuple[Segment, int, int]]:
    edges = [cut for cut in sorted(set(cuts)) if from_ts < cut < to_ts]
    edges.append(to_ts)
    spans: list[tuple[Segment, int, int]] = []
    start = from_ts
    for edge in edges:
        while start < edge:
            segment = tariff.segment_at(start)
            end = min(segment.end_ms, edge)
            spans.append((segment, start, end))
            start = end
    return spans


def _rate_spans(
    spans: list[tuple[Segment, int, int]], from_qty: int, quantity: int, month: int, month_use: int
) -> Rated:
    slices: list[Slice] = []
    position = from_qty
    shares = allocate(quantity, [end - start for _, start, end in spans])
    for (segment, start, end), share in zip(spans, shares, strict=True):
        if segment.use_key != month:
            month, month_use = segment.use_key, 0
        if share:
            _charge(slices, segment, start, end, position, position + share, month_use, estimated=True)
            position += share
            month_use += share
    return Rated(slices, month, month_use)


def _charge(
    slices: list[Slice],
    segment: Segment,
    from_ts: int,
    to_ts: int,
    from_qty: int,
    to_qty: int,
    use: int,
    *,
    estimated: bool,
) -> None:
    if not segment.tiers:
        price = segment.price_micro
        slices.append(_slice(segment, from_ts, to_ts, from_qty, to_qty, None, price, estimated))
        return
    start, position = from_ts, from_qty
    for index, tier in enumerate(segment.tiers):
        # Where the register stands when this tier is full.
        limit = to_qty if tier.upto is None else min(to_qty, from_qty + tier.upto - use)
        if limit <= position:
            continue
        end = to_ts
        if limit < to_qty:
            end = from_ts + (to_ts - from_ts) * (limit - from_qty) // (to_qty - from_qty)
        slices.append(_slice(segment, start, end, position, limit, index, tier.price_micro, estimated))
        start, position = end, limit
        if position == to_qty:
            return


def _slice(
    segment: Segment,
    from_ts: int,
    to_ts: int,
    from_qty: int,
    to_qty: int,
    tier: int | None,
    price_micro: int,
    estimated: bool,
) -> Slice:
    amount_nano = price_micro * (to_qty - from_qty)
    if amount_nano > INT64_MAX:
        raise MoneyError(f"{to_qty - from_qty} x {price_micro} micro exceeds a 64-bit amount")
    return Slice(
        from_ts,
        to_ts,
        from_qty,
        to_qty,
        segment.month,
        segment.version,
        segment.period,
        tier,
        price_micro,
        amount_nano,
        estimated,
    )

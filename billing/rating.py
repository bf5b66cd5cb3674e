"""Rating: a register delta between two samples becomes slices, each with one price and an exact amount.

Theory of operation. A delta is first split in time, where the price, the month, the price version or the payer
changes, then on the register, where cumulative use leaves the free units or crosses a tier.

- In time: if samples lie on the boundaries nothing is crossed and nothing is guessed. Otherwise the delta is shared
  by real elapsed time in whole Wh (or litres), largest remainder first, ties to the earlier, and every slice of it is
  flagged `estimated`: the register says how much, not when.
- By sub-registers, where the tariff takes its periods from the meter: the meter says how much was used in each
  period, so the register interval is tiled by the periods in the order of `RATE_NAMES`, and nothing is estimated. The
  instants of these slices are interpolated: within the pair only quantities are known. A delta that crosses a month, a
  price version or a change of payer has the share of each period divided by elapsed time, and is flagged.
- On the register: the split is exact, so it flags nothing. The instant of the crossing is interpolated within the
  span, rounded down to the ms, to give the slices timestamps.

A delta without duration (two samples of one instant) belongs to the segment just before that instant: what a
register shows was used before it was read, and segments are half-open.

Free units of a month are the first of its cumulative use: their slices have tier -1 and price 0. They count towards
the tiers like any others.

Amounts are price (micro-units) x quantity (Wh, litres) = nano-units, exactly. So for one price the sum over a chain
does not depend on how the chain is cut.
"""

from collections.abc import Sequence

import msgspec

from billing.apportion import allocate
from billing.money import INT64_MAX, MoneyError
from billing.points import Rates
from billing.sub_registers import period_shares
from billing.tariff import Segment, Tariff

FREE_TIER = -1
"""Tier of the units of a month that cost nothing."""

RatePair = tuple[Rates | None, Rates | None]
"""Sub-registers of the two samples of a pair."""


class RatingError(ValueError):
    """A delta that no meter can have used: the register or the time runs backwards, or a quantity is no integer."""


class Slice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A charge at one price for the register interval [from_qty, to_qty), used in [from_ts, to_ts).

    Stored by position: new fields go to the end. Quantities in Wh or litres, instants in Unix ms, `month` local
    (202601), `version` the start of the price version (Unix ms), `tier` counted from 0 (-1: free units), `price_micro`
    the full price with tier and surcharges. `estimated` says that the quantity is a share by time of a delta that
    crossed a boundary.
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
    """The slices of a delta, and the cumulative use after it: what the next call takes back.

    `month_use` is the use within the local month `month` (202601), `year_use` within its year. `note` says why the
    meter's sub-registers could not be used although the tariff asks for them; it is empty where nothing is wrong.
    """

    slices: list[Slice]
    month: int
    month_use: int
    year_use: int
    note: str = ""


class Span(msgspec.Struct, frozen=True, gc=False):
    """Real time [start_ms, end_ms) within one segment of the tariff of one payer; `payer` is a number of the caller."""

    tariff: Tariff
    segment: Segment
    start_ms: int
    end_ms: int
    payer: int


class Rating:
    """A meter's charges while its pairs of samples go by: slices, the payer of each, and the counters of use.

    Counters run whatever the tariff is, so that a tariff that begins to count finds them right. They belong to the
    meter: neither a change of payer nor a new register restarts them, only the month and the year do.
    """

    __slots__ = ("month", "month_use", "notes", "payers", "slices", "year_use")

    def __init__(self, month: int = 0, month_use: int = 0, year_use: int = 0) -> None:
        self.slices: list[Slice] = []
        self.payers: list[int] = []
        self.notes: list[str] = []
        self.month = month
        self.month_use = month_use
        self.year_use = year_use

    def charge(
        self, segment: Segment, payer: int, times: tuple[int, int], from_qty: int, to_qty: int, *, estimated: bool
    ) -> None:
        """Charge [from_qty, to_qty) used in one segment: free units first, then tier by tier."""
        if segment.month != self.month:
            self._enter(segment.month)
        if from_qty == to_qty:
            return
        if not segment.tiers and not segment.free_upto:
            piece = _slice(segment, times, from_qty, to_qty, None, segment.price_micro, estimated)
            self.slices.append(piece)
            self.payers.append(payer)
        else:
            for limit_times, low, high, tier, price in self._steps(segment, times, from_qty, to_qty):
                self.slices.append(_slice(segment, limit_times, low, high, tier, price, estimated))
                self.payers.append(payer)
        self.month_use += to_qty - from_qty
        self.year_use += to_qty - from_qty

    def share(self, spans: list[Span], from_qty: int, quantity: int, rates: RatePair | None) -> None:
        """Charge a delta over its spans: by sub-registers where the tariffs want it and they can be used, else by
        time."""
        metered = all(span.segment.metered for span in spans)
        if metered and self._by_sub_registers(spans, from_qty, quantity, rates or (None, None)):
            return
        position = from_qty
        estimated = len(spans) > 1
        shares = allocate(quantity, [span.end_ms - span.start_ms for span in spans]) if estimated else [quantity]
        for span, share in zip(spans, shares, strict=True):
            times = (span.start_ms, span.end_ms)
            self.charge(span.segment, span.payer, times, position, position + share, estimated=estimated)
            position += share

    def _by_sub_registers(self, spans: list[Span], from_qty: int, quantity: int, rates: RatePair) -> bool:
        priced = set.intersection(*(set(_periods(span)) for span in spans))
        found = period_shares(priced, *rates, quantity)
        if found.reason:
            self.notes.append(found.reason)
        if not found.shares:
            return False
        wide = _joined(spans)
        durations = [end - start for _, start, end in wide]
        estimated = len(wide) > 1
        table = [allocate(share, durations) if estimated else [share] for _, share in found.shares]
        position = from_qty
        for place, (span, start, end) in enumerate(wide):
            own = [(period, row[place]) for (period, _), row in zip(found.shares, table, strict=True) if row[place]]
            position = self._periods_of(span, start, end, position, own, estimated=estimated)
        return True

    def _periods_of(
        self, span: Span, start: int, end: int, position: int, own: list[tuple[str, int]], *, estimated: bool
    ) -> int:
        """Charge the shares of the periods in one span; returns where the register stands after them."""
        first, total = position, sum(share for _, share in own)
        self.charge(span.segment, span.payer, (start, start), first, first, estimated=estimated)
        begun = start
        for period, share in own:
            position += share
            until = start + (end - start) * (position - first) // total
            segment = span.tariff.in_period(span.segment, period)
            self.charge(segment, span.payer, (begun, until), position - share, position, estimated=estimated)
            begun = until
        return position

    def _enter(self, month: int) -> None:
        if month // 100 != self.month // 100:
            self.year_use = 0
        self.month = month
        self.month_use = 0

    def _steps(
        self, segment: Segment, times: tuple[int, int], from_qty: int, to_qty: int
    ) -> list[tuple[tuple[int, int], int, int, int | None, int]]:
        """(times, from, to, tier, price) of each step of the use: the free units, then the tiers."""
        use = self.year_use if segment.yearly else self.month_use
        # Where the register stands when each step is full.
        limits: list[tuple[int | None, int | None, int]] = []
        if segment.free_upto:
            limits.append((from_qty + segment.free_upto - self.month_use, FREE_TIER, 0))
        for index, tier in enumerate(segment.tiers):
            limits.append((None if tier.upto is None else from_qty + tier.upto - use, index, tier.price_micro))
        if not segment.tiers:
            limits.append((None, None, segment.price_micro))
        steps: list[tuple[tuple[int, int], int, int, int | None, int]] = []
        (from_ts, to_ts), position = times, from_qty
        start = from_ts
        for full, tier_index, price in limits:
            limit = to_qty if full is None else min(to_qty, full)
            if limit <= position:
                continue
            end = to_ts
            if limit < to_qty:
                end = from_ts + (to_ts - from_ts) * (limit - from_qty) // (to_qty - from_qty)
            steps.append(((start, end), position, limit, tier_index, price))
            start, position = end, limit
            if position == to_qty:
                break
        return steps


def rate(
    tariff: Tariff,
    from_ts: int,
    to_ts: int,
    from_qty: int,
    to_qty: int,
    month: int,
    month_use: int,
    cuts: Sequence[int] = (),
    *,
    year_use: int = 0,
    rates: RatePair | None = None,
) -> Rated:
    """Charges the register interval [from_qty, to_qty) used between two samples at from_ts and to_ts (Unix ms).

    `month_use` is the meter's use (Wh or litres) up to `from_ts` in the local month `month` (202601), `year_use` that
    in its year; in a later month or year they restart at 0, so a new meter starts with `0, 0`. `cuts` are further
    instants to split at, such as a change of tenant: they share the delta by the same rule. `rates` are the
    sub-registers of the two samples, for a tariff that takes its periods from the meter; `note` of the result says why
    they could not be used. Slices are in ascending order, sum to the delta and never have quantity zero.

    Raises RatingError if register or time runs backwards or a quantity is no int, TariffError if the tariff has no
    version for a part of the span, MoneyError if an amount exceeds int64.
    """
    quantity = check_pair(from_ts, to_ts, from_qty, to_qty)
    rating = Rating(month, month_use, year_use)
    segment = tariff.segment_at(from_ts if to_ts > from_ts else to_ts - 1)
    if segment.metered or (to_ts > from_ts and (cuts or to_ts > segment.end_ms)):
        rating.share(cut_spans(tariff, from_ts, to_ts, cuts), from_qty, quantity, rates)
    else:
        rating.charge(segment, 0, (from_ts, to_ts), from_qty, to_qty, estimated=False)
    notes = "; ".join(rating.notes)
    return Rated(rating.slices, rating.month, rating.month_use, rating.year_use, notes)


def check_pair(from_ts: int, to_ts: int, from_qty: int, to_qty: int) -> int:
    """The quantity between two samples. Raises RatingError where register or time runs backwards, or a quantity is no
    int."""
    quantity = to_qty - from_qty
    if type(quantity) is not int or quantity < 0:
        raise RatingError(f"register must be whole numbers that do not fall: {from_qty!r} to {to_qty!r}")
    if to_ts < from_ts:
        raise RatingError(f"time runs backwards: {from_ts} to {to_ts} (Unix ms)")
    return quantity


def cut_spans(tariff: Tariff, from_ts: int, to_ts: int, cuts: Sequence[int] = (), payer: int = 0) -> list[Span]:
    """The spans of [from_ts, to_ts) under one tariff, cut at its segments and at further instants. A time without
    duration has one span, in the segment just before it."""
    if to_ts == from_ts:
        return [Span(tariff, tariff.segment_at(to_ts - 1), from_ts, to_ts, payer)]
    edges = [cut for cut in sorted(set(cuts)) if from_ts < cut < to_ts]
    edges.append(to_ts)
    spans: list[Span] = []
    start = from_ts
    for number, edge in enumerate(edges):
        while start < edge:
            segment = tariff.segment_at(start)
            end = min(segment.end_ms, edge)
            spans.append(Span(tariff, segment, start, end, payer if not cuts else payer + number))
            start = end
    return spans


def _periods(span: Span) -> Sequence[str]:
    return tuple(span.tariff.version_at(span.segment.version).periods)


def _joined(spans: list[Span]) -> list[tuple[Span, int, int]]:
    """Spans that differ in nothing but the period of the calendar, as one: (its first, start, end)."""
    joined: list[tuple[Span, int, int]] = []
    for span in spans:
        if joined:
            first, start, _ = joined[-1]
            same = (first.payer, first.segment.month, first.segment.version, id(first.tariff))
            if same == (span.payer, span.segment.month, span.segment.version, id(span.tariff)):
                joined[-1] = (first, start, span.end_ms)
                continue
        joined.append((span, span.start_ms, span.end_ms))
    return joined


def _slice(
    segment: Segment,
    times: tuple[int, int],
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
        times[0],
        times[1],
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

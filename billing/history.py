"""What a meter's past costs: charges as a pure function of its samples, its tenancies and the present tariffs.

Theory of operation. The points of all register epochs of one meter, put in order, are rated pair by pair. Tenancies cut
time: a span of one payer ends where the next begins, and a gap between them is vacancy, charged by the landlord's
tariff or, where there is none, at price zero. One pair of samples may cross any number of payers, months, price
versions and periods; its delta is divided once over all of them (largest remainder), so no Wh is lost or made at a
boundary.

Counters of use belong to the meter: tiers go on across a change of tenant and across a swap of the register. What lies
between the last point of one epoch and the opening of the next was charged to nobody and counts nowhere.

For points that came in order this is what the live twin charged, slice by slice. It does not know in which order
points came; so whatever came late, the ledger is brought to this result by adjustments (`billing.rerating`).
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from billing.local_time import FIRST_INSTANT_MS, LAST_INSTANT_MS
from billing.points import Point
from billing.price_version import PriceVersion
from billing.rating import Rating, Slice, Span, check_pair, cut_spans
from billing.tariff import Tariff


class Epoch(msgspec.Struct, frozen=True):
    """One life of a register: its points in order of `(ts, qty)`, the first of them its opening.

    `carried` is (month, use of the month, use of the year) that another device at the same metering point had counted
    before this epoch began; it replaces what was counted so far where it is given.
    """

    number: int
    points: Sequence[Point]
    carried: tuple[int, int, int] | None = None


class Payer(msgspec.Struct, frozen=True):
    """Who pays, from which account, by which tariff. An empty tariff: nobody set a price, and it costs nothing."""

    tenant: str
    account: str
    tariff: str


class Tenancy(msgspec.Struct, frozen=True):
    """A payer from `from_ts` until `to_ts` (Unix ms, half-open; None is open)."""

    payer: Payer
    from_ts: int | None = None
    to_ts: int | None = None


class Charge(msgspec.Struct, frozen=True):
    """A slice of one epoch and who pays it. `priced.estimated` says that its quantity is a share by time."""

    epoch: int
    payer: Payer
    priced: Slice


class History(msgspec.Struct, frozen=True):
    """The charges of a meter in the order of its registers, the counters at their end, and why sub-registers could not
    be used ((instant, reason), where a tariff asks for them)."""

    charges: list[Charge]
    month: int
    month_use: int
    year_use: int
    notes: list[tuple[int, str]]


class HistoryError(ValueError):
    """Tenancies that overlap, or points that are no register."""


class Occupancy:
    """Who pays for a meter at any instant: tenancies in order, and the landlord between them."""

    def __init__(
        self, tenancies: Iterable[Tenancy], tariffs: Mapping[str, Tariff], vacancy: Payer, timezone: str
    ) -> None:
        """Raises HistoryError where two tenancies overlap or one names a tariff that does not exist."""
        self.payers: list[Payer] = []
        self.tariffs: list[Tariff] = []
        self.ends: list[int] = []
        position = FIRST_INSTANT_MS
        for tenancy in sorted(tenancies, key=lambda one: FIRST_INSTANT_MS if one.from_ts is None else one.from_ts):
            start = FIRST_INSTANT_MS if tenancy.from_ts is None else max(tenancy.from_ts, FIRST_INSTANT_MS)
            end = LAST_INSTANT_MS if tenancy.to_ts is None else tenancy.to_ts
            if end <= start:
                continue
            if start < position:
                raise HistoryError(f"two tenancies overlap at {start} (Unix ms): {tenancy.payer.tenant} is the later")
            if start > position:
                self._add(vacancy, start, tariffs, timezone)
            self._add(tenancy.payer, end, tariffs, timezone)
            position = end
        if position < LAST_INSTANT_MS:
            self._add(vacancy, LAST_INSTANT_MS, tariffs, timezone)

    def _add(self, payer: Payer, end: int, tariffs: Mapping[str, Tariff], timezone: str) -> None:
        if payer.tariff and payer.tariff not in tariffs:
            who = f"tenant {payer.tenant}" if payer.tenant else "the landlord"
            raise HistoryError(
                f"tariff {payer.tariff!r} of {who} does not exist; known are {', '.join(sorted(tariffs))}"
            )
        self.payers.append(payer)
        self.tariffs.append(tariffs[payer.tariff] if payer.tariff else unpriced(timezone))
        self.ends.append(end)

    def with_tariff(self, name: str, tariff: Tariff) -> "Occupancy":
        """The same payers, those by the tariff `name` rated by another one: what if?"""
        other = copy(self)
        other.tariffs = [
            tariff if payer.tariff == name else own for payer, own in zip(self.payers, self.tariffs, strict=True)
        ]
        return other

    def spans(self, from_ts: int, to_ts: int, first: int) -> list[Span]:
        """The spans of [from_ts, to_ts), cut at payers and at segments; `first` is the payer at from_ts."""
        spans: list[Span] = []
        payer, start = first, from_ts
        while start < to_ts:
            end = min(self.ends[payer], to_ts)
            spans += cut_spans(self.tariffs[payer], start, end, payer=payer)
            start, payer = end, payer + 1
        return spans or cut_spans(self.tariffs[first], from_ts, to_ts, payer=first)


def rate_history(
    epochs: Sequence[Epoch],
    occupancy: Occupancy,
    *,
    from_ts: int | None = None,
    to_ts: int | None = None,
) -> History:
    """Charges everything between the points of a meter's epochs.

    Only charges that begin in [from_ts, to_ts) are returned (Unix ms; None: no bound); nothing is cut at these ends.
    What was used before the first point is not known, so the points should begin before the month, or for tariffs
    with tiers by the year before the year, of the first charge that matters.

    Raises HistoryError naming the epoch whose points are no register, and what `billing.rating.rate` raises.
    """
    rating = Rating()
    charges: list[Charge] = []
    notes: list[tuple[int, str]] = []
    for epoch in epochs:
        if epoch.carried is not None:
            rating.month, rating.month_use, rating.year_use = epoch.carried
        _rate_epoch(rating, epoch, occupancy, notes)
        payers = occupancy.payers
        for priced, payer in zip(rating.slices, rating.payers, strict=True):
            if (from_ts is None or priced.from_ts >= from_ts) and (to_ts is None or priced.from_ts < to_ts):
                charges.append(Charge(epoch.number, payers[payer], priced))
        rating.slices, rating.payers = [], []
    return History(charges, rating.month, rating.month_use, rating.year_use, notes)


def _rate_epoch(rating: Rating, epoch: Epoch, occupancy: Occupancy, notes: list[tuple[int, str]]) -> None:
    ends, tariffs = occupancy.ends, occupancy.tariffs
    payer = 0
    for before, after in pairwise(epoch.points):
        try:
            quantity = check_pair(before.ts, after.ts, before.qty, after.qty)
        except ValueError as error:
            raise HistoryError(f"epoch {epoch.number}: {error}") from error
        # A delta without duration was used just before its instant.
        instant = before.ts if after.ts > before.ts else after.ts - 1
        while ends[payer] <= instant:
            payer += 1
        while payer and ends[payer - 1] > instant:
            payer -= 1
        segment = tariffs[payer].segment_at(instant)
        if segment.metered or after.ts > segment.end_ms or after.ts > ends[payer]:
            spans = occupancy.spans(before.ts, after.ts, payer)
            rating.share(spans, before.qty, quantity, (before.rates, after.rates))
            if rating.notes:
                notes.append((after.ts, "; ".join(rating.notes)))
                rating.notes = []
        else:
            rating.charge(segment, payer, (before.ts, after.ts), before.qty, after.qty, estimated=False)


def unpriced(timezone: str) -> Tariff:
    """A tariff at which everything costs nothing, for metering points that nobody pays for."""
    zone = ZoneInfo(timezone)
    version = PriceVersion(
        start_ms=FIRST_INSTANT_MS,
        from_local="1970-01-01T00:00:00",
        mode="flat",
        price_micro=0,
        periods={},
        calendar=None,
        tiers=(),
        tier_period="month",
        surcharges=(),
        fixed=(),
        demand=None,
        minimum_nano=0,
    )
    return Tariff("", "electricity", zone, (version,))

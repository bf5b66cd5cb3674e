"""What a month would have cost by another tariff: the recorded samples rated twice, and the wallet lived through twice.

Theory of operation. Both sides, *now* and *then*, are computed from the same samples by the code that charges, so that
their difference is the tariff's doing and nothing else's: what was really posted (estimates, adjustments of other
months) is on neither side. Fees by the day, demand, capacity and the month's minimum are part of both.

A wallet is lived through by its events in order of time: what came in as it came in, energy when it was used, fees at
the end of their day, what a month costs as a whole at its end. Each fall to the floor (minus the emergency credit)
counts as a cutoff. People would have behaved otherwise, recharged earlier or used less; the count says whom to warn,
not what would have happened.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from billing.demand import chained, peak_demand
from billing.history import rate_history
from billing.monthly_fees import fees_by_day, minimum_of, top_up_to_minimum

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from billing.history import Charge, Epoch, Occupancy
    from billing.monthly_fees import Day, Tenancy
    from billing.tariff import Tariff

Event = tuple[int, int]
"""(instant in Unix ms, signed nano-units): money in is positive."""


class Supply(msgspec.Struct, frozen=True):
    """One meter of one wallet in one month: its samples, and by which tariff it is rated on either side."""

    meter: str
    epochs: Sequence[Epoch]
    tenancy: Tenancy
    now: Occupancy
    then: Occupancy
    tariff_now: Tariff
    tariff_then: Tariff
    disconnected: Collection[int] = ()
    """Numbers of the days on which the supply was open all day."""


class Wallet(msgspec.Struct, frozen=True):
    """A wallet as the month begins, and what came in during it. `floor_nano` is minus the emergency credit."""

    tenant: str
    opening_nano: int
    floor_nano: int
    prepaid: bool
    credits: Sequence[Event]


class Side(msgspec.Struct, frozen=True):
    """What a month costs one wallet by one tariff, in nano-units, and how the wallet fares.

    `tiers` is the quantity (Wh, litres) by (meter, tier); `crossings` counts the tiers that were entered from a lower
    one.
    """

    energy_nano: int = 0
    fees_nano: int = 0
    demand_nano: int = 0
    minimum_nano: int = 0
    quantity: int = 0
    crossings: int = 0
    cutoffs: int = 0
    first_cutoff_ts: int | None = None
    lowest_nano: int = 0
    closing_nano: int = 0

    @property
    def total_nano(self) -> int:
        """All of it."""
        return self.energy_nano + self.fees_nano + self.demand_nano + self.minimum_nano


class Comparison(msgspec.Struct, frozen=True):
    """Both sides of one wallet."""

    tenant: str
    now: Side
    then: Side

    @property
    def difference_nano(self) -> int:
        """What the tenant would pay more (negative: less)."""
        return self.then.total_nano - self.now.total_nano


def compare(wallet: Wallet, supplies: Sequence[Supply], month: int, days: Sequence[Day]) -> Comparison:
    """Live a month (202601, `days` are all of it) through twice. Raises what rating raises."""
    return Comparison(
        wallet.tenant,
        _side(wallet, [_Costs(supply, supply.now, supply.tariff_now, month, days) for supply in supplies], days),
        _side(wallet, [_Costs(supply, supply.then, supply.tariff_then, month, days) for supply in supplies], days),
    )


class _Costs:
    """What one supply costs by one tariff."""

    def __init__(self, supply: Supply, occupancy: Occupancy, tariff: Tariff, month: int, days: Sequence[Day]) -> None:
        begin, end = days[0].start_ms, days[-1].end_ms
        history = rate_history(supply.epochs, occupancy, from_ts=begin, to_ts=end)
        own = [charge for charge in history.charges if _holds(supply.tenancy, charge)]
        self.energy = [(charge.priced.to_ts, -charge.priced.amount_nano) for charge in own]
        self.quantity = sum(charge.priced.quantity for charge in own)
        self.crossings = _crossings(own)
        day_ends = {day.number: day.end_ms for day in days}
        fees = fees_by_day(tariff, month, days, supply.tenancy, supply.disconnected, until=end)
        self.fees = [(day_ends[fee.day], -fee.amount_nano) for fee in fees]
        self.demand_nano = _demand(supply, tariff, begin, end)
        charged_nano = self.demand_nano - sum(nano for _, nano in (*self.energy, *self.fees))
        self.minimum_nano = top_up_to_minimum(minimum_of(tariff, days, supply.tenancy), charged_nano)


def _holds(tenancy: Tenancy, charge: Charge) -> bool:
    at = charge.priced.from_ts
    return (tenancy.from_ts is None or tenancy.from_ts <= at) and (tenancy.to_ts is None or at < tenancy.to_ts)


def _crossings(charges: Iterable[Charge]) -> int:
    """How often a charge lies in a higher tier than the one before it, within a month."""
    crossings, reached, month = 0, None, None
    for charge in charges:
        if charge.priced.month != month:
            reached, month = None, charge.priced.month
        tier = charge.priced.tier
        if tier is not None and reached is not None and tier > reached:
            crossings += 1
        reached = tier
    return crossings


def _demand(supply: Supply, tariff: Tariff, begin: int, end: int) -> int:
    """The demand charge by the version in force at the end of the month; nothing without samples."""
    low = begin if supply.tenancy.from_ts is None else max(begin, supply.tenancy.from_ts)
    high = end if supply.tenancy.to_ts is None else min(end, supply.tenancy.to_ts)
    demand = tariff.version_at(high - 1).demand if high > low else None
    if demand is None:
        return 0
    samples = chained([(point.ts, point.qty) for point in epoch.points] for epoch in supply.epochs)
    peak = peak_demand(
        samples, window_ms=demand.window_ms, slip_ms=demand.slip_ms, grid_ms=begin, from_ts=low, to_ts=high
    )
    return peak.power_w * demand.price_micro if peak is not None else 0


def _side(wallet: Wallet, costs: Sequence[_Costs], days: Sequence[Day]) -> Side:
    energy = [event for cost in costs for event in cost.energy]
    fees = [event for cost in costs for event in cost.fees]
    demand_nano = sum(cost.demand_nano for cost in costs)
    minimum_nano = sum(cost.minimum_nano for cost in costs)
    last = (days[-1].end_ms, -demand_nano - minimum_nano)
    falls, lowest, closing = _live(wallet, [*wallet.credits, *energy, *fees, last])
    return Side(
        energy_nano=-sum(nano for _, nano in energy),
        fees_nano=-sum(nano for _, nano in fees),
        demand_nano=demand_nano,
        minimum_nano=minimum_nano,
        quantity=sum(cost.quantity for cost in costs),
        crossings=sum(cost.crossings for cost in costs),
        cutoffs=len(falls),
        first_cutoff_ts=falls[0] if falls else None,
        lowest_nano=lowest,
        closing_nano=closing,
    )


def _live(wallet: Wallet, events: Iterable[Event]) -> tuple[list[int], int, int]:
    """Instants at which the wallet falls to its floor, its lowest balance and its last."""
    by_instant: Counter[int] = Counter()
    for ts, nano in events:
        by_instant[ts] += nano
    balance = lowest = wallet.opening_nano
    falls: list[int] = []
    for ts in sorted(by_instant):
        before, balance = balance, balance + by_instant[ts]
        lowest = min(lowest, balance)
        if wallet.prepaid and before > wallet.floor_nano >= balance:
            falls.append(ts)
    return falls, lowest, balance

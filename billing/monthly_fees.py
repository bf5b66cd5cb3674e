"""Fees by the month, charged by the day: fixed fees, packages and contracted capacity; and the minimum of a month.

Theory of operation. A month's fee is divided over the days of that local month by the largest remainder, so the days of
a whole month sum to the fee exactly and a part of a month costs the sum of its days. A day belongs to whoever holds the
supply when the day ends: the day of moving in is charged, the day of moving out is not, and a day on which one tenant
follows another is charged once, to the one who follows. The price version is the one in force when the day begins.

A fee with `prorate: none` is charged whole, on the first day of the month that is charged at all. A fee that is not due
while disconnected leaves out the days on which the supply was open from beginning to end. Capacity is a fee of
contracted W times the price (micro-units per kW and month are nano-units per W and month).

The minimum of a month is divided over days in the same way; what energy, demand and fees leave of it is charged.
"""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import msgspec

from billing.apportion import allocate
from billing.local_time import day_of_local_ms, first_instant, local_ms_of_day, month_number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from zoneinfo import ZoneInfo

    from billing.price_version import PriceVersion
    from billing.tariff import Tariff

FeeKind = Literal["fixed", "package", "capacity"]
DAY_MS = 86_400_000


class Day(msgspec.Struct, frozen=True):
    """A local calendar day: its number (20260131) and its real time [start_ms, end_ms)."""

    number: int
    start_ms: int
    end_ms: int


class Fee(msgspec.Struct, frozen=True):
    """A fee a month, in nano-units."""

    kind: FeeKind
    name: str
    per_month_nano: int
    while_disconnected: bool = True
    prorate: bool = True


class DayFee(msgspec.Struct, frozen=True):
    """What one day costs of one fee. `version` is the start of the price version (Unix ms)."""

    day: int
    month: int
    kind: FeeKind
    name: str
    version: int
    per_month_nano: int
    amount_nano: int


class Tenancy(msgspec.Struct, frozen=True):
    """Who holds a supply in [from_ts, to_ts) (Unix ms, None is open), and what was contracted."""

    from_ts: int | None
    to_ts: int | None
    capacity_w: int = 0

    def holds(self, day: Day) -> bool:
        """Whether the day belongs to this tenancy: it is in force when the day ends."""
        begun = self.from_ts is None or self.from_ts < day.end_ms
        return begun and (self.to_ts is None or self.to_ts >= day.end_ms)


def month_index(month: int) -> int:
    """The index of a month (`year * 12 + month - 1`) from its number (202601). Raises ValueError for no month."""
    year, part = divmod(month, 100)
    if not 1 <= part <= 12 or not 1970 <= year < 9990:
        raise ValueError(f"{month} is not a month such as 202601")
    return year * 12 + part - 1


def month_after(month: int, steps: int = 1) -> int:
    """The number of a later month, or of an earlier one with negative steps."""
    return month_number(month_index(month) + steps)


def days_of_month(zone: ZoneInfo, month: int) -> list[Day]:
    """The local days of a month (202601), in order; a day may have 23 or 25 hours."""
    index = month_index(month)
    first, last = (_month_start_local_ms(value) for value in (index, index + 1))
    starts = [first_instant(zone, local_ms) for local_ms in range(first, last + 1, DAY_MS)]
    numbers = [day_number(local_ms) for local_ms in range(first, last, DAY_MS)]
    return [Day(number, *span) for number, span in zip(numbers, pairwise(starts), strict=True)]


def _month_start_local_ms(index: int) -> int:
    """Midnight of the first day of a month index, in local ms."""
    return local_ms_of_day(date(index // 12, index % 12 + 1, 1))


def day_number(local_ms: int) -> int:
    """A local day as people read it: 20260131."""
    day = day_of_local_ms(local_ms)
    return day.year * 10_000 + day.month * 100 + day.day


def fees_of(version: PriceVersion, capacity_w: int) -> list[Fee]:
    """The fees by the month of a price version for a supply with this contracted capacity (W)."""
    fees = [
        Fee("fixed", fee.name, fee.per_month_nano, fee.while_disconnected, fee.prorate != "none")
        for fee in version.fixed
    ]
    if version.package is not None:
        fees.append(Fee("package", version.package.name, version.package.per_month_nano))
    if version.capacity_micro and capacity_w:
        fees.append(Fee("capacity", "capacity", capacity_w * version.capacity_micro))
    return [fee for fee in fees if fee.per_month_nano]


def fees_by_day(
    tariff: Tariff,
    month: int,
    days: Sequence[Day],
    tenancy: Tenancy,
    disconnected: Collection[int] = (),
    until: int = 0,
) -> Iterator[DayFee]:
    """What each day of the month (`days` are all of it) costs one tenancy, days that end after `until` left out.

    `disconnected` are numbers of days on which the supply was open all day.
    """
    charged_whole: set[tuple[str, str]] = set()
    for position, day in enumerate(days):
        if day.end_ms > until or not tenancy.holds(day) or day.start_ms < tariff.versions[0].start_ms:
            continue
        version = tariff.version_at(day.start_ms)
        for fee in fees_of(version, tenancy.capacity_w):
            if not fee.while_disconnected and day.number in disconnected:
                continue
            if fee.prorate:
                amount_nano = day_share(fee.per_month_nano, len(days), position)
            elif (fee.kind, fee.name) in charged_whole:
                continue
            else:
                charged_whole.add((fee.kind, fee.name))
                amount_nano = fee.per_month_nano
            if amount_nano:
                yield DayFee(day.number, month, fee.kind, fee.name, version.start_ms, fee.per_month_nano, amount_nano)


def day_share(per_month_nano: int, days: int, position: int) -> int:
    """What one day costs of a month's amount; the days sum to it exactly (the first days carry the remainder)."""
    return allocate(per_month_nano, [1] * days)[position]


def held_days(days: Sequence[Day], tenancy: Tenancy) -> int:
    """How many days of the month belong to a tenancy."""
    return sum(tenancy.holds(day) for day in days)


def minimum_of(tariff: Tariff, days: Sequence[Day], tenancy: Tenancy) -> int:
    """The minimum of the month for one tenancy in nano-units, by days and price versions."""
    total_nano = 0
    for position, day in enumerate(days):
        if tenancy.holds(day) and day.start_ms >= tariff.versions[0].start_ms:
            total_nano += day_share(tariff.version_at(day.start_ms).minimum_nano, len(days), position)
    return total_nano


def top_up_to_minimum(minimum_nano: int, charged_nano: int) -> int:
    """What is charged on top so that energy, demand and fees reach the minimum; nothing where they do."""
    return max(0, minimum_nano - charged_nano)


def prorated(amount_nano: int, held: int, days: int) -> int:
    """A month's amount for `held` of its `days`, rounded half up to the nano-unit."""
    return amount_nano if held == days else (2 * amount_nano * held + days) // (2 * days)


def settlement_difference(quantity: int, price_micro: int, charged_nano: int) -> int:
    """What settling a quantity (Wh, litres) at a price (micro-units per kWh, m3) leaves to charge; may be negative."""
    return quantity * price_micro - charged_nano

"""What tenants owe beside energy for a month: fees by the day, demand, the minimum, the settlement price.

Everything here is computed from facts in SQL and posted as a difference to what was posted before (`fee_posting`), so
it can be computed again at any time: after a restart, after a move-out that was entered late, after late readings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills.charge_sums import month_energy
from adapters.store.bills.fee_facts import Span, disconnected_days, load_samples, load_spans
from adapters.store.bills.fee_posting import FeeDue
from adapters.store.engine.keyed_rows import in_list
from adapters.store.journals.accounts import wallet
from billing.demand import PeakDemand, peak_demand
from billing.monthly_fees import (
    Day,
    DayFee,
    days_of_month,
    fees_by_day,
    held_days,
    minimum_of,
    prorated,
    settlement_difference,
    top_up_to_minimum,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapters.store.bills.fee_facts import SiteTerms
    from adapters.store.engine.database import Transaction
    from billing.price_version import PriceVersion
    from billing.tariff import Tariff

DAILY = ("fixed", "package", "capacity")
MONTHLY = ("demand", "minimum", "settlement_price")
_PRICES = (
    "SELECT p.scope, p.price_micro FROM settlement_price p WHERE p.site = ? AND p.month = ? AND p.revision ="
    " (SELECT max(revision) FROM settlement_price l WHERE l.site = p.site AND l.month = p.month AND l.scope = p.scope)"
)
_REGISTERS = (
    "SELECT meter, epoch, min(from_qty), max(to_qty) FROM charge_sum WHERE site = ? AND {accounts} AND month = ?"
    " AND {meters} AND from_qty IS NOT NULL GROUP BY meter, epoch"
)


class Month(msgspec.Struct, frozen=True):
    """A local month with its days; nothing after `until` (Unix ms) is charged yet."""

    number: int
    days: tuple[Day, ...]
    until: int

    @property
    def start_ms(self) -> int:
        """Unix ms."""
        return self.days[0].start_ms

    @property
    def end_ms(self) -> int:
        """Unix ms."""
        return self.days[-1].end_ms


class Held(msgspec.Struct):
    """What one tenant held of one meter under one tariff within a month: usually one span."""

    tenant: str
    meter: str
    tariff: str
    spans: list[Span]

    @property
    def key(self) -> tuple[str, str, str]:
        """Account, meter, tariff: as energy is summed."""
        return wallet(self.tenant), self.meter, self.tariff


def month_of(terms: SiteTerms, number: int, until: int) -> Month:
    """Raises ValueError for a number that is no month."""
    return Month(number, tuple(days_of_month(terms.zone, number)), until)


async def daily_dues(tx: Transaction, terms: SiteTerms, month: Month, spans: Iterable[Span]) -> list[FeeDue]:
    """Fees by the day for the days that have ended."""
    due: list[FeeDue] = []
    for span in spans:
        tariff = terms.tariffs.get(span.tariff)
        if tariff is None:
            continue
        idle = set[int]()
        if any(not fee.while_disconnected for version in tariff.versions for fee in version.fixed):
            idle = await disconnected_days(tx, terms.site, span.breaker, month.days)
        fees = fees_by_day(tariff, month.number, month.days, span.tenancy, idle, month.until)
        due += [_day_due(fee, span, tariff, len(month.days)) for fee in fees]
    return due


def _day_due(fee: DayFee, span: Span, tariff: Tariff, days: int) -> FeeDue:
    facts: dict[str, Any] = {"per_month_nano": fee.per_month_nano, "days": days}
    if fee.kind == "capacity":
        facts["capacity_w"] = span.capacity_w
    return FeeDue(
        *(fee.kind, span.tenant, span.meter, fee.name, fee.month, fee.amount_nano, fee.day),
        utility=tariff.utility,
        tariff=span.tariff,
        version=fee.version,
        facts=facts,
    )


async def month_dues(
    tx: Transaction, terms: SiteTerms, month: Month, tenants: Sequence[str], *, by_month: bool
) -> list[FeeDue]:
    """All that tenants owe beside energy and shares; charges by the month only with `by_month`, energy being known."""
    spans = await load_spans(tx, terms, month.start_ms, min(month.end_ms, month.until), tenants)
    due = await daily_dues(tx, terms, month, spans)
    if not by_month:
        return due
    energy = await month_energy(tx, terms.site, [wallet(tenant) for tenant in tenants], month.number)
    held = _held(terms, spans)
    demand = [fee for one in held for fee in await _demand(tx, terms, month, one)]
    due += demand
    due += [fee for one in held for fee in _minimum(terms, month, one, due, energy.get(one.key, (0, 0))[1])]
    prices = dict(map(tuple, await tx.fetch(_PRICES, terms.site, month.number)))
    due += _settled(terms, month, prices, energy)
    return due


def _held(terms: SiteTerms, spans: Iterable[Span]) -> list[Held]:
    held: dict[tuple[str, str, str], Held] = {}
    for span in spans:
        if span.tariff in terms.tariffs:
            key = (span.tenant, span.meter, span.tariff)
            held.setdefault(key, Held(*key, [])).spans.append(span)
    return list(held.values())


async def _demand(tx: Transaction, terms: SiteTerms, month: Month, held: Held) -> list[FeeDue]:
    tariff = terms.tariffs[held.tariff]
    if all(version.demand is None for version in tariff.versions):
        return []
    found = await _highest(tx, terms, month, held, tariff)
    if found is None:
        return []
    peak, version = found
    assert version.demand is not None
    days = sum(held_days(month.days, span.tenancy) for span in held.spans)
    full_nano = peak.power_w * version.demand.price_micro
    whole = days == len(month.days)
    amount_nano = prorated(full_nano, days, len(month.days))
    facts: dict[str, Any] = {"demand_from_ts": peak.from_ts, "demand_to_ts": peak.to_ts, "days": days}
    return [
        FeeDue(
            *("demand", held.tenant, held.meter, held.tariff, month.number, amount_nano),
            utility=tariff.utility,
            tariff=held.tariff,
            version=version.start_ms,
            quantity=peak.power_w,
            unit="W",
            price_micro=version.demand.price_micro if whole else None,
            estimated=peak.interpolated,
            facts=facts | {"month_days": len(month.days), "price_micro": version.demand.price_micro},
        )
    ]


async def _highest(
    tx: Transaction, terms: SiteTerms, month: Month, held: Held, tariff: Tariff
) -> tuple[PeakDemand, PriceVersion] | None:
    """The highest demand of the month within the tenancy, and the price version it fell into."""
    accounts, texts = in_list(tx, "account", [wallet(held.tenant)])
    meters, names = in_list(tx, "meter", [held.meter])
    sql = _REGISTERS.format(accounts=accounts, meters=meters)
    epochs = [tuple(row)[1:] for row in await tx.fetch(sql, terms.site, *texts, month.number, *names)]
    samples = await load_samples(tx, terms.site, held.meter, epochs)
    best: tuple[PeakDemand, PriceVersion] | None = None
    ends = [version.start_ms for version in tariff.versions[1:]] + [month.end_ms]
    for version, end_ms in zip(tariff.versions, ends, strict=True):
        if version.demand is None:
            continue
        for span in held.spans:
            low, high = span.within(max(version.start_ms, month.start_ms), min(end_ms, month.end_ms))
            rule = version.demand
            by = {"window_ms": rule.window_ms, "slip_ms": rule.slip_ms, "grid_ms": month.start_ms}
            peak = peak_demand(samples, **by, from_ts=low, to_ts=high) if low < high else None
            if peak is not None and (best is None or peak.power_w > best[0].power_w):
                best = (peak, version)
    return best


def _minimum(terms: SiteTerms, month: Month, held: Held, due: Iterable[FeeDue], energy_nano: int) -> Iterable[FeeDue]:
    """The minimum of the month, on energy, demand, capacity, fixed fees and packages of the meter."""
    tariff = terms.tariffs[held.tariff]
    minimum_nano = sum(minimum_of(tariff, month.days, span.tenancy) for span in held.spans)
    if minimum_nano == 0:
        return
    same = (held.tenant, held.meter, held.tariff)
    fees_nano = sum(fee.amount_nano for fee in due if (fee.tenant, fee.meter, fee.tariff) == same)
    amount_nano = top_up_to_minimum(minimum_nano, energy_nano + fees_nano)
    if amount_nano:
        yield FeeDue(
            *("minimum", held.tenant, held.meter, held.tariff, month.number, amount_nano),
            utility=tariff.utility,
            tariff=held.tariff,
            facts={"minimum_nano": minimum_nano, "charged_nano": energy_nano + fees_nano},
        )


def _settled(
    terms: SiteTerms, month: Month, prices: dict[str, int | None], energy: dict[tuple[str, str, str], tuple[int, int]]
) -> Iterable[FeeDue]:
    """The difference between the price that the housekeeper entered and what energy was charged at."""
    for (account, meter, name), (quantity, charged_nano) in sorted(energy.items()):
        tariff = terms.tariffs.get(name)
        if tariff is None or not account.startswith("tenant:"):
            continue
        price_micro = prices.get(f"tariff:{name}")
        if price_micro is None:
            price_micro = prices.get(f"utility:{tariff.utility}")
        if price_micro is None:
            continue
        amount_nano = settlement_difference(quantity, price_micro, charged_nano)
        if amount_nano:
            yield FeeDue(
                *("settlement_price", account.split(":")[1], meter, name, month.number, amount_nano),
                utility=tariff.utility,
                tariff=name,
                facts={"settlement_price_micro": price_micro, "quantity": quantity, "charged_nano": charged_nano},
            )

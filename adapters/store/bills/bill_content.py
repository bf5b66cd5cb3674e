"""What stands on a bill: from summed energy, fee lines, credits and registers to the sections of a wallet.

Lines of the bill's own month stand with their meter, or with the wallet where they have none (shares, losses). Lines of
earlier months are adjustments and name the bill that carried the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from billing.bill import Credit, Line, MeterSection, Original, PricePart, Reading, WalletSection
from billing.bill_terms import KINDS, energy_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapters.store.bills.charge_sums import ChargeTotal
    from adapters.store.bills.fee_facts import SiteTerms
    from billing.bill import Unit, Words

_OF_WALLET = ("share", "loss")
_ORDER = ("fixed", "package", "demand", "capacity", "minimum", "settlement_price", "estimate")


class FeeRow(msgspec.Struct, frozen=True):
    """One fee line as it is stored."""

    kind: str
    tenant: str
    meter: str
    utility: str
    tariff: str
    version: int
    name: str
    month: int
    day: int
    revision: int
    quantity: int | None
    unit: str
    price_micro: int | None
    amount_nano: int
    estimated: bool
    facts: dict[str, Any]


class RegisterMark(msgspec.Struct, frozen=True):
    """A border of a register: when it stood there, and why its epoch began where that lies in the period."""

    opening_ts: int | None
    closing_ts: int | None
    reason: str
    estimated_qty: int


class WalletFacts(msgspec.Struct):
    """Everything that a wallet's section is made of."""

    tenant: str
    account: str
    opening_nano: int
    totals: list[ChargeTotal]
    fees: list[FeeRow]
    credits: list[Credit]
    meters: dict[str, str]
    """Meters that the tenant held in the period, with their tariffs."""
    idle: dict[str, Reading]
    """Readings of meters that used nothing."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to bill: no supply, no movement, no balance."""
        return not (self.opening_nano or self.totals or self.fees or self.credits or self.meters)


class BillFacts(msgspec.Struct, frozen=True):
    """What the sections of a bill have in common."""

    terms: SiteTerms
    month: int
    marks: Mapping[tuple[str, int], RegisterMark]
    originals: Mapping[tuple[str, int], Original]
    """The bill of a (holder, month) that was issued before."""
    incomplete: frozenset[str]
    """Meters without a reading after the period."""


def wallet_section(bill: BillFacts, facts: WalletFacts) -> WalletSection:
    """The section of one wallet; it closes where its lines lead to."""
    own = [total for total in facts.totals if total.month == bill.month]
    earlier = [total for total in facts.totals if total.month != bill.month]
    fees = [fee for fee in facts.fees if fee.month == bill.month]
    late = [fee for fee in facts.fees if fee.month != bill.month]
    by_meter = {name: [total for total in own if total.meter == name] for name in _meters(facts, own, fees)}
    sections = tuple(_meter(bill, facts, name, totals, fees) for name, totals in by_meter.items())
    shared = tuple(_fee_lines(bill, [fee for fee in fees if fee.kind in _OF_WALLET]))
    adjustments = (*_late_energy(bill, facts, earlier), *_late_fees(bill, facts, late))
    lines = (*(line for section in sections for line in section.lines), *shared, *adjustments)
    charged_nano = sum(line.amount_nano for line in lines)
    credited_nano = sum(credit.amount_nano for credit in facts.credits)
    tenant = bill.terms.tenants.get(facts.tenant, {})
    return WalletSection(
        tenant=facts.tenant,
        account=facts.account,
        name=words(tenant.get("name") or facts.tenant),
        mode=str(tenant.get("mode", "")),
        opening_nano=facts.opening_nano,
        meters=sections,
        fees=shared,
        adjustments=adjustments,
        credits=tuple(facts.credits),
        closing_nano=facts.opening_nano + credited_nano - charged_nano,
    )


def words(text: str | dict[str, str]) -> Words:
    """A name by language."""
    return {"und": text} if isinstance(text, str) else text


def _meters(facts: WalletFacts, own: Iterable[ChargeTotal], fees: Iterable[FeeRow]) -> list[str]:
    used = {total.meter for total in own} | {fee.meter for fee in fees if fee.kind not in _OF_WALLET}
    return sorted(used | facts.meters.keys())


def _meter(
    bill: BillFacts, facts: WalletFacts, meter: str, totals: Sequence[ChargeTotal], fees: Iterable[FeeRow]
) -> MeterSection:
    device = bill.terms.devices.get(meter, {})
    utility = totals[0].utility if totals else "water" if device.get("kind") == "water_meter" else "electricity"
    own = [fee for fee in fees if fee.meter == meter and fee.kind not in _OF_WALLET]
    readings = _readings(bill, totals) or tuple(filter(None, (facts.idle.get(meter),)))
    return MeterSection(
        meter=meter,
        utility=utility,
        unit=_unit(utility),
        tariff=facts.meters.get(meter) or (totals[0].tariff if totals else ""),
        readings=readings,
        lines=(*_energy_lines(bill, totals), *_fee_lines(bill, own)),
        name=words(device.get("location") or {}),
        complete=meter not in bill.incomplete,
    )


def _unit(utility: str) -> Unit:
    return "l" if utility == "water" else "Wh"


def _readings(bill: BillFacts, totals: Iterable[ChargeTotal]) -> tuple[Reading, ...]:
    """Opening and closing register of each epoch. What adjustments took away leaves the borders as they were read."""
    by_epoch: dict[int, list[ChargeTotal]] = {}
    for total in totals:
        by_epoch.setdefault(total.epoch, []).append(total)
    readings = []
    for epoch, of_epoch in sorted(by_epoch.items()):
        lows = [total.from_qty for total in of_epoch if total.from_qty is not None]
        highs = [total.to_qty for total in of_epoch if total.to_qty is not None]
        if not lows:
            continue
        mark = bill.marks.get((of_epoch[0].meter, epoch), RegisterMark(None, None, "", 0))
        quantity = sum(total.quantity for total in of_epoch)
        readings.append(
            Reading(
                *(epoch, min(lows), max(highs), mark.opening_ts, mark.closing_ts, quantity),
                reason=mark.reason,
                estimated_qty=min(mark.estimated_qty, max(quantity, 0)),
            )
        )
    return tuple(readings)


def _energy_lines(bill: BillFacts, totals: Iterable[ChargeTotal]) -> list[Line]:
    """One line a price, over all epochs and with what adjustments of the same month made of it."""
    sums: dict[tuple[Any, ...], int] = {}
    dated: set[tuple[Any, ...]] = set()
    for total in totals:
        key = _price_key(total)
        sums[key] = sums.get(key, 0) + total.quantity
        mark = bill.marks.get((total.meter, total.epoch))
        if mark is not None and mark.estimated_qty:
            dated.add(key)
    return [_energy_line(bill, key, quantity, key in dated) for key, quantity in sums.items() if quantity]


def _price_key(total: ChargeTotal) -> tuple[Any, ...]:
    priced = (total.version, total.period, total.tier, total.price_micro, total.month)
    return total.utility, total.meter, total.tariff, *priced


def _energy_line(bill: BillFacts, key: tuple[Any, ...], quantity: int, estimated: bool) -> Line:
    utility, meter, tariff, version, period, tier, price_micro, month = key
    return Line(
        kind="energy",
        name=energy_name(utility),
        amount_nano=quantity * price_micro,
        month=month,
        utility=utility,
        meter=meter,
        tariff=tariff,
        version_ts=version,
        version_from=_version_from(bill.terms, tariff, version),
        period=period or "",
        tier=tier,
        quantity=quantity,
        unit=_unit(utility),
        price_micro=price_micro,
        parts=_parts(bill.terms, tariff, version, price_micro, quantity),
        estimated=estimated and bool(period),
    )


def _version_from(terms: SiteTerms, tariff: str, version: int) -> str:
    versions = terms.tariffs[tariff].versions if tariff in terms.tariffs else ()
    return next((one.from_local for one in versions if one.start_ms == version), "")


def _parts(terms: SiteTerms, tariff: str, version: int, price_micro: int, quantity: int) -> tuple[PricePart, ...]:
    """The price in its parts: surcharges by name, and the rest. None for free units, and for a version that is gone."""
    versions = terms.tariffs[tariff].versions if tariff in terms.tariffs else ()
    found = next((one for one in versions if one.start_ms == version), None)
    if found is None or not found.surcharges or price_micro == 0:
        return ()
    base = price_micro - found.surcharge_micro
    named = [PricePart(one.name, one.per_unit_micro, one.per_unit_micro * quantity) for one in found.surcharges]
    return (PricePart("base", base, base * quantity), *named)


def _fee_lines(bill: BillFacts, fees: Sequence[FeeRow]) -> list[Line]:
    """Fees of one name and price as one line: days add up, corrections of the month are part of it."""
    groups: dict[tuple[str, str, str, str], list[FeeRow]] = {}
    for fee in sorted(fees, key=lambda one: (_rank(one.kind), one.name, one.day, one.revision)):
        groups.setdefault((fee.kind, fee.meter, fee.tariff, fee.name), []).append(fee)
    lines = [_fee_line(bill, group) for group in groups.values()]
    return [line for line in lines if line.amount_nano or line.quantity]


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _fee_line(bill: BillFacts, group: Sequence[FeeRow]) -> Line:
    last = group[-1]
    amount_nano = sum(fee.amount_nano for fee in group)
    quantities = [fee.quantity for fee in group if fee.quantity is not None]
    quantity = sum(quantities) if quantities else None
    prices = {fee.price_micro for fee in group}
    price_micro = prices.pop() if len(prices) == 1 else None
    if price_micro is not None and quantity is not None and price_micro * quantity != amount_nano:
        price_micro = None
    days: dict[int, int] = {}
    for fee in group:
        days[fee.day] = days.get(fee.day, 0) + fee.amount_nano
    return Line(
        kind=last.kind,  # type: ignore[arg-type]
        name=_fee_name(bill.terms, last),
        amount_nano=amount_nano,
        month=last.month,
        utility=last.utility,
        meter=last.meter,
        tariff=last.tariff,
        version_ts=last.version or None,
        version_from=_version_from(bill.terms, last.tariff, last.version) if last.version else "",
        quantity=quantity,
        unit=last.unit or None,  # type: ignore[arg-type]
        price_micro=price_micro,
        days=sum(1 for nano in days.values() if nano) if last.day else None,
        estimated=last.estimated,
        facts={name: value for name, value in last.facts.items() if name != "corrects_revision"},
    )


def _fee_name(terms: SiteTerms, fee: FeeRow) -> Words:
    if fee.kind in _OF_WALLET:
        for entry in terms.settings.get("apportionments", ()):
            if entry["id"] == fee.name:
                return words(entry.get("name") or KINDS[fee.kind])
    if fee.kind in ("fixed", "package"):
        return {"und": fee.name}
    return KINDS[fee.kind]


def _original(bill: BillFacts, facts: WalletFacts, month: int, reference: str = "") -> Original:
    known = bill.originals.get((bill.terms.holder(facts.tenant), month), Original(month))
    return msgspec.structs.replace(known, reference=reference)


def _late_energy(bill: BillFacts, facts: WalletFacts, totals: Iterable[ChargeTotal]) -> list[Line]:
    """Energy of earlier months: readings that came late, and what was rated again. One line a price."""
    sums: dict[tuple[Any, ...], int] = {}
    for total in totals:
        key = _price_key(total)
        sums[key] = sums.get(key, 0) + total.quantity
    lines = []
    for key, quantity in sums.items():
        if quantity and key[6]:
            line = _energy_line(bill, key, quantity, estimated=False)
            original = _original(bill, facts, line.month)
            lines.append(
                msgspec.structs.replace(line, kind="adjustment", name=_corrected(line.name), original=original)
            )
    return lines


def _late_fees(bill: BillFacts, facts: WalletFacts, fees: Iterable[FeeRow]) -> list[Line]:
    """Fees of earlier months that were computed again, or that came late."""
    by_month: dict[int, list[FeeRow]] = {}
    for fee in fees:
        by_month.setdefault(fee.month, []).append(fee)
    lines = []
    for month, of_month in sorted(by_month.items()):
        for line in _fee_lines(bill, of_month):
            original = _original(bill, facts, month, f"{line.kind}:{line.meter}:{line.tariff}")
            lines.append(
                msgspec.structs.replace(line, kind="adjustment", name=_corrected(line.name), original=original)
            )
    return lines


def _corrected(name: Words) -> Words:
    zh, en = KINDS["adjustment"]["zh"], KINDS["adjustment"]["en"]
    other = name.get("und", "")
    return {"zh": f"{zh}：{name.get('zh', other)}", "en": f"{en}: {name.get('en', other)}"}

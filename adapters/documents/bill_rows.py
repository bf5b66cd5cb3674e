"""A bill as rows that every format shows alike: what a line is called, its quantity, its price, its amounts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from adapters.documents.values import local_clock
from adapters.documents.words import CHANNELS, KINDS, LINES, PERIODS, TIER_ZERO, UNITS, USE, both, named, people_call_it
from billing.tables import trimmed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from billing.bill import Bill, Credit, Line, Reading, WalletSection


class LineRow(msgspec.Struct, frozen=True):
    """One charge line in words. Quantity in thousandths of `unit`, price in micro-units, amount in nano-units."""

    item: str
    details: str
    period: str
    tier: str
    quantity: int | None
    unit: str
    price_micro: int | None
    amount_nano: int


class Subtotal(msgspec.Struct, frozen=True):
    """Charges of one kind of one utility."""

    name: str
    quantity: int | None
    unit: str
    amount_nano: int


def zone_of(bill: Bill) -> ZoneInfo:
    """The time zone that the bill's dates are meant in."""
    return ZoneInfo(bill.issuer.timezone)


def period_text(bill: Bill) -> str:
    """First and last day of the period by the local clock; a period that ends within a day says when."""
    zone = zone_of(bill)
    first, last = local_clock(bill.from_ts, zone), local_clock(bill.to_ts - 1, zone)
    whole = local_clock(bill.to_ts, zone).strftime("%H:%M:%S") == "00:00:00"
    shape = "%Y-%m-%d" if whole else "%Y-%m-%d %H:%M"
    return f"{first:%Y-%m-%d} ~ {last.strftime(shape)}"


def line_row(line: Line, bill: Bill) -> LineRow:
    """A charge line in words."""
    return LineRow(
        item=_item(line),
        details=_details(line, bill),
        period=named(PERIODS, line.period) if line.period else "",
        tier=_tier(line.tier),
        quantity=line.quantity,
        unit=UNITS.get(line.unit or "", ""),
        price_micro=line.price_micro,
        amount_nano=line.amount_nano,
    )


def subtotals(bill: Bill) -> list[Subtotal]:
    """Charges summed by kind and utility, in the order of their first line; they sum to the bill's charges."""
    sums: dict[tuple[str, str, str], tuple[int | None, int]] = {}
    for wallet in bill.wallets:
        for line in wallet.lines:
            key = (line.kind, line.utility, UNITS.get(line.unit or "", "") if line.kind == "energy" else "")
            quantity, amount_nano = sums.get(key, (0 if key[2] else None, 0))
            used = quantity + (line.quantity or 0) if quantity is not None else None
            sums[key] = (used, amount_nano + line.amount_nano)
    return [Subtotal(_kind_of(key[0], key[1]), quantity, key[2], nano) for key, (quantity, nano) in sums.items()]


def reading_note(reading: Reading) -> str:
    """What is to be said of a reading besides its numbers."""
    notes = []
    if reading.reason:
        notes.append(reading.reason)
    if reading.estimated_qty:
        notes.append(f"其中估分 by time {trimmed(reading.estimated_qty, 3, 2)}")
    return "; ".join(notes)


def credit_name(credit: Credit) -> str:
    """What a credit is."""
    return named(KINDS, credit.kind)


def credit_source(credit: Credit) -> str:
    """Where a credit came from: channel, number, memo."""
    channel = named(CHANNELS, credit.channel) if credit.channel else ""
    parts = [channel, credit.payment, credit.memo]
    return " · ".join(part for part in parts if part)


def wallet_name(wallet: WalletSection) -> str:
    """The wallet as people know it."""
    return people_call_it(wallet.name, wallet.tenant)


def _item(line: Line) -> str:
    name = people_call_it(line.name, "", "\n")
    kind = (
        {"electricity": "电费\nElectricity", "water": "水费\nWater"}.get(line.utility, "")
        if line.kind == "energy"
        else ""
    )
    kind = kind or named(LINES, line.kind, "\n")
    return name or kind


def _details(line: Line, bill: Bill) -> str:
    return "\n".join(_detail_lines(line, bill))


def _detail_lines(line: Line, bill: Bill) -> Iterator[str]:
    if line.month != bill.month:
        yield f"{line.month // 100}-{line.month % 100:02d}"
    if line.tariff and line.kind != "energy":
        yield line.tariff
    if line.version_from and line.kind == "energy":
        yield f"价版 from {line.version_from[:10]}"
    if len(line.parts) > 1:
        yield " + ".join(f"{_part_name(part.name)} {trimmed(part.price_micro, 6, 4)}" for part in line.parts)
    if line.days is not None:
        yield f"{line.days} 天 days"
    if line.original is not None:
        yield f"更正 corrects {line.original.number or line.original.bill or line.original.reference}".rstrip()
    if line.estimated:
        yield "含估算 estimated"


def _part_name(name: str) -> str:
    return "基价 base" if name == "base" else name


def _tier(tier: int | None) -> str:
    if tier is None:
        return ""
    return both(TIER_ZERO, "\n") if tier < 0 else f"第{tier + 1}档 T{tier + 1}"


def _kind_of(kind: str, utility: str, between: str = " ") -> str:
    if kind == "energy" and utility in USE:
        return both(USE[utility], between)
    return named(LINES, kind, between)

"""A bill as data: everything a person reads on it, exact, with where each amount comes from.

Theory of operation. A bill is made for a *holder* (a customer) and has a section for each of the holder's wallets. All
that ever happened on a wallet falls into exactly one bill, so the balance of one bill opens the next:

    closing = opening + payments and other credits - charges

Charges are lines; lines belong to a meter (energy by price, fixed fees, demand, capacity, minimum, settlement price) or
to the wallet as a whole (shares of common use, losses, adjustments of earlier bills). `check_bill` proves that lines
add up to sections and sections to the bill.

Quantities are Wh or litres (W for demand and capacity), prices micro-units per kWh, m3 or kW, amounts nano-units,
instants Unix ms, months and days numbers as people read them (202601, 20260131). A charge is a positive amount, also
where the ledger's leg is negative; a refund of a charge is a negative amount. Words stand by language, `zh` and `en`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Words = dict[str, str]
"""A text by language: `zh`, `en`, or `und` for a name that says no language."""

LineKind = Literal[
    "energy",
    "fixed",
    "package",
    "demand",
    "capacity",
    "minimum",
    "settlement_price",
    "share",
    "loss",
    "estimate",
    "adjustment",
]
"""What a charge line is for; their names in both languages are in `billing.bill_terms`."""

BillState = Literal["draft", "issued", "corrected"]
BillKind = Literal["monthly", "final"]
Unit = Literal["Wh", "l", "W"]


class PricePart(msgspec.Struct, frozen=True):
    """One part of a line's price: the base price, the step of a tier, or a named surcharge. Parts sum to the line."""

    name: str
    """`base`, or the name of the surcharge as the tariff has it."""
    price_micro: int
    amount_nano: int


class Original(msgspec.Struct, frozen=True):
    """What an adjustment corrects: the bill that carried the charge, or the charge itself while it had no bill."""

    month: int
    bill: str = ""
    number: str = ""
    reference: str = ""
    """Natural key of the corrected charge where it is one charge: a fee line, an interval of a register."""


class Line(msgspec.Struct, frozen=True):
    """One charge. `quantity` times `price_micro` is `amount_nano` wherever both are there."""

    kind: LineKind
    name: Words
    amount_nano: int
    month: int
    """The local month in which it was used; earlier than the bill's for an adjustment."""
    utility: str = ""
    meter: str = ""
    tariff: str = ""
    version_ts: int | None = None
    """Start of the price version."""
    version_from: str = ""
    """The same as the wall clock showed it."""
    period: str = ""
    """Time-of-use period, empty where the price has none."""
    tier: int | None = None
    """Counted from 0; -1 is the free base quantity."""
    quantity: int | None = None
    unit: Unit | None = None
    price_micro: int | None = None
    parts: tuple[PricePart, ...] = ()
    days: int | None = None
    """Days of tenancy that a fee by the day was charged for."""
    estimated: bool = False
    """The quantity is, in whole or in part, a share by time between two samples, or a demand between samples."""
    original: Original | None = None
    facts: dict[str, int | str] = {}
    """What else the amount was computed from, by name: `demand_from_ts`, `weight`, `shared_quantity`, ..."""


class Reading(msgspec.Struct, frozen=True):
    """Opening and closing register of one epoch of a meter within the bill's period."""

    epoch: int
    opening_qty: int
    closing_qty: int
    opening_ts: int | None
    closing_ts: int | None
    quantity: int
    reason: str = ""
    """Why the epoch began, where it began within the period: a replaced meter, a new transformer ratio, a reset."""
    estimated_qty: int = 0
    """So much of the quantity was dated by a share of time, because no sample lay on a price boundary."""


class MeterSection(msgspec.Struct, frozen=True):
    """A meter with its readings and the lines that belong to it."""

    meter: str
    utility: str
    unit: Unit
    tariff: str
    readings: tuple[Reading, ...]
    lines: tuple[Line, ...]
    name: Words = {}
    complete: bool = True
    """False where no reading after the end of the period had come: the rest follows on the next bill."""

    @property
    def quantity(self) -> int:
        """What was used, Wh or litres: the sum of the energy lines."""
        return sum(line.quantity or 0 for line in self.lines if line.kind == "energy")

    @property
    def amount_nano(self) -> int:
        """Sum of the lines."""
        return sum(line.amount_nano for line in self.lines)


class Credit(msgspec.Struct, frozen=True):
    """Money that moved on the wallet and is no charge: a payment, a refund (negative), a correction, opening credit."""

    kind: str
    """The kind of its journal: `topup`, `refund`, `reversal`, `opening`, `debt`, ..."""
    ts: int
    amount_nano: int
    reference: str
    channel: str = ""
    payment: str = ""
    memo: str = ""
    journal_seq: int = 0


class WalletSection(msgspec.Struct, frozen=True):
    """One wallet of the holder: balance before, what was charged, what was paid, balance after."""

    tenant: str
    account: str
    name: Words
    mode: str
    opening_nano: int
    meters: tuple[MeterSection, ...]
    fees: tuple[Line, ...]
    """Lines of no single meter: shares of common use, losses, fees of the wallet."""
    adjustments: tuple[Line, ...]
    """Corrections of months that were billed before."""
    credits: tuple[Credit, ...]
    closing_nano: int

    @property
    def lines(self) -> Iterator[Line]:
        """All charge lines, in the order of the bill."""
        for section in self.meters:
            yield from section.lines
        yield from self.fees
        yield from self.adjustments

    @property
    def charges_nano(self) -> int:
        """Sum of all charge lines."""
        return sum(line.amount_nano for line in self.lines)

    @property
    def credits_nano(self) -> int:
        """Sum of payments and other credits."""
        return sum(credit.amount_nano for credit in self.credits)


class Party(msgspec.Struct, frozen=True):
    """Who the bill is for."""

    id: str
    name: Words
    contact: dict[str, str] = {}
    language: str = ""


class Issuer(msgspec.Struct, frozen=True):
    """The site that bills, with its letterhead."""

    site: str
    name: Words
    letterhead: Words
    currency: str
    timezone: str


class Bill(msgspec.Struct, frozen=True):
    """A bill. A draft has no number; an issued one never changes; a corrected one was replaced by `replaced_by`."""

    id: str
    kind: BillKind
    state: BillState
    revision: int
    number: str
    """Statement number without gaps within the site, such as `P1-2026-000123`; empty for a draft."""
    issuer: Issuer
    holder: Party
    month: int
    from_ts: int
    to_ts: int
    """The period, Unix ms, half open; a final bill ends when the tenant leaves."""
    wallets: tuple[WalletSection, ...]
    corrects: str = ""
    """Id of the bill that this one replaces."""
    replaced_by: str = ""
    issued_ts: int | None = None
    journal_seq: int = 0
    """The last journal that the bill can contain."""
    anchor: str = ""
    """Hash of that journal in hex: it proves the whole ledger before it."""
    warnings: tuple[Words, ...] = ()
    """What the reader must know: a meter without a reading at the end, an estimated quantity."""

    @property
    def opening_nano(self) -> int:
        """Balance of all wallets before."""
        return sum(wallet.opening_nano for wallet in self.wallets)

    @property
    def charges_nano(self) -> int:
        """Sum of all charge lines."""
        return sum(wallet.charges_nano for wallet in self.wallets)

    @property
    def credits_nano(self) -> int:
        """Sum of payments and other credits."""
        return sum(wallet.credits_nano for wallet in self.wallets)

    @property
    def closing_nano(self) -> int:
        """Balance of all wallets after; negative is what the holder owes."""
        return sum(wallet.closing_nano for wallet in self.wallets)


def check_bill(bill: Bill) -> list[str]:
    """What does not add up in a bill, one sentence each; nothing for a sound one."""
    problems = []
    for wallet in bill.wallets:
        expected_nano = wallet.opening_nano + wallet.credits_nano - wallet.charges_nano
        if wallet.closing_nano != expected_nano:
            problems.append(
                f"wallet {wallet.tenant}: closes at {wallet.closing_nano}, its lines lead to {expected_nano}"
            )
        for section in wallet.meters:
            problems += _check_readings(section)
        problems += _check_lines(wallet.lines)
    return problems


def _check_readings(section: MeterSection) -> Iterator[str]:
    read = sum(reading.quantity for reading in section.readings)
    if read != section.quantity:
        yield f"meter {section.meter}: {section.quantity} is charged, its readings say {read}"
    for reading in section.readings:
        if reading.closing_qty - reading.opening_qty < reading.quantity:
            yield f"meter {section.meter} epoch {reading.epoch}: {reading.quantity} used is more than its registers say"


def _check_lines(lines: Iterable[Line]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        where = f"line {number} ({line.kind} {line.meter or line.name.get('en', '')})"
        exact = line.quantity is not None and line.price_micro is not None
        if exact and line.quantity * line.price_micro != line.amount_nano:  # type: ignore[operator]
            yield f"{where}: {line.quantity} x {line.price_micro} is not {line.amount_nano}"
        if line.parts and sum(part.amount_nano for part in line.parts) != line.amount_nano:
            yield f"{where}: its parts do not sum to {line.amount_nano}"
        if line.kind == "adjustment" and line.original is None:
            yield f"{where}: an adjustment names what it corrects"


def encode_bill(bill: Bill) -> bytes:
    """The bill as JSON, fields in a fixed order: what is stored and hashed."""
    return msgspec.json.encode(bill)


def decode_bill(document: bytes | str) -> Bill:
    """A stored bill. Raises msgspec.ValidationError for what is none."""
    return msgspec.json.decode(document, type=Bill)

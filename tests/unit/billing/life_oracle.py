"""The independent calculation over a meter's whole life: tenants come and go, registers are swapped, first units may
be free. Written from the contract's text on top of `oracle`; no product code.

Between two samples of one register the use is shared by elapsed time over every span of one payer, month, price
version and period. Between the last sample of one register and the first of the next nothing is known and nothing is
charged. Tiers and free units count what the meter used in the calendar month, whoever used it and on which register.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from tests.unit.billing import oracle
from tests.unit.billing.oracle import MINUTE_MS, Charge

FREE = -1


@dataclass(frozen=True)
class Tenancy:
    """Somebody pays for [from_ts, to_ts) by a tariff."""

    from_ts: int
    to_ts: int
    tenant: str
    tariff: str


@dataclass(frozen=True)
class Life:
    """All that is known of one meter: its registers' samples in order, and who paid when. Gaps are the landlord's."""

    zone: str
    documents: dict[str, dict]
    tenancies: tuple[Tenancy, ...]
    vacancy: str
    epochs: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Owed:
    """A charge, who owes it (empty: the landlord), by which tariff, on which register."""

    epoch: int
    tenant: str
    tariff: str
    charge: Charge


def owed(life: Life) -> list[Owed]:
    """Everything that is owed over a life, in the order of the register."""
    use: dict[int, int] = {}
    found: list[Owed] = []
    for epoch, samples in enumerate(life.epochs, 1):
        for (from_ts, from_qty), (to_ts, to_qty) in pairwise(samples):
            spans = _spans(life, from_ts, to_ts)
            shares = oracle.shared(to_qty - from_qty, [end - start for start, end, _ in spans])
            at = from_qty
            for (start, end, (tenant, tariff, _, *state)), share in zip(spans, shares, strict=True):
                document = life.documents[tariff]
                charges = _in_tiers(document, tuple(state), use, (start, end, at, at + share), len(spans) > 1)
                found += [Owed(epoch, tenant, tariff, charge) for charge in charges]
                at += share
    return found


def totals(found: list[Owed]) -> dict[tuple, tuple[int, Fraction]]:
    """Quantity and amount by tenant, tariff, month, period, tier and price."""
    sums: dict[tuple, tuple[int, Fraction]] = {}
    for item in found:
        charge = item.charge
        key = (item.tenant, item.tariff, charge.month, charge.period, charge.tier, charge.price)
        quantity, amount = sums.get(key, (0, Fraction(0)))
        sums[key] = (quantity + charge.to_qty - charge.from_qty, amount + charge.amount)
    return sums


def _payer_at(life: Life, ts: int) -> tuple[str, str, int]:
    for index, tenancy in enumerate(life.tenancies):
        if tenancy.from_ts <= ts < tenancy.to_ts:
            return tenancy.tenant, tenancy.tariff, index
    # A gap between two tenancies is a span of its own: told apart by what came before it.
    return "", life.vacancy, -1 - sum(tenancy.to_ts <= ts for tenancy in life.tenancies)


def _spans(life: Life, from_ts: int, to_ts: int) -> list[tuple[int, int, tuple]]:
    edges = {edge for tenancy in life.tenancies for edge in (tenancy.from_ts, tenancy.to_ts)}
    spans: list[tuple[int, int, tuple]] = []
    start = from_ts
    while start < to_ts:
        end = min((start // MINUTE_MS + 1) * MINUTE_MS, to_ts, *(edge for edge in edges if edge > start), 2**62)
        payer = _payer_at(life, start)
        state = (*payer, *oracle.state_at(life.documents[payer[1]], life.zone, start))
        if spans and spans[-1][2] == state:
            spans[-1] = (spans[-1][0], end, state)
        else:
            spans.append((start, end, state))
        start = end
    return spans


def _in_tiers(document: dict, state: tuple, use: dict[int, int], span: tuple, estimated: bool) -> list[Charge]:
    """As `oracle.in_tiers`, with the first units of a month free where the tariff says so."""
    month, version_index, period = state
    start, end, from_qty, to_qty = span
    version = document["versions"][version_index]
    tiers = version.get("tiers", [])
    key = month // 100 if tiers and version.get("tier_period") == "year" else month
    free = Fraction(version.get("free", {}).get("quantity", "0")) * 1000
    runs: list[list] = []
    for quantity in range(from_qty, to_qty):
        used = use.get(key, 0)
        tier = FREE if use.get(month, 0) < free else oracle.tier_of(tiers, used)
        for counted in (month, month // 100):
            use[counted] = use.get(counted, 0) + 1
        if runs and runs[-1][0] == tier:
            runs[-1][2] = quantity + 1
        else:
            runs.append([tier, quantity, quantity + 1])
    crossing = {low: start + (end - start) * (low - from_qty) // (to_qty - from_qty) for _, low, _ in runs[1:]}
    found: list[Charge] = []
    for tier, low, high in runs:
        price = Fraction(0)
        if tier != FREE:
            price = oracle.unit_price(version, period, tiers[tier] if tier is not None else None)
        times = crossing.get(low, start), crossing.get(high, end)
        found.append(
            Charge(*times, low, high, month, period, tier, price, price * Fraction(high - low, 1000), estimated)
        )
    return found

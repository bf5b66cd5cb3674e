"""Re-rating: bring what was charged to what is owed, by signed adjustments on the same energy.

Theory of operation. Every Wh of a register epoch has one assignment: who pays for it, by which tariff, version, month,
period and tier, at which price. Posted rows are the first assignment; adjustments overlay parts of it, and the newest
overlay holds (`overlay`). `differences` walks over what holds and over what ought to hold (`billing.history`), side by
side, and names every sub-interval on which they say different things, cut at the borders of the posted rows so that
each adjustment belongs to one of them.

Only the register that both cover is looked at. What was posted beyond the last sample known here waits for the sample
that decides it; what is owed beyond the end of the chain has not been charged yet.

Applying the differences and looking again finds none: running it twice adjusts nothing.

Instants and the flag `estimated` belong to an assignment but make no difference: they say how an amount came about, not
what it is.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from billing.history import Charge


class Facts(msgspec.Struct, frozen=True):
    """What an assignment is: who pays and by which price. Two parts with equal facts are charged alike."""

    tenant: str
    account: str
    tariff: str
    version: int
    month: int
    period: str | None
    tier: int | None
    price_micro: int


class Assignment(msgspec.Struct, frozen=True):
    """[from_qty, to_qty) of an epoch under one set of facts, used in [from_ts, to_ts).

    `original_from` names the posted row it is part of; `number` the adjustment that gave it, 0 for the row itself.
    """

    epoch: int
    from_qty: int
    to_qty: int
    from_ts: int
    to_ts: int
    facts: Facts
    estimated: bool
    original_from: int
    number: int = 0

    @property
    def amount_nano(self) -> int:
        """Quantity x price, in nano-units."""
        return (self.to_qty - self.from_qty) * self.facts.price_micro


class Adjustment(msgspec.Struct, frozen=True):
    """[from_qty, to_qty) of one posted row is to be charged by other facts than now.

    `supersedes` is the number of the adjustment that held, 0 where the posted row itself did. Amounts are those of the
    sub-interval, in nano-units.
    """

    epoch: int
    from_qty: int
    to_qty: int
    from_ts: int
    to_ts: int
    original_from: int
    supersedes: int
    old: Facts
    new: Facts
    estimated: bool

    @property
    def old_amount_nano(self) -> int:
        """What the sub-interval was charged."""
        return (self.to_qty - self.from_qty) * self.old.price_micro

    @property
    def new_amount_nano(self) -> int:
        """What it is charged from now on."""
        return (self.to_qty - self.from_qty) * self.new.price_micro


class OverlayError(ValueError):
    """Adjustments that do not lie on the posted rows they name."""


def facts_of(charge: Charge) -> Facts:
    """The facts of a charge."""
    payer, priced = charge.payer, charge.priced
    place = (payer.tenant, payer.account, payer.tariff, priced.version, priced.month)
    return Facts(*place, priced.period, priced.tier, priced.price_micro)


def overlay(posted: Iterable[Assignment], adjustments: Iterable[Assignment]) -> list[Assignment]:
    """What holds: posted rows with their adjustments laid over them, the greater number last, in register order.

    Both are given as assignments, adjustments with their `number`. Raises OverlayError for an adjustment that does not
    lie in the posted row it names.
    """
    rows = sorted(posted, key=_place)
    holding: dict[tuple[int, int], list[Assignment]] = {(row.epoch, row.from_qty): [row] for row in rows}
    for layer in sorted(adjustments, key=lambda one: one.number):
        parts = holding.get((layer.epoch, layer.original_from))
        if parts is None or not parts[0].from_qty <= layer.from_qty < layer.to_qty <= parts[-1].to_qty:
            where = f"epoch {layer.epoch} [{layer.from_qty}, {layer.to_qty})"
            raise OverlayError(
                f"adjustment {layer.number} of {where} lies in no posted row that starts at {layer.original_from}"
            )
        holding[layer.epoch, layer.original_from] = list(_laid_over(parts, layer))
    return [part for row in rows for part in holding[row.epoch, row.from_qty]]


def differences(effective: Sequence[Assignment], canonical: Sequence[Charge]) -> list[Adjustment]:
    """The sub-intervals whose assignment is not what it ought to be, in register order, as few as the rows allow.

    `effective` is what `overlay` gave, `canonical` what `rate_history` gave; both in the order of the register, and of
    any extent: only what both cover is compared.
    """
    found: list[Adjustment] = []
    at = 0
    for part in effective:
        while at < len(canonical) and _ends_before(canonical[at], part):
            at += 1
        for adjustment in _differ(part, canonical, at):
            if found and _continues(found[-1], adjustment):
                found[-1] = msgspec.structs.replace(found[-1], to_qty=adjustment.to_qty, to_ts=adjustment.to_ts)
            else:
                found.append(adjustment)
    return found


def applied(effective: Sequence[Assignment], adjustments: Sequence[Adjustment], first: int) -> list[Assignment]:
    """What holds after adjustments were posted with the numbers from `first` on."""
    layers: dict[tuple[int, int], list[Assignment]] = {}
    for number, one in enumerate(adjustments, first):
        layer = Assignment(
            one.epoch,
            one.from_qty,
            one.to_qty,
            one.from_ts,
            one.to_ts,
            one.new,
            one.estimated,
            one.original_from,
            number,
        )
        layers.setdefault((one.epoch, one.original_from), []).append(layer)
    result: list[Assignment] = []
    for part in effective:
        parts = [part]
        for layer in layers.get((part.epoch, part.original_from), ()):
            low, high = max(layer.from_qty, part.from_qty), min(layer.to_qty, part.to_qty)
            if low < high:
                parts = list(_laid_over(parts, msgspec.structs.replace(layer, from_qty=low, to_qty=high)))
        result += parts
    return result


def _place(one: Assignment) -> tuple[int, int]:
    return one.epoch, one.from_qty


def _laid_over(parts: Iterable[Assignment], layer: Assignment) -> Iterator[Assignment]:
    """The parts with the layer in place of what it covers. Instants of what is left are cut with it."""
    for part in parts:
        if part.to_qty <= layer.from_qty or part.from_qty >= layer.to_qty:
            yield part
            continue
        if part.from_qty < layer.from_qty:
            yield _portion(part, part.from_qty, layer.from_qty)
        if part.from_qty <= layer.from_qty:
            yield layer
        if part.to_qty > layer.to_qty:
            yield _portion(part, layer.to_qty, part.to_qty)


def _portion(part: Assignment, from_qty: int, to_qty: int) -> Assignment:
    return msgspec.structs.replace(
        part, from_qty=from_qty, to_qty=to_qty, from_ts=_instant(part, from_qty), to_ts=_instant(part, to_qty)
    )


def _instant(part: Assignment, qty: int) -> int:
    """When the register stood at `qty`, interpolated within the part, rounded down to the ms."""
    rise = part.to_qty - part.from_qty
    return part.from_ts + (part.to_ts - part.from_ts) * (qty - part.from_qty) // rise


def _ends_before(charge: Charge, part: Assignment) -> bool:
    return charge.epoch < part.epoch or (charge.epoch == part.epoch and charge.priced.to_qty <= part.from_qty)


def _differ(part: Assignment, canonical: Sequence[Charge], at: int) -> Iterator[Adjustment]:
    """The differences within one part, from the charge at which it begins."""
    while at < len(canonical):
        charge = canonical[at]
        priced = charge.priced
        if charge.epoch != part.epoch or priced.from_qty >= part.to_qty:
            return
        if not _same(charge, part.facts):
            low, high = max(priced.from_qty, part.from_qty), min(priced.to_qty, part.to_qty)
            rise = priced.to_qty - priced.from_qty
            yield Adjustment(
                epoch=part.epoch,
                from_qty=low,
                to_qty=high,
                from_ts=priced.from_ts + (priced.to_ts - priced.from_ts) * (low - priced.from_qty) // rise,
                to_ts=priced.from_ts + (priced.to_ts - priced.from_ts) * (high - priced.from_qty) // rise,
                original_from=part.original_from,
                supersedes=part.number,
                old=part.facts,
                new=facts_of(charge),
                estimated=priced.estimated,
            )
        at += 1


def _same(charge: Charge, facts: Facts) -> bool:
    priced, payer = charge.priced, charge.payer
    return (
        priced.price_micro == facts.price_micro
        and priced.month == facts.month
        and priced.period == facts.period
        and priced.tier == facts.tier
        and priced.version == facts.version
        and payer.tenant == facts.tenant
        and payer.account == facts.account
        and payer.tariff == facts.tariff
    )


def _continues(before: Adjustment, after: Adjustment) -> bool:
    """Whether the second goes on where the first ends, in the same row, and says the same."""
    return (
        before.to_qty == after.from_qty
        and before.epoch == after.epoch
        and before.original_from == after.original_from
        and before.supersedes == after.supersedes
        and before.old == after.old
        and before.new == after.new
        and before.estimated == after.estimated
    )

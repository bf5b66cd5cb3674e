"""Where a charge comes from: the tree from two register readings to the nano-unit.

Theory of operation. A charge is quantity times price. The quantity is a stretch of a register, and every stretch lies
between believed samples: `reading` nodes name the pairs it was taken from, and where a pair crosses a boundary its
`share` nodes show how the delta was divided and which part is this charge's. The price is a sum of parts, each from one
line of one version of a tariff. Nothing is taken from what was posted but the interval and its facts: the tree is
computed anew from the samples by the code that charges, and its `proof` node says whether both agree. A tree that does
not agree is still shown, because that is when somebody will ask for it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from billing.history import rate_history
from billing.rating import FREE_TIER
from billing.rerating import Assignment, facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from billing.history import Charge, Epoch, Occupancy
    from billing.points import Point
    from billing.price_version import PriceVersion, Tier

Fact = int | str | bool | None


class Node(msgspec.Struct, frozen=True):
    """One step of a derivation. `kind` says which words tell it (`billing.derivation_text`); facts are exact: Wh or
    litres, micro- and nano-units, Unix ms."""

    kind: str
    facts: dict[str, Fact]
    children: tuple[Node, ...] = ()


def derive(
    part: Assignment, utility: str, epochs: Sequence[Epoch], occupancy: Occupancy, version: PriceVersion | None
) -> Node:
    """The tree of one assignment of a stretch of a register.

    `epochs` hold the meter's points, from before the month of the charge (before the year, for tiers by the year), so
    that cumulative use is right. `version` is the price version of the charge, None where nobody set a price.
    Raises what `rate_history` raises.
    """
    charges = rate_history(epochs, occupancy).charges
    amount: dict[str, Fact] = {
        "amount_nano": part.amount_nano,
        "quantity": part.to_qty - part.from_qty,
        "price_micro": part.facts.price_micro,
        "utility": utility,
        "tenant": part.facts.tenant,
    }
    children = (
        _quantity(part, utility, epochs, charges),
        _price(part, utility, charges, version),
        _proof(part, charges),
    )
    return Node("charge", amount, children)


def derive_difference(old: Node, new: Node, reason: str) -> Node:
    """The tree of an adjustment: what the stretch was charged, what it is charged now, and why that changed."""
    facts: dict[str, Fact] = {
        "amount_nano": _amount(new) - _amount(old),
        "old_nano": _amount(old),
        "new_nano": _amount(new),
        "reason": reason,
    }
    return Node("adjustment", facts, (Node("was", {}, (old,)), Node("is", {}, (new,))))


def _amount(node: Node) -> int:
    amount_nano = node.facts["amount_nano"]
    assert isinstance(amount_nano, int)
    return amount_nano


def _quantity(part: Assignment, utility: str, epochs: Sequence[Epoch], charges: Sequence[Charge]) -> Node:
    points = next((epoch.points for epoch in epochs if epoch.number == part.epoch), ())
    readings = [
        _reading(part, utility, before, after, charges)
        for before, after in pairwise(points)
        if before.qty < part.to_qty and after.qty > part.from_qty
    ]
    facts: dict[str, Fact] = {
        "from_qty": part.from_qty,
        "to_qty": part.to_qty,
        "from_ts": part.from_ts,
        "to_ts": part.to_ts,
        "epoch": part.epoch,
        "utility": utility,
        "estimated": part.estimated,
    }
    return Node("quantity", facts, tuple(readings))


def _reading(part: Assignment, utility: str, before: Point, after: Point, charges: Sequence[Charge]) -> Node:
    """One pair of samples, and how its delta was divided where it crosses a boundary."""
    facts: dict[str, Fact] = {
        "from_ts": before.ts,
        "from_qty": before.qty,
        "to_ts": after.ts,
        "to_qty": after.qty,
        "taken": min(after.qty, part.to_qty) - max(before.qty, part.from_qty),
        "utility": utility,
    }
    slices = [
        charge
        for charge in charges
        if charge.epoch == part.epoch and charge.priced.from_qty < after.qty and charge.priced.to_qty > before.qty
    ]
    shares = tuple(_share(part, utility, charge) for charge in slices) if len(slices) > 1 else ()
    return Node("reading", facts, shares)


def _share(part: Assignment, utility: str, charge: Charge) -> Node:
    priced = charge.priced
    own = priced.from_qty < part.to_qty and priced.to_qty > part.from_qty and facts_of(charge) == part.facts
    facts: dict[str, Fact] = {
        "from_ts": priced.from_ts,
        "to_ts": priced.to_ts,
        "quantity": priced.quantity,
        "utility": utility,
        "tenant": charge.payer.tenant,
        "period": priced.period,
        "tier": priced.tier,
        "estimated": priced.estimated,
        "own": own,
    }
    return Node("share", facts)


def _price(part: Assignment, utility: str, charges: Sequence[Charge], version: PriceVersion | None) -> Node:
    facts: dict[str, Fact] = {
        "price_micro": part.facts.price_micro,
        "utility": utility,
        "tariff": part.facts.tariff,
        "version_ts": part.facts.version,
    }
    if version is None:
        return Node("unpriced", facts)
    facts["version_from"] = version.from_local
    if part.facts.tier == FREE_TIER:
        use = _use_before(part, charges, yearly=False)
        free: dict[str, Fact] = {"upto": version.free_upto, "use": use, "utility": utility}
        return Node("price", facts, (Node("free", free),))
    return Node("price", facts, tuple(_price_parts(part, utility, charges, version)))


def _price_parts(part: Assignment, utility: str, charges: Sequence[Charge], version: PriceVersion) -> list[Node]:
    parts: list[Node] = []
    tier = version.tiers[part.facts.tier] if part.facts.tier is not None and version.tiers else None
    if tier is None or tier.price_micro is None:
        base = version.base_micro(part.facts.period)
        parts.append(Node("base", {"price_micro": base, "period": part.facts.period, "utility": utility}))
    if tier is not None:
        parts.append(_tier(part, utility, charges, version, tier))
    parts += [
        Node("surcharge", {"name": surcharge.name, "price_micro": surcharge.per_unit_micro, "utility": utility})
        for surcharge in version.surcharges
    ]
    return parts


def _tier(part: Assignment, utility: str, charges: Sequence[Charge], version: PriceVersion, tier: Tier) -> Node:
    index = version.tiers.index(tier)
    yearly = version.tier_period == "year"
    replaces = tier.price_micro is not None
    price_micro = tier.price_micro if tier.price_micro is not None else tier.add_micro
    facts: dict[str, Fact] = {
        "tier": index,
        "price_micro": price_micro,
        "replaces": replaces,
        "from": version.tiers[index - 1].upto if index else 0,
        "upto": tier.upto,
        "use": _use_before(part, charges, yearly=yearly),
        "yearly": yearly,
        "utility": utility,
    }
    return Node("tier", facts)


def _use_before(part: Assignment, charges: Sequence[Charge], *, yearly: bool) -> int:
    """What the meter had used in the month or year when this charge began, Wh or litres."""
    scale = 100 if yearly else 1
    span = part.facts.month // scale
    return sum(
        min(charge.priced.to_qty, part.from_qty) - charge.priced.from_qty
        if charge.epoch == part.epoch
        else charge.priced.quantity
        for charge in charges
        if charge.priced.month // scale == span
        and (charge.epoch < part.epoch or (charge.epoch == part.epoch and charge.priced.from_qty < part.from_qty))
    )


def _proof(part: Assignment, charges: Sequence[Charge]) -> Node:
    """Whether the samples lead to this very charge: the same facts over the whole stretch."""
    agreed = sum(
        min(charge.priced.to_qty, part.to_qty) - max(charge.priced.from_qty, part.from_qty)
        for charge in charges
        if charge.epoch == part.epoch
        and charge.priced.from_qty < part.to_qty
        and charge.priced.to_qty > part.from_qty
        and facts_of(charge) == part.facts
    )
    return Node("proof", {"agrees": agreed == part.to_qty - part.from_qty, "agreed": agreed})

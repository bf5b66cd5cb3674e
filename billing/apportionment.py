"""Apportionment (公摊): what was used in common, and what was lost on the way, divided among those who pay for it.

Theory of operation. A *shared* quantity (a lift, a pump, the loss between a master meter and its sub-meters) is divided
by one basis or by several with percentages. Each division is in whole Wh or litres by the largest remainder, ties to
the earlier member, so shares sum to the shared quantity exactly. Where the quantity has one price a share costs
quantity x price, so the amounts sum exactly as well; where only the total amount is known, amounts are divided by the
same weights to the last nano-unit.

Weights count for the days a member was there: a household that moved in on the 16th of a month of 30 days weighs half.
A member may be another shared quantity (a floor's light within the house's): it hands its share on. Groups are
therefore worked off from the outside in; a ring of groups is refused.

Where nobody weighs anything (own use of nobody) members share by days alone, and the share says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from billing.apportion import allocate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

By = Literal["household", "area", "own_use", "coefficient", "percentage"]
BASES: tuple[str, ...] = get_args(By)
WHOLE_MICRO = 100_000_000
"""A hundred per cent in millionths of a per cent."""


class ApportionmentError(ValueError):
    """A division that cannot be meant: percentages that miss 100, a ring of groups, no members."""


class Basis(msgspec.Struct, frozen=True):
    """A way to divide, for so many millionths of a per cent of the quantity."""

    by: By
    percent_micro: int = WHOLE_MICRO


class Member(msgspec.Struct, frozen=True):
    """Who takes part: a payer by id, or with `group` another shared quantity that hands its share on.

    Area in thousandths of a m2, coefficient in millionths, percentage in millionths of a per cent, own use in Wh or
    litres; `days` of the month that the member was there.
    """

    id: str
    group: bool = False
    households: int = 1
    area_milli: int = 0
    own_use: int = 0
    coefficient_micro: int = 0
    percent_micro: int = 0
    days: int = 1

    def weight(self, by: By) -> int:
        """What the member weighs on a basis."""
        values = {
            "household": self.households,
            "area": self.area_milli,
            "own_use": self.own_use,
            "coefficient": self.coefficient_micro,
            "percentage": self.percent_micro,
        }
        # Own use is what it is; whoever was there for half of the month used for half of the month.
        return values[by] if by == "own_use" else values[by] * self.days


class Shared(msgspec.Struct, frozen=True):
    """A quantity to be divided (Wh, litres) and what it costs: `price_micro` per kWh or m3, or else `amount_nano`."""

    id: str
    quantity: int
    bases: tuple[Basis, ...]
    members: tuple[Member, ...]
    price_micro: int | None = None
    amount_nano: int = 0


class Share(msgspec.Struct, frozen=True):
    """What a member takes of a shared quantity. `weight` of `weights` on the first basis."""

    group: str
    member: str
    quantity: int
    amount_nano: int
    weight: int
    weights: int
    total_quantity: int
    total_nano: int
    price_micro: int | None
    equal: bool = False
    """Nobody weighed anything, so days alone decided."""


def loss(master: int, subs: Sequence[int]) -> int:
    """What went in and was not measured again, Wh or litres; negative is a mistake of measuring, not a loss."""
    return master - sum(subs)


def check_bases(bases: Sequence[Basis], path: str) -> None:
    """Raises ApportionmentError unless the percentages of the bases sum to a hundred."""
    total = sum(basis.percent_micro for basis in bases)
    if not bases or total != WHOLE_MICRO:
        raise ApportionmentError(f"{path}: the percentages must sum to 100, they sum to {_percent(total)}")


def apportion(groups: Sequence[Shared]) -> list[Share]:
    """The shares of every group, nested ones included; shares of inner groups follow those of outer ones.

    Only shares of payers (not of groups) are charged; those of one group with all it handed on sum to its quantity and
    amount. Raises ApportionmentError.
    """
    by_id = {group.id: group for group in groups}
    if len(by_id) != len(groups):
        raise ApportionmentError("two groups have the same id")
    handed: dict[str, tuple[int, int]] = {}
    shares: list[Share] = []
    for group in _outside_in(by_id):
        got_quantity, got_nano = handed.get(group.id, (0, 0))
        for share, member in zip(_divide(group, got_quantity, got_nano), group.members, strict=True):
            shares.append(share)
            if member.group:
                quantity, amount_nano = handed.get(member.id, (0, 0))
                handed[member.id] = (quantity + share.quantity, amount_nano + share.amount_nano)
    return shares


def _divide(group: Shared, got_quantity: int, got_nano: int) -> Iterator[Share]:
    if not group.members:
        raise ApportionmentError(f"{group.id}: it has no members")
    check_bases(group.bases, f"{group.id}.by")
    quantity = group.quantity + got_quantity
    own_nano = group.quantity * group.price_micro if group.price_micro is not None else group.amount_nano
    total_nano = own_nano + got_nano
    # One price for all of it, so a share costs quantity times price; what an outer group handed on has its own amount.
    price = group.price_micro if quantity and total_nano == quantity * (group.price_micro or 0) else None
    quantities, equal = _shares(quantity, group)
    amounts = [part * price for part in quantities] if price is not None else _shares(total_nano, group)[0]
    weights = [member.weight(group.bases[0].by) for member in group.members]
    for member, part, amount_nano, weight in zip(group.members, quantities, amounts, weights, strict=True):
        yield Share(
            group=group.id,
            member=member.id,
            quantity=part,
            amount_nano=amount_nano,
            weight=weight,
            weights=sum(weights),
            total_quantity=quantity,
            total_nano=total_nano,
            price_micro=price,
            equal=equal,
        )


def _shares(total: int, group: Shared) -> tuple[list[int], bool]:
    """Shares of a quantity or an amount by all bases, and whether a basis had to fall back to days."""
    sums = [0] * len(group.members)
    equal = False
    for part, basis in zip(allocate(total, [basis.percent_micro for basis in group.bases]), group.bases, strict=True):
        weights = [member.weight(basis.by) for member in group.members]
        if basis.by == "percentage" and sum(member.percent_micro for member in group.members) != WHOLE_MICRO:
            found = _percent(sum(member.percent_micro for member in group.members))
            raise ApportionmentError(f"{group.id}: the members' percentages must sum to 100, they sum to {found}")
        if not any(weights):
            equal = True
            weights = (
                [member.days for member in group.members] if any(m.days for m in group.members) else [1] * len(sums)
            )
        sums = [known + more for known, more in zip(sums, allocate(part, weights), strict=True)]
    return sums, equal


def _outside_in(groups: Mapping[str, Shared]) -> list[Shared]:
    """Groups so that whoever hands on comes before those it hands to."""
    order: list[Shared] = []
    state: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise ApportionmentError(f"{' -> '.join((*trail, name))}: groups must not share themselves in a ring")
        if name in state:
            return
        for member in groups[name].members:
            if member.group:
                if member.id not in groups:
                    raise ApportionmentError(f"{name}: unknown group {member.id!r}")
                visit(member.id, (*trail, name))
        state[name] = True
        order.append(groups[name])

    for name in groups:
        visit(name, ())
    return order[::-1]


def _percent(micro: int) -> str:
    whole, part = divmod(micro, 1_000_000)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")

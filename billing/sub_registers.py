"""Sub-registers: what the meter itself says was used in each price period.

Theory of operation. A time-of-use meter counts its total and, beside it, one sub-register for each period (尖 峰 平 谷
深谷). Between two samples the rises of the sub-registers are the use of the periods, and no calendar of ours is needed.
They are believed only if they agree with the total: each register is kept to 10 Wh, so n of them may together miss the
total by n x 10 Wh and no more. What is missing or too much within that goes to the largest share (the earlier of equal
ones), because the total is what is charged. Where no sub-register moved at all, the little that the total moved has no
share to go to, and the calendar divides it.

Whatever else is not right (a sub-register that the meter does not tell, one that fell, one without a price, a sum that
is off) makes the pair of samples unusable; the reason is returned, the calendar divides the whole, and nothing is ever
charged at nothing because a sub-register is missing.
"""

from collections.abc import Collection

import msgspec

from billing.points import RATE_NAMES, Rates

RESOLUTION_WH = 10
"""The least step of a sub-register: 0.01 kWh."""


class PeriodShares(msgspec.Struct, frozen=True):
    """(period, Wh) in the order of `RATE_NAMES`, none zero; empty where the calendar must divide, then `reason` says
    why, or is empty where nothing is wrong."""

    shares: tuple[tuple[str, int], ...] = ()
    reason: str = ""


def period_shares(periods: Collection[str], before: Rates | None, after: Rates | None, quantity: int) -> PeriodShares:
    """What of `quantity` Wh was used in each of the periods that have a price, by two samples of the sub-registers."""
    if quantity == 0:
        return PeriodShares()
    told = _told(before, after)
    missing = [name for name in RATE_NAMES if name in periods and name not in told]
    if missing:
        return PeriodShares(reason=f"sub-registers that have a price are not told: {', '.join(missing)}")
    for name, (low, high) in told.items():
        if high < low:
            return PeriodShares(reason=f"sub-register {name} fell from {low} to {high}")
        if high > low and name not in periods:
            return PeriodShares(reason=f"sub-register {name} rose by {high - low} and has no price")
    shares = [(name, high - low) for name, (low, high) in told.items() if high > low]
    total, most = sum(share for _, share in shares), len(told) * RESOLUTION_WH
    if abs(quantity - total) > most:
        return PeriodShares(
            reason=f"the total rose by {quantity}, the sub-registers by {total}: more than {most} apart"
        )
    return PeriodShares(_level(shares, quantity - total)) if shares else PeriodShares()


def _told(before: Rates | None, after: Rates | None) -> dict[str, tuple[int, int]]:
    if before is None or after is None:
        return {}
    pairs = zip(RATE_NAMES, before, after, strict=True)
    return {name: (low, high) for name, low, high in pairs if low is not None and high is not None}


def _level(shares: list[tuple[str, int]], rest: int) -> tuple[tuple[str, int], ...]:
    """The shares with the rest on the largest; what is too much and exceeds the largest is taken from the next."""
    quantities = [share for _, share in shares]
    # sorted() is stable, so of equal shares the earlier comes first.
    for index in sorted(range(len(shares)), key=quantities.__getitem__, reverse=True):
        taken = max(rest, -quantities[index])
        quantities[index] += taken
        rest -= taken
        if rest == 0:
            break
    return tuple((name, share) for (name, _), share in zip(shares, quantities, strict=True) if share)

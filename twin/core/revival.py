"""A breaker made anew from what SQL knows of it, after the store was lost or no longer fits the ledger.

Commands may have gone out that SQL never heard of, so the fence leaps: whatever still comes of them is refused once a
new command was executed. Nothing is taken up in the middle: what was under way is decided afresh from the locks and
the first word of the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from twin.core.commands import FENCE_LEAP, MOST_FENCE
from twin.core.configuration import LIMIT
from twin.core.lock_kinds import BELOW_GUARANTEE
from twin.core.model import SHUT, BreakerTwin, CloseIntent

if TYPE_CHECKING:
    from twin.core.model import Configuration, Group, Lock


class LastCommand(msgspec.Struct, frozen=True):
    """The newest command of a breaker on record, by its fence. `closed_since`: it was reported closed after that was
    issued."""

    fence: int
    target: str
    state: str
    ts: int
    closed_since: bool = False


def revived_breaker(
    name: str,
    locks: dict[str, Lock],
    last: LastCommand | None,
    generation: int,
    cfg: Configuration | None = None,
) -> BreakerTwin:
    """A breaker with its standing locks, a fence beyond all that may be on the way, and the wish to close that outlived
    the store: we opened it, or were about to close it, and no lock is left. One that was closed since is left alone: if
    it is open now, somebody on site opened it. `generation` counts the rebuilds: no two of them give the same fence.

    `cfg`: the newest configuration on record. Newer ones may have gone out that SQL never heard of, so at its first
    wake the breaker follows its plan and its limits, and tells the device anew under a higher version."""
    breaker = BreakerTwin(name, locks=locks, cfg=cfg)
    if cfg is not None:
        breaker.limit_set, breaker.plan_at = cfg.settings.get(LIMIT), 0
    newest = last.fence if last is not None else 0
    breaker.fence = min(max(newest, generation * FENCE_LEAP) + FENCE_LEAP, MOST_FENCE)
    if last is None or locks or last.closed_since:
        return breaker
    if last.target in SHUT or last.state != "verified":
        breaker.close = CloseIntent({"reason": "the last lock was released"}, last.ts)
    return breaker


def look_at_everything(group: Group) -> None:
    """What a rebuilt tenant must be asked again: money and contracts may have changed while there was no twin, and what
    the twin made of them may be lost. At the first wake its arrears locks are looked at, and with its first live
    reading every rule on its balance."""
    tenant = group.tenant
    if tenant is None:
        return
    tenant.unseen_charges = True
    locks = [(kind, lock) for breaker in group.breakers.values() for kind, lock in breaker.locks.items()]
    tenant.unseen_credits = any(lock.rule and kind in BELOW_GUARANTEE for kind, lock in locks)

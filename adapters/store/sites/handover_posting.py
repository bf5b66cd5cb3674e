"""The ledger's part in a hand-over: when a meter is released and all that was charged is posted, it is given on.

The state of the hand-over, the rows before it and the act for the next group are one transaction; so whatever dies, the
meter is with the first group, on its way in the outbox, or with the next one.

A breaker on its way has no twin that could hear of a lock that somebody places or takes off: such an act is the next
group's, with a number before that of the act by which the breaker comes. So the breaker is given on with the locks that
stand in SQL by then.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from adapters.store.journals.outbox import append_act, next_seq
from adapters.store.sites.group_contracts import group_contracts
from adapters.store.sites.rerate_marks import mark
from adapters.store.sites.standing_locks import standing_locks
from twin.core.effects import MeterReleased, MeterTaken
from twin.core.messages import ContractsChanged, Handed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction
    from twin.core.model import BreakerContract, BreakerTwin, Lock

RELEASING, TAKING, DONE = "releasing", "taking", "done"
_OPEN = "SELECT meter, to_group, at, state FROM handover WHERE site = ? AND handover = ?"
_MOVE = "UPDATE handover SET state = ?, changed_ts = ? WHERE site = ? AND handover = ? AND meter = ? AND state = ?"
_FINISH = "UPDATE handover SET state = ?, changed_ts = changed_ts WHERE site = ? AND state <> ?"
_HEAD_TS = "SELECT max(head_ts) FROM register_epoch WHERE site = ? AND meter = ?"


async def post_handovers(tx: Transaction, site: str, effects: Sequence[Any]) -> None:
    """Give released meters on, and note those that have arrived."""
    released: defaultdict[str, list[MeterReleased]] = defaultdict(list)
    for effect in effects:
        if isinstance(effect, MeterReleased):
            released[effect.handover].append(effect)
        elif isinstance(effect, MeterTaken):
            await tx.execute(_MOVE, DONE, effect.ts, site, effect.handover, effect.meter, TAKING)
    for handover, meters in sorted(released.items()):
        await _give_on(tx, site, handover, meters)


async def _give_on(tx: Transaction, site: str, handover: str, released: list[MeterReleased]) -> None:
    waiting = {row["meter"]: row for row in await tx.fetch(_OPEN, site, handover) if row["state"] == RELEASING}
    fresh = [effect for effect in released if effect.meter.id in waiting]
    if not fresh:
        return
    now = max(effect.ts for effect in fresh)
    group = waiting[fresh[0].meter.id]["to_group"]
    on_the_way = {name for name in waiting if name not in {effect.meter.id for effect in fresh}}
    contracts = await group_contracts(tx, site, group, without=on_the_way)
    for effect in fresh:
        await tx.execute(_MOVE, TAKING, now, site, handover, effect.meter.id, RELEASING)
        row = waiting[effect.meter.id]
        head = (await tx.fetch(_HEAD_TS, site, effect.meter.id))[0][0]
        since = row["at"] if head is None else min(row["at"], head)
        await mark(tx, site, effect.meter.id, since, "the tenant changed", now)
    act = ContractsChanged(
        seq=await next_seq(tx, site, group),
        ts=now,
        contract=contracts.contract,
        meters=contracts.meters,
        breakers=contracts.breakers,
        gateway=contracts.gateway,
        handed=tuple([Handed(handover, one.meter, await _as_it_stands(tx, site, one.breaker)) for one in fresh]),
        standing=await _without_twins(tx, site, contracts.breakers, fresh),
    )
    await append_act(tx, site, group, act)


async def _as_it_stands(tx: Transaction, site: str, breaker: BreakerTwin | None) -> BreakerTwin | None:
    """A breaker with the locks that stand in SQL: what its last group knew, and what people did since."""
    if breaker is None:
        return None
    locks: dict[str, Lock] = {}
    for kind, lock in (await standing_locks(tx, site, "AND breaker = ?", breaker.id))[breaker.id].items():
        known = breaker.locks.get(kind)
        same = known is not None and (known.rule, known.until) == (lock.rule, lock.until)
        locks[kind] = known if known is not None and same else lock
    return replace(breaker, locks=locks)


async def _without_twins(
    tx: Transaction, site: str, breakers: Sequence[BreakerContract], handed: Sequence[MeterReleased]
) -> dict[str, dict[str, Lock]]:
    """Locks of breakers that come with a meter and not from its group: with a vacant meter its breaker was alone."""
    come = {one.breaker.id for one in handed if one.breaker is not None}
    found: dict[str, dict[str, Lock]] = {}
    for name in sorted({breaker.id for breaker in breakers} - come):
        found.update(await standing_locks(tx, site, "AND breaker = ?", name))
    return found


async def finish_all(tx: Transaction, site: str) -> None:
    """Twins are about to be made from SQL alone, each meter with whom it belongs to now: nothing is under way then."""
    await tx.execute(_FINISH, DONE, site, DONE)

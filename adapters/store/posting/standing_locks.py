"""Which locks that twins have decided may be written over what stands in SQL.

Theory of operation. A person's act on a lock is in force in SQL at once and reaches the twin later; what the twin
decides in between is older than the act, whatever the clocks say. So an act leaves its group and its number in the row
(`lock_acts`), and every decision says up to which act its twin had heard: of one group, a decision counts that had
heard of the act. A breaker that has changed hands since is that group's whose it is now; what another one says of it is
from before. Rows that no act has touched are written in the order of their instants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.lock_acts import group_of
from adapters.store.sites.rebuild import in_list
from twin.core.effects import LockChanged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapters.store.engine.database import Transaction
    from adapters.store.journals.refusals import Item

_STANDING = "SELECT breaker, lock, group_id, act_seq, ts FROM standing_lock WHERE site = ? AND breaker {names}"


class _Row(msgspec.Struct):
    """What a row says of its last change."""

    group: str
    act_seq: int
    ts: int


async def newer_locks(tx: Transaction, site: str, items: Iterable[Item]) -> list[LockChanged]:
    """The locks among the items that are newer than what stands, in their order. The caller holds the site's row."""
    found = [(item.group, item.effect) for item in items if isinstance(item.effect, LockChanged)]
    if not found:
        return []
    names, values = in_list(tx, {effect.breaker for _, effect in found})
    standing = {
        (breaker, lock): _Row(group, act_seq, ts)
        for breaker, lock, group, act_seq, ts in await tx.fetch(_STANDING.format(names=names), site, values)
    }
    newer: list[LockChanged] = []
    for group, effect in found:
        row = standing.setdefault((effect.breaker, effect.lock), _Row("", 0, effect.ts))
        if await _is_newer(tx, site, group, effect, row):
            row.ts = effect.ts
            newer.append(effect)
    return newer


async def _is_newer(tx: Transaction, site: str, group: str, effect: LockChanged, row: _Row) -> bool:
    if row.group == group:
        return effect.acts_seq >= row.act_seq
    return effect.ts >= row.ts and (not row.group or await _holder(tx, site, effect.breaker) == group)


async def _holder(tx: Transaction, site: str, breaker: str) -> str:
    """The group that has a breaker now; an empty text for one that the site has no more."""
    try:
        return await group_of(tx, site, breaker)
    except LookupError:
        return ""

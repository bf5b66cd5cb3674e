"""SQL went back in time under newer twins: noticed, told, and what keeps people safe is carried over.

Theory of operation. Whoever delivers acts to twins leaves in the store a mark of SQL's newest act. A later look that
does not find the marked act in SQL knows that the database was restored from an older copy, even where no effect lies
in between. The twins of that moment are the only witnesses: before they are rebuilt from SQL, they are asked which
tenants had more credits than SQL knows of, and which locks people had placed. The difference is recorded, so that the
payments can be booked again from their receipts; the locks are placed again at once, because somebody may be working
behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from twin.lost_acts import Loss, LostLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from twin.core.model import Group
    from twin.ports import Ledger

log = structlog.get_logger(__name__)

WENT_BACK = "SQL lacks acts that the twins have: it was restored from an older copy"


class ActMarks(Protocol):
    """SQL's side: marks of its history."""

    async def newest(self) -> str:
        """The mark of the newest act; an empty text without acts."""
        ...

    async def has(self, mark: str) -> bool:
        """Whether the marked act still stands as it was."""
        ...

    async def doubt_after(self, site: str, mark: str) -> int:
        """Count the acts of a site that are newer than the marked one as undelivered again; returns how many were
        delivered."""
        ...

    async def behind(self, site: str, reached: Mapping[str, int]) -> list[str]:
        """Of groups and the numbers of the last acts that their twins have, those that SQL has fewer acts of."""
        ...

    async def heads(self, site: str) -> dict[str, tuple[int, int]]:
        """(number of the last act, total of credits) by group."""
        ...

    async def standing_locks(self, site: str) -> set[tuple[str, str]]:
        """(breaker, lock) of the locks that stand."""
        ...

    async def record(self, site: str, losses: Sequence[Loss], now: int) -> None:
        """Tell people."""
        ...


class MarkedStore(Protocol):
    """The store's side: it keeps the newest mark of a site, and the twins that witness."""

    async def act_mark(self, site: str) -> str:
        """The mark that was noted last; an empty text for none."""
        ...

    async def note_act_mark(self, site: str, mark: str) -> None:
        """Note a mark in place of the one before."""
        ...

    async def generation(self, site: str) -> tuple[int, str] | None:
        """None where the site has no twins."""
        ...

    async def groups(self, site: str) -> AsyncIterator[Group]:
        """Every group of a site, some perhaps twice."""
        ...


async def why_went_back(marks: ActMarks, store: MarkedStore, site: str) -> str:
    """Why SQL cannot be the database that these twins were told by; an empty text where it can."""
    mark = await store.act_mark(site)
    return WENT_BACK if mark and not await marks.has(mark) else ""


async def save_what_is_lost(marks: ActMarks, store: MarkedStore, ledger: Ledger, site: str, now: int) -> list[Loss]:
    """Ask the twins, before they are replaced, what SQL lacks; record it, and place people's locks again in SQL."""
    if await store.generation(site) is None:
        return []
    losses = await find_losses(marks, store, site)
    if not losses:
        return []
    log.error("SQL went back, payments or locks are missing in it", site=site, groups=len(losses))
    await marks.record(site, losses, now)
    for lock in (lock for loss in losses for lock in loss.locks):
        await _place_again(ledger, site, lock)
    return losses


async def _place_again(ledger: Ledger, site: str, lock: LostLock) -> None:
    """Put a person's lock into SQL as it was; a device that SQL does not know (any more) has nothing to lock."""
    key = f"kept:{lock.breaker}:{lock.kind}:{lock.since}"
    said = {"breaker": lock.breaker, "lock": lock.kind, "who": lock.who, "why": lock.why}
    try:
        await ledger.place_lock(site, **said, ts=lock.since, key=key, until=lock.until)
    except LookupError as error:
        log.warning("a lock could not be kept", site=site, breaker=lock.breaker, error=str(error))


async def find_losses(marks: ActMarks, store: MarkedStore, site: str) -> list[Loss]:
    """The groups whose twins have acts that SQL has not, by their ids."""
    heads, standing = await marks.heads(site), await marks.standing_locks(site)
    found: dict[str, Loss] = {}
    async for group in await store.groups(site):
        seq, credits_nano = heads.get(group.id, (0, 0))
        if group.acts_seq <= seq:
            continue
        had_nano = group.tenant.credits_nano if group.tenant is not None else credits_nano
        tenant = group.tenant.id if group.tenant is not None else ""
        locks = tuple(_lost_locks(group, standing))
        found[group.id] = Loss(group.id, tenant, seq + 1, group.acts_seq, had_nano - credits_nano, locks)
    return [found[name] for name in sorted(found)]


def _lost_locks(group: Group, standing: set[tuple[str, str]]) -> list[LostLock]:
    return [
        LostLock(name, kind, lock.who, lock.why, lock.since, lock.until)
        for name, breaker in group.breakers.items()
        for kind, lock in breaker.locks.items()
        if not lock.rule and (name, kind) not in standing
    ]

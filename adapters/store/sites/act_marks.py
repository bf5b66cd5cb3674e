"""What SQL's acts look like from outside: a mark by which a later look tells whether the same history still stands.

An act's row never changes in its content, so its id and a digest of it mark the database's history up to there. A
database that was restored from an older copy lacks the marked act, or has come to give its id to another one.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.accounts import wallet
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.sites.rebuild import in_list
from billing.money import format_nano

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.store.engine.database import Database, Row
    from twin.lost_acts import Loss

KIND = "ledger_went_back"
WHO = "platform"
_NEWEST = "SELECT id, site, group_id, seq, body FROM act ORDER BY id DESC LIMIT 1"
_MARKED = "SELECT id, site, group_id, seq, body FROM act WHERE id = ?"
_DELIVERED_SINCE = "SELECT count(*) FROM act WHERE site = ? AND id > ? AND delivered"
_DOUBT = "UPDATE act SET delivered = FALSE WHERE site = ? AND id > ? AND delivered RETURNING id"
_HEADS = "SELECT group_id, seq FROM act_head WHERE site = ?"
_REACHED = "SELECT group_id, seq FROM act_head WHERE site = ? AND group_id {names}"
_CREDITS = "SELECT account, credits_nano FROM account WHERE site = ?"
_LOCKS = "SELECT breaker, lock FROM standing_lock WHERE site = ? AND active"
_INCIDENT = (
    "INSERT INTO incident (site, device, kind, since, count, detail, resolved_ts) VALUES (?, ?, ?, ?, 1, ?, NULL)"
    " ON CONFLICT (site, device, kind, since) DO NOTHING"
)
_ALARM = (
    "INSERT INTO alarm (site, rule, twin, since, rule_version, tenant, changed_ts, cleared_ts, severity, active,"
    " because) VALUES (?, ?, ?, ?, 0, ?, ?, NULL, 'critical', TRUE, ?) ON CONFLICT (site, rule, twin, since) DO NOTHING"
)


class SqlActMarks:
    """Marks of one database, and what is recorded where one is missing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> str:
        """The mark of the newest act; an empty text for a database without acts."""
        rows = await self._database.fetch(_NEWEST)
        return _mark(rows[0]) if rows else ""

    async def has(self, mark: str) -> bool:
        """Whether the marked act still stands as it was."""
        rows = await self._database.fetch(_MARKED, int(mark.partition(":")[0]))
        return bool(rows) and _mark(rows[0]) == mark

    async def doubt_after(self, site: str, mark: str) -> int:
        """Count the acts of a site that are newer than the marked one as undelivered again; returns how many were
        delivered."""
        newer = (site, int(mark.partition(":")[0]))
        if not (await self._database.fetch(_DELIVERED_SINCE, *newer))[0][0]:
            return 0
        async with self._database.write() as tx:
            return len(await tx.fetch(_DOUBT, *newer))

    async def behind(self, site: str, reached: Mapping[str, int]) -> list[str]:
        """Of groups and the numbers of the last acts that their twins have, those that SQL has fewer acts of."""
        names, values = in_list(self._database, reached)
        rows = await self._database.fetch(_REACHED.format(names=names), site, values)
        heads = {row[0]: row[1] for row in rows}
        return sorted(group for group, seq in reached.items() if seq > heads.get(group, 0))

    async def heads(self, site: str) -> dict[str, tuple[int, int]]:
        """(number of the last act, total of credits in nano-units) by group."""
        totals = {row[0]: row[1] for row in await self._database.fetch(_CREDITS, site)}
        return {row[0]: (row[1], totals.get(wallet(row[0]), 0)) for row in await self._database.fetch(_HEADS, site)}

    async def standing_locks(self, site: str) -> set[tuple[str, str]]:
        """(breaker, lock) of the locks that stand in SQL."""
        return {(row[0], row[1]) for row in await self._database.fetch(_LOCKS, site)}

    async def record(self, site: str, losses: Sequence[Loss], now: int) -> None:
        """An incident, a critical alarm and an audit row for every group whose acts are gone."""
        async with self._database.write() as tx:
            for loss in losses:
                text = _told(loss)
                await tx.execute(_INCIDENT, site, loss.group, KIND, now, text)
                because = msgspec.json.encode({"detail": text}).decode()
                await tx.execute(_ALARM, site, f"@{KIND}", loss.group, now, loss.tenant, now, because)
                kept = [f"{lock.breaker} {lock.kind}" for lock in loss.locks]
                after = {"lost": format_nano(loss.credits_nano), "acts": [loss.first, loss.last], "locks_kept": kept}
                await record_audit(tx, site, [AuditEntry(now, WHO, KIND, f"group {loss.group}", None, after)])


def _mark(row: Row) -> str:
    number, *content = tuple(row)
    return f"{number}:{blake2s(msgspec.json.encode(content), digest_size=12).hexdigest()}"


def _told(loss: Loss) -> str:
    """What a person has to know, and to do."""
    said = f"the database was restored from an older copy and lacks acts {loss.first} to {loss.last}"
    if loss.credits_nano:
        said += f"; credits of {format_nano(loss.credits_nano)} are lost: book these payments again from their receipts"
    if loss.locks:
        names = ", ".join(f"{lock.kind} on {lock.breaker}" for lock in loss.locks)
        said += f"; locks kept from the twin: {names}"
    return said

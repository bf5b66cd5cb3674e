"""Locks by people: recorded, numbered as an act for the twin, and in force in SQL at once, so a rebuild keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.idempotency import answered, input_hash, remember
from adapters.store.journals.outbox import append_act, decode_act, encode_act, next_seq
from twin.core.messages import LockPlaced, LockReleased
from twin.ports import MoneyRefusedError, PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction

_STANDING = (
    "INSERT INTO standing_lock (site, breaker, lock, active, who, why, ts, until, rule, rule_version)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', 0) ON CONFLICT (site, breaker, lock) DO UPDATE SET"
    " active = excluded.active, who = excluded.who, why = excluded.why, ts = excluded.ts, until = excluded.until,"
    " rule = '', rule_version = 0"
    # As in the twins: what stands is not shortened by a second wish, only released.
    " WHERE NOT (excluded.active AND standing_lock.active AND (standing_lock.until IS NULL"
    " OR (excluded.until IS NOT NULL AND standing_lock.until >= excluded.until)))"
)
_GROUP = (
    "SELECT s.tenant FROM supply s JOIN site i ON i.id = s.site WHERE s.site = ? AND (s.breaker = ? OR s.meter = ?)"
    " AND (s.to_ts IS NULL OR s.to_ts > i.imported_ts)"
    " AND NOT EXISTS (SELECT 1 FROM supply e WHERE e.site = s.site AND e.meter = s.meter"
    " AND (e.to_ts IS NULL OR e.to_ts > i.imported_ts) AND COALESCE(e.from_ts, -1) < COALESCE(s.from_ts, -1))"
    " AND NOT (COALESCE(s.from_ts, -1) > i.imported_ts AND EXISTS (SELECT 1 FROM supply f"
    " WHERE f.site = s.site AND f.meter = s.meter AND f.to_ts <= i.imported_ts)) ORDER BY s.id LIMIT 1"
)
"""Who pays for a device now, as `payers.current_payers` has it: the earliest tenant that has not left, unless it has
yet to come and another one has left before."""
WORK = "maintenance"
"""The lock of whoever works on the line."""
_HOLDER = (
    "SELECT who, why FROM standing_lock WHERE site = ? AND breaker = ? AND lock = ? AND active"
    " AND (until IS NULL OR until > ?)"
)
_NEWEST = "UPDATE standing_lock SET group_id = ?, act_seq = ? WHERE site = ? AND breaker = ? AND lock = ?"
"""Also where the wish changes nothing: what the twin decides before it hears of it must not undo what people want."""


class LockWish(msgspec.Struct, frozen=True):
    """A person's wish about one lock of one breaker; `place` false releases it."""

    place: bool
    breaker: str
    lock: str
    who: str
    why: str
    ts: int
    key: str
    until: int | None = None


async def change_lock(database: Database, site: str, wish: LockWish) -> PendingAct:
    """Record the wish and give the act for the twin; the same (who, key) again gives the same act and changes nothing.

    Raises LookupError for an unknown breaker, and MoneyRefusedError `idempotency_conflict` for a key that came with
    another content, `locked_by_another` for a lock of somebody else who works on the line.
    """
    digest = input_hash(wish.place, wish.breaker, wish.lock, wish.why, wish.until)
    scope = f"lock:{wish.who}"
    async with database.write() as tx:
        await take_site(tx, site)
        known = await answered(tx, site, scope, wish.key, digest)
        if known is not None:
            answer = msgspec.json.decode(known, type=dict[str, str])
            return PendingAct(site, answer["group"], decode_act(answer["act"]))
        await _refuse_a_shared_lock(tx, site, wish)
        pending = await write_lock(tx, site, wish)
        group, act = pending.group, pending.act
        answer_text = msgspec.json.encode({"group": group, "act": encode_act(act)}).decode()
        await remember(tx, site, scope, wish.key, digest, answer_text, wish.ts)
        return pending


async def _refuse_a_shared_lock(tx: Transaction, site: str, wish: LockWish) -> None:
    """One lock has one holder: who relied on the lock of somebody else would stand at a live line when that one is done
    and releases it."""
    if not wish.place or wish.lock != WORK:
        return
    rows = await tx.fetch(_HOLDER, site, wish.breaker, wish.lock, wish.ts)
    if rows and rows[0][0] != wish.who:
        holder, why = rows[0]
        detail = (
            f"{wish.breaker} is locked by {holder} ({why}), who may release it any time; take the lock `manual` too"
        )
        raise MoneyRefusedError("locked_by_another", detail)


async def write_lock(tx: Transaction, site: str, wish: LockWish) -> PendingAct:
    """Carry a wish out in a transaction that holds the site: the act, the standing lock and the audit row.

    Raises LookupError for an unknown breaker. The caller sees to it that it happens once.
    """
    group = await group_of(tx, site, wish.breaker)
    seq = await next_seq(tx, site, group)
    said = (wish.breaker, wish.lock, wish.who, wish.why, wish.ts)
    act = LockPlaced(seq, *said, wish.until) if wish.place else LockReleased(seq, *said)
    pending = await append_act(tx, site, group, act)
    until = wish.until if wish.place else None
    await tx.execute(_STANDING, site, wish.breaker, wish.lock, wish.place, wish.who, wish.why, wish.ts, until)
    await tx.execute(_NEWEST, group, seq, site, wish.breaker, wish.lock)
    what = "lock.place" if wish.place else "lock.release"
    after = {"lock": wish.lock, "why": wish.why, "until": until}
    await record_audit(tx, site, [AuditEntry(wish.ts, wish.who, what, f"breaker {wish.breaker}", None, after)])
    return pending


async def group_of(tx: Transaction, site: str, device: str) -> str:
    """The group that holds a device: its tenant's, or its own. Raises LookupError for an unknown device."""
    if not await tx.fetch("SELECT 1 FROM device WHERE site = ? AND device = ?", site, device):
        raise LookupError(f"site {site} has no device {device!r}")
    rows = await tx.fetch(_GROUP, site, device, device)
    return str(rows[0][0]) if rows else f"@{device}"


async def take_site(tx: Transaction, site: str) -> None:
    """Queue behind other acts of the site, so that two calls with one key cannot both be first."""
    lock = " FOR UPDATE" if tx.engine == "postgres" else ""
    if not await tx.fetch(f"SELECT id FROM site WHERE id = ?{lock}", site):  # noqa: S608 -- constants
        raise LookupError(f"site {site!r} is not in the database; import its site file first")

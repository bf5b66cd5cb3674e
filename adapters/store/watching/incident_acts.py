"""Closing incidents by hand: those that cannot heal by themselves, and those whose cause is gone without a trace.

The row keeps who closed it and why; the incident's own alarm is cleared; an act takes the incident off its twin. If the
cause is still there, the twin opens a new one, so closing hides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.idempotency import answered, input_hash, remember
from adapters.store.journals.lock_acts import group_of, take_site
from adapters.store.journals.outbox import append_act, decode_act, encode_act, next_seq
from adapters.store.journals.read_models import IncidentEntry
from twin.core.messages import IncidentClosed
from twin.ports import MoneyRefusedError, PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction

LONGEST_REASON: Final = 1_000
_ONE = (
    "SELECT id, device, kind, since, count, detail, resolved_ts, closed_by, closed_why FROM incident"
    " WHERE site = ? AND id = ?"
)
_CLOSE = (
    "UPDATE incident SET resolved_ts = ?, closed_by = ?, closed_why = ?"
    " WHERE site = ? AND id = ? AND resolved_ts IS NULL"
)
_CLEAR = (
    "UPDATE alarm SET active = FALSE, cleared_ts = ?, changed_ts = ? WHERE site = ? AND rule = ? AND twin = ?"
    " AND since = ? AND active"
)


class SqlIncidents:
    """Incidents of one database, as people close them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def incident(self, site: str, incident: int) -> IncidentEntry | None:
        """One incident; None for an unknown one."""
        rows = await self._database.fetch(_ONE, site, incident)
        return IncidentEntry(*tuple(rows[0])) if rows else None

    async def close(self, site: str, *, incident: int, who: str, why: str, ts: int, key: str) -> PendingAct:
        """Close an incident for a reason, once by (who, key); the act takes it off its twin.

        Raises LookupError for an unknown incident, ValueError (`reason: what is wrong`) for a reason that is none, and
        MoneyRefusedError `incident_over` for one that is over, `idempotency_conflict` for a key of another content.
        """
        _check_reason(why)
        digest, scope = input_hash(incident, why), f"incident:{who}"
        async with self._database.write() as tx:
            await take_site(tx, site)
            known = await answered(tx, site, scope, key, digest)
            if known is not None:
                answer = msgspec.json.decode(known, type=dict[str, str])
                return PendingAct(site, answer["group"], decode_act(answer["act"]))
            rows = await tx.fetch(_ONE, site, incident)
            if not rows:
                raise LookupError(f"site {site} has no incident {incident}")
            before = IncidentEntry(*tuple(rows[0]))
            if before.resolved_ts is not None:
                raise MoneyRefusedError("incident_over", f"incident {incident} is over since {before.resolved_ts}")
            pending = await _close(tx, site, before, who, why, ts)
            kept = msgspec.json.encode({"group": pending.group, "act": encode_act(pending.act)}).decode()
            await remember(tx, site, scope, key, digest, kept, ts)
            return pending


async def _close(tx: Transaction, site: str, incident: IncidentEntry, who: str, why: str, ts: int) -> PendingAct:
    await tx.execute(_CLOSE, ts, who, why, site, incident.id)
    await tx.execute(_CLEAR, ts, ts, site, f"@{incident.kind}", incident.device, incident.since)
    subject = f"incident {incident.id} {incident.kind} {incident.device}"[:200]
    after = {"reason": why, "since": incident.since, "detail": incident.detail}
    await record_audit(tx, site, [AuditEntry(ts, who, "incident.close", subject, None, after)])
    group = await _group(tx, site, incident.device)
    seq = await next_seq(tx, site, group)
    return await append_act(
        tx, site, group, IncidentClosed(seq, incident.device, incident.kind, incident.since, who, why, ts)
    )


async def _group(tx: Transaction, site: str, twin: str) -> str:
    """The group that an incident is about: a tenant's own (SQL went back), or that of the device."""
    if twin.startswith("@") or await tx.fetch("SELECT 1 FROM tenant WHERE site = ? AND tenant = ?", site, twin):
        return twin
    try:
        return await group_of(tx, site, twin)
    except LookupError:
        return f"@{twin}"


def _check_reason(why: str) -> None:
    if not why.strip():
        raise ValueError("reason: an incident is closed for a reason")
    if len(why) > LONGEST_REASON or "\x00" in why:
        raise ValueError(f"reason: at most {LONGEST_REASON} characters of text")

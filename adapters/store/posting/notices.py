"""Notices, the proof of their delivery, and why some were not told.

One may be told, or withheld, before the ledger writer has posted that it was wanted: the row is made by whoever comes
first. A shelf keeps back what is not worse than it was placed on; a notice without severity is of a rule whose alarm
has only one. The first notice of a group leads it, and keeps the lead over a crash, so that it is told in the end.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from adapters.store.posting.operations_posting import as_json
from rules.actions import SEVERITIES

if TYPE_CHECKING:
    from adapters.store.engine.database import Database
    from twin.core.effects import NotificationWanted

_SETTLE = (
    "INSERT INTO notification (site, tenant, template, ts, twin, recipient, channels, data, state, attempts, proof,"
    " settled_ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (site, tenant, template, ts, twin, recipient) DO UPDATE SET"
    " state = excluded.state, attempts = notification.attempts + excluded.attempts, proof = excluded.proof,"
    " settled_ts = excluded.settled_ts"
)
_SHELF = (
    "SELECT severity, until_ts, who, reason FROM alarm_shelf WHERE site = ? AND rule = ? AND twin = ?"
    " AND until_ts > ? AND (ended_ts IS NULL OR ended_ts > ?)"
)
_LEADER = "SELECT tenant, template, ts, twin, recipient FROM notice_group WHERE site = ? AND together = ?"
_LEAD = (
    "INSERT INTO notice_group (site, together, tenant, template, ts, twin, recipient) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (site, together) DO UPDATE SET tenant = excluded.tenant, template = excluded.template,"
    " ts = excluded.ts, twin = excluded.twin, recipient = excluded.recipient"
)
_TOLD = (
    "SELECT 1 FROM notification WHERE site = ? AND tenant = ? AND template = ? AND ts = ? AND twin = ?"
    " AND recipient = ? AND state = 'delivered'"
)


async def was_told(database: Database, site: str, notice: NotificationWanted) -> bool:
    """Whether this very notice (tenant, template, ts, twin, recipient) was delivered before."""
    return bool(await database.fetch(_TOLD, site, *_identity(notice)))


async def told(database: Database, site: str, notice: NotificationWanted, proof: str, now: int) -> None:
    """Record the delivery at `now` (Unix ms) with the channel's own id for it."""
    await _settle(database, site, notice, "delivered", 1, proof, now)


async def withheld(database: Database, site: str, notice: NotificationWanted, state: str, why: str, now: int) -> None:
    """Record that a notice was not told, and why."""
    await _settle(database, site, notice, state, 0, why, now)


async def shelf_of(database: Database, site: str, twin: str, notice: NotificationWanted) -> str:
    """Until when, by whom and for what the alarm of a notice is shelved; an empty text where it is to be told."""
    rule = str(notice.data.get("rule", ""))
    rows = await database.fetch(_SHELF, site, rule, twin, notice.ts, notice.ts)
    if not rows:
        return ""
    severity, until, who, reason = tuple(rows[0])
    mine = str(notice.data.get("severity") or severity)
    if mine in SEVERITIES and severity in SEVERITIES and SEVERITIES.index(mine) > SEVERITIES.index(severity):
        return ""
    end = datetime.fromtimestamp(until / 1000, UTC).isoformat(timespec="seconds")
    return f"alarm {rule} of {twin} is shelved until {end} by {who}: {reason}"


async def leader_of(database: Database, site: str, notice: NotificationWanted, together: str, *, within_ms: int) -> str:
    """Which notice tells for the group of this one; an empty text where this one does, which is recorded at once."""
    mine = _identity(notice)
    async with database.write() as tx:
        rows = await tx.fetch(_LEADER, site, together)
        leader = tuple(rows[0]) if rows else None
        if leader == mine:
            return ""
        if leader is not None and abs(notice.ts - leader[2]) <= within_ms:
            return f"told together with the notice {leader[1]} to {leader[0]} of {leader[2]}"
        await tx.execute(_LEAD, site, together, *mine)
        return ""


async def _settle(
    database: Database, site: str, notice: NotificationWanted, state: str, attempts: int, proof: str, now: int
) -> None:
    key = (site, *_identity(notice), as_json(notice.channels) if notice.channels else "")
    async with database.write() as tx:
        await tx.execute(_SETTLE, *key, as_json(notice.data), state, attempts, proof, now)


def _identity(notice: NotificationWanted) -> tuple[str, str, int, str, str]:
    return (notice.tenant, notice.template, notice.ts, notice.twin, notice.to)

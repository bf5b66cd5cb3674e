"""Notices and the proof of their delivery. One may be told before the ledger writer has posted that it was wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.operations_posting import as_json

if TYPE_CHECKING:
    from adapters.store.database import Database
    from twin.core.effects import NotificationWanted

_TOLD = (
    "INSERT INTO notification (site, tenant, template, ts, data, state, attempts, proof, settled_ts)"
    " VALUES (?, ?, ?, ?, ?, 'delivered', 1, ?, ?) ON CONFLICT (site, tenant, template, ts) DO UPDATE SET"
    " state = 'delivered', attempts = notification.attempts + 1, proof = excluded.proof,"
    " settled_ts = excluded.settled_ts"
)


async def was_told(database: Database, site: str, notice: NotificationWanted) -> bool:
    """Whether this very notice (tenant, template, ts) was delivered before."""
    rows = await database.fetch(
        "SELECT 1 FROM notification WHERE site = ? AND tenant = ? AND template = ? AND ts = ? AND state = 'delivered'",
        site,
        notice.tenant,
        notice.template,
        notice.ts,
    )
    return bool(rows)


async def told(database: Database, site: str, notice: NotificationWanted, proof: str, now: int) -> None:
    """Record the delivery at `now` (Unix ms) with the channel's own id for it."""
    async with database.write() as tx:
        data = as_json(notice.data)
        await tx.execute(_TOLD, site, notice.tenant, notice.template, notice.ts, data, proof, now)

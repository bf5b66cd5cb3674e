"""The `PaymentBook` port over an SQL database: payments by the numbers that channels gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.journals.audit import AuditEntry, record_audit
from twin.payments import Credited, SetAside

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

_CREDITED = (
    "SELECT payment, reference, tenant, amount_nano FROM payment WHERE site = ? AND channel = ? AND reference = ?"
)
_BETWEEN = (
    "SELECT payment, reference, tenant, amount_nano FROM payment"
    " WHERE site = ? AND channel = ? AND ts >= ? AND ts < ? ORDER BY id"
)
_REFUND = "SELECT tenant, amount_nano, channel, state FROM refund WHERE site = ? AND refund = ?"


class SqlPaymentBook:
    """Reads of payments and refunds, and notes of what was refused."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def credited(self, site: str, channel: str, transaction: str) -> Credited | None:
        """The payment that was credited for a channel's number."""
        rows = await self._database.fetch(_CREDITED, site, channel, transaction)
        return Credited(*tuple(rows[0])) if rows else None

    async def between(self, site: str, channel: str, *, since: int, until: int) -> list[Credited]:
        """Payments of a channel that were credited in [since, until) (Unix ms), oldest first."""
        rows = await self._database.fetch(_BETWEEN, site, channel, since, until)
        return [Credited(*tuple(row)) for row in rows]

    async def refund(self, site: str, refund: str) -> SetAside | None:
        """A refund of ours."""
        rows = await self._database.fetch(_REFUND, site, refund)
        return SetAside(*tuple(rows[0])) if rows else None

    async def note(self, site: str, *, who: str, what: str, subject: str, facts: dict[str, object], ts: int) -> None:
        """Write to the audit what a channel said and did not get."""
        async with self._database.write() as tx:
            await record_audit(tx, site, [AuditEntry(ts, who, what, subject, None, facts)])

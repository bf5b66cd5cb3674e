"""Plain reads for screens and the API, in pages; the newest first where time matters.

A cursor is the key of the last item of a page, so pages neither skip nor repeat when rows are added meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from adapters.store.journals.accounts import wallet
from adapters.store.journals.read_models import (
    AuditLine,
    ChargedInterval,
    CommandEntry,
    CursorError,
    DeviceEntry,
    IncidentEntry,
    LedgerLine,
    Page,
    PaymentEntry,
    TenantBalance,
)
from adapters.store.sites.contracts import in_languages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapters.store.engine.database import Database, Row

T = TypeVar("T")

MOST_PER_PAGE = 1_000
_NEWEST = 2**63 - 1

_TENANTS = (
    "SELECT t.tenant, t.name, t.mode, COALESCE(a.credits_nano, 0), COALESCE(a.charges_nano, 0), t.supply_state,"
    " t.supply_state_since, t.protected_until FROM tenant t LEFT JOIN account a ON a.site = t.site"
    " AND a.account = 'tenant:' || t.tenant || ':wallet' WHERE t.site = ? AND "
)
_LEDGER = (
    "SELECT j.seq, j.ts, j.kind, j.reference, j.memo, j.actor, l.amount_nano FROM leg l"
    " JOIN journal j ON j.site = l.site AND j.seq = l.seq WHERE l.site = ? AND l.account = ? AND l.seq < ?"
    " ORDER BY l.seq DESC LIMIT ?"
)
_INTERVALS = (
    "SELECT r.meter, r.epoch, r.from_qty, r.to_qty, e.from_ts, e.to_ts, r.tariff, r.version, r.month, r.period, r.tier,"
    " r.price_micro, r.amount_nano, e.estimated FROM rating r JOIN energy e ON e.site = r.site AND e.meter = r.meter"
    " AND e.epoch = r.epoch AND e.from_qty = r.from_qty WHERE r.site = ? AND r.journal_seq = ?"
    " ORDER BY r.meter, r.epoch, r.from_qty"
)
_DEVICES = (
    "SELECT d.device, d.kind, d.gateway, (SELECT s.tenant FROM supply s WHERE s.site = d.site"
    " AND (s.meter = d.device OR s.breaker = d.device) AND (s.to_ts IS NULL OR s.to_ts > i.imported_ts)"
    " ORDER BY s.id DESC LIMIT 1), d.settings FROM device d JOIN site i ON i.id = d.site WHERE d.site = ? AND "
)
_INCIDENTS = (
    "SELECT id, device, kind, since, count, detail, resolved_ts, closed_by, closed_why FROM incident"
    " WHERE site = ? AND id < ?{open}{device} ORDER BY id DESC LIMIT ?"
)
_COMMANDS = (
    "SELECT fence, cmd, device, tenant, op, target, fence, state, ts, issued, exp, why, reason FROM command"
    " WHERE site = ? AND device = ? AND fence < ?{tenant} ORDER BY fence DESC LIMIT ?"
)
_PAYMENTS = (
    "SELECT id, payment, tenant, amount_nano, channel, reference, actor, ts FROM payment"
    " WHERE site = ? AND id < ?{tenant} ORDER BY id DESC LIMIT ?"
)
_AUDIT = (
    "SELECT id, id, ts, who, what, subject, state_before, state_after FROM audit WHERE site = ? AND id < ?"
    " ORDER BY id DESC LIMIT ?"
)


class SqlQueries:
    """Reads of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenants(self, site: str, *, cursor: str | None = None, limit: int = 100) -> Page[TenantBalance]:
        """Tenants by id, with their posted balances."""
        sql = f"{_TENANTS} t.tenant > ? ORDER BY t.tenant LIMIT ?"
        rows = await self._database.fetch(sql, site, cursor or "", page_size(limit) + 1)
        return paged(rows, limit, lambda row: row[0], _tenant)

    async def tenant(self, site: str, tenant: str) -> TenantBalance | None:
        """One tenant with the posted balance; None for an unknown one."""
        rows = await self._database.fetch(f"{_TENANTS} t.tenant = ?", site, tenant)
        return _tenant(rows[0]) if rows else None

    async def tenant_ledger(
        self, site: str, tenant: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[LedgerLine]:
        """What happened to a tenant's balance, newest first."""
        values = (site, wallet(tenant), before_key(cursor), page_size(limit) + 1)
        rows = await self._database.fetch(_LEDGER, *values)
        return paged(rows, limit, lambda row: row[0], lambda row: LedgerLine(*tuple(row)))

    async def charged_intervals(self, site: str, seq: int) -> list[ChargedInterval]:
        """The intervals behind one charge journal, in the order of the register."""
        rows = await self._database.fetch(_INTERVALS, site, seq)
        return [_interval(row) for row in rows]

    async def devices(self, site: str, *, cursor: str | None = None, limit: int = 100) -> Page[DeviceEntry]:
        """Devices and gateways by id."""
        sql = f"{_DEVICES} d.device > ? ORDER BY d.device LIMIT ?"
        rows = await self._database.fetch(sql, site, cursor or "", page_size(limit) + 1)
        return paged(rows, limit, lambda row: row[0], _device)

    async def device(self, site: str, device: str) -> DeviceEntry | None:
        """One device; None for an unknown one."""
        rows = await self._database.fetch(f"{_DEVICES} d.device = ?", site, device)
        return _device(rows[0]) if rows else None

    async def incidents(
        self,
        site: str,
        *,
        open_only: bool = False,
        device: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[IncidentEntry]:
        """Incidents, newest first; of one device, or only open ones, where asked."""
        sql = _INCIDENTS.format(
            open=" AND resolved_ts IS NULL" if open_only else "", device=" AND device = ?" if device else ""
        )
        chosen = (device,) if device else ()
        rows = await self._database.fetch(sql, site, before_key(cursor), *chosen, page_size(limit) + 1)
        return paged(rows, limit, lambda row: row[0], lambda row: IncidentEntry(*tuple(row)))

    async def commands(
        self, site: str, device: str, *, tenant: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[CommandEntry]:
        """Commands of a device, newest first; those given while it was one tenant's where asked."""
        sql = _COMMANDS.format(tenant=" AND tenant = ?" if tenant else "")
        chosen = (tenant,) if tenant else ()
        rows = await self._database.fetch(sql, site, device, before_key(cursor), *chosen, page_size(limit) + 1)
        return paged(rows, limit, lambda row: row[0], _command)

    async def payments(
        self, site: str, *, tenant: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[PaymentEntry]:
        """Payments, newest first; of one tenant where asked."""
        sql = _PAYMENTS.format(tenant=" AND tenant = ?" if tenant else "")
        chosen = (tenant,) if tenant else ()
        rows = await self._database.fetch(sql, site, before_key(cursor), *chosen, page_size(limit) + 1)
        return paged(rows, limit, lambda row: row[0], lambda row: PaymentEntry(*tuple(row)[1:]))

    async def audit(self, site: str, *, cursor: str | None = None, limit: int = 100) -> Page[AuditLine]:
        """Audited acts, newest first."""
        rows = await self._database.fetch(_AUDIT, site, before_key(cursor), page_size(limit) + 1)
        return paged(rows, limit, lambda row: row[0], _audit_line)


def page_size(limit: int) -> int:
    """How many items a page has where so many are asked for."""
    return max(1, min(limit, MOST_PER_PAGE))


def before_key(cursor: str | None) -> int:
    """The number behind which a page starts. Raises CursorError for a text that is no cursor of ours."""
    if cursor is None:
        return _NEWEST
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 19 or int(cursor) > _NEWEST:
        raise CursorError(f"{cursor!r} is not a cursor; pass on the `next` of the page before")
    return int(cursor)


def paged(rows: Sequence[Row], limit: int, key: Callable[[Row], Any], item: Callable[[Row], T]) -> Page[T]:
    """A page of at most `limit` of the rows; one row more than that tells that there is a next page."""
    shown = rows[: page_size(limit)]
    more = len(rows) > len(shown)
    return Page([item(row) for row in shown], str(key(shown[-1])) if more else None)


def _tenant(row: Row) -> TenantBalance:
    tenant, name, *rest = tuple(row)
    return TenantBalance(tenant, in_languages(msgspec.json.decode(name)), *rest)


def _interval(row: Row) -> ChargedInterval:
    values = list(row)
    values[13] = bool(values[13])
    return ChargedInterval(*values)


def _device(row: Row) -> DeviceEntry:
    values = list(row)
    values[4] = msgspec.json.decode(values[4])
    return DeviceEntry(*values)


def _command(row: Row) -> CommandEntry:
    values = list(row)[1:]
    values[10] = msgspec.json.decode(values[10])
    return CommandEntry(*values)


def _audit_line(row: Row) -> AuditLine:
    values = list(row)[1:]
    values[5:] = [None if text is None else msgspec.json.decode(text) for text in values[5:]]
    return AuditLine(*values)

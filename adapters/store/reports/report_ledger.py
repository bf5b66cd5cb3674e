"""Statements of the ledger: what happened on a tenant's wallet or in a whole site within a span, in portions.

Rows come in the order of the journal. A statement holds the journals that were posted when it was begun, so that its
totals and its rows agree whatever is posted meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.accounts import wallet
from adapters.store.reports.report_models import LedgerEntry, LedgerHead

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Database
    from adapters.store.reports.report_models import Span

PORTION = 1_000
_WINDOW = "SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM journal WHERE site = ? AND ts >= ? AND ts < ?"
_BEFORE = (
    "SELECT CAST(COALESCE(SUM(l.amount_nano), 0) AS BIGINT) FROM leg l JOIN journal j ON j.site = l.site"
    " AND j.seq = l.seq WHERE l.account = ? AND l.site = ? AND j.ts < ?"
)
_SUMS = (
    "SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN l.amount_nano > 0 THEN l.amount_nano END), 0) AS BIGINT),"
    " CAST(COALESCE(SUM(CASE WHEN l.amount_nano < 0 THEN l.amount_nano END), 0) AS BIGINT) FROM leg l"
    " JOIN journal j ON j.site = l.site AND j.seq = l.seq WHERE {account}l.site = ? AND l.seq >= ? AND l.seq <= ?"
    " AND j.ts >= ? AND j.ts < ?"
)
_ROWS = (
    "SELECT l.place, j.seq, j.ts, j.kind, l.account, j.reference, j.memo, j.actor, l.amount_nano FROM leg l"
    " JOIN journal j ON j.site = l.site AND j.seq = l.seq WHERE {account}l.site = ? AND l.seq >= ? AND l.seq <= ?"
    " AND (l.seq > ? OR l.place > ?) AND j.ts >= ? AND j.ts < ? ORDER BY l.seq, l.place LIMIT ?"
)
_OF_ACCOUNT = "l.account = ? AND "


class SqlStatements:
    """Statements over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self, site: str, tenant: str | None, span: Span) -> LedgerHead:
        """Balances, sums and the journals of a statement; of a whole site (all accounts) without a tenant.

        A site's accounts sum to zero, so its balances are zero; `in_nano` and `out_nano` are its turnover.
        """
        first, last = (await self._database.fetch(_WINDOW, site, span.from_ts, span.to_ts))[0]
        account = () if tenant is None else (wallet(tenant),)
        sql = _SUMS.format(account=_OF_ACCOUNT if account else "")
        values = (*account, site, first, last, span.from_ts, span.to_ts)
        count, in_nano, out_nano = (await self._database.fetch(sql, *values))[0]
        opening_nano = 0
        if tenant is not None:
            opening_nano = (await self._database.fetch(_BEFORE, wallet(tenant), site, span.from_ts))[0][0]
        closing_nano = opening_nano + in_nano + out_nano
        return LedgerHead(opening_nano, closing_nano, in_nano, out_nano, count, first, last)

    async def rows(
        self, site: str, tenant: str | None, span: Span, head: LedgerHead
    ) -> AsyncIterator[list[LedgerEntry]]:
        """The rows of a statement in portions; a tenant's carry the balance after each."""
        account = () if tenant is None else (wallet(tenant),)
        sql = _ROWS.format(account=_OF_ACCOUNT if account else "")
        seq, place = head.first_seq, -1
        balance_nano = head.opening_nano
        while True:
            values = (site, seq, head.last_seq, seq, place, span.from_ts, span.to_ts, PORTION)
            rows = await self._database.fetch(sql, *account, *values)
            entries = []
            for row in rows:
                entry = LedgerEntry(*tuple(row)[1:])
                balance_nano += entry.amount_nano
                entries.append(
                    msgspec.structs.replace(entry, balance_nano=balance_nano) if tenant is not None else entry
                )
            if entries:
                yield entries
            if len(rows) < PORTION:
                return
            seq, place = rows[-1][1], rows[-1][0]

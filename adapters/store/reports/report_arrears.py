"""Arrears as of an instant, and how old they are.

Payments pay the oldest charges first, so what is unpaid are the newest charges: those of a tenant in arrears are
walked back from the instant until they cover the debt, which takes a few rows for most. What cannot be found there (an
opening debt, say) is as old as can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.store.journals.accounts import debt, deposit, wallet
from adapters.store.reports.report_models import ArrearsRow
from billing.local_time import DAY_MS

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction

EDGES_DAYS: Final = (30, 60, 90)
PORTION: Final = 1_000
_LATER = (
    "SELECT l.account, CAST(SUM(l.amount_nano) AS BIGINT) FROM journal j JOIN leg l ON l.site = j.site"
    " AND l.seq = j.seq WHERE j.site = ? AND j.ts > ? GROUP BY l.account"
)
_NOW = (
    "SELECT tenant, account, credits_nano - charges_nano FROM account WHERE site = ? AND tenant <> '' ORDER BY tenant"
)
_WALK = (
    "SELECT l.seq, j.ts, -l.amount_nano FROM leg l JOIN journal j ON j.site = l.site AND j.seq = l.seq"
    " WHERE l.account = ? AND l.site = ? AND l.seq < ? AND l.amount_nano < 0 AND j.ts <= ?"
    " ORDER BY l.seq DESC LIMIT ?"
)
_BESIDE = (
    "SELECT CAST(COALESCE(SUM(l.amount_nano), 0) AS BIGINT) FROM leg l JOIN journal j ON j.site = l.site"
    " AND j.seq = l.seq WHERE l.account = ? AND l.site = ? AND j.ts <= ?"
)
_NEWEST = 2**63 - 1


async def arrears(database: Database, names: dict[str, dict[str, str]], site: str, as_of: int) -> list[ArrearsRow]:
    """Tenants whose wallet was below zero at an instant (Unix ms, included), or who owed something beside it."""
    async with database.snapshot() as tx:
        later = {row[0]: row[1] for row in await tx.fetch(_LATER, site, as_of)}
        owing: list[ArrearsRow] = []
        for tenant, account, now_nano in await tx.fetch(_NOW, site):
            balance_nano = now_nano - later.get(account, 0)
            debt_nano = await _beside(tx, site, tenant, as_of)
            if balance_nano >= 0 and debt_nano == 0:
                continue
            ages = await _ages(tx, site, tenant, as_of, max(-balance_nano, 0))
            owing.append(ArrearsRow(tenant, names.get(tenant, {}), balance_nano, *ages, debt_nano))
    return sorted(owing, key=lambda row: (row.balance_nano, row.tenant))


async def _beside(tx: Transaction, site: str, tenant: str, as_of: int) -> int:
    """What a tenant owed beside the wallet, as a positive amount."""
    total = 0
    for account in (debt(tenant), deposit(tenant)):
        total -= min((await tx.fetch(_BESIDE, account, site, as_of))[0][0], 0)
    return total


async def _ages(tx: Transaction, site: str, tenant: str, as_of: int, unpaid_nano: int) -> tuple[int, int, int, int]:
    """The unpaid amount by age: up to 30, 60, 90 days, and older."""
    ages = [0, 0, 0, 0]
    before = _NEWEST
    while unpaid_nano > 0:
        rows = await tx.fetch(_WALK, wallet(tenant), site, before, as_of, PORTION)
        for seq, ts, amount_nano in rows:
            part = min(unpaid_nano, amount_nano)
            ages[_bucket(as_of - ts)] += part
            unpaid_nano -= part
            before = seq
            if not unpaid_nano:
                break
        if len(rows) < PORTION:
            break
    ages[-1] += unpaid_nano
    return ages[0], ages[1], ages[2], ages[3]


def _bucket(age_ms: int) -> int:
    for place, days in enumerate(EDGES_DAYS):
        if age_ms <= days * DAY_MS:
            return place
    return len(EDGES_DAYS)

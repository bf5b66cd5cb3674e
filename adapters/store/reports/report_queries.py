"""Reports: what was earned, used, paid in and is owed. Every total is one of the ledger.

Months are those in which something was used (that of the charge), so a late adjustment changes the month that it is
about. What was paid is dated by the instant of its journal, on the local calendar of the site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.journals.accounts import clearing
from adapters.store.reports.report_arrears import arrears
from adapters.store.reports.report_calendar import day_number, local_days, months_between
from adapters.store.reports.report_days import used_within
from adapters.store.reports.report_ledger import SqlStatements
from adapters.store.reports.report_models import (
    EnergyRow,
    MonthSum,
    Overview,
    RankingRow,
    RechargeRow,
    RevenueRow,
    Span,
)
from adapters.store.reports.report_sums import rebuild, refresh
from adapters.store.sites.contracts import in_languages
from billing.local_time import month_index_at, month_number, offset_spans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Database
    from adapters.store.reports.report_models import ArrearsRow, LedgerEntry, LedgerHead

EVER = (0, 999_912)
_REVENUE = (
    "SELECT month, utility, tariff, period, source, CAST(SUM(quantity) AS BIGINT), CAST(SUM(amount_nano) AS BIGINT)"
    " FROM report_month WHERE site = ? AND month >= ? AND month <= ? GROUP BY month, utility, tariff, period, source"
    " ORDER BY month, utility, tariff, period, source"
)
_ENERGY = (
    "SELECT month, tenant, meter, utility, period, CAST(SUM(quantity) AS BIGINT), CAST(SUM(amount_nano) AS BIGINT)"
    " FROM report_month WHERE site = ? AND month = ? AND source IN ('charge', 'vacancy', 'adjustment'){tenant}"
    " GROUP BY month, tenant, meter, utility, period ORDER BY tenant, meter, utility, period"
)
_RANKING = (
    "SELECT tenant, CAST(SUM(CASE WHEN utility = 'electricity' THEN quantity ELSE 0 END) AS BIGINT),"
    " CAST(SUM(CASE WHEN utility = 'water' THEN quantity ELSE 0 END) AS BIGINT), CAST(SUM(amount_nano) AS BIGINT)"
    " AS total FROM report_month WHERE site = ? AND month >= ? AND month <= ? AND tenant <> ''"
    " GROUP BY tenant ORDER BY {order} DESC, tenant LIMIT ?"
)
_ORDERS = {"amount": "4", "electricity": "2", "water": "3"}
_CHANNELS = "SELECT channel FROM payment WHERE site = ? UNION SELECT channel FROM refund WHERE site = ?"
_RECHARGE = (
    "SELECT (j.ts + CAST(? AS BIGINT)) / 86400000, j.kind, COUNT(*), CAST(-SUM(l.amount_nano) AS BIGINT)"
    " FROM leg l JOIN journal j ON j.site = l.site AND j.seq = l.seq WHERE l.account = ? AND l.site = ?"
    " AND j.ts >= ? AND j.ts < ? GROUP BY 1, 2"
)
_MONTHS = (
    "SELECT month, CAST(SUM(CASE WHEN utility = 'electricity' THEN quantity ELSE 0 END) AS BIGINT),"
    " CAST(SUM(CASE WHEN utility = 'water' THEN quantity ELSE 0 END) AS BIGINT), CAST(SUM(amount_nano) AS BIGINT)"
    " FROM report_month WHERE site = ? GROUP BY month"
)
_BALANCES = (
    "SELECT CAST(COALESCE(SUM(CASE WHEN b > 0 THEN b END), 0) AS BIGINT),"
    " CAST(COALESCE(SUM(CASE WHEN b < 0 THEN b END), 0) AS BIGINT), COUNT(CASE WHEN b < 0 THEN 1 END)"
    " FROM (SELECT credits_nano - charges_nano AS b FROM account WHERE site = ? AND tenant <> '') x"
)
_NAMES = "SELECT tenant, name FROM tenant WHERE site = ?"


class SqlReports:
    """Reports over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def zone(self, site: str) -> ZoneInfo:
        """The time zone of a site; LookupError for an unknown one."""
        return ZoneInfo((await self._settings(site))["timezone"])

    async def revenue(self, site: str, from_month: int, to_month: int) -> list[RevenueRow]:
        """What was earned in some months, both included: charges, adjustments, fees, shares; vacant supplies too."""
        await refresh(self._database, site)
        rows = await self._database.fetch(_REVENUE, site, from_month, to_month)
        return [RevenueRow(*tuple(row)) for row in rows]

    async def rebuild(self, site: str) -> None:
        """Add up again what reports read, from the posted rows. Raises LookupError for an unknown site."""
        await self._settings(site)
        await rebuild(self._database, site)

    async def energy_by_month(
        self, site: str, from_month: int, to_month: int, tenant: str | None = None
    ) -> AsyncIterator[list[EnergyRow]]:
        """Use by month, payer, meter and period, a month at a time; of one tenant where asked."""
        await refresh(self._database, site)
        names = await self.names(site)
        sql = _ENERGY.format(tenant=" AND tenant = ?" if tenant is not None else "")
        chosen = () if tenant is None else (tenant,)
        for month in months_between(from_month, to_month):
            rows = await self._database.fetch(sql, site, month, *chosen)
            yield [_energy(row[0], names, *tuple(row)[1:]) for row in rows]

    async def ranking(
        self, site: str, from_month: int, to_month: int, *, by: str = "amount", limit: int = 20
    ) -> list[RankingRow]:
        """Tenants by what they were charged, or by their use (`electricity`, `water`), the greatest first."""
        await refresh(self._database, site)
        sql = _RANKING.format(order=_ORDERS[by])
        rows = await self._database.fetch(sql, site, from_month, to_month, limit)
        names = await self.names(site)
        return [
            RankingRow(place, row[0], names.get(row[0], {}), row[1], row[2], row[3])
            for place, row in enumerate(rows, 1)
        ]

    async def recharge(self, site: str, span: Span) -> list[RechargeRow]:
        """Money through each channel by local day: payments, and what went back."""
        zone = await self.zone(site)
        channels = [row[0] for row in await self._database.fetch(_CHANNELS, site, site)]
        sums: dict[tuple[int, str, str], tuple[int, int]] = {}
        for start, end, offset in offset_spans(zone, span.from_ts, span.to_ts):
            for channel in channels:
                rows = await self._database.fetch(_RECHARGE, offset, clearing(channel), site, start, end)
                for day, kind, count, nano in rows:
                    key = (day_number(day), channel, kind)
                    before = sums.get(key, (0, 0))
                    sums[key] = (before[0] + count, before[1] + nano)
        return [RechargeRow(*key, *value) for key, value in sorted(sums.items())]

    async def energy_by_day(self, site: str, span: Span, tenant: str | None = None) -> AsyncIterator[list[EnergyRow]]:
        """Use by local day, payer, meter and period, a day at a time; of one tenant where asked."""
        names = await self.names(site)
        for day, part in local_days(await self.zone(site), span):
            used = await used_within(self._database, site, part, tenant)
            yield [
                _energy(day, names, row.tenant, row.meter, row.utility, row.period, row.quantity, row.amount_nano)
                for row in used
            ]

    async def overview(self, site: str, now: int) -> Overview:
        """The site in a few numbers at `now` (Unix ms)."""
        zone = await self.zone(site)
        await refresh(self._database, site)
        used: dict[int, tuple[int, int, int]] = {
            row[0]: tuple(row)[1:] for row in await self._database.fetch(_MONTHS, site)
        }
        paid: dict[int, int] = {}
        for row in await self.recharge(site, Span(0, now + 1)):
            paid[row.day // 100] = paid.get(row.day // 100, 0) + row.amount_nano
        nothing = (0, 0, 0)
        last = month_index_at(zone, now)
        months = [month_number(index) for index in range(last - 11, last + 1)]
        prepaid_nano, arrears_nano, in_arrears = (await self._database.fetch(_BALANCES, site))[0]
        counts = "SELECT (SELECT COUNT(*) FROM tenant WHERE site = ?), (SELECT COUNT(*) FROM device WHERE site = ?)"
        tenants, devices = (await self._database.fetch(counts, site, site))[0]
        return Overview(
            tenants=tenants,
            devices=devices,
            revenue_nano=sum(row[2] for row in used.values()),
            recharge_nano=sum(paid.values()),
            prepaid_nano=prepaid_nano,
            arrears_nano=arrears_nano,
            in_arrears=in_arrears,
            months=tuple(MonthSum(month, *used.get(month, nothing), paid.get(month, 0)) for month in months),
        )

    async def arrears(self, site: str, as_of: int) -> list[ArrearsRow]:
        """Tenants in arrears at an instant (Unix ms), the deepest first, with the age of what is unpaid."""
        return await arrears(self._database, await self.names(site), site, as_of)

    async def statement(self, site: str, tenant: str | None, span: Span) -> LedgerHead:
        """Balances and sums of a statement; of the whole site without a tenant."""
        return await SqlStatements(self._database).head(site, tenant, span)

    def statement_rows(
        self, site: str, tenant: str | None, span: Span, head: LedgerHead
    ) -> AsyncIterator[list[LedgerEntry]]:
        """The rows of a statement, in portions."""
        return SqlStatements(self._database).rows(site, tenant, span, head)

    async def issuer(self, site: str) -> dict[str, str]:
        """Who issues documents: the letterhead of the site, or its name. LookupError for an unknown site."""
        settings = await self._settings(site)
        letterhead = settings.get("settlement", {}).get("letterhead")
        return in_languages(letterhead or settings.get("name") or site)

    async def names(self, site: str) -> dict[str, dict[str, str]]:
        """What people call the tenants of a site, by id and language."""
        rows = await self._database.fetch(_NAMES, site)
        return {tenant: in_languages(msgspec.json.decode(name)) for tenant, name in rows}

    async def _settings(self, site: str) -> dict[str, Any]:
        rows = await self._database.fetch("SELECT settings FROM site WHERE id = ?", site)
        if not rows:
            raise LookupError(f"site {site!r} is not in the database; import its site file first")
        settings: dict[str, Any] = msgspec.json.decode(rows[0][0])
        return settings


def _energy(time: int, names: dict[str, dict[str, str]], tenant: str, *rest: Any) -> EnergyRow:
    return EnergyRow(time, tenant, names.get(tenant, {}), *rest)

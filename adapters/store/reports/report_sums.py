# ruff: noqa: S608 -- what is put into statements are constants of this module
"""Sums by month, payer, meter, price and kind of posting: kept up as rows are posted, so that a report reads thousands
of rows instead of millions.

Theory of operation. Posted rows of a site never change, and their numbers (`id`) grow in the order in which their
transactions commit, because whoever posts holds the site's row. So the sums remember the last number of each table
that is in them, and before a report is read what came since is added, in portions, by one statement that adds up
inside the database. An adjustment takes its interval away from where it was charged and adds it where it is charged
now. What is summed is therefore what the ledger holds, whatever was adjusted in between.

`site || ''` keeps the planners to the rows' numbers: an index that begins with the site would lead through all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.store.engine.paging import site_of_pages
from adapters.store.journals.accounts import VACANCY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Database, Row, Transaction

PORTION: Final = 200_000
"""Numbers of rows taken in one transaction, so that posting never waits for long."""
_COLUMNS = "month, tenant, meter, utility, tariff, period, source"
_ADD = (
    f"INSERT INTO report_month (site, {_COLUMNS}, quantity, amount_nano)"
    f" SELECT ?, {_COLUMNS}, CAST(SUM(quantity) AS BIGINT), CAST(SUM(amount_nano) AS BIGINT) FROM ({{rows}}) x"
    f" WHERE true GROUP BY {_COLUMNS} ON CONFLICT (site, {_COLUMNS}) DO UPDATE SET"
    " quantity = report_month.quantity + excluded.quantity,"
    " amount_nano = report_month.amount_nano + excluded.amount_nano"
)
_RATING = (
    "SELECT r.month, e.tenant, r.meter, r.utility, r.tariff, COALESCE(r.period, '') AS period,"
    f" CASE WHEN r.account = '{VACANCY}' THEN 'vacancy' ELSE 'charge' END AS source,"
    " r.to_qty - r.from_qty AS quantity, r.amount_nano FROM rating r JOIN energy e ON e.site = r.site"
    " AND e.meter = r.meter AND e.epoch = r.epoch AND e.from_qty = r.from_qty"
    " WHERE r.site || '' = ? AND r.id > ? AND r.id <= ? AND r.revision = 1"
)
_ADJUSTMENT = (
    "SELECT old_month AS month, old_tenant AS tenant, meter, utility, old_tariff AS tariff,"
    " COALESCE(old_period, '') AS period, 'adjustment' AS source, from_qty - to_qty AS quantity,"
    " -old_amount_nano AS amount_nano FROM adjustment WHERE site || '' = ? AND id > ? AND id <= ?"
    " UNION ALL SELECT month, tenant, meter, utility, tariff, COALESCE(period, ''), 'adjustment', to_qty - from_qty,"
    " amount_nano FROM adjustment WHERE site || '' = ? AND id > ? AND id <= ?"
)
_FEES = (
    "SELECT month, tenant, meter, utility, tariff, '' AS period, kind AS source, 0 AS quantity, amount_nano"
    " FROM fee_line WHERE site || '' = ? AND id > ? AND id <= ?"
)
_SOURCES: Final = {"rating": (_RATING, 1), "adjustment": (_ADJUSTMENT, 2), "fee_line": (_FEES, 1)}
_CUTS = "SELECT rating, adjustment, fee_line FROM report_cut WHERE site = ?"
_DIFFERENCES = (
    f"SELECT {_COLUMNS}, sum(kept), sum(quantity), sum(kept_nano), sum(amount_nano) FROM ("
    f"SELECT {_COLUMNS}, quantity AS kept, 0 AS quantity, amount_nano AS kept_nano, 0 AS amount_nano"
    f" FROM report_month WHERE site = ? UNION ALL SELECT {_COLUMNS}, 0, quantity, 0, amount_nano FROM ("
    + " UNION ALL ".join(f"SELECT * FROM ({sql}) AS posted_{table}" for table, (sql, _) in _SOURCES.items())
    + f") AS posted) AS both_sides GROUP BY {_COLUMNS} HAVING sum(kept) <> sum(quantity)"
    f" OR sum(kept_nano) <> sum(amount_nano) ORDER BY {_COLUMNS}"
)
_OPEN = "INSERT INTO report_cut (site, rating, adjustment, fee_line) VALUES (?, 0, 0, 0) ON CONFLICT (site) DO NOTHING"


async def refresh(database: Database, site: str) -> None:
    """Bring the sums of a site up to what is posted."""
    while await _portion(database, site):
        pass


async def rebuild(database: Database, site: str) -> None:
    """Throw the sums away and add everything up again."""
    async with database.write() as tx:
        await tx.execute("DELETE FROM report_month WHERE site = ?", site)
        await tx.execute("DELETE FROM report_cut WHERE site = ?", site)
    await refresh(database, site)


async def differences(tx: Transaction, site: str) -> AsyncIterator[Row]:
    """Sums that are not what the posted rows add up to, as far as they have come: the columns of the sum, then quantity
    kept and posted, amount kept and posted."""
    cuts = await tx.fetch(_CUTS, site)
    upto = tuple(cuts[0]) if cuts else (0, 0, 0)
    values = [(site, 0, cut) * times for cut, (_, times) in zip(upto, _SOURCES.values(), strict=True)]
    async for row in tx.stream(_DIFFERENCES, site, *(value for group in values for value in group)):
        yield row


async def _portion(database: Database, site: str) -> bool:
    """Add one portion of each table; False where all of them are at their end."""
    cuts = await database.fetch(_CUTS, site)
    if cuts and not any(
        [await _last(database, site, table, cut) for table, cut in zip(_SOURCES, cuts[0], strict=True)]
    ):
        return False
    async with database.write() as tx:
        await tx.execute(_OPEN, site)
        lock = " FOR UPDATE" if tx.engine == "postgres" else ""
        more = False
        for (table, (sql, times)), cut in zip(_SOURCES.items(), (await tx.fetch(_CUTS + lock, site))[0], strict=True):
            more |= await _add(tx, site, table, cut, sql, times)
    return more


async def _last(reader: Database | Transaction, site: str, table: str, cut: int) -> int:
    """The last row of a site in a table after the cut; 0 where there is none."""
    sql = f"SELECT id FROM {table} WHERE id > ? AND {site_of_pages(reader.engine)} = ? ORDER BY id DESC LIMIT 1"
    rows = await reader.fetch(sql, cut, site)
    return int(rows[0][0]) if rows else 0


async def _add(tx: Transaction, site: str, table: str, cut: int, sql: str, times: int) -> bool:
    """Add the next portion of one table; whether there is more behind it."""
    last = await _last(tx, site, table, cut)
    if not last:
        return False
    upto = min(last, cut + PORTION)
    await tx.execute(_ADD.format(rows=sql), site, *((site, cut, upto) * times))
    await tx.execute(f"UPDATE report_cut SET {table} = ? WHERE site = ?", upto, site)
    return upto < last

# ruff: noqa: S608 -- every statement is put together from constants
"""Reading bills, and the record of which were pushed. In pages, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.bills.bill_facts import statement_number
from adapters.store.bills.bill_issue import stored_bill
from adapters.store.engine.keyed_rows import in_list
from adapters.store.engine.paging import site_of_pages
from adapters.store.journals.read_models import CursorError, Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapters.store.engine.database import Database, Row
    from billing.bill import Bill

_COLUMNS = (
    "id, bill, kind, holder, month, revision, state, series, number, from_ts, to_ts, corrects, replaced_by, issued_ts,"
    " opening_nano, charges_nano, credits_nano, closing_nano"
)
_WANT = (
    "INSERT INTO bill_push (site, bill, holder, state, attempts, proof, trouble, wanted_by, wanted_ts, changed_ts)"
    " SELECT site, bill, holder, 'wanted', 0, '', '', ?, ?, ? FROM bill WHERE site = ? AND month = ?"
    " AND state = 'issued'"
)
_WAITING = (
    "SELECT p.bill, p.holder, b.document, b.state, b.replaced_by FROM bill_push p JOIN bill b ON b.site = p.site"
    " AND b.bill = p.bill WHERE p.site = ? AND b.month = ? AND p.state <> 'delivered' AND b.state = 'issued'"
    " AND p.bill > ? ORDER BY p.bill LIMIT ?"
)
_PUSHES = (
    "SELECT p.bill, p.holder, p.state, p.attempts, p.proof, p.trouble, p.changed_ts FROM bill_push p JOIN bill b"
    " ON b.site = p.site AND b.bill = p.bill WHERE p.site = ? AND b.month = ? AND p.bill > ? ORDER BY p.bill LIMIT ?"
)
_SUPPLIED = (
    "SELECT meter, tenant FROM supply WHERE site = ? AND (from_ts IS NULL OR from_ts < ?)"
    " AND (to_ts IS NULL OR to_ts >= ?)"
)
MOST_PER_PAGE = 1_000


class BillEntry(msgspec.Struct, frozen=True):
    """A bill in a list; money in nano-units."""

    id: str
    kind: str
    holder: str
    month: int
    revision: int
    state: str
    number: str
    from_ts: int
    to_ts: int
    corrects: str
    replaced_by: str
    issued_ts: int | None
    opening_nano: int
    charges_nano: int
    credits_nano: int
    closing_nano: int


class PushEntry(msgspec.Struct, frozen=True):
    """How far the telling of one bill is: `wanted`, `delivered` with the channel's proof, or `failed` and why."""

    bill: str
    holder: str
    state: str
    attempts: int
    proof: str
    trouble: str
    changed_ts: int


class SqlBills:
    """Bills over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bills(
        self,
        site: str,
        *,
        month: int | None = None,
        holder: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[BillEntry]:
        """Bills, newest first; of one month or holder where asked. Raises CursorError."""
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
            raise CursorError(f"{cursor!r} is not a cursor; pass on the `next` of the page before")
        shown = max(1, min(limit, MOST_PER_PAGE))
        chosen = [("month = ?", month), ("holder = ?", holder), ("id < ?", int(cursor) if cursor else None)]
        where = " AND ".join(["site = ?", *(sql for sql, value in chosen if value is not None)])
        values = [value for _, value in chosen if value is not None]
        sql = f"SELECT {_COLUMNS} FROM bill WHERE {where} ORDER BY id DESC LIMIT ?"
        rows = await self._database.fetch(sql, site, *values, shown + 1)
        more = len(rows) > shown
        return Page([_entry(row) for row in rows[:shown]], str(rows[shown - 1]["id"]) if more else None)

    async def bill(self, site: str, bill: str) -> Bill | None:
        """One bill as it stands, by its id or its number; None for an unknown one."""
        rows = await self._database.fetch("SELECT * FROM bill WHERE site = ? AND bill = ?", site, bill)
        if not rows and bill[-6:].isdecimal():
            sql = "SELECT * FROM bill WHERE site = ? AND series = ? AND number = ?"
            rows = await self._database.fetch(sql, site, bill[:-6], int(bill[-6:]))
        return stored_bill(rows[0]) if rows else None

    async def month(self, site: str, month: int, holder: str | None = None) -> AsyncIterator[Bill]:
        """The bills of a month that hold (drafts and issued ones), in the order of their making, streamed."""
        after = 0
        only, values = (" AND holder = ?", [holder]) if holder else ("", [])
        own = site_of_pages(self._database.engine)
        sql = f"SELECT * FROM bill WHERE {own} = ? AND month = ? AND state <> 'corrected'{only} AND id > ?"
        while rows := await self._database.fetch(f"{sql} ORDER BY id LIMIT 50", site, month, *values, after):
            for row in rows:
                yield stored_bill(row)
            after = rows[-1]["id"]

    async def supplied(self, site: str, at: int) -> dict[str, str]:
        """Tenant by meter of all supplies in force just before an instant (Unix ms)."""
        return {row[0]: row[1] for row in await self._database.fetch(_SUPPLIED, site, at, at)}

    async def want(self, site: str, month: int, bills: Sequence[str], *, who: str, now: int) -> int:
        """Write down that issued bills of a month are to be told; returns how many of the month wait for it."""
        async with self._database.write() as tx:
            named, values = in_list(tx, "bill", list(bills)) if bills else ("TRUE", ())
            sql = f"{_WANT} AND {named} ON CONFLICT (site, bill) DO NOTHING"
            await tx.execute(sql, who, now, now, site, month, *values)
            count = (
                "SELECT count(*) FROM bill_push p JOIN bill b ON b.site = p.site AND b.bill = p.bill"
                " WHERE p.site = ? AND b.month = ? AND p.state <> 'delivered' AND b.state = 'issued'"
            )
            return int((await tx.fetch(count, site, month))[0][0])

    async def waiting(self, site: str, month: int, after: str, limit: int) -> list[tuple[str, str, Bill]]:
        """(bill, holder, content) of the next that are not told yet, by bill."""
        rows = await self._database.fetch(_WAITING, site, month, after, limit)
        return [(row["bill"], row["holder"], stored_bill(row)) for row in rows]

    async def told(self, site: str, bill: str, proof: str, now: int) -> None:
        """A bill was told, with the channel's proof."""
        await self._settle(site, bill, "delivered", proof[:200], "", now)

    async def failed(self, site: str, bill: str, trouble: str, now: int) -> None:
        """A bill could not be told."""
        await self._settle(site, bill, "failed", "", trouble, now)

    async def pushes(self, site: str, month: int, *, after: str = "", limit: int = 100) -> list[PushEntry]:
        """How far each bill of a month was told, by bill."""
        rows = await self._database.fetch(_PUSHES, site, month, after, max(1, min(limit, MOST_PER_PAGE)))
        return [PushEntry(*tuple(row)) for row in rows]

    async def _settle(self, site: str, bill: str, state: str, proof: str, trouble: str, now: int) -> None:
        async with self._database.write() as tx:
            await tx.execute(
                "UPDATE bill_push SET state = ?, proof = ?, trouble = ?, attempts = attempts + 1, changed_ts = ?"
                " WHERE site = ? AND bill = ? AND state <> 'delivered'",
                *(state, proof, trouble, now, site, bill),
            )


def _entry(row: Row) -> BillEntry:
    number = statement_number(row["series"], row["number"]) if row["number"] is not None else ""
    return BillEntry(
        *(row["bill"], row["kind"], row["holder"], row["month"], row["revision"], row["state"], number),
        *(row["from_ts"], row["to_ts"], row["corrects"] or "", row["replaced_by"] or "", row["issued_ts"]),
        *(row["opening_nano"], row["charges_nano"], row["credits_nano"], row["closing_nano"]),
    )

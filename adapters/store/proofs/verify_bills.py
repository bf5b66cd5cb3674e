"""Proof of fees and bills: fee lines are what their journals say, bills add up to the ledger, numbers have no gaps.

A bill is held against the ledger by its balance: what a wallet's last bill closes at is everything that ever belonged
to its window, summed anew from rating, adjustments, fee lines and other journals. As each bill opens where the one
before closed, and its lines lead from the one to the other, all bills of the wallet are proved by the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.bills.bill_drafts import digest_of
from adapters.store.bills.fee_posting import fee_memo
from adapters.store.engine.keyed_rows import key_table
from adapters.store.engine.paging import site_of_pages
from adapters.store.proofs.verify_finding import PAGE, Finding, Seen, error
from billing.bill import check_bill, decode_bill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from adapters.store.engine.database import Row, Transaction

_BILLS = (
    "SELECT b.id, b.bill, b.state, b.document, b.digest, b.closing_nano, b.charges_nano, b.number, b.series,"
    " (SELECT COALESCE(sum(l.amount_nano), 0) FROM bill_line l WHERE l.site = b.site AND l.bill = b.bill) AS lines,"
    " (SELECT COALESCE(sum(w.closing_nano), 0) FROM bill_wallet w WHERE w.site = b.site AND w.bill = b.bill) AS closing"
    " FROM bill b WHERE {site} = ? AND b.id > ? ORDER BY b.id LIMIT 50"
)
_GAPS = (
    "SELECT series, count(*), max(number), min(number) FROM bill WHERE site = ? AND number IS NOT NULL GROUP BY series"
)
_CHAIN = (
    "SELECT w.id, w.account, w.bill, w.opening_nano, w.closing_nano FROM bill_wallet w JOIN bill b ON b.site = w.site"
    " AND b.bill = w.bill WHERE w.site = ? AND b.state <> 'corrected'"
    " AND (w.account > ? OR (w.account = ? AND w.id > ?)) ORDER BY w.account, w.id LIMIT ?"
)
_LAST = (
    "SELECT w.account, w.through_month, w.end_ts, w.cut_rating, w.cut_adjustment, w.cut_seq, w.closing_nano, w.bill"
    " FROM bill_wallet w WHERE w.site = ? AND w.account > ? AND w.id ="
    " (SELECT max(l.id) FROM bill_wallet l WHERE l.site = w.site AND l.account = w.account) ORDER BY w.account LIMIT ?"
)
_KEYS = "account through_month:bigint end_ts:bigint cut_rating:bigint cut_adjustment:bigint cut_seq:bigint"
# The keys stand in a table of their own and on the inner side of every join, so that each table is read once for a
# whole page of wallets: joined to bill_wallet itself, it may be read once for every wallet.
_STOOD = (
    "WITH k AS MATERIALIZED (SELECT * FROM {keys} p) SELECT t.account, sum(t.amount_nano) FROM ("
    "SELECT r.account, -sum(r.amount_nano) AS amount_nano FROM rating r CROSS JOIN k"
    " WHERE k.account = r.account AND r.site = ? AND r.active AND r.id <= k.cut_rating AND r.month <= k.through_month"
    " GROUP BY r.account UNION ALL SELECT a.account, -sum(a.amount_nano) FROM adjustment a CROSS JOIN k"
    " WHERE k.account = a.account AND a.site = ? AND a.number <= k.cut_adjustment AND a.month <= k.through_month"
    " GROUP BY a.account UNION ALL SELECT a.old_account, sum(a.old_amount_nano) FROM adjustment a CROSS JOIN k"
    " WHERE k.account = a.old_account AND a.site = ? AND a.number <= k.cut_adjustment"
    " AND a.old_month <= k.through_month GROUP BY a.old_account UNION ALL SELECT f.account, -sum(f.amount_nano)"
    " FROM fee_line f CROSS JOIN k WHERE k.account = f.account AND f.site = ? AND f.journal_seq <= k.cut_seq"
    " AND f.month <= k.through_month GROUP BY f.account UNION ALL SELECT l.account, sum(l.amount_nano) FROM journal j"
    " CROSS JOIN leg l CROSS JOIN k WHERE l.site = j.site AND l.seq = j.seq AND k.account = l.account AND j.site = ?"
    " AND j.kind NOT IN ('charge', 'adjustment', 'fee', 'share') AND j.seq <= k.cut_seq AND j.ts < k.end_ts"
    " GROUP BY l.account) t GROUP BY t.account"
)
_FEE_JOURNALS = (
    "SELECT j.seq, j.reference, j.memo FROM journal j WHERE j.site = ? AND j.kind IN ('fee', 'share') AND j.seq > ?"
    " ORDER BY j.seq LIMIT ?"
)
_FEES = (
    "SELECT journal_seq, account, kind, tenant, meter, name, month, day, revision, quantity, price_micro, amount_nano,"
    " facts FROM fee_line WHERE site = ? AND journal_seq > ? AND journal_seq <= ? ORDER BY journal_seq, id"
)
_LEGS = (
    "SELECT l.seq, l.account, l.amount_nano FROM journal j JOIN leg l ON l.site = j.site AND l.seq = j.seq"
    " WHERE j.site = ? AND j.kind IN ('fee', 'share') AND j.seq > ? AND j.seq <= ?"
    " AND l.account LIKE 'tenant:%:wallet'"
)


async def check_fees(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Each journal of fees says what its lines say: the amount, the wallet, and the digest of every fact."""
    after, done = 0, 0
    while journals := await tx.fetch(_FEE_JOURNALS, site, after, PAGE):
        span = (site, after, journals[-1]["seq"])
        lines: dict[int, list[Row]] = {}
        for row in await tx.fetch(_FEES, *span):
            lines.setdefault(row["journal_seq"], []).append(row)
        legs = {row[0]: (row[1], row[2]) for row in await tx.fetch(_LEGS, *span)}
        for journal in journals:
            for finding in _fee_findings(journal, lines.get(journal["seq"], []), legs.get(journal["seq"])):
                yield finding
        after = journals[-1]["seq"]
        done += len(journals)
        seen(done)


def _fee_findings(journal: Row, lines: list[Row], leg: tuple[str, int] | None) -> Iterator[Finding]:
    where = f"journal {journal['seq']} ({journal['reference']})"
    total_nano = sum(row["amount_nano"] for row in lines)
    if leg is None or -leg[1] != total_nano or any(row["account"] != leg[0] for row in lines):
        booked = -leg[1] if leg else 0
        yield error("fee_amount", where, f"{booked} is booked, its fee lines say {total_nano}")
    if fee_memo(tuple(row)[2:] for row in lines) != journal["memo"]:
        yield error("fee_digest", where, "its fee lines are not those that its digest was made of")


async def check_bills(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Bills are what was issued, add up, follow each other, and close at what the ledger says."""
    after, done = 0, 0
    sql = _BILLS.format(site=site_of_pages(tx.engine, "b.site"))
    while rows := await tx.fetch(sql, site, after):
        for row in rows:
            for finding in _bill_findings(row):
                yield finding
        after = rows[-1]["id"]
        done += len(rows)
        seen(done)
    for series, count, last, first in await tx.fetch(_GAPS, site):
        if (first, last) != (1, count):
            detail = f"{count} bills are numbered {first} to {last}: a number is missing"
            yield error("bill_number", f"series {series}", detail)
    async for finding in _check_chain(tx, site):
        yield finding
    async for finding in _check_stood(tx, site):
        yield finding


async def _check_stood(tx: Transaction, site: str) -> AsyncIterator[Finding]:
    """The last bill of each wallet closes at what the ledger says."""
    after = ""
    while last := await tx.fetch(_LAST, site, after, PAGE):
        keys, values = key_table(tx, _KEYS, [tuple(row)[:6] for row in last])
        rows = await tx.fetch(_STOOD.replace("{keys}", keys), *values, *[site] * 5)
        stood = {account: int(amount_nano) for account, amount_nano in rows}
        for row in last:
            account, closing_nano, stood_nano = row["account"], row["closing_nano"], stood.get(row["account"], 0)
            if closing_nano != stood_nano:
                where = f"bill {row['bill']} of {account}"
                yield error("bill_ledger", where, f"closes at {closing_nano}, the ledger says {stood_nano}")
        after = last[-1]["account"]


def _bill_findings(row: Row) -> Iterator[Finding]:
    where = f"bill {row['bill']}"
    if digest_of(row["document"].encode()) != row["digest"]:
        yield error("bill_edited", where, "its content does not have the digest it was stored with")
    try:
        bill = decode_bill(row["document"])
    except msgspec.DecodeError as unreadable:
        yield error("bill_edited", where, f"its content cannot be read: {unreadable}")
        return
    for problem in check_bill(bill):
        yield error("bill_sum", where, problem)
    said = (bill.charges_nano, bill.closing_nano)
    if said != (row["charges_nano"], row["closing_nano"]) or said != (int(row["lines"]), int(row["closing"])):
        yield error("bill_sum", where, f"charges and balance {said} are not those of its lines and wallets")
    number = "" if row["number"] is None else f"{row['series']}{row['number']:06d}"
    if bill.number != number:
        yield error("bill_number", where, f"says it is {bill.number!r}, it was issued as {number!r}")


async def _check_chain(tx: Transaction, site: str) -> AsyncIterator[Finding]:
    account, last, closing_nano = "", 0, 0
    while rows := await tx.fetch(_CHAIN, site, account, account, last, PAGE):
        for number, name, bill, opening_nano, closed_nano in rows:
            if name == account and opening_nano != closing_nano:
                detail = f"opens at {opening_nano}, the bill before it closed at {closing_nano}"
                yield error("bill_chain", f"bill {bill} of {name}", detail)
            account, last, closing_nano = name, number, closed_nano

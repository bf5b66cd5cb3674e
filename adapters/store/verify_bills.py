# ruff: noqa: S608 -- every statement is put together from constants
"""Proof of fees and bills: fee lines are what their journals say, bills add up to the ledger, numbers have no gaps.

A bill is held against the ledger by its balance: what a wallet's last bill closes at is everything that ever belonged
to its window, summed anew from rating, adjustments, fee lines and other journals. As each bill opens where the one
before closed, and its lines lead from the one to the other, all bills of the wallet are proved by the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.bill_drafts import digest_of
from adapters.store.fee_posting import fee_memo
from adapters.store.verify_finding import PAGE, Finding, Seen, error
from billing.bill import check_bill, decode_bill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from adapters.store.database import Row, Transaction

_BILLS = (
    "SELECT b.id, b.bill, b.state, b.document, b.digest, b.closing_nano, b.charges_nano, b.number, b.series,"
    " (SELECT COALESCE(sum(l.amount_nano), 0) FROM bill_line l WHERE l.site = b.site AND l.bill = b.bill) AS lines,"
    " (SELECT COALESCE(sum(w.closing_nano), 0) FROM bill_wallet w WHERE w.site = b.site AND w.bill = b.bill) AS closing"
    " FROM bill b WHERE b.site = ? AND b.id > ? ORDER BY b.id LIMIT 200"
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
    "(SELECT w.account, w.tenant, w.bill, w.closing_nano, w.through_month, w.end_ts, w.cut_rating, w.cut_adjustment,"
    " w.cut_seq FROM bill_wallet w JOIN (SELECT max(id) AS id FROM bill_wallet WHERE site = ? GROUP BY account) l"
    " ON l.id = w.id) k"
)
_STOOD = (
    "SELECT k.account, k.bill, k.closing_nano, COALESCE(sum(t.amount_nano), 0) FROM"
    f" {_LAST} LEFT JOIN (SELECT r.account, -sum(r.amount_nano) AS amount_nano FROM rating r JOIN {_LAST}"
    " ON k.account = r.account WHERE r.site = ? AND r.active AND r.id <= k.cut_rating AND r.month <= k.through_month"
    " GROUP BY r.account UNION ALL SELECT a.account, -sum(a.amount_nano) FROM adjustment a JOIN"
    f" {_LAST} ON k.account = a.account WHERE a.site = ? AND a.number <= k.cut_adjustment"
    " AND a.month <= k.through_month GROUP BY a.account UNION ALL SELECT a.old_account, sum(a.old_amount_nano)"
    f" FROM adjustment a JOIN {_LAST} ON k.account = a.old_account WHERE a.site = ? AND a.number <= k.cut_adjustment"
    " AND a.old_month <= k.through_month GROUP BY a.old_account UNION ALL SELECT f.account, -sum(f.amount_nano)"
    f" FROM fee_line f JOIN {_LAST} ON k.account = f.account WHERE f.site = ? AND f.journal_seq <= k.cut_seq"
    " AND f.month <= k.through_month GROUP BY f.account UNION ALL SELECT l.account, sum(l.amount_nano) FROM journal j"
    f" JOIN leg l ON l.site = j.site AND l.seq = j.seq JOIN {_LAST} ON k.account = l.account WHERE j.site = ?"
    " AND j.kind NOT IN ('charge', 'adjustment', 'fee', 'share') AND j.seq <= k.cut_seq AND j.ts < k.end_ts"
    " GROUP BY l.account) t ON t.account = k.account GROUP BY k.account, k.bill, k.closing_nano"
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
    "SELECT seq, account, amount_nano FROM leg WHERE site = ? AND seq > ? AND seq <= ?"
    " AND account LIKE 'tenant:%:wallet'"
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
    while rows := await tx.fetch(_BILLS, site, after):
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
    values = [site] * 11
    for account, bill, closing_nano, stood_nano in await tx.fetch(_STOOD, *values):
        if closing_nano != int(stood_nano):
            yield error(
                "bill_ledger", f"bill {bill} of {account}", f"closes at {closing_nano}, the ledger says {stood_nano}"
            )


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

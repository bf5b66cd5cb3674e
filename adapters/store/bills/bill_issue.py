"""Issuing bills: a number without gaps, and from then on nothing changes. Final bills and corrections.

A statement number is taken and written in one transaction, under the lock of its series; the database refuses a number
that does not follow the last one. A correction is a new bill that holds all the old one held and what has been posted
for its months since; the old one stays as it is and says by what it was replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.bills.bill_drafts import BillPlan, digest_of, draft_bill
from adapters.store.bills.bill_facts import Period, Prior, load_priors, statement_number
from adapters.store.bills.charge_sums import Window, sum_window
from adapters.store.bills.fee_facts import load_terms
from adapters.store.bills.fee_posting import FeeScope, post_fees
from adapters.store.bills.monthly_charges import DAILY, MONTHLY, month_dues, month_of
from adapters.store.bills.settlement_runs import all_runs, load_run
from adapters.store.journals.accounts import wallet
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.journal_book import open_book
from billing.bill import decode_bill, encode_bill
from billing.local_time import month_index_at, month_number
from billing.monthly_fees import days_of_month
from twin.ports import MoneyRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.bills.fee_facts import SiteTerms
    from adapters.store.engine.database import Row, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from billing.bill import Bill
    from twin.ports import PendingAct

_NEXT = (
    "INSERT INTO bill_number (site, series, given) VALUES (?, ?, 1)"
    " ON CONFLICT (site, series) DO UPDATE SET given = bill_number.given + 1 RETURNING given"
)
_ISSUE = (
    "UPDATE bill SET state = 'issued', number = ?, issued_ts = ?, document = ?, digest = ?"
    " WHERE site = ? AND bill = ? AND state = 'draft'"
)
_CUTS = (
    "SELECT (SELECT COALESCE(max(id), 0) FROM rating WHERE site = ?),"
    " (SELECT COALESCE(max(number), 0) FROM adjustment WHERE site = ?)"
)
_NEVER = Window(0, 0, 0, 0, 0)


class BillOutcome(msgspec.Struct, frozen=True):
    """A bill that was made at once, and the acts that carry its fees to the twins."""

    bill: Bill
    acts: tuple[PendingAct, ...] = ()


async def issue_bill(tx: Transaction, site: str, bill_id: str, now: int) -> Bill:
    """Give a draft its number and issue it; one that is issued already is returned as it is.

    Raises MoneyRefusedError `unknown_bill`.
    """
    row = await bill_row(tx, site, bill_id)
    if row["state"] != "draft":
        return stored_bill(row)
    number = (await tx.fetch(_NEXT, site, row["series"]))[0][0]
    issued = msgspec.structs.replace(
        decode_bill(row["document"]), state="issued", number=statement_number(row["series"], number), issued_ts=now
    )
    document = encode_bill(issued)
    await tx.execute(_ISSUE, number, now, document.decode(), digest_of(document), site, bill_id)
    return issued


async def bill_row(tx: Transaction, site: str, bill_id: str) -> Row:
    """The stored row of a bill. Raises MoneyRefusedError `unknown_bill`."""
    lock = " FOR UPDATE" if tx.engine == "postgres" else ""
    rows = await tx.fetch(f"SELECT * FROM bill WHERE site = ? AND bill = ?{lock}", site, bill_id)  # noqa: S608
    if not rows:
        raise MoneyRefusedError("unknown_bill", f"site {site} has no bill {bill_id!r}")
    return rows[0]


def stored_bill(row: Row) -> Bill:
    """A bill as it stands: the document, and what has become of it since."""
    bill = decode_bill(row["document"])
    return msgspec.structs.replace(bill, state=row["state"], replaced_by=row["replaced_by"] or "")


async def final_bill(
    tx: Transaction, book: JournalBook, site: str, tenant: str, at: int, *, who: str, now: int
) -> BillOutcome | None:
    """The bill with which a tenant leaves at an instant (Unix ms): fees up to then, everything posted, issued at once.

    The caller holds the site's lock and has ended the supplies at `at`. Other wallets of the same holder get bills of
    their own. None where there is nothing to bill.
    """
    terms = await load_terms(tx, site)
    month = month_number(month_index_at(terms.zone, at - 1))
    tenants = [tenant]
    otherwise = await _last_window(tx, site)
    priors = await load_priors(tx, site, tenants, Prior(otherwise, 0, billed=False))
    bill_id = f"{month}-{tenant}-F{await _count(tx, site, tenant, month) + 1}"
    acts = await _fees_until(tx, book, terms, month, tenants, at, who=who, now=now)
    window, low = await _window_now(tx, book, site, terms, month_number(month_index_at(terms.zone, now)))
    await sum_window(tx, site, bill_id, window, priors[tenant].window, low, wallet(tenant))
    # The charges by the month follow from the sums, and must be on the bill as well.
    acts += await _fees_until(tx, book, terms, month, tenants, at, who=who, now=now, by_month=True)
    window = msgspec.structs.replace(window, seq=book.seq)
    days = days_of_month(terms.zone, month)
    plan = BillPlan(
        id=bill_id,
        kind="final",
        month=month,
        period=Period(days[0].start_ms, at),
        window=window,
        scope=bill_id,
        who=who,
        now=now,
        anchor=book.head.hex(),
    )
    drafted = await draft_bill(tx, terms, terms.holder(tenant), plan, priors)
    if drafted is None:
        return None
    return BillOutcome(await issue_bill(tx, site, drafted.id, now), tuple(acts))


async def _count(tx: Transaction, site: str, tenant: str, month: int) -> int:
    sql = "SELECT count(*) FROM bill WHERE site = ? AND kind = 'final' AND month = ? AND bill LIKE ?"
    return int((await tx.fetch(sql, site, month, f"{month}-{tenant}-F%"))[0][0])


async def _fees_until(
    tx: Transaction,
    book: JournalBook,
    terms: SiteTerms,
    month: int,
    tenants: Sequence[str],
    at: int,
    *,
    who: str,
    now: int,
    by_month: bool = False,
) -> list[PendingAct]:
    due = await month_dues(tx, terms, month_of(terms, month, at), tenants, by_month=by_month)
    kinds = (*DAILY, *MONTHLY) if by_month else DAILY
    return await post_fees(tx, book, FeeScope(tuple(tenants), (month,), kinds), due, actor=who, ts=now)


async def _last_window(tx: Transaction, site: str) -> Window:
    done = [run for run in await all_runs(tx, site, limit=2) if run.cut_seq is not None]
    return done[0].window if done else _NEVER


async def _window_now(
    tx: Transaction, book: JournalBook, site: str, terms: SiteTerms, month: int
) -> tuple[Window, int]:
    """Everything up to now, and where the rows begin that the last settlement left."""
    rating, adjustment = (await tx.fetch(_CUTS, site, site))[0]
    done = [run for run in await all_runs(tx, site, limit=2) if run.cut_seq is not None]
    low = done[0].next_low_rating or 0 if done else 0
    end_ms = days_of_month(terms.zone, month)[-1].end_ms
    return Window(month, end_ms, rating, adjustment, book.seq), low


async def correct_bill(tx: Transaction, site: str, bill_id: str, *, who: str, why: str, now: int) -> Bill:
    """Issue a correction: a new revision that holds what the bill held and what was posted for its months since.

    Raises MoneyRefusedError `unknown_bill`, `not_issued` (a draft is simply made anew), `replaced` (it has a correction
    already: correct that one), `not_last` (a later bill follows: what came since is on it).
    """
    book = await open_book(tx, site)
    row = await bill_row(tx, site, bill_id)
    if row["state"] != "issued":
        code = "not_issued" if row["state"] == "draft" else "replaced"
        raise MoneyRefusedError(code, f"bill {bill_id} is {row['state']}; only an issued one can be corrected")
    terms = await load_terms(tx, site)
    old = await tx.fetch("SELECT * FROM bill_wallet WHERE site = ? AND bill = ? ORDER BY id", site, bill_id)
    await _must_be_last(tx, site, bill_id, [one["account"] for one in old])
    rating, adjustment = (await tx.fetch(_CUTS, site, site))[0]
    window = Window(old[0]["through_month"], old[0]["end_ts"], rating, adjustment, book.seq)
    revision = row["revision"] + 1
    base = bill_id.rsplit("-R", 1)[0] if row["corrects"] else bill_id
    made = f"{base}-R{revision}"
    await _sum_again(tx, site, made, window, row, old)
    plan = BillPlan(
        id=made,
        kind=row["kind"],
        month=row["month"],
        period=Period(row["from_ts"], row["to_ts"]),
        window=window,
        scope=made,
        who=who,
        now=now,
        revision=revision,
        corrects=bill_id,
        anchor=book.head.hex(),
    )
    drafted = await draft_bill(tx, terms, row["holder"], plan, {one["tenant"]: _prior_of(one) for one in old})
    assert drafted is not None
    await tx.execute(
        "UPDATE bill SET state = 'corrected', replaced_by = ? WHERE site = ? AND bill = ?", drafted.id, site, bill_id
    )
    entry = AuditEntry(now, who, "bill.correct", f"bill {bill_id}", None, {"bill": drafted.id, "why": why})
    await record_audit(tx, site, [entry])
    return await issue_bill(tx, site, drafted.id, now)


async def _must_be_last(tx: Transaction, site: str, bill_id: str, accounts: Sequence[str]) -> None:
    for account in accounts:
        rows = await tx.fetch(
            "SELECT bill FROM bill_wallet WHERE site = ? AND account = ? ORDER BY id DESC LIMIT 1", site, account
        )
        if rows[0][0] != bill_id:
            detail = f"bill {rows[0][0]} follows it; what came since is on that one"
            raise MoneyRefusedError("not_last", detail)


def _prior_of(billed: Row) -> Prior:
    window = Window(
        billed["prior_month"],
        billed["prior_end_ts"],
        billed["prior_rating"],
        billed["prior_adjustment"],
        billed["prior_seq"],
    )
    return Prior(window, billed["opening_nano"], billed=True)


async def _sum_again(tx: Transaction, site: str, scope: str, window: Window, bill: Row, wallets: Sequence[Row]) -> None:
    """Sum each wallet of a bill anew; what was summed for the old bill is in it, so the old sums go."""
    run = await load_run(tx, site, bill["month"])
    low = run.low_rating if run is not None else 0
    old = str(bill["month"]) if bill["kind"] == "monthly" and not bill["corrects"] else bill["bill"]
    for one in wallets:
        account, part = one["account"], f"{scope}:{one['account']}"
        await tx.execute("DELETE FROM charge_sum WHERE site = ? AND scope = ? AND account = ?", site, old, account)
        await sum_window(tx, site, part, window, _prior_of(one).window, low, account)
        await tx.execute("UPDATE charge_sum SET scope = ? WHERE site = ? AND scope = ?", scope, site, part)

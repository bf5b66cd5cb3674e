"""Acts on wallets by people: corrections, manual entries, transfers and write-offs. Nothing posted is ever edited.

A correction (冲正) is a journal that takes back all or a part of an earlier one and names it; what several corrections
and refunds take back never exceeds the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.store.journals import accounts
from adapters.store.journals.account_acts import (
    acted_ts,
    audit_act,
    doer,
    must_be_amount,
    must_have,
    must_not_be_closed,
)
from adapters.store.journals.debts import OwedAgain, owed_again, owed_again_movements, record_owed_again
from adapters.store.journals.wallet_booking import Movement, book_movements, wallet_totals
from adapters.store.wallets.refunds import rest_of_payment
from billing.money import format_nano
from twin.ports import MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from adapters.store.engine.database import Row, Transaction
    from adapters.store.journals.approvals import Approval
    from adapters.store.journals.journal_book import JournalBook

CORRECTABLE = ("topup", "manual")
_ORIGINAL = (
    "SELECT j.seq, j.kind, j.reference, w.amount_nano, c.account AS contra, p.payment, p.tenant AS payer FROM journal j"
    " JOIN leg w ON w.site = j.site AND w.seq = j.seq AND w.account = ?"
    " JOIN leg c ON c.site = j.site AND c.seq = j.seq AND c.account <> w.account"
    " LEFT JOIN payment p ON p.site = j.site AND p.journal_seq = j.seq WHERE j.site = ? AND j.seq = ?"
)
_CORRECTED = "SELECT COALESCE(sum(amount_nano), 0) FROM correction WHERE site = ? AND original_seq = ?"
_CORRECTION = (
    "INSERT INTO correction (site, original_seq, journal_seq, tenant, amount_nano, reason, actor, approval, ts)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


async def journal_of(tx: Transaction, site: str, tenant: str, original: str) -> Row:
    """The journal of a payment (`P12`) or of a number (`12`) on a tenant's wallet.

    Raises MoneyRefusedError `unknown_entry` and, for what is taken back in other ways, `not_correctable`.
    """
    digits = original.removeprefix("P")
    rows = []
    if digits.isascii() and digits.isdecimal() and len(digits) < 19:
        rows = list(await tx.fetch(_ORIGINAL, accounts.wallet(tenant), site, int(digits)))
    if not rows:
        raise MoneyRefusedError("unknown_entry", f"tenant {tenant} has no payment or entry {original!r}")
    if rows[0]["kind"] not in CORRECTABLE:
        detail = f"entry {original} is a {rows[0]['kind']}; payments and manual entries can be corrected"
        raise MoneyRefusedError("not_correctable", detail)
    return rows[0]


async def uncorrected(tx: Transaction, site: str, original: Row) -> int:
    """What of a journal can still be taken back, nano-units, with the sign it had on the wallet."""
    if original["payment"] is not None:
        payment = {"payment": original["payment"], "journal_seq": original["seq"]}
        return await rest_of_payment(tx, site, {**payment, "amount_nano": original["amount_nano"]})
    return int(original["amount_nano"]) - int((await tx.fetch(_CORRECTED, site, original["seq"]))[0][0])


@doer("correction")
async def correct(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Take back `amount_nano` (None: all that is left) of an earlier entry. The wallet may go into arrears by it.

    What a payment had paid off of debts is owed again, in proportion.
    """
    tenant, ts = body["tenant"], acted_ts(by)
    await must_not_be_closed(tx, site, tenant)
    original = await journal_of(tx, site, tenant, body["original"])
    rest_nano = await uncorrected(tx, site, original)
    sign = 1 if rest_nano > 0 else -1
    amount_nano = rest_nano if body["amount_nano"] is None else sign * body["amount_nano"]
    if rest_nano == 0:
        raise MoneyRefusedError("corrected", f"entry {body['original']} is taken back already")
    if body["amount_nano"] is not None:
        must_be_amount(body["amount_nano"])
    if abs(amount_nano) > abs(rest_nano):
        detail = f"of entry {body['original']} {format_nano(abs(rest_nano))} can still be taken back"
        raise MoneyRefusedError("correction_above_entry", detail)
    reference = f"correction:{original['seq']}:{book.seq + 1}"
    memo = f"corrects journal {original['seq']} ({original['reference']}): {by.why}"
    movement = Movement("correction", -amount_nano, original["contra"], reference, memo)
    owed = await _owed_again(tx, site, tenant, original, amount_nano)
    first_debt = book.seq + 2
    movements = [movement, *owed_again_movements(tenant, owed, first_debt)]
    credit = await book_movements(tx, book, tenant=tenant, movements=movements, actor=by.decided_by, ts=ts)
    await book.flush(tx)
    fact = (site, original["seq"], credit.journal_seq, tenant, amount_nano, by.why, by.decided_by, by.id, ts)
    await tx.execute(_CORRECTION, *fact)
    await record_owed_again(tx, site, tenant, owed, by=by, first_journal=first_debt)
    answer = _answer(tenant, credit.journal_seq, -amount_nano, credit.credits_nano)
    if owed:
        answer["owed_again_nano"] = sum(one.amount_nano for one in owed)
    await audit_act(tx, site, by, "correction", tenant, {**answer, "original": original["seq"]})
    return Outcome({**answer, "original": original["seq"]}, [credit.pending])


async def _owed_again(tx: Transaction, site: str, tenant: str, original: Row, amount_nano: int) -> list[OwedAgain]:
    """Instalments of the payment that is corrected; none for an entry that is no payment."""
    if original["payment"] is None:
        return []
    before_nano = int((await tx.fetch(_CORRECTED, site, original["seq"]))[0][0])
    corrected = before_nano, before_nano + amount_nano
    return await owed_again(tx, site, tenant, original["payment"], original["amount_nano"], corrected)


@doer("manual")
async def manual(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Credit a wallet by hand, or debit it where `amount_nano` is negative; the other side is `adjustments`."""
    tenant, amount_nano = body["tenant"], body["amount_nano"]
    await must_not_be_closed(tx, site, tenant)
    must_be_amount(abs(amount_nano))
    movement = Movement("manual", amount_nano, accounts.ADJUSTMENTS, f"manual:{book.seq + 1}", by.why)
    credit = await book_movements(tx, book, tenant=tenant, movements=[movement], actor=by.decided_by, ts=acted_ts(by))
    await book.flush(tx)
    answer = _answer(tenant, credit.journal_seq, amount_nano, credit.credits_nano)
    await audit_act(tx, site, by, "manual", tenant, answer)
    return Outcome(answer, [credit.pending])


@doer("transfer")
async def transfer(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Move balance from one wallet to another; the giver must have it.

    A journal for each wallet, so that each of both histories tells it; the account `transfers` between them is empty
    again after the second.
    """
    giver, taker, amount_nano, ts = body["tenant"], body["to"], body["amount_nano"], acted_ts(by)
    if giver == taker:
        raise MoneyRefusedError("same_wallet", f"{giver} cannot give to itself")
    await must_not_be_closed(tx, site, giver)
    await must_not_be_closed(tx, site, taker)
    must_be_amount(amount_nano)
    await must_have(tx, site, giver, amount_nano, body.get("known_charges_nano"))
    between, number = accounts.TRANSFERS, book.seq + 1
    out = Movement("transfer", -amount_nano, between, f"transfer:{number}:out", f"to {taker}: {by.why}")
    into = Movement("transfer", amount_nano, between, f"transfer:{number}:in", f"from {giver}: {by.why}")
    gave = await book_movements(tx, book, tenant=giver, movements=[out], actor=by.decided_by, ts=ts)
    took = await book_movements(tx, book, tenant=taker, movements=[into], actor=by.decided_by, ts=ts)
    await book.flush(tx)
    answer = {**_answer(giver, gave.journal_seq, -amount_nano, gave.credits_nano), "to": taker}
    await audit_act(tx, site, by, "transfer", giver, answer)
    return Outcome(answer, [gave.pending, took.pending])


@doer("write_off")
async def write_off(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Give up arrears: `amount_nano` (None: all) of a negative balance is borne by us."""
    tenant = body["tenant"]
    await must_not_be_closed(tx, site, tenant)
    owed_nano = -(await wallet_totals(tx, site, tenant)).balance_nano
    amount_nano = owed_nano if body["amount_nano"] is None else body["amount_nano"]
    if owed_nano <= 0 or amount_nano > owed_nano:
        raise MoneyRefusedError("not_in_arrears", f"the wallet is {format_nano(max(0, owed_nano))} in arrears")
    must_be_amount(amount_nano)
    movement = Movement("write_off", amount_nano, accounts.WRITE_OFF, f"write_off:{book.seq + 1}", by.why)
    credit = await book_movements(tx, book, tenant=tenant, movements=[movement], actor=by.decided_by, ts=acted_ts(by))
    await book.flush(tx)
    answer = _answer(tenant, credit.journal_seq, amount_nano, credit.credits_nano)
    await audit_act(tx, site, by, "write_off", tenant, answer)
    return Outcome(answer, [credit.pending])


def _answer(tenant: str, journal_seq: int, amount_nano: int, credits_nano: int) -> dict[str, Any]:
    return {"tenant": tenant, "journal": journal_seq, "amount_nano": amount_nano, "credits_nano": credits_nano}

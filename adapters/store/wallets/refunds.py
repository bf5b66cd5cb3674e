"""Refunds: money on its way back, to the payment it came from or, at a closing, to the person.

Theory of operation. The amount leaves the wallet when the refund is asked for and waits on `payable:refunds`: whatever
happens until it is paid out, nobody can spend it. Agreed, it is `approved`; the channel's answer ends it as `paid` (the
clearing account of the channel is charged) or `failed` (the wallet has it back, as after a refusal). Of one payment
never more is refunded and corrected than was paid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.store.journals import accounts
from adapters.store.journals.account_acts import (
    acted_ts,
    audit_act,
    by_one,
    doer,
    must_be_amount,
    must_have,
    must_not_be_closed,
    perform,
)
from adapters.store.journals.approval_policy import approval_policy
from adapters.store.journals.approvals import APPROVED, RELEASES, Approval
from adapters.store.journals.wallet_booking import Movement, book_movements
from billing.money import format_nano
from twin.ports import MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from adapters.store.engine.database import Row, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.ports import Caller, PendingAct

_INSERT = (
    "INSERT INTO refund (site, refund, tenant, payment, amount_nano, channel, reason, actor, ts, reserve_seq, state,"
    " approval, reference, detail, settle_seq, settled_by, settled_ts)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', '', NULL, '', NULL)"
)
_MOVE = "UPDATE refund SET state = ?, approval = ? WHERE site = ? AND refund = ? AND state = 'requested' RETURNING id"
_SETTLE = (
    "UPDATE refund SET state = ?, reference = ?, detail = ?, settle_seq = ?, settled_by = ?, settled_ts = ?"
    " WHERE site = ? AND refund = ? AND state IN ('requested', 'approved') RETURNING id"
)
_REFUND = "SELECT refund, tenant, payment, amount_nano, channel, state, reference FROM refund"
_PAYMENT = "SELECT payment, tenant, amount_nano, channel, journal_seq FROM payment WHERE site = ? AND payment = ?"
_GIVEN_BACK = (
    "SELECT (SELECT COALESCE(sum(amount_nano), 0) FROM refund WHERE site = ? AND payment = ?"
    " AND state NOT IN ('failed', 'cancelled')),"
    " (SELECT COALESCE(sum(amount_nano), 0) FROM correction WHERE site = ? AND original_seq = ?)"
)


async def payment_of(tx: Transaction, site: str, payment: str) -> Row:
    """A payment. Raises MoneyRefusedError `unknown_payment`."""
    rows = await tx.fetch(_PAYMENT, site, payment)
    if not rows:
        raise MoneyRefusedError("unknown_payment", f"site {site} has no payment {payment!r}")
    return rows[0]


async def rest_of_payment(tx: Transaction, site: str, payment: Row) -> int:
    """What of a payment is neither refunded (nor on its way) nor corrected, nano-units."""
    key = (site, payment["payment"], site, payment["journal_seq"])
    refunded, corrected = (await tx.fetch(_GIVEN_BACK, *key))[0]
    return int(payment["amount_nano"]) - int(refunded) - int(corrected)


async def refund(body: dict[str, Any], caller: Caller, tx: Transaction, book: JournalBook) -> Outcome:
    """Set a refund aside, and agree to it or ask a second person. Raises what `reserve` does."""
    reserved = await reserve(tx, book, body, by_one("refund", f"tenant {body['tenant']}", caller))
    second = (await approval_policy(tx, book.site)).above("refund_above", body["amount_nano"])
    wish = {"tenant": body["tenant"], "refund": reserved.body["refund"]}
    agreed = await perform(tx, book, "refund.approve", wish, caller, second=second)
    return Outcome({**reserved.body, **agreed.body}, [*reserved.acts, *agreed.acts])


async def reserve(tx: Transaction, book: JournalBook, body: dict[str, Any], by: Approval) -> Outcome:
    """Set a refund aside: off the wallet, onto `payable:refunds`. It is `requested` until it is agreed to.

    `body`: tenant, amount_nano, payment (`""` for a closing balance), channel (`""`: the payment's), and
    `known_charges_nano`. Raises MoneyRefusedError `account_closed`, `unknown_payment`, `refund_above_payment`,
    `insufficient`, `amount` or `channel`.
    """
    site, tenant, amount_nano = book.site, body["tenant"], body["amount_nano"]
    await must_not_be_closed(tx, site, tenant)
    must_be_amount(amount_nano)
    channel = await _channel(tx, site, body)
    await must_have(tx, site, tenant, amount_nano, body.get("known_charges_nano"))
    name = f"R{book.seq + 1}"
    movement = Movement("refund", -amount_nano, accounts.REFUNDS_PAYABLE, f"refund:{name}", by.why)
    ts = acted_ts(by)
    credit = await book_movements(tx, book, tenant=tenant, movements=[movement], actor=by.asked_by, ts=ts)
    await book.flush(tx)
    fact = (site, name, tenant, body["payment"], amount_nano, channel, by.why, by.asked_by, ts, credit.journal_seq)
    await tx.execute(_INSERT, *fact, "requested")
    answer = {"tenant": tenant, "refund": name, "amount_nano": amount_nano, "channel": channel}
    await audit_act(tx, site, by, "refund.request", tenant, {**answer, "payment": body["payment"]})
    return Outcome(answer, [credit.pending])


@doer("refund.approve")
async def approve(tx: Transaction, _book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Agree to a refund that was set aside; it can be paid out now."""
    moved = await tx.fetch(_MOVE, APPROVED, by.id, site, body["refund"])
    if not moved:
        raise MoneyRefusedError("refund_settled", f"refund {body['refund']} waits for nobody's agreement")
    answer = {"tenant": body["tenant"], "refund": body["refund"], "state": APPROVED}
    await audit_act(tx, site, by, "refund.approve", body["tenant"], answer)
    return Outcome(answer)


async def _release(
    tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval
) -> list[PendingAct]:
    """Nobody agreed: the wallet has the amount back."""
    row = await refund_of(tx, site, body["refund"])
    outcome = await _give_back(tx, book, row, by, "cancelled", "", by.decided_why)
    return outcome.acts


RELEASES["refund.approve"] = _release


@doer("refund.pay")
async def pay(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """The channel has paid a refund out; `body`: tenant, refund, reference (the channel's own number)."""
    row = await refund_of(tx, site, body["refund"])
    _must_be(row, body["tenant"])
    if row["state"] == "paid" and row["reference"] == body["reference"]:
        return Outcome(_answer(row, "paid"))
    if row["state"] != APPROVED:
        _refuse_state(row)
    if body["reference"]:
        used = await tx.fetch(
            "SELECT refund FROM refund WHERE site = ? AND channel = ? AND reference = ?",
            *(site, row["channel"], body["reference"]),
        )
        if used:
            raise MoneyRefusedError("duplicate_reference", f"{body['reference']} has paid out refund {used[0][0]}")
    legs = ((accounts.REFUNDS_PAYABLE, -row["amount_nano"]), (accounts.clearing(row["channel"]), row["amount_nano"]))
    reference, memo = f"refund_paid:{row['refund']}", f"{row['channel']} {body['reference']}".rstrip()
    ts = acted_ts(by)
    seq = book.add(kind="refund_paid", ts=ts, reference=reference, actor=by.decided_by, memo=memo, legs=legs)
    await book.flush(tx)
    await tx.fetch(_SETTLE, "paid", body["reference"], by.why, seq, by.decided_by, ts, site, row["refund"])
    await audit_act(tx, site, by, "refund.paid", row["tenant"], {**_answer(row, "paid"), **body})
    return Outcome(_answer(row, "paid"))


@doer("refund.fail")
async def fail(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """The channel could not pay a refund out: the wallet has the amount back."""
    row = await refund_of(tx, site, body["refund"])
    _must_be(row, body["tenant"])
    if row["state"] == "failed":
        return Outcome(_answer(row, "failed"))
    if row["state"] != APPROVED:
        _refuse_state(row)
    return await _give_back(tx, book, row, by, "failed", "", by.why)


async def refund_of(tx: Transaction, site: str, refund: str) -> Row:
    """A refund. Raises MoneyRefusedError `unknown_refund`."""
    rows = await tx.fetch(f"{_REFUND} WHERE site = ? AND refund = ?", site, refund)
    if not rows:
        raise MoneyRefusedError("unknown_refund", f"site {site} has no refund {refund!r}")
    return rows[0]


async def _give_back(
    tx: Transaction, book: JournalBook, row: Row, by: Approval, state: str, reference: str, detail: str
) -> Outcome:
    tenant, ts = row["tenant"], acted_ts(by)
    movement = Movement(
        "refund_released", row["amount_nano"], accounts.REFUNDS_PAYABLE, f"refund_released:{row['refund']}", detail
    )
    credit = await book_movements(tx, book, tenant=tenant, movements=[movement], actor=by.decided_by, ts=ts)
    await book.flush(tx)
    settled = (state, reference, detail, credit.journal_seq, by.decided_by, ts, book.site, row["refund"])
    moved = await tx.fetch(_SETTLE, *settled)
    assert moved, "the site row was locked, so the refund cannot have been settled meanwhile"
    await audit_act(tx, book.site, by, f"refund.{state}", tenant, _answer(row, state))
    return Outcome(_answer(row, state), [credit.pending])


async def _channel(tx: Transaction, site: str, body: dict[str, Any]) -> str:
    """The channel that pays out; checks the payment it goes back to."""
    if not body["payment"]:
        if not body["channel"]:
            raise MoneyRefusedError("channel", "a refund without a payment needs a channel that pays it out")
        return str(body["channel"])
    payment = await payment_of(tx, site, body["payment"])
    if payment["tenant"] != body["tenant"]:
        raise MoneyRefusedError("unknown_payment", f"tenant {body['tenant']} has no payment {body['payment']!r}")
    rest_nano = await rest_of_payment(tx, site, payment)
    if body["amount_nano"] > rest_nano:
        detail = f"of payment {body['payment']} {format_nano(rest_nano)} can still be refunded"
        raise MoneyRefusedError("refund_above_payment", detail)
    return str(body["channel"] or payment["channel"])


def _must_be(row: Row, tenant: str) -> None:
    if row["tenant"] != tenant:
        raise MoneyRefusedError("unknown_refund", f"tenant {tenant} has no refund {row['refund']!r}")


def _refuse_state(row: Row) -> None:
    words = "waits for a second person" if row["state"] == "requested" else f"is {row['state']} already"
    code = "refund_not_approved" if row["state"] == "requested" else "refund_settled"
    raise MoneyRefusedError(code, f"refund {row['refund']} {words}")


def _answer(row: Row, state: str) -> dict[str, Any]:
    names = ("tenant", "refund", "amount_nano", "channel")
    return {**{name: row[name] for name in names}, "state": state}

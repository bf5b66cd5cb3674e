"""Moving out (退租): meters back to the landlord at one instant, the final bill, what is left, the account closed.

Theory of operation. `move_out` hands every meter of the tenant over to vacancy, at readings where they are known, and
the account is `closing` from then on. The last charges reach the ledger by themselves, as the hand-over takes its way
through the twins. `close` then refuses until they are posted, makes the final bill if asked to, settles what is left as
the person wishes, and closes the account; what still stands in the way (a payout, an agreement) is told, and closing
again later finishes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapters.store.bills.bill_issue import final_bill
from adapters.store.journals.account_acts import (
    CLOSING,
    audit_act,
    by_one,
    move_state,
    must_not_be_closed,
    perform,
)
from adapters.store.journals.approval_policy import approval_policy
from adapters.store.journals.debts import ARREARS, INSTALMENT
from adapters.store.journals.wallet_booking import wallet_totals
from adapters.store.wallets import account_life
from adapters.store.wallets.refunds import refund
from billing.money import NANO_PER_CENT
from twin.ports import MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.ports import Caller

REFUND: Final = "refund"
TRANSFER: Final = "transfer"
DEBT: Final = "debt"
WRITE_OFF: Final = "write_off"
KEEP: Final = "keep"
RESTS: Final = (KEEP, REFUND, TRANSFER, DEBT, WRITE_OFF)
"""What may become of what is left on a wallet at a move-out."""
FINAL: Final = "final"
"""In place of the number of a bill: make the final bill."""
_ENDED = "SELECT max(to_ts) FROM supply WHERE site = ? AND tenant = ?"
_BILLED = "SELECT 1 FROM bill_wallet WHERE site = ? AND bill = ? AND tenant = ?"


async def move_out(body: dict[str, Any], caller: Caller, tx: Transaction, book: JournalBook) -> Outcome:
    """Hand the tenant's meters over to vacancy at `at` and begin the closing; `body`: tenant, at, readings.

    Raises MoneyRefusedError `unknown_tenant`, `account_closed` and what the hand-over refuses with.
    """
    site, tenant = book.site, body["tenant"]
    before = await must_not_be_closed(tx, site, tenant)
    wish = {"tenant": tenant, "from_tenant": tenant, "to_tenant": "", "meters": []}
    wish |= {"at": body["at"], "readings": body["readings"]}
    given = await perform(tx, book, "meter.handover", wish, caller, second=False)
    by = by_one("account.closing", f"tenant {tenant}", caller)
    if before != CLOSING:
        await move_state(tx, site, tenant, CLOSING, by)
    facts = {name: given.body[name] for name in ("meters", "handovers", "at")}
    answer = {"tenant": tenant, "account_state": CLOSING, **facts}
    await audit_act(tx, site, by, "account.move_out", tenant, answer, {"account_state": before})
    return Outcome({"state": "done", **answer}, given.acts)


async def close(
    body: dict[str, Any], caller: Caller, charges_nano: int | None, tx: Transaction, book: JournalBook
) -> Outcome:
    """Settle what is left and close; `body`: tenant, bill (a number, `final`, or empty), rest, channel, to."""
    site, tenant = book.site, body["tenant"]
    await must_not_be_closed(tx, site, tenant)
    await account_life.must_be_unsupplied(tx, site, tenant, caller, charges_nano)
    bill, acts = await _bill(body, caller, tx, book)
    rest = await _settle_rest(body, caller, tx, book)
    closed = await perform(tx, book, "account.close", {"tenant": tenant, "bill": bill}, caller, second=False)
    steps = {"rest": rest.body} if rest.body else {}
    return Outcome({**closed.body, **steps}, [*acts, *rest.acts, *closed.acts])


async def _bill(body: dict[str, Any], caller: Caller, tx: Transaction, book: JournalBook) -> tuple[str, list[Any]]:
    """The number of the final bill: the one that is named, or the one that is made now."""
    site, tenant, bill = book.site, body["tenant"], body["bill"]
    if bill != FINAL:
        if bill and not await tx.fetch(_BILLED, site, bill, tenant):
            raise MoneyRefusedError("unknown_bill", f"tenant {tenant} has no bill {bill!r}")
        return bill, []
    ended = (await tx.fetch(_ENDED, site, tenant))[0][0]
    made = await final_bill(tx, book, site, tenant, ended or caller.ts, who=caller.who, now=caller.ts)
    await book.flush(tx)
    return (made.bill.id, list(made.acts)) if made is not None else ("", [])


async def _settle_rest(body: dict[str, Any], caller: Caller, tx: Transaction, book: JournalBook) -> Outcome:
    """What becomes of the balance; nothing where it is empty, or as small as a rounding difference."""
    tenant, rest = body["tenant"], body["rest"]
    balance_nano = (await wallet_totals(tx, book.site, tenant)).balance_nano
    policy = await approval_policy(tx, book.site)
    if rest == KEEP or abs(balance_nano) < NANO_PER_CENT:
        return Outcome({})
    if balance_nano > 0 and rest == REFUND:
        whole_nano = balance_nano // NANO_PER_CENT * NANO_PER_CENT
        wish = {"tenant": tenant, "payment": "", "amount_nano": whole_nano, "channel": body["channel"]}
        return await refund(wish, caller, tx, book)
    if balance_nano > 0 and rest == TRANSFER:
        second = policy.above("transfer_above", balance_nano)
        wish = {"tenant": tenant, "to": body["to"], "amount_nano": balance_nano}
        return await perform(tx, book, "transfer", wish, caller, second=second)
    if balance_nano < 0 and rest == WRITE_OFF:
        second = policy.above("write_off_above", balance_nano)
        wish = {"tenant": tenant, "amount_nano": -balance_nano}
        return await perform(tx, book, "write_off", wish, caller, second=second)
    if balance_nano < 0 and rest == DEBT:
        wish = {"tenant": tenant, "amount_nano": -balance_nano, "kind": INSTALMENT, "origin": ARREARS}
        return await perform(tx, book, "debt.create", wish, caller, second=False)
    words = "is left over: refund it or transfer it" if balance_nano > 0 else "is owed: make it a debt or write it off"
    raise MoneyRefusedError("rest", f"the balance {words}; {rest!r} does not fit")

"""The frame of every act on an account: once for each key, audited, by one person or by two.

Theory of operation. An act is a kind and a body of plain data, and a doer registered under that kind (`doer`). The
front doors (`accounts_desk`) check the wish, then let `perform` carry it out: at once where one person may decide, or
as a request for a second person's agreement, whose executor is the same doer. So an act means the same either way.
The site's row is held from the first look at a balance to the commit; money therefore cannot be spent twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.database import Transaction
from adapters.store.journals.approvals import APPROVED, EXECUTORS, Approval, ask
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.idempotency import answered, input_hash, remember
from adapters.store.journals.journal_book import JournalBook, open_book
from adapters.store.journals.wallet_booking import wallet_totals
from billing.money import INT64_MAX, format_nano
from twin.ports import Caller, MoneyRefusedError, Outcome, PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

OPEN = "open"
CLOSING = "closing"
CLOSED = "closed"
_STATE = "SELECT seq, state FROM account_state WHERE site = ? AND tenant = ? ORDER BY seq DESC LIMIT 1"
_ADD_STATE = "INSERT INTO account_state (site, tenant, seq, state, who, why, bill, ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_LONGEST = 200


Doer = Callable[[Transaction, JournalBook, str, dict[str, Any], Approval], Awaitable[Outcome]]
DOERS: dict[str, Doer] = {}
"""What an act of a kind does, for one person and for two alike."""


def doer(kind: str) -> Callable[[Doer], Doer]:
    """Register what an act does, under its kind; also as what an agreement to it carries out."""

    def register(do: Doer) -> Doer:
        async def execute(
            tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], approval: Approval
        ) -> list[PendingAct]:
            return (await do(tx, book, site, body, approval)).acts

        DOERS[kind] = do
        EXECUTORS[kind] = execute
        return do

    return register


async def once(
    database: Database,
    site: str,
    caller: Caller,
    content: tuple[Any, ...],
    act: Callable[[Transaction, JournalBook], Awaitable[Outcome]],
) -> Outcome:
    """Run an act in one transaction that holds the site, or give the answer it gave before.

    Raises LookupError for an unknown site; MoneyRefusedError `key`, `reason`, `idempotency_conflict`, or the act's own.
    """
    _check(caller)
    digest = input_hash(*content, caller.why)
    scope = f"accounts:{caller.who}"
    async with database.write() as tx:
        book = await open_book(tx, site)
        known = await answered(tx, site, scope, caller.key, digest)
        if known is not None:
            return Outcome(msgspec.json.decode(known), repeated=True)
        outcome = await act(tx, book)
        await book.flush(tx)
        answer = msgspec.json.encode(outcome.body).decode()
        await remember(tx, site, scope, caller.key, digest, answer, caller.ts)
        return outcome


async def perform(
    tx: Transaction, book: JournalBook, kind: str, body: dict[str, Any], caller: Caller, *, second: bool
) -> Outcome:
    """Carry an act out, or ask a second person where `second` says so.

    What would be refused if it were carried out now is refused at once, and not by the second person.
    """
    subject = f"tenant {body['tenant']}" if "tenant" in body else f"meter {body['meter']}"
    alone = by_one(kind, subject, caller, body)
    if second:
        await _try(tx, book, kind, body, alone)
        ask_key = f"act:{caller.key}"
        approval = await ask(tx, book.site, kind, body, caller.who, caller.why, caller.ts, ask_key, subject=subject)
        return Outcome({"state": "requested", "approval": approval})
    done = await DOERS[kind](tx, book, book.site, body, alone)
    return Outcome({"state": "done", **done.body}, done.acts)


def by_one(kind: str, subject: str, caller: Caller, body: dict[str, Any] | None = None) -> Approval:
    """What stands for an agreement where one person may decide."""
    return Approval(
        *("", kind, subject, body or {}, caller.who, caller.why, caller.ts, caller.ts),
        state=APPROVED,
        decided_by=caller.who,
        decided_ts=caller.ts,
    )


async def _try(tx: Transaction, book: JournalBook, kind: str, body: dict[str, Any], by: Approval) -> None:
    """Carry an act out and undo it; raises what it refuses."""
    await book.flush(tx)
    mark = book.mark()
    await tx.execute("SAVEPOINT act_trial")
    await DOERS[kind](tx, book, book.site, body, by)
    await tx.execute("ROLLBACK TO SAVEPOINT act_trial")
    await tx.execute("RELEASE SAVEPOINT act_trial")
    book.back_to(mark)


async def audit_act(
    tx: Transaction, site: str, by: Approval, what: str, tenant: str, after: dict[str, Any], before: Any = None
) -> None:
    """Record an act in the audit trail, with both names where two people were needed."""
    people = {"asked_by": by.asked_by, "approval": by.id} if by.id else {}
    entry = AuditEntry(
        acted_ts(by), by.decided_by, what, f"tenant {tenant}", before, {**after, "why": by.why, **people}
    )
    await record_audit(tx, site, [entry])


def acted_ts(by: Approval) -> int:
    """The instant of an act: that of the agreement, where one was needed."""
    return by.decided_ts if by.decided_ts is not None else by.asked_ts


async def account_state(tx: Transaction, site: str, tenant: str) -> str:
    """`open`, `closing` or `closed`. Raises MoneyRefusedError `unknown_tenant`."""
    if not await tx.fetch("SELECT 1 FROM tenant WHERE site = ? AND tenant = ?", site, tenant):
        raise MoneyRefusedError("unknown_tenant", f"site {site} has no tenant {tenant!r}")
    rows = await tx.fetch(_STATE, site, tenant)
    return str(rows[0][1]) if rows else OPEN


async def must_not_be_closed(tx: Transaction, site: str, tenant: str) -> str:
    """The state of an account that money may move on. Raises MoneyRefusedError `unknown_tenant`, `account_closed`."""
    state = await account_state(tx, site, tenant)
    if state == CLOSED:
        raise MoneyRefusedError("account_closed", f"the account of tenant {tenant} is closed; open it again first")
    return state


async def move_state(tx: Transaction, site: str, tenant: str, state: str, by: Approval, bill: str = "") -> None:
    """Append the next state of an account."""
    rows = await tx.fetch(_STATE, site, tenant)
    seq = rows[0][0] + 1 if rows else 1
    await tx.execute(_ADD_STATE, site, tenant, seq, state, by.decided_by, by.why, bill, acted_ts(by))


async def must_have(tx: Transaction, site: str, tenant: str, amount_nano: int, known_charges_nano: int | None) -> None:
    """Raises MoneyRefusedError `insufficient` where a wallet has less than an amount.

    `known_charges_nano` is the twin's own total of charges: what it has not posted yet is spent, too.
    """
    totals = (await wallet_totals(tx, site, tenant)).with_charges(known_charges_nano)
    if totals.balance_nano < amount_nano:
        detail = f"the balance is {format_nano(totals.balance_nano)}, less than {format_nano(amount_nano)}"
        raise MoneyRefusedError("insufficient", detail)


def _check(caller: Caller) -> None:
    for name, value in (("key", caller.key), ("reason", caller.why), ("actor", caller.who)):
        if not value.strip():
            raise MoneyRefusedError(name, f"an act on an account needs a {name}")
        if "\x00" in value or len(value) > _LONGEST:
            raise MoneyRefusedError(name, f"the {name} must be text of at most {_LONGEST} characters")


def must_be_amount(amount_nano: int) -> None:
    """Raises MoneyRefusedError `amount` for what is not a positive 64-bit amount."""
    if type(amount_nano) is not int or not 0 < amount_nano <= INT64_MAX:
        raise MoneyRefusedError("amount", "the amount must be more than nothing")

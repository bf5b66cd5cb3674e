"""Moving a wallet: journals against other accounts, the new total of credits, and one act that tells the twin.

Several movements of one cause (a payment and the instalment that is taken from it) are journals of their own, but the
twin hears of their sum at once: it must never decide on money that is about to leave again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.accounts import wallet
from adapters.store.journals.outbox import append_act, next_seq
from billing.money import INT64_MAX
from twin.core.messages import CreditsPosted
from twin.ports import MoneyRefusedError, PendingAct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction
    from adapters.store.journals.journal_book import JournalBook

_CREDIT = (
    "INSERT INTO account (site, account, tenant, credits_nano, credits_seq, charges_nano, version)"
    " VALUES (?, ?, ?, ?, ?, 0, 1) ON CONFLICT (site, account) DO UPDATE SET"
    " credits_nano = account.credits_nano + excluded.credits_nano, credits_seq = excluded.credits_seq,"
    " version = account.version + 1 RETURNING credits_nano"
)
_TOTALS = "SELECT credits_nano, charges_nano FROM account WHERE site = ? AND account = ?"


class Movement(msgspec.Struct, frozen=True):
    """One journal on a wallet: `amount_nano` onto it (negative: off it), the opposite onto `contra`."""

    kind: str
    amount_nano: int
    contra: str
    reference: str
    memo: str = ""


class Credit(msgspec.Struct, frozen=True):
    """A credit that was booked: its first journal, its act, and the total it led to."""

    journal_seq: int
    credits_nano: int
    pending: PendingAct


class Totals(msgspec.Struct, frozen=True):
    """A wallet as SQL has it, nano-units. Charges that the twin has not posted yet are missing."""

    credits_nano: int
    charges_nano: int

    @property
    def balance_nano(self) -> int:
        """What is left; negative in arrears."""
        return self.credits_nano - self.charges_nano

    def with_charges(self, charges_nano: int | None) -> Totals:
        """The same with the twin's own total of charges, where that is known and ahead."""
        return Totals(self.credits_nano, max(self.charges_nano, charges_nano or 0))


async def wallet_totals(tx: Transaction, site: str, tenant: str) -> Totals:
    """The totals of a tenant's wallet; zero for one that nothing was booked on."""
    rows = await tx.fetch(_TOTALS, site, wallet(tenant))
    return Totals(*rows[0]) if rows else Totals(0, 0)


async def book_movements(
    tx: Transaction, book: JournalBook, *, tenant: str, movements: Sequence[Movement], actor: str, ts: int
) -> Credit:
    """Book movements of one tenant's wallet, one journal each and one act for all. The caller flushes the book.

    Raises MoneyRefusedError `amount` where a total would leave 64 bits.
    """
    account = wallet(tenant)
    total_nano = (await wallet_totals(tx, book.site, tenant)).credits_nano
    for movement in movements:
        total_nano += movement.amount_nano
        if abs(total_nano) > INT64_MAX:
            raise MoneyRefusedError("amount", "the account cannot hold that much")
    act_seq = await next_seq(tx, book.site, tenant)
    moved_nano = sum(movement.amount_nano for movement in movements)
    rows = await tx.fetch(_CREDIT, book.site, account, tenant, moved_nano, act_seq)
    numbers = [
        book.add(
            kind=movement.kind,
            ts=ts,
            reference=movement.reference,
            actor=actor,
            memo=movement.memo,
            legs=((account, movement.amount_nano), (movement.contra, -movement.amount_nano)),
        )
        for movement in movements
    ]
    act = CreditsPosted(act_seq, rows[0][0], moved_nano, ts, movements[0].reference)
    return Credit(numbers[0], rows[0][0], await append_act(tx, book.site, tenant, act))


async def book_credit(
    tx: Transaction,
    book: JournalBook,
    *,
    tenant: str,
    amount_nano: int,
    kind: str,
    contra: str,
    reference: str,
    actor: str,
    memo: str,
    ts: int,
) -> Credit:
    """Credit a tenant's wallet against another account (a negative amount debits it), and tell the twin by an act.

    The caller flushes the book. Raises MoneyRefusedError `amount` where the total would leave 64 bits.
    """
    movement = Movement(kind, amount_nano, contra, reference, memo)
    return await book_movements(tx, book, tenant=tenant, movements=[movement], actor=actor, ts=ts)

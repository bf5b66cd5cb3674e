"""Verification of the SQL ledger: nothing is believed, everything is computed again from the rows.

Theory of operation. Each check streams through its table in pages, in the order of a key, inside one snapshot of the
database; so memory does not grow with the site and a running ledger writer does not disturb it. The checks use none of
the code that writes the rows, except the definitions of the hash chain and of the charge digest.

What is checked: every register epoch is tiled from its opening to its end, without gap, overlap or fork; every
interval has exactly one active price and the amount it says; journals balance, are numbered without gaps and chained
by hash from the beginning to the head that the site remembers; charge journals cover the intervals they say;
projections, payments, refunds, debts, corrections, the outbox and the sums of reports agree with them; and the tables
that are posted for good are what the anchors of past days sealed.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec

from adapters.store.proofs.anchors import own_anchors
from adapters.store.proofs.verify_accounts import check_account_facts, check_payment_facts
from adapters.store.proofs.verify_adjustments import check_adjustments
from adapters.store.proofs.verify_bills import check_bills, check_fees
from adapters.store.proofs.verify_chains import check_chains, check_month_use, check_ratings
from adapters.store.proofs.verify_finding import Finding, Progress, error
from adapters.store.proofs.verify_history import check_history, check_marks
from adapters.store.proofs.verify_journals import check_journals
from adapters.store.proofs.verify_reports import check_reports
from adapters.store.proofs.verify_totals import check_outbox, check_payments, check_projections, check_refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from adapters.store.engine.database import Database

_CHECKS = (
    ("register chains", check_chains),
    ("prices", check_ratings),
    ("use of the month", check_month_use),
    ("journals", check_journals),
    ("adjustments", check_adjustments),
    ("fees", check_fees),
    ("bills", check_bills),
    ("meters to rate again", check_marks),
    ("accounts", check_projections),
    ("payments", check_payments),
    ("facts of payments", check_payment_facts),
    ("facts of accounts", check_account_facts),
    ("reports", check_reports),
    ("anchors", own_anchors),
    ("outbox", check_outbox),
    ("refused effects", check_refused),
)
_METER_HEADS = (
    "SELECT meter, epoch, head_qty FROM register_epoch e WHERE site = ? AND meter > ? AND epoch ="
    " (SELECT max(epoch) FROM register_epoch l WHERE l.site = e.site AND l.meter = e.meter) ORDER BY meter LIMIT ?"
)
_ACCOUNT_TOTALS = (
    "SELECT account, tenant, credits_nano, charges_nano FROM account WHERE site = ? AND account > ?"
    " ORDER BY account LIMIT ?"
)
_PAGE = 1_000


async def verify_sql(
    database: Database, site: str, progress: Progress | None = None, *, deep: int | None = None
) -> AsyncIterator[Finding]:
    """Everything that is wrong with the ledger of a site; nothing when it is sound.

    `deep` rates the whole past of so many meters again and compares (0: of every meter); None leaves that out.

    `progress` is told the check and how many rows it has seen. A finding of severity `error` is a breach; a `warning`
    needs a person's eye. An unknown site is a finding too.
    """
    async with database.snapshot() as tx:
        if not await tx.fetch("SELECT 1 FROM site WHERE id = ?", site):
            yield error("unknown_site", f"site {site}", "the database has no such site")
            return
        for name, check in _CHECKS:
            # Closed before the transaction is, where nobody wants the rest: a statement may be under way.
            found = cast("AsyncGenerator[Finding, None]", check(tx, site, partial(progress or _silent, name)))
            async with aclosing(found) as findings:
                async for finding in findings:
                    yield finding
        if deep is not None:
            told = partial(progress or _silent, "history")
            async for finding in check_history(tx, site, told, sample=deep or None):
                yield finding


def _silent(_check: str, _seen: int) -> None:
    """Nobody asked for progress."""


class MeterHead(msgspec.Struct, frozen=True):
    """The end of a meter's chain in SQL: what its twin must have posted, and nothing beyond it in the same epoch."""

    meter: str
    epoch: int
    posted: int


class AccountTotals(msgspec.Struct, frozen=True):
    """The posted totals of a tenant, nano-units. The twin's charges are these plus what it has not posted yet."""

    tenant: str
    credits_nano: int
    charges_nano: int


async def ledger_heads(database: Database, site: str) -> AsyncIterator[MeterHead | AccountTotals]:
    """The ends of all chains, then the totals of all tenants, streamed from one instant of the database."""
    async with database.snapshot() as tx:
        after = ""
        while rows := await tx.fetch(_METER_HEADS, site, after, _PAGE):
            for meter, epoch, posted in rows:
                yield MeterHead(meter, epoch, posted)
            after = rows[-1][0]
        after = ""
        while rows := await tx.fetch(_ACCOUNT_TOTALS, site, after, _PAGE):
            for _, tenant, credits_nano, charges_nano in rows:
                yield AccountTotals(tenant, credits_nano, charges_nano)
            after = rows[-1][0]

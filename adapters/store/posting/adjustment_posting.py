"""Posting adjustments: rows that overlay posted intervals, and the journals of their money.

Theory of operation. The adjustments of one meter that are found at once are a batch, named by the number of its first.
Each wallet that they touch gets one journal for the batch: what its parts cost before less what they cost now, against
the revenue of the utility. Its memo carries a digest of all rows of the batch, and the journal's hash covers the memo;
so adjustments are under the hash chain like charges. A wallet whose differences cancel out gets no journal. Where no
wallet moves at all (only facts changed, no money) there is none either, and the rows are what they are: append-only.

Tenants are told by an act, through the one door for money born in SQL. The landlord has no twin to tell.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.accounts import revenue
from adapters.store.journals.wallet_booking import book_credit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapters.store.engine.database import Transaction
    from adapters.store.journals.journal_book import JournalBook
    from billing.rerating import Adjustment, Facts
    from twin.ports import PendingAct

KIND = "adjustment"
_COLUMNS = (
    "site number:bigint batch:bigint meter epoch:bigint from_qty:bigint to_qty:bigint from_ts:bigint to_ts:bigint"
    " original_from:bigint supersedes:bigint utility old_tenant old_account old_tariff old_version:bigint"
    " old_month:bigint old_period old_tier:bigint old_price_micro:bigint old_amount_nano:bigint tenant account tariff"
    " version:bigint month:bigint period tier:bigint price_micro:bigint amount_nano:bigint estimated:boolean reason"
    " ts:bigint"
)
_ROWS = BulkInsert("adjustment", _COLUMNS)
COLUMNS = tuple(column.partition(":")[0] for column in _COLUMNS.split())
"""Columns of an adjustment as they are digested, without the id."""
_NEXT = "SELECT COALESCE(max(number), 0) + 1 FROM adjustment WHERE site = ?"
_LANDLORD = (
    "INSERT INTO account (site, account, tenant, credits_nano, credits_seq, charges_nano, version)"
    " VALUES (?, ?, '', ?, 0, 0, 1) ON CONFLICT (site, account) DO UPDATE SET"
    " credits_nano = account.credits_nano + excluded.credits_nano, version = account.version + 1"
)
_ENCODER = msgspec.json.Encoder()


class Posted(msgspec.Struct, frozen=True):
    """A batch that was posted: its first number, what each account got back in nano-units, and the acts to deliver."""

    batch: int
    moved: dict[str, int]
    acts: tuple[PendingAct, ...]


async def post_adjustments(
    tx: Transaction,
    book: JournalBook,
    meter: str,
    utility: str,
    adjustments: Sequence[Adjustment],
    *,
    reason: str,
    actor: str,
    ts: int,
) -> Posted:
    """Post the adjustments of one meter as one batch. The caller holds the site's book and flushes it.

    Raises MoneyRefusedError `amount` where a wallet's total would leave 64 bits.
    """
    batch = int((await tx.fetch(_NEXT, book.site))[0][0])
    rows = [
        (book.site, number, batch, meter, *_row(one, utility), reason[:200], ts)
        for number, one in enumerate(adjustments, batch)
    ]
    await _ROWS.run(tx, rows)
    memo = adjustment_memo(rows)
    moved = {account: nano for (account, _), nano in sorted(_moved(adjustments).items()) if nano}
    acts: list[PendingAct] = []
    for (account, tenant), nano in sorted(_moved(adjustments).items()):
        if not nano:
            continue
        reference = f"{KIND}:{batch}:{account}"
        if tenant:
            credit = await book_credit(
                tx, book, tenant=tenant, amount_nano=nano, kind=KIND, contra=revenue(utility), reference=reference,
                actor=actor, memo=memo, ts=ts,
            )  # fmt: skip
            acts.append(credit.pending)
        else:
            await tx.execute(_LANDLORD, book.site, account, nano)
            legs = ((account, nano), (revenue(utility), -nano))
            book.add(kind=KIND, ts=ts, reference=reference, actor=actor, memo=memo, legs=legs)
    return Posted(batch, moved, tuple(acts))


def adjustment_memo(rows: Iterable[Sequence[Any]]) -> str:
    """The memo of a batch's journals: how many adjustments, and the SHA-256 of them by number; rows have `COLUMNS`."""
    ordered = sorted((tuple(row) for row in rows), key=lambda row: row[1])
    digest = hashlib.sha256(b"\n".join(map(_ENCODER.encode, ordered))).hexdigest()
    return f"{len(ordered)} adjustments sha256:{digest}"


def _moved(adjustments: Iterable[Adjustment]) -> dict[tuple[str, str], int]:
    """(account, tenant) -> what it gets back, nano-units."""
    moved: dict[tuple[str, str], int] = {}
    for one in adjustments:
        before, after = (one.old.account, one.old.tenant), (one.new.account, one.new.tenant)
        moved[before] = moved.get(before, 0) + one.old_amount_nano
        moved[after] = moved.get(after, 0) - one.new_amount_nano
    return moved


def _row(one: Adjustment, utility: str) -> tuple[Any, ...]:
    place = (one.epoch, one.from_qty, one.to_qty, one.from_ts, one.to_ts, one.original_from, one.supersedes or None)
    return (
        *place,
        utility,
        *_facts(one.old),
        one.old_amount_nano,
        *_facts(one.new),
        one.new_amount_nano,
        one.estimated,
    )


def _facts(facts: Facts) -> tuple[Any, ...]:
    who = (facts.tenant, facts.account, facts.tariff, facts.version, facts.month)
    return (*who, facts.period, facts.tier, facts.price_micro)

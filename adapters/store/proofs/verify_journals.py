"""Money: journals balance, are numbered without gaps, chained by hash, and cover the intervals they say."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.charge_digest import charge_memo
from adapters.store.proofs.verify_finding import PAGE, Finding, Seen, error
from billing.chain import GENESIS, JournalRecord, journal_hash

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

    from adapters.store.engine.database import Row, Transaction
    from adapters.store.journals.charge_digest import ChargeRow

_JOURNALS = (
    "SELECT seq, kind, ts, reference, actor, memo, prev_hash, hash FROM journal WHERE site = ? AND seq > ?"
    " ORDER BY seq, id LIMIT ?"
)
_LEGS = "SELECT seq, account, amount_nano FROM leg WHERE site = ? AND seq > ? AND seq <= ? ORDER BY seq, place"
_CHARGES = (
    "SELECT r.meter, r.epoch, r.from_qty, r.to_qty, e.from_ts, e.to_ts, e.tenant, r.tariff, r.version,"
    " r.month, r.period, r.tier, r.price_micro, r.amount_nano, e.estimated, r.account, r.journal_seq FROM rating r"
    " JOIN energy e ON e.site = r.site AND e.meter = r.meter AND e.epoch = r.epoch AND e.from_qty = r.from_qty"
    " WHERE r.site = ? AND r.journal_seq > ? AND r.journal_seq <= ?"
)
_AMOUNT, _ESTIMATED, _ACCOUNT, _SEQ = 13, 14, 15, 16
"""Places of columns in `_CHARGES`, whose first are those of a `ChargeRow`. By place, for speed: there are millions."""
_BREATH = 100
"""Journals that are hashed before the connection is looked after again."""
_ORPHAN_LEGS = (
    "SELECT l.seq, count(*) FROM leg l WHERE l.site = ? AND NOT EXISTS"
    " (SELECT 1 FROM journal j WHERE j.site = l.site AND j.seq = l.seq) GROUP BY l.seq ORDER BY l.seq"
)
_FREE_CHARGES = (
    "SELECT r.meter, r.epoch, r.from_qty, r.journal_seq FROM rating r WHERE r.site = ? AND r.amount_nano <> 0"
    " AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.site = r.site AND j.seq = r.journal_seq) ORDER BY r.id"
)


class _Tape(msgspec.Struct):
    """The hash chain while journals go by."""

    site: str
    seq: int = 0
    head: bytes = GENESIS

    def journal(self, row: Row, legs: list[tuple[str, int]]) -> Iterator[Finding]:
        """Look at the next journal by number."""
        where = f"journal {row['seq']} ({row['reference']})"
        if row["seq"] != self.seq + 1:
            missing = f"{self.seq + 1}" if row["seq"] == self.seq + 2 else f"{self.seq + 1} to {row['seq'] - 1}"
            yield error("missing_journal", where, f"journal {missing} is missing before it")
        elif bytes(row["prev_hash"]) != self.head:
            yield error("chain_broken", where, "it does not follow the journal before it: one of the two was replaced")
        if len(legs) < 2 or sum(amount for _, amount in legs) != 0:
            yield error("unbalanced", where, f"its {len(legs)} legs sum to {sum(amount for _, amount in legs)}")
        record = JournalRecord(
            *(self.site, row["seq"], row["kind"], row["ts"], row["reference"], row["actor"], row["memo"]),
            tuple(legs),
        )
        if journal_hash(bytes(row["prev_hash"]), record) != bytes(row["hash"]):
            yield error("journal_edited", where, "its content does not have the hash that was posted with it")
        self.seq, self.head = row["seq"], bytes(row["hash"])


class _Page(msgspec.Struct, frozen=True):
    """Journals by rising number, with the legs and the intervals of each."""

    journals: Sequence[Row]
    legs: defaultdict[int, list[tuple[str, int]]]
    charges: defaultdict[int, list[Row]]


async def _page(tx: Transaction, site: str, after: int) -> _Page:
    page = _Page(await tx.fetch(_JOURNALS, site, after, PAGE), defaultdict(list), defaultdict(list))
    if page.journals:
        span = (site, after, page.journals[-1]["seq"])
        for seq, account, amount_nano in await tx.fetch(_LEGS, *span):
            page.legs[seq].append((account, amount_nano))
        for charge in await tx.fetch(_CHARGES, *span):
            page.charges[charge[_SEQ]].append(charge)
    return page


async def _pages(tx: Transaction, site: str) -> AsyncGenerator[_Page, None]:
    """The journal page by page; the database looks for the next one while this one is being hashed."""
    ahead = asyncio.create_task(_page(tx, site, 0))
    try:
        while (page := await ahead).journals:
            ahead = asyncio.create_task(_page(tx, site, page.journals[-1]["seq"]))
            yield page
    finally:
        ahead.cancel()
        with suppress(asyncio.CancelledError):
            await ahead


async def check_journals(tx: Transaction, site: str, seen: Seen) -> AsyncGenerator[Finding, None]:
    """The whole journal from its genesis to the head that the site remembers."""
    tape = _Tape(site)
    async with aclosing(_pages(tx, site)) as pages:
        async for page in pages:
            for place, row in enumerate(page.journals):
                if place % _BREATH == 0:
                    await asyncio.sleep(0)
                for finding in tape.journal(row, page.legs[row["seq"]]):
                    yield finding
                for finding in _check_charges(row, page.legs[row["seq"]], page.charges[row["seq"]]):
                    yield finding
            seen(tape.seq)
    head = await tx.fetch("SELECT journal_seq, journal_hash FROM site WHERE id = ?", site)
    if (head[0][0], bytes(head[0][1])) != (tape.seq, tape.head):
        detail = f"the journal ends at {tape.seq}, the site remembers {head[0][0]}: its tail was cut or replaced"
        yield error("journal_tail", f"site {site}", detail)
    async for finding in _check_loose_ends(tx, site):
        yield finding


def _check_charges(journal: Row, legs: list[tuple[str, int]], charges: list[Row]) -> Iterator[Finding]:
    """A charge journal covers its intervals: by amount, by account and by digest."""
    if journal["kind"] != "charge":
        return
    where = f"journal {journal['seq']} ({journal['reference']})"
    owed: defaultdict[str, int] = defaultdict(int)
    for charge in charges:
        owed[charge[_ACCOUNT]] += charge[_AMOUNT]
    for account, amount_nano in owed.items():
        booked = -sum(leg for name, leg in legs if name == account)
        if booked != amount_nano:
            yield error("charge_amount", where, f"{booked} is booked on {account}, its intervals cost {amount_nano}")
    if charge_memo(map(_digest_row, charges)) != journal["memo"]:
        yield error("charge_digest", where, "the intervals posted with it are not those its digest was made of")


def _digest_row(row: Row) -> ChargeRow:
    """The columns as they were digested: SQLite keeps a boolean as 0 or 1."""
    values: Any = (*row[:_ESTIMATED], bool(row[_ESTIMATED]))
    return values  # type: ignore[no-any-return]


async def _check_loose_ends(tx: Transaction, site: str) -> AsyncIterator[Finding]:
    async for seq, count in tx.stream(_ORPHAN_LEGS, site):
        yield error("missing_journal", f"journal {seq}", f"it is gone, {count} legs of it are left")
    async for meter, epoch, from_qty, seq in tx.stream(_FREE_CHARGES, site):
        where = f"meter {meter} epoch {epoch} interval from {from_qty}"
        yield error("uncharged", where, f"it has a price, but its journal {seq} does not exist")

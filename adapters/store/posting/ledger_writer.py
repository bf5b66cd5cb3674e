"""The ledger writer: entries of the effect stream become rows, in one transaction a batch.

Theory of operation. A batch and the stream position it ends at are committed together, so a crash between commit and
acknowledgement only means that the same entries are read again and passed over. Every row is idempotent by its own key
besides, for entries that come again under another id after a rebuild.

When the database refuses a batch because of its data, the batch is posted again effect by effect, each behind a
savepoint: what is at fault is kept in `refused_effect` with the reason, and everything else is posted. Trouble of the
database itself (a lost connection, a full disk) is raised to the caller, nothing having been written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.engine.database import REFUSALS
from adapters.store.journals.journal_book import open_book
from adapters.store.journals.refusals import Item, Refusal, record_refusals
from adapters.store.posting.chain_posting import ChainPosting
from adapters.store.posting.operations_posting import OperationsPosting
from adapters.store.sites.handover_posting import post_handovers
from adapters.store.sites.late_readings import post_late

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.ports import Entry

BEGINNING = "0-0"
Journals = dict[str, list[int]]


def stream_id(text: str) -> tuple[int, int]:
    """A stream id `ms-n` as numbers, to be compared. Raises ValueError for anything else."""
    ms, dash, number = text.partition("-")
    if not dash or not ms.isdecimal() or not number.isdecimal():
        raise ValueError(f"{text!r} is not a stream id such as 1763778000000-0")
    return int(ms), int(number)


async def position(database: Database, site: str) -> str:
    """Id of the last entry whose rows are committed. Raises LookupError for a site that was never imported."""
    rows = await database.fetch("SELECT ledger_position FROM site WHERE id = ?", site)
    if not rows:
        raise LookupError(f"site {site!r} is not in the database; import its site file first")
    return str(rows[0][0])


async def post(database: Database, site: str, entries: Sequence[Entry]) -> dict[str, list[int]]:
    """Post a batch of entries, all of them or none. Entries at or before the site's position are ignored.

    Tells the numbers of the journals of charges by the id of their entry.

    Raises LookupError for a site that was never imported, and the driver's error when the database is in trouble.
    """
    if not entries:
        return {}
    try:
        return await _post(database, site, entries, one_by_one=False)
    except REFUSALS:
        return await _post(database, site, entries, one_by_one=True)


async def _post(database: Database, site: str, entries: Sequence[Entry], *, one_by_one: bool) -> Journals:
    journals: Journals = {}
    async with database.write() as tx:
        book = await open_book(tx, site)
        done = stream_id(book.position)
        fresh = [entry for entry in entries if stream_id(entry.id) > done]
        if not fresh:
            return journals
        items = [
            Item(entry.id, place, entry.group, effect) for entry in fresh for place, effect in enumerate(entry.effects)
        ]
        post_them = _post_one_by_one if one_by_one else _post_together
        await record_refusals(tx, site, await post_them(tx, book, items, journals))
        last = max((entry.id for entry in fresh), key=stream_id)
        await tx.execute("UPDATE site SET ledger_position = ? WHERE id = ?", last, site)
    return journals


async def _post_together(
    tx: Transaction, book: JournalBook, items: Sequence[Item], journals: Journals
) -> list[Refusal]:
    chains = ChainPosting(book.site, book)
    await chains.post(tx, items)
    await OperationsPosting(book.site).post(tx, items)
    await post_late(tx, book.site, [item.effect for item in items])
    await post_handovers(tx, book.site, [item.effect for item in items])
    for entry, seq in chains.posted:
        journals.setdefault(entry, []).append(seq)
    return chains.refusals


async def _post_one_by_one(
    tx: Transaction, book: JournalBook, items: Sequence[Item], journals: Journals
) -> list[Refusal]:
    refusals: list[Refusal] = []
    for item in items:
        mark = book.mark()
        await tx.execute("SAVEPOINT one_effect")
        try:
            refusals += await _post_together(tx, book, [item], journals)
        except REFUSALS as error:
            await tx.execute("ROLLBACK TO SAVEPOINT one_effect")
            book.back_to(mark)
            refusals.append(Refusal(item, f"the database refused it: {error}"))
        await tx.execute("RELEASE SAVEPOINT one_effect")
    return refusals

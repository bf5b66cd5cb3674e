"""Writing journals: gapless numbers, the hash chain, legs before their journal.

Whoever writes money holds the `site` row from the first statement to the commit: `open_book` locks it on PostgreSQL,
and on SQLite the transaction itself is alone. Numbers and hashes therefore follow each other without gaps, also across
processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.engine.bulk import BulkInsert
from billing.chain import JournalRecord, journal_hash

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction

_LEGS = BulkInsert("leg", "site seq:bigint place:bigint account amount_nano:bigint")
_JOURNALS = BulkInsert("journal", "site seq:bigint kind ts:bigint reference actor memo prev_hash:bytea hash:bytea")
_HEAD = "SELECT ledger_position, journal_seq, journal_hash FROM site WHERE id = ?"


class JournalBook:
    """The journal of one site inside one transaction. `add` collects, `flush` writes."""

    def __init__(self, site: str, position: str, seq: int, head: bytes) -> None:
        self.site = site
        self.position = position
        self.seq = seq
        self.head = head
        self._legs: list[tuple[str, int, int, str, int]] = []
        self._journals: list[tuple[str, int, str, int, str, str, str, bytes, bytes]] = []

    def add(
        self, *, kind: str, ts: int, reference: str, actor: str, memo: str, legs: tuple[tuple[str, int], ...]
    ) -> int:
        """Append a journal; returns its number. `legs` are (account, nano-units), none zero, summing to zero.

        Raises ValueError for legs that do not balance: the database would refuse them later and name them less well.
        """
        if len(legs) < 2 or sum(amount for _, amount in legs) != 0 or any(amount == 0 for _, amount in legs):
            raise ValueError(f"journal {reference!r}: the legs must be two or more, not zero, and sum to zero: {legs}")
        self.seq += 1
        record = JournalRecord(self.site, self.seq, kind, ts, reference, actor, memo, legs)
        prev, self.head = self.head, journal_hash(self.head, record)
        self._legs += [(self.site, self.seq, place, account, amount) for place, (account, amount) in enumerate(legs, 1)]
        self._journals.append((self.site, self.seq, kind, ts, reference, actor, memo, prev, self.head))
        return self.seq

    async def flush(self, tx: Transaction) -> None:
        """Write what was added, legs first, and move the site's head."""
        if not self._journals:
            return
        first = self._journals[0]
        await _LEGS.run(tx, self._legs)
        await _JOURNALS.run(tx, self._journals)
        moved = await tx.fetch(
            "UPDATE site SET journal_seq = ?, journal_hash = ? WHERE id = ? AND journal_seq = ? RETURNING id",
            self.seq,
            self.head,
            self.site,
            first[1] - 1,
        )
        assert moved, "the site row was locked, so its head cannot have moved"
        self._legs, self._journals = [], []

    def mark(self) -> tuple[int, bytes]:
        """Where the book stands, for `back_to` after a savepoint was rolled back."""
        return self.seq, self.head

    def back_to(self, mark: tuple[int, bytes]) -> None:
        """Forget everything added since the mark."""
        self.seq, self.head = mark
        self._legs, self._journals = [], []


async def open_book(tx: Transaction, site: str) -> JournalBook:
    """Lock the site's money for this transaction. Raises LookupError for a site that was never imported."""
    rows = await tx.fetch(_HEAD + (" FOR UPDATE" if tx.engine == "postgres" else ""), site)
    if not rows:
        raise LookupError(f"site {site!r} is not in the database; import its site file first")
    position, seq, head = rows[0]
    return JournalBook(site, position, seq, bytes(head))

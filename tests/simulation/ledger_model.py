"""The checker's own ledger: rows are read as they are committed, by plain SQL, and must fit what was there before.

Nothing of the product judges here. Chains, prices, journals, hashes, balances and payments are calculated anew, in
integers. A database that went back in time is read again from its beginning.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from typing import Any

from tests.simulation.park import PRICES, SITE

GENESIS = hashlib.sha256(b"twinmeter.journal/v1").digest()
DOMAIN = b"20:twinmeter.journal/v1"


class ViolationError(AssertionError):
    """Something happened that must never happen; `invariant` is its short name."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail


def demand(holds: object, invariant: str, detail: Any) -> None:
    """Raise a violation where something does not hold. `detail` is text, or a function that makes it."""
    if not holds:
        raise ViolationError(invariant, detail() if callable(detail) else str(detail))


class LedgerModel:
    """What the ledger's rows say, read so far."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = defaultdict(int)
        self.heads: dict[tuple[str, int], int] = {}
        self.openings: dict[tuple[str, int], int] = {}
        self.rows: dict[tuple[str, int, int], tuple[int, str]] = {}
        """(meter, epoch, from) -> (to, tenant)"""
        self.balances: dict[str, int] = defaultdict(int)
        self.by_kind: dict[tuple[str, str], int] = defaultdict(int)
        """(kind of journal, account) -> sum of its legs"""
        self.journal_seq = 0
        self.journal_hash = GENESIS
        self.payments: dict[tuple[str, str], int] = {}
        """(tenant, key) -> amount"""
        self.acts: dict[str, int] = defaultdict(int)

    def read(self, db: sqlite3.Connection) -> None:
        """Take in what was committed since the last look, and hold it against what the projections say."""
        self._energy(db)
        self._ratings(db)
        self._journals(db)
        self._payments(db)
        self._acts(db)
        self._projections(db)

    def _new(self, db: sqlite3.Connection, table: str, columns: str) -> list[Any]:
        sql = f"SELECT id, {columns} FROM {table} WHERE id > ? ORDER BY id"
        rows = db.execute(sql, (self.seen[table],)).fetchall()
        if rows:
            self.seen[table] = rows[-1][0]
        return rows

    def _energy(self, db: sqlite3.Connection) -> None:
        for row in self._new(db, "energy", "meter, epoch, from_qty, to_qty, tenant"):
            _, meter, epoch, start, end, tenant = row
            where = f"{meter} epoch {epoch} [{start}, {end})"
            if start is None:
                demand((meter, epoch) not in self.heads, "I1 chain", f"{where}: a second opening")
                self.openings[meter, epoch] = end
            else:
                demand(start == self.heads.get((meter, epoch)), "I1 chain", f"{where}: it does not follow the head")
                demand(end > start, "I1 chain", f"{where}: it does not rise")
                self.rows[meter, epoch, start] = (end, tenant)
            self.heads[meter, epoch] = end

    def _ratings(self, db: sqlite3.Connection) -> None:
        columns = "meter, epoch, from_qty, to_qty, account, tariff, price_micro, amount_nano, revision"
        for row in self._new(db, "rating", columns):
            _, meter, epoch, start, end, account, tariff, price, amount, revision = row
            where = f"{meter} epoch {epoch} [{start}, {end})"
            demand((meter, epoch, start) in self.rows, "I2 energy", f"{where}: a price for no interval")
            demand(revision == 1 and type(amount) is int, "I3 money", f"{where}: revision {revision}, {amount!r}")
            demand(amount == (end - start) * price, "I3 money", f"{where}: {amount} is not quantity times {price}")
            demand(price in PRICES[tariff], "I3 money", f"{where}: nobody has agreed to {price} by {tariff}")
            to, tenant = self.rows[meter, epoch, start]
            payer = f"tenant:{tenant}:wallet" if tenant else "landlord:vacancy"
            demand(account == payer and to == end, "I7 isolation", f"{where}: used by {tenant!r}, paid by {account}")

    def _journals(self, db: sqlite3.Connection) -> None:
        legs: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for _, seq, account, amount in self._new(db, "leg", "seq, account, amount_nano"):
            legs[seq].append((account, amount))
        for row in self._new(db, "journal", "seq, kind, ts, reference, actor, memo, prev_hash, hash"):
            _, seq, kind, ts, reference, actor, memo, before, found = row
            demand(seq == self.journal_seq + 1, "I8 audit", f"journal {seq} follows {self.journal_seq}")
            mine = legs.pop(seq, [])
            demand(len(mine) > 1 and sum(nano for _, nano in mine) == 0, "I3 money", f"journal {seq}: {mine}")
            demand(bytes(before) == self.journal_hash, "I8 audit", f"journal {seq} names another one before it")
            self.journal_hash = _hash(self.journal_hash, [seq, kind, ts, reference, actor, memo], mine)
            demand(bytes(found) == self.journal_hash, "I8 audit", f"journal {seq} has another hash than it should")
            self.journal_seq = seq
            wallets = {account for account, _ in mine if account.startswith("tenant:")}
            demand(len(wallets) <= 1 or kind == "transfer", "I7 isolation", f"journal {seq} moves {sorted(wallets)}")
            for account, nano in mine:
                self.balances[account] += nano
                self.by_kind[kind, account] += nano
        demand(not legs, "I3 money", f"legs without a journal: {dict(legs)}")

    def _payments(self, db: sqlite3.Connection) -> None:
        for _, tenant, key, amount, reference in self._new(db, "payment", "tenant, key, amount_nano, reference"):
            demand((tenant, key) not in self.payments, "I4 payments", f"{tenant} was credited twice for {key}")
            self.payments[tenant, key] = amount
            del reference

    def _acts(self, db: sqlite3.Connection) -> None:
        for _, group, seq in self._new(db, "act", "group_id, seq"):
            demand(seq == self.acts[group] + 1, "I4 payments", f"act {seq} of {group} follows {self.acts[group]}")
            self.acts[group] = seq

    def _projections(self, db: sqlite3.Connection) -> None:
        for account, credits, charges in db.execute("SELECT account, credits_nano, charges_nano FROM account"):
            demand(
                credits - charges == self.balances[account], "I3 money",
                lambda: f"{account}: {credits} - {charges} is not the sum of its legs {self.balances[account]}",
            )  # fmt: skip
        for meter, epoch, head in db.execute("SELECT meter, epoch, head_qty FROM register_epoch"):
            demand(
                self.heads.get((meter, epoch)) == head, "I2 energy",
                lambda: f"{meter} epoch {epoch}: billed to {self.heads.get((meter, epoch))}, its head is {head}",
            )  # fmt: skip
        ((journals,),) = db.execute("SELECT journal_seq FROM site WHERE id = ?", (SITE,)).fetchall() or ((0,),)
        said = f"the site says {journals} journals, there are {self.journal_seq}"
        demand(journals == self.journal_seq, "I8 audit", said)

    def billed(self, meter: str, epoch: int) -> int:
        """Wh billed of one register, over all payers."""
        return self.heads.get((meter, epoch), 0) - self.openings.get((meter, epoch), 0)


def _hash(before: bytes, fields: list[Any], legs: list[tuple[str, int]]) -> bytes:
    """The hash of a journal by the format that `docs/contract` describes, written down once more."""
    values = [SITE, *fields, len(legs), *(part for leg in legs for part in leg)]
    encoded = [value.encode() if isinstance(value, str) else str(value).encode() for value in values]
    return hashlib.sha256(DOMAIN + b"".join(b"%d:%b" % (len(one), one) for one in [before, *encoded])).digest()

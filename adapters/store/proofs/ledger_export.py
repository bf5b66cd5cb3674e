"""The ledger as lines of JSON, for an auditor who has no access to the database. `billing.ledger_proof` reads them.

One snapshot, streamed in pages: memory does not grow with the ledger.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from adapters.store.posting.adjustment_posting import COLUMNS
from billing.ledger_proof import FORMAT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Database, Row, Transaction

PAGE: Final = 1_000
_JOURNALS = (
    "SELECT seq, kind, ts, reference, actor, memo, prev_hash, hash FROM journal WHERE site = ? AND seq > ?"
    " ORDER BY seq, id LIMIT ?"
)
_LEGS = "SELECT seq, account, amount_nano FROM leg WHERE site = ? AND seq > ? AND seq <= ? ORDER BY seq, place"
_ROW = (
    "r.meter, r.epoch, r.from_qty, r.to_qty, e.from_ts, e.to_ts, e.tenant, r.tariff, r.version, r.month, r.period,"
    " r.tier, r.price_micro, r.amount_nano, e.estimated, r.account"
)
_JOIN = (
    " FROM rating r JOIN energy e ON e.site = r.site AND e.meter = r.meter AND e.epoch = r.epoch"
    " AND e.from_qty = r.from_qty WHERE r.site = ? AND "
)
_CHARGES = f"SELECT r.journal_seq, {_ROW}{_JOIN} r.journal_seq > ? AND r.journal_seq <= ?"
_FREE = f"SELECT r.id, {_ROW}{_JOIN} r.id > ? AND r.journal_seq IS NULL AND r.revision = 1 ORDER BY r.id LIMIT ?"
_PAYMENTS = (
    "SELECT journal_seq, payment, tenant, amount_nano, channel, reference, key, actor, ts FROM payment WHERE site = ?"
    " AND journal_seq > ? AND journal_seq <= ?"
)
_FEES = (
    "SELECT journal_seq, kind, tenant, meter, name, month, day, revision, quantity, price_micro, amount_nano, facts"
    " FROM fee_line WHERE site = ? AND journal_seq > ? AND journal_seq <= ? ORDER BY id"
)
_EPOCHS = (
    "SELECT meter, epoch, opening, head_qty FROM register_epoch WHERE site = ? AND (meter, epoch) > (?, ?)"
    " ORDER BY meter, epoch LIMIT ?"
)
_ACCOUNTS = (
    "SELECT account, credits_nano, charges_nano FROM account WHERE site = ? AND account > ? ORDER BY account LIMIT ?"
)
_BATCHES = "SELECT DISTINCT batch FROM adjustment WHERE site = ? AND batch > ? ORDER BY batch LIMIT ?"
_ADJUSTMENTS = f"SELECT {', '.join(COLUMNS)} FROM adjustment WHERE site = ? AND batch = ? ORDER BY number"  # noqa: S608
_MOVED = (COLUMNS.index("old_amount_nano"), COLUMNS.index("amount_nano"))
_ESTIMATED = COLUMNS.index("estimated")


async def export_ledger(database: Database, site: str, now: int) -> AsyncIterator[bytes]:
    """The lines of one site's ledger, each with its newline. Raises LookupError for an unknown site."""
    digest, lines = hashlib.sha256(), 0
    async with database.snapshot() as tx:
        async for entry in _entries(tx, site, now):
            line = msgspec.json.encode(entry) + b"\n"
            digest.update(line)
            lines += 1
            yield line
    yield msgspec.json.encode({"t": "end", "lines": lines, "sha256": digest.hexdigest()}) + b"\n"


async def _entries(tx: Transaction, site: str, now: int) -> AsyncIterator[dict[str, Any]]:
    rows = await tx.fetch("SELECT journal_seq, journal_hash FROM site WHERE id = ?", site)
    if not rows:
        raise LookupError(f"site {site!r} is not in the database; import its site file first")
    seq, head = rows[0]
    yield {
        "t": "head",
        "format": FORMAT,
        "site": site,
        "journal_seq": seq,
        "journal_hash": bytes(head).hex(),
        "ts": now,
    }
    for part in (_epochs, _journals, _free_intervals, _adjustments, _accounts):
        async for entry in part(tx, site):
            yield entry


async def _epochs(tx: Transaction, site: str) -> AsyncIterator[dict[str, Any]]:
    key = ("", 0)
    while rows := await tx.fetch(_EPOCHS, site, *key, PAGE):
        for meter, epoch, opening, head in rows:
            yield {"t": "epoch", "meter": meter, "epoch": epoch, "opening": opening, "head": head}
        key = (rows[-1][0], rows[-1][1])


async def _journals(tx: Transaction, site: str) -> AsyncIterator[dict[str, Any]]:
    after = 0
    while rows := await tx.fetch(_JOURNALS, site, after, PAGE):
        span = (site, after, rows[-1]["seq"])
        legs = await _by_journal(tx, _LEGS, *span)
        charges = await _by_journal(tx, _CHARGES, *span)
        payments = await _by_journal(tx, _PAYMENTS, *span)
        fees = await _by_journal(tx, _FEES, *span)
        for row in rows:
            seq = row["seq"]
            entry = {
                "t": "journal",
                **{name: row[name] for name in ("seq", "kind", "ts", "reference", "actor", "memo")},
            }
            entry |= {"prev_hash": bytes(row["prev_hash"]).hex(), "hash": bytes(row["hash"]).hex(), "legs": legs[seq]}
            if row["kind"] == "charge":
                entry["charges"] = [_charge(values) for values in charges[seq]]
            if seq in fees:
                entry["fees"] = fees[seq]
            for values in payments.get(seq, ()):
                names = ("payment", "tenant", "amount_nano", "channel", "reference", "key", "actor", "ts")
                entry["payment"] = dict(zip(names, values, strict=True))
            yield entry
        after = rows[-1]["seq"]


async def _free_intervals(tx: Transaction, site: str) -> AsyncIterator[dict[str, Any]]:
    after = 0
    while rows := await tx.fetch(_FREE, site, after, PAGE):
        for row in rows:
            yield {"t": "interval", "row": _charge(list(row)[1:])}
        after = rows[-1][0]


async def _adjustments(tx: Transaction, site: str) -> AsyncIterator[dict[str, Any]]:
    after = -1
    while batches := await tx.fetch(_BATCHES, site, after, PAGE):
        for (batch,) in batches:
            rows = [_adjustment(row) for row in await tx.fetch(_ADJUSTMENTS, site, batch)]
            yield {"t": "adjustments", "batch": batch, "moved": _MOVED, "rows": rows}
        after = batches[-1][0]


async def _accounts(tx: Transaction, site: str) -> AsyncIterator[dict[str, Any]]:
    after = ""
    while rows := await tx.fetch(_ACCOUNTS, site, after, PAGE):
        for account, credits_nano, charges_nano in rows:
            yield {"t": "account", "account": account, "credits_nano": credits_nano, "charges_nano": charges_nano}
        after = rows[-1][0]


async def _by_journal(tx: Transaction, sql: str, *span: Any) -> defaultdict[int, list[list[Any]]]:
    """Rows of a span of journals by the journal they belong to, without its number."""
    found: defaultdict[int, list[list[Any]]] = defaultdict(list)
    for row in await tx.fetch(sql, *span):
        seq, *values = tuple(row)
        found[seq].append(values)
    return found


def _charge(values: list[Any]) -> list[Any]:
    """Booleans as they were posted: SQLite keeps them as 0 and 1."""
    values[14] = bool(values[14])
    return values


def _adjustment(row: Row) -> list[Any]:
    values = list(row)
    values[_ESTIMATED] = bool(values[_ESTIMATED])
    return values

"""Daily anchors: what the ledger was at the end of a day, small enough to be kept elsewhere.

Theory of operation. An anchor holds the number and hash of the last journal, how many payments and how much turnover
there had been, and the seal of every table that is posted for good. Whoever can edit the whole database can also edit
its anchors; so each is told as one line of JSON to be kept elsewhere (a mailbox, a notary, paper), and
`verify --anchor` holds the ledger against those lines. The line of a later day proves every day before it.

It is taken in three steps, so that sealing a day never blocks the ledger: the ends are read while the site is held, the
rows up to them, which nobody changes, are sealed afterwards, and then the anchor is written.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.journals.approval_policy import site_settings
from adapters.store.journals.journal_book import open_book
from adapters.store.proofs.seals import Seal, newest_ids, seal, sealed_tables
from adapters.store.proofs.verify_finding import Finding, error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapters.store.engine.database import Database, Transaction

FORMAT: Final = "twinmeter.anchor/v1"
_COLUMNS = "day, journal_seq, journal_hash, payments, turnover_nano, ts"
_INSERT = f"INSERT INTO anchor (site, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SEAL_COLUMNS = "subject, columns, to_id, rows, digest"
_INSERT_SEAL = f"INSERT INTO anchor_seal (site, day, {_SEAL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_TURNOVER = "SELECT COALESCE(sum(amount_nano), 0) FROM leg WHERE site = ? AND amount_nano > 0 AND seq > ? AND seq <= ?"
_PAYMENTS = "SELECT count(*) FROM payment WHERE site = ? AND journal_seq <= ?"


class Anchor(msgspec.Struct, frozen=True):
    """The ledger of a site at the end of a local day (yyyymmdd). `turnover_nano`: all positive legs so far."""

    site: str
    day: int
    journal_seq: int
    journal_hash: bytes
    payments: int
    turnover_nano: int
    ts: int
    seals: tuple[Seal, ...]


class AnchorError(ValueError):
    """A line that is no anchor; the message says what it should be."""


def anchor_line(anchor: Anchor) -> str:
    """An anchor as one line of JSON, hashes in hex."""
    seals = {
        one.subject: {"columns": one.columns, "to_id": one.to_id, "rows": one.rows, "digest": one.digest.hex()}
        for one in anchor.seals
    }
    facts = {name: getattr(anchor, name) for name in ("site", "day", "journal_seq", "payments", "ts")}
    texts = {"journal_hash": anchor.journal_hash.hex(), "turnover_nano": str(anchor.turnover_nano)}
    return msgspec.json.encode({"format": FORMAT, **facts, **texts, "seals": seals}).decode()


def read_anchor(line: str) -> Anchor:
    """The anchor of a line. Raises AnchorError."""
    try:
        fields: dict[str, Any] = msgspec.json.decode(line)
        if fields.pop("format") != FORMAT:
            raise AnchorError(f"expected an anchor of format {FORMAT}")
        seals = tuple(
            Seal(subject, one["columns"], one["to_id"], one["rows"], bytes.fromhex(one["digest"]))
            for subject, one in sorted(fields.pop("seals").items())
        )
        fields |= {
            "journal_hash": bytes.fromhex(fields["journal_hash"]),
            "turnover_nano": int(fields["turnover_nano"]),
        }
        return Anchor(**fields, seals=seals)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as problem:
        raise AnchorError(f"{line[:60]!r} is not an anchor as `ledger anchor` writes it: {problem}") from None


def ended_day(now: int, timezone: str) -> int:
    """The last local day that has ended at an instant, as yyyymmdd."""
    day = datetime.fromtimestamp(now // 1000, ZoneInfo(timezone)).date() - timedelta(days=1)
    return day.year * 10_000 + day.month * 100 + day.day


async def take_anchor(database: Database, site: str, now: int) -> Anchor:
    """The anchor of the last day that has ended; it is made of the ledger as it stands where there is none yet.

    Raises LookupError for an unknown site.
    """
    async with database.write() as tx:
        book = await open_book(tx, site)
        day = ended_day(now, (await site_settings(tx, site))["timezone"])
        known = await _anchors(tx, site, "AND day = ?", day)
        if known:
            return known[0]
        ends = await newest_ids(tx, site)
        seq, head = book.seq, book.head
    async with database.snapshot() as tx:
        before = await _anchors(tx, site, "ORDER BY day DESC LIMIT 1")
        last = before[0] if before else None
        anchor = await _sealed(tx, site, day, now, (seq, head), ends, last)
    async with database.write() as tx:
        await open_book(tx, site)
        known = await _anchors(tx, site, "AND day >= ? ORDER BY day", day)
        if known:
            return known[0]
        facts = (anchor.payments, str(anchor.turnover_nano), now)
        await tx.execute(_INSERT, site, day, seq, head, *facts)
        for one in anchor.seals:
            await tx.execute(_INSERT_SEAL, site, day, one.subject, one.columns, one.to_id, one.rows, one.digest)
    return anchor


async def anchors(database: Database, site: str, *, from_day: int = 0) -> list[Anchor]:
    """The anchors of a site from a day on, oldest first."""
    async with database.snapshot() as tx:
        return await _anchors(tx, site, "AND day >= ? ORDER BY day", from_day)


async def check_anchors(
    tx: Transaction, site: str, wanted: Sequence[Anchor], seen: Any = lambda _count: None
) -> AsyncIterator[Finding]:
    """Hold the ledger against anchors, its own or those kept elsewhere, oldest first."""
    last: dict[str, Seal] = {}
    turnover_nano, from_seq = 0, 0
    for count, anchor in enumerate(sorted(wanted, key=lambda one: (one.journal_seq, one.day)), 1):
        where = f"site {site} anchor {anchor.day}"
        async for finding in _check_journal(tx, site, anchor, where):
            yield finding
        added = int((await tx.fetch(_TURNOVER, site, from_seq, anchor.journal_seq))[0][0])
        turnover_nano, from_seq = turnover_nano + added, anchor.journal_seq
        if turnover_nano != anchor.turnover_nano:
            detail = (
                f"the legs up to journal {anchor.journal_seq} turn over {turnover_nano}, not {anchor.turnover_nano}"
            )
            yield error("anchor_turnover", where, detail)
        for one in anchor.seals:
            found = await seal(tx, site, one.subject, one.columns, last.get(one.subject), one.to_id)
            if found.digest != one.digest:
                yield error("anchor_seal", f"{where} table {one.subject}", _what_changed(one, found, last))
            last[one.subject] = one
        seen(count)


async def check_kept_anchors(database: Database, site: str, kept: Sequence[Anchor]) -> AsyncIterator[Finding]:
    """Hold the ledger, and the anchors in it, against anchors that were kept elsewhere."""
    async with database.snapshot() as tx:
        own = {anchor.day: anchor for anchor in await _anchors(tx, site, "ORDER BY day")}
        for anchor in kept:
            if anchor.day not in own:
                yield error("anchor_missing", f"site {site} anchor {anchor.day}", "the ledger has no such anchor")
            elif own[anchor.day] != anchor:
                yield error("anchor_differs", f"site {site} anchor {anchor.day}", "the ledger has another one")
        # The ledger's own tell which columns were sealed when; of one day the one kept elsewhere counts.
        wanted = {**own, **{anchor.day: anchor for anchor in kept}}
        async for finding in check_anchors(tx, site, list(wanted.values())):
            yield finding


async def own_anchors(tx: Transaction, site: str, seen: Any) -> AsyncIterator[Finding]:
    """The check of verification: the ledger against the anchors in it."""
    async for finding in check_anchors(tx, site, await _anchors(tx, site, "ORDER BY day"), seen):
        yield finding


async def _check_journal(tx: Transaction, site: str, anchor: Anchor, where: str) -> AsyncIterator[Finding]:
    if anchor.site != site:
        yield error("anchor_site", where, f"it is an anchor of site {anchor.site}")
    if anchor.journal_seq:
        rows = await tx.fetch("SELECT hash FROM journal WHERE site = ? AND seq = ?", site, anchor.journal_seq)
        if not rows:
            yield error("anchor_missing", where, f"journal {anchor.journal_seq} is gone: the ledger was cut short")
        elif bytes(rows[0][0]) != anchor.journal_hash:
            detail = f"journal {anchor.journal_seq} has another hash: it or one before it was replaced"
            yield error("anchor_chain", where, detail)
    payments = (await tx.fetch(_PAYMENTS, site, anchor.journal_seq))[0][0]
    if payments != anchor.payments:
        yield error("anchor_payments", where, f"{payments} payments up to it, not {anchor.payments}")


def _what_changed(wanted: Seal, found: Seal, last: dict[str, Seal]) -> str:
    since = last[wanted.subject].to_id if wanted.subject in last else 0
    place = f"rows {since + 1} to {wanted.to_id}"
    if found.rows != wanted.rows:
        return f"{place}: {found.rows} are there, {wanted.rows} were sealed"
    return f"{place}: one of them was edited, or they were reordered"


async def _sealed(
    tx: Transaction,
    site: str,
    day: int,
    now: int,
    head: tuple[int, bytes],
    ends: dict[str, int],
    last: Anchor | None,
) -> Anchor:
    before = {one.subject: one for one in last.seals} if last else {}
    seals = [
        await seal(tx, site, table, columns, before.get(table), ends[table])
        for table, columns in sorted(sealed_tables().items())
    ]
    since = last.journal_seq if last else 0
    added = int((await tx.fetch(_TURNOVER, site, since, head[0]))[0][0])
    payments = int((await tx.fetch(_PAYMENTS, site, head[0]))[0][0])
    turnover_nano = added + (last.turnover_nano if last else 0)
    return Anchor(site, day, *head, payments, turnover_nano, now, tuple(seals))


async def _anchors(tx: Transaction, site: str, condition: str, *values: Any) -> list[Anchor]:
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM anchor WHERE site = ? {condition}", site, *values)  # noqa: S608
    days = [row[0] for row in rows]
    seals: defaultdict[int, list[Seal]] = defaultdict(list)
    if days:
        sql = f"SELECT day, {_SEAL_COLUMNS} FROM anchor_seal WHERE site = ? AND day >= ? AND day <= ? ORDER BY subject"  # noqa: S608
        for at, subject, columns, to_id, count, digest in await tx.fetch(sql, site, min(days), max(days)):
            seals[at].append(Seal(subject, columns, to_id, count, bytes(digest)))
    return [
        Anchor(site, day, seq, bytes(head), payments, int(turnover), ts, tuple(seals[day]))
        for day, seq, head, payments, turnover, ts in rows
    ]

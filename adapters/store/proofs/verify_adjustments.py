"""Adjustments: each takes over what held before it, in one posted interval, and its money is in the journal.

The overlays of one posted interval are laid over each other again, in the order of their numbers; each must name what
it covers and repeat the facts of it. A batch is posted with one journal for each wallet it moves, whose memo carries a
digest of its rows.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.accounts import wallet
from adapters.store.posting.adjustment_posting import COLUMNS, KIND, adjustment_memo
from adapters.store.proofs.verify_finding import PAGE, Finding, Seen, error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from adapters.store.engine.database import Row, Transaction

_NAMES = ", ".join(f"a.{name}" for name in COLUMNS)
_BY_NUMBER = f"SELECT {_NAMES} FROM adjustment a WHERE a.site = ? AND a.number > ? ORDER BY a.number LIMIT ?"  # noqa: S608
_BY_PLACE = (
    f"SELECT {_NAMES}, e.to_qty AS row_to, e.tenant AS row_tenant, r.account AS row_account, r.tariff AS row_tariff,"  # noqa: S608
    " r.version AS row_version, r.month AS row_month, r.period AS row_period, r.tier AS row_tier,"
    " r.price_micro AS row_price, r.utility AS row_utility FROM adjustment a LEFT JOIN energy e ON e.site = a.site"
    " AND e.meter = a.meter AND e.epoch = a.epoch AND e.from_qty = a.original_from LEFT JOIN rating r"
    " ON r.site = a.site AND r.meter = a.meter AND r.epoch = a.epoch AND r.from_qty = a.original_from"
    " AND r.revision = 1"
    " WHERE a.site = ? AND (a.meter, a.epoch, a.original_from, a.number) > (?, ?, ?, ?)"
    " ORDER BY a.meter, a.epoch, a.original_from, a.number LIMIT ?"
)
_JOURNALS = (
    "SELECT j.seq, j.reference, j.memo, l.account, l.amount_nano FROM journal j JOIN leg l ON l.site = j.site"
    " AND l.seq = j.seq WHERE j.site = ? AND j.reference >= ? AND j.reference < ? ORDER BY j.seq, l.place"
)
_POSTED = "SELECT seq, reference FROM journal WHERE site = ? AND kind = ? AND seq > ? ORDER BY seq LIMIT ?"
_BATCH = "SELECT 1 FROM adjustment WHERE site = ? AND batch = ? LIMIT 1"


class _Part(msgspec.Struct, frozen=True):
    """[low, high) as it is held by an adjustment (0: by the posted row), under these facts."""

    low: int
    high: int
    number: int
    facts: tuple[Any, ...]


async def check_adjustments(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Every adjustment of a site, by place and by batch."""
    async for finding in _check_places(tx, site):
        yield finding
    async for finding in _check_batches(tx, site, seen):
        yield finding
    async for finding in _check_journals(tx, site):
        yield finding


async def _check_places(tx: Transaction, site: str) -> AsyncIterator[Finding]:
    """The overlays of each posted interval take over from each other without a break."""
    key: tuple[str, int, int, int] = ("", 0, -1, 0)
    place: tuple[str, int, int] | None = None
    parts: list[_Part] = []
    while rows := await tx.fetch(_BY_PLACE, site, *key, PAGE):
        for row in rows:
            if place != (row["meter"], row["epoch"], row["original_from"]):
                place = (row["meter"], row["epoch"], row["original_from"])
                parts = [_Part(row["original_from"], row["row_to"] or 0, 0, _row_facts(row))]
            for finding in _check_one(row, parts):
                yield finding
            parts = _laid_over(parts, row)
        last = rows[-1]
        key = (last["meter"], last["epoch"], last["original_from"], last["number"])


def _check_one(row: Row, parts: list[_Part]) -> Iterator[Finding]:
    where = _where(row)
    low, high = row["from_qty"], row["to_qty"]
    if row["row_to"] is None or low < row["original_from"] or high > row["row_to"]:
        yield error("adjustment_place", where, f"it lies in no posted interval that starts at {row['original_from']}")
        return
    for name in ("", "old_"):
        amount, price = row[f"{name}amount_nano"], row[f"{name}price_micro"]
        if amount != (high - low) * price:
            yield error("adjustment_amount", where, f"{amount} is not {high - low} times {price}")
        if row[f"{name}account"] != wallet(row[f"{name}tenant"]):
            yield error(
                "adjustment_account", where, f"{row[f'{name}account']} is not of tenant {row[f'{name}tenant']!r}"
            )
    if row["utility"] != row["row_utility"]:
        yield error("adjustment_place", where, f"it is of {row['utility']}, its interval of {row['row_utility']}")
    covered = [part for part in parts if part.low < high and low < part.high]
    if {part.number for part in covered} != {row["supersedes"] or 0}:
        held = ", ".join(str(part.number) for part in covered)
        yield error("adjustment_order", where, f"it takes over from {row['supersedes'] or 0}, what held was {held}")
    elif any(part.facts != _facts(row, "old_") for part in covered):
        yield error("adjustment_order", where, "what it says was charged is not what was charged")


async def _check_batches(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Numbers without a gap; each batch with the journals it says."""
    number, batch = 0, list[tuple[Any, ...]]()
    while rows := await tx.fetch(_BY_NUMBER, site, number, PAGE):
        for row in rows:
            if row["number"] != number + 1:
                yield error("missing_adjustment", f"adjustment {row['number']}", f"{number + 1} is missing before it")
            number = row["number"]
            if batch and batch[0][2] != row["batch"]:
                async for finding in _check_batch(tx, site, batch):
                    yield finding
                batch = []
            batch.append(_plain(row))
        seen(number)
    if batch:
        async for finding in _check_batch(tx, site, batch):
            yield finding


async def _check_batch(tx: Transaction, site: str, batch: list[tuple[Any, ...]]) -> AsyncIterator[Finding]:
    first = batch[0][2]
    where = f"adjustments from {first} on"
    if batch[0][1] != first:
        yield error("missing_adjustment", where, f"the batch begins with {batch[0][1]}")
    owed: defaultdict[str, int] = defaultdict(int)
    for values in batch:
        row = dict(zip(COLUMNS, values, strict=True))
        owed[row["old_account"]] += row["old_amount_nano"]
        owed[row["account"]] -= row["amount_nano"]
    booked: defaultdict[str, int] = defaultdict(int)
    memo = adjustment_memo(batch)
    for _, reference, told, account, amount_nano in await tx.fetch(
        _JOURNALS, site, f"{KIND}:{first}:", f"{KIND}:{first};"
    ):
        if reference == f"{KIND}:{first}:{account}":
            booked[account] += amount_nano
            if told != memo:
                yield error(
                    "adjustment_digest", f"journal {reference}", "its rows are not those its digest was made of"
                )
    for account in sorted({*owed, *booked}):
        if owed[account] != booked[account]:
            detail = f"{booked[account]} is booked on {account}, the adjustments move {owed[account]}"
            yield error("adjustment_booked", where, detail)


async def _check_journals(tx: Transaction, site: str) -> AsyncIterator[Finding]:
    """No journal of an adjustment without its rows."""
    after = 0
    while rows := await tx.fetch(_POSTED, site, KIND, after, PAGE):
        for seq, reference in rows:
            number = reference.split(":")[1] if reference.count(":") > 1 else ""
            if not number.isdecimal() or not await tx.fetch(_BATCH, site, int(number)):
                yield error("adjustment_gone", f"journal {seq} ({reference})", "the adjustments it books do not exist")
        after = rows[-1][0]


def _laid_over(parts: list[_Part], row: Row) -> list[_Part]:
    low, high = row["from_qty"], row["to_qty"]
    left: list[_Part] = []
    for part in parts:
        left += [msgspec.structs.replace(part, high=min(part.high, low))] if part.low < low else []
        left += [msgspec.structs.replace(part, low=max(part.low, high))] if part.high > high else []
    return [*left, _Part(low, high, row["number"], _facts(row, ""))]


def _facts(row: Row, name: str) -> tuple[Any, ...]:
    keys = ("tenant", "account", "tariff", "version", "month", "period", "tier", "price_micro")
    return tuple(row[f"{name}{key}"] for key in keys)


def _row_facts(row: Row) -> tuple[Any, ...]:
    keys = ("tenant", "account", "tariff", "version", "month", "period", "tier", "price")
    return tuple(row[f"row_{key}"] for key in keys)


def _plain(row: Row) -> tuple[Any, ...]:
    """The columns as they were digested: SQLite keeps a boolean as 0 or 1."""
    return tuple(bool(row[name]) if name == "estimated" else row[name] for name in COLUMNS)


def _where(row: Row) -> str:
    place = f"meter {row['meter']} epoch {row['epoch']} interval {row['from_qty']} to {row['to_qty']}"
    return f"adjustment {row['number']} of {place}"

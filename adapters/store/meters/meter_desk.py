"""The desk of meters: what people may do with them, each once for its key, by one person or by two.

A gap that nobody read (an unknown final reading, an estimated value) needs a second person where the site's setting
`approval.estimated_gap` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from adapters.store.journals.account_acts import once, perform
from adapters.store.journals.approval_policy import approval_policy
from adapters.store.meters import handovers, meter_acts

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.ports import Caller, Outcome, PendingAct

Row = TypeVar("Row", bound=msgspec.Struct)

__all__ = ["SqlMeters", "handovers", "meter_acts"]

ESTIMATE = "estimate"
_REVIEW = (
    "SELECT q.id, q.meter, q.epoch, q.raw_qty, q.ts, q.sid, q.seq, q.reason, q.head_qty, d.decision,"
    " d.raw_qty AS decided_qty, d.overtaken, d.who, d.why, d.decided_ts FROM quarantined_reading q"
    " LEFT JOIN reading_decision d ON d.site = q.site AND d.meter = q.meter AND d.ts = q.ts AND d.sid = q.sid"
    " AND d.seq = q.seq WHERE q.site = ? AND q.id < ?{meter}{open} ORDER BY q.id DESC LIMIT ?"
)
_EVENTS = (
    "SELECT id, meter, kind, ts, body, who, why, made_ts FROM meter_event WHERE site = ? AND meter = ? AND id < ?"
    " ORDER BY id DESC LIMIT ?"
)
_HANDOVERS = (
    "SELECT id, handover, meter, breaker, from_group, to_group, at, who, why, ts, state, changed_ts FROM handover"
    " WHERE site = ? AND id < ? ORDER BY id DESC LIMIT ?"
)
END = 2**63 - 1


class DoubtfulReading(msgspec.Struct, frozen=True):
    """A reading that was not believed, and what a person decided about it. Quantities as the device shows them, but for
    `head`, which is primary."""

    id: int
    meter: str
    epoch: int
    reading: int
    ts: int
    sid: str
    seq: int
    reason: str
    head: int
    decision: str | None
    decided_reading: int | None
    overtaken: bool | None
    who: str | None
    why: str | None
    decided_ts: int | None


class MeterEventRow(msgspec.Struct, frozen=True):
    """An act of a person on a meter; `ts` is the instant it is about."""

    id: int
    meter: str
    kind: str
    ts: int
    body: dict[str, Any]
    who: str
    why: str
    made_ts: int


class HandoverRow(msgspec.Struct, frozen=True):
    """One meter of a hand-over: `releasing`, `taking` or `done`."""

    id: int
    handover: str
    meter: str
    breaker: str | None
    from_group: str
    to_group: str
    at: int
    who: str
    why: str
    ts: int
    state: str
    changed_ts: int


class SqlMeters:
    """Acts on meters over one database. Every act raises LookupError for an unknown site and MoneyRefusedError with a
    stable code; its outcome is `done` with its facts, or `requested` with the approval it waits for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def act(self, site: str, kind: str, body: dict[str, Any], caller: Caller) -> Outcome:
        """Carry out `meter.reading`, `.rollover`, `.reset`, `.replace`, `.ratio`, `.handover` or `reading.decide`."""

        async def perform_it(tx: Transaction, book: JournalBook) -> Outcome:
            gap = _is_gap(kind, body) and (await approval_policy(tx, site)).always("estimated_gap")
            return await perform(tx, book, kind, body, caller, second=gap)

        return await once(self._database, site, caller, (kind, body), perform_it)

    async def review(
        self, site: str, *, meter: str | None = None, decided: bool = False, before: int = END, limit: int = 100
    ) -> list[DoubtfulReading]:
        """Readings that wait for review, newest first; with `decided` also those that were."""
        sql = _REVIEW.format(
            meter=" AND q.meter = ?" if meter else "", open="" if decided else " AND d.decision IS NULL"
        )
        rows = await self._database.fetch(sql, site, before, *([meter] if meter else []), limit)
        return [_doubtful(tuple(row)) for row in rows]

    async def events(self, site: str, meter: str, *, before: int = END, limit: int = 100) -> list[MeterEventRow]:
        """What people did to a meter, newest first."""
        rows = [tuple(row) for row in await self._database.fetch(_EVENTS, site, meter, before, limit)]
        return [_fields(MeterEventRow, (*row[:4], msgspec.json.decode(row[4]), *row[5:])) for row in rows]

    async def handovers(self, site: str, *, before: int = END, limit: int = 100) -> list[HandoverRow]:
        """Hand-overs, newest first."""
        rows = await self._database.fetch(_HANDOVERS, site, before, limit)
        return [_fields(HandoverRow, tuple(row)) for row in rows]

    async def carry_out_due(self, now: int) -> list[PendingAct]:
        """Supplies whose time has come change hands; the acts for the twins."""
        return await handovers.carry_out_due(self._database, now)


def _is_gap(kind: str, body: dict[str, Any]) -> bool:
    if kind in ("meter.replace", "meter.reset"):
        return body.get("final") is None or bool(body.get("final_estimated"))
    return kind == "reading.decide" and body["decision"] == ESTIMATE


def _doubtful(row: tuple[Any, ...]) -> DoubtfulReading:
    overtaken = None if row[11] is None else bool(row[11])
    return _fields(DoubtfulReading, (*row[:11], overtaken, *row[12:]))


def _fields(kind: type[Row], values: tuple[Any, ...]) -> Row:
    """A row as its struct; the columns stand in the order of the fields."""
    return kind(**dict(zip(kind.__struct_fields__, values, strict=True)))

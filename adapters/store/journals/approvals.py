"""Dual control: what one person asks for and another one agrees to, carried out in the transaction of the agreement.

Theory of operation. A room asks with a `kind` and a body of plain data, and registers under that kind what is to be
done on agreement (`EXECUTORS`) and, where the asking itself has set something aside, on refusal (`RELEASES`). Both run
inside the deciding transaction with the site's journal book open, so an approval and its effect are never apart. An
executor that refuses (MoneyRefusedError) leaves the request open.

Nobody decides his own request: the code refuses it, and the database refuses an approved row whose two names are one.
A request that is not decided in time expires; expiry releases like a refusal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from adapters.store.engine.database import Transaction
from adapters.store.journals.approval_policy import approval_policy
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.idempotency import conflict, input_hash
from adapters.store.journals.journal_book import JournalBook, open_book
from twin.ports import MoneyRefusedError, PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Row

OPEN: Final = "open"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
CANCELLED: Final = "cancelled"

_COLUMNS = (
    "approval, kind, subject, body, asked_by, why, asked_ts, expires_ts, state, decided_by, decided_why, decided_ts, id"
)
_INSERT = (
    "INSERT INTO approval (site, approval, kind, subject, body, asked_by, why, asked_ts, expires_ts, key, input_hash,"
    " state, decided_by, decided_why, decided_ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', '', '', NULL)"
)
_DECIDE = (
    "UPDATE approval SET state = ?, decided_by = ?, decided_why = ?, decided_ts = ?"
    " WHERE site = ? AND approval = ? AND state = 'open' RETURNING id"
)


class Approval(msgspec.Struct, frozen=True):
    """A request and what became of it. `body` is what the executor of its kind needs."""

    id: str
    kind: str
    subject: str
    body: dict[str, Any]
    asked_by: str
    why: str
    asked_ts: int
    expires_ts: int
    state: str = OPEN
    decided_by: str = ""
    decided_why: str = ""
    decided_ts: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """What came of deciding: the approval as it stands, and the acts for the twins. `repeated`: nothing happened."""

    approval: Approval
    acts: list[PendingAct]
    repeated: bool = False


Executor = Callable[[Transaction, JournalBook, str, dict[str, Any], Approval], Awaitable[list[PendingAct]]]
EXECUTORS: dict[str, Executor] = {}
"""By kind: what an agreement does. The approval it gets names both people and the instant."""
RELEASES: dict[str, Executor] = {}
"""By kind: what a refusal, a cancellation or an expiry gives back; a kind that set nothing aside needs none."""


async def ask(
    tx: Transaction,
    site: str,
    kind: str,
    body: dict[str, Any],
    who: str,
    why: str,
    ts: int,
    key: str,
    *,
    subject: str = "",
) -> str:
    """Ask for a second person's agreement; returns the id of the request, the same one for the same (who, key).

    The caller holds the site's row (`open_book`). Raises MoneyRefusedError `idempotency_conflict` for a key that came
    with another content, and KeyError for a kind that nobody carries out.
    """
    if kind not in EXECUTORS:
        raise KeyError(f"nobody carries out requests of kind {kind!r}")
    digest = input_hash(kind, subject, body, why)
    known = await tx.fetch(
        "SELECT approval, input_hash FROM approval WHERE site = ? AND asked_by = ? AND key = ?", site, who, key
    )
    if known:
        if known[0][1] != digest:
            raise conflict(key)
        return str(known[0][0])
    rows = await tx.fetch("SELECT count(*) FROM approval WHERE site = ?", site)
    approval = f"A{rows[0][0] + 1}"
    expires_ts = ts + (await approval_policy(tx, site)).expires_ms
    text = msgspec.json.encode(body).decode()
    await tx.execute(_INSERT, site, approval, kind, subject, text, who, why, ts, expires_ts, key, digest)
    after = {"approval": approval, "kind": kind, "body": body, "why": why}
    await record_audit(tx, site, [AuditEntry(ts, who, "approval.ask", subject or f"approval {approval}", None, after)])
    return approval


async def decide(database: Database, site: str, approval: str, who: str, approve: bool, why: str, ts: int) -> Decision:
    """Agree or refuse, and carry that out. The same decision by the same person again changes nothing.

    Raises LookupError for an unknown site; MoneyRefusedError `unknown_approval`, `own_approval` (the one who asked
    cannot agree), `approval_settled` (decided, cancelled or expired before), and whatever the executor refuses with.
    """
    async with database.write() as tx:
        book = await open_book(tx, site)
        asked = await _must_have(tx, site, approval)
        wanted = APPROVED if approve else REJECTED
        if asked.state == wanted and asked.decided_by == who:
            return Decision(asked, [], repeated=True)
        if asked.state != OPEN:
            raise MoneyRefusedError("approval_settled", f"request {approval} is {asked.state} already")
        if asked.expires_ts <= ts:
            decision = await _settle(tx, book, asked, EXPIRED, "platform", "nobody decided in time", ts)
        elif who == asked.asked_by:
            raise MoneyRefusedError("own_approval", f"{who} asked for {approval}: another person has to decide")
        else:
            return await _settle(tx, book, asked, wanted, who, why, ts)
    if decision.approval.state == EXPIRED and approve:
        raise MoneyRefusedError("approval_settled", f"request {approval} expired before anybody decided")
    return decision


async def cancel(database: Database, site: str, approval: str, who: str, why: str, ts: int) -> Decision:
    """Take one's own request back. Raises as `decide` does, and `own_approval` where somebody else asked."""
    async with database.write() as tx:
        book = await open_book(tx, site)
        asked = await _must_have(tx, site, approval)
        if asked.asked_by != who:
            raise MoneyRefusedError("own_approval", f"{asked.asked_by} asked for {approval}: only he can take it back")
        if asked.state == CANCELLED:
            return Decision(asked, [], repeated=True)
        if asked.state != OPEN:
            raise MoneyRefusedError("approval_settled", f"request {approval} is {asked.state} already")
        return await _settle(tx, book, asked, CANCELLED, who, why, ts)


async def expire(database: Database, site: str, ts: int, *, limit: int = 100) -> list[Decision]:
    """Settle the requests that nobody decided in time; what they had set aside is given back."""
    due = f"SELECT {_COLUMNS} FROM approval WHERE site = ? AND state = 'open' AND expires_ts <= ? ORDER BY id LIMIT ?"  # noqa: S608
    if not await database.fetch(due, site, ts, limit):
        return []
    async with database.write() as tx:
        book = await open_book(tx, site)
        waiting = [_approval(row) for row in await tx.fetch(due, site, ts, limit)]
        return [await _settle(tx, book, asked, EXPIRED, "platform", "nobody decided in time", ts) for asked in waiting]


async def approvals(
    database: Database, site: str, *, state: str | None = None, before: int = 2**63 - 1, limit: int = 100
) -> list[tuple[int, Approval]]:
    """Requests with their positions, newest first; of one state where asked."""
    condition, values = (" AND state = ?", [state]) if state else ("", [])
    sql = f"SELECT {_COLUMNS} FROM approval WHERE site = ? AND id < ?{condition} ORDER BY id DESC LIMIT ?"  # noqa: S608
    return [(row["id"], _approval(row)) for row in await database.fetch(sql, site, before, *values, limit)]


async def approval_of(database: Database, site: str, approval: str) -> Approval | None:
    """One request; None for an unknown one."""
    sql = f"SELECT {_COLUMNS} FROM approval WHERE site = ? AND approval = ?"  # noqa: S608 -- constants
    rows = await database.fetch(sql, site, approval)
    return _approval(rows[0]) if rows else None


async def _must_have(tx: Transaction, site: str, approval: str) -> Approval:
    sql = f"SELECT {_COLUMNS} FROM approval WHERE site = ? AND approval = ?"  # noqa: S608 -- constants
    rows = await tx.fetch(sql, site, approval)
    if not rows:
        raise MoneyRefusedError("unknown_approval", f"site {site} has no request {approval!r}")
    return _approval(rows[0])


async def _settle(
    tx: Transaction, book: JournalBook, asked: Approval, state: str, who: str, why: str, ts: int
) -> Decision:
    moved = await tx.fetch(_DECIDE, state, who, why, ts, book.site, asked.id)
    assert moved, "the site row was locked, so nobody else can have decided meanwhile"
    settled = msgspec.structs.replace(asked, state=state, decided_by=who, decided_why=why, decided_ts=ts)
    act = EXECUTORS.get(asked.kind) if state == APPROVED else RELEASES.get(asked.kind)
    acts = await act(tx, book, book.site, asked.body, settled) if act else []
    await book.flush(tx)
    subject = asked.subject or f"approval {asked.id}"
    after = {"approval": asked.id, "kind": asked.kind, "state": state, "why": why}
    await record_audit(tx, book.site, [AuditEntry(ts, who, f"approval.{state}", subject, {"state": OPEN}, after)])
    return Decision(settled, acts)


def _approval(row: Row) -> Approval:
    values = list(row)[:12]
    values[3] = msgspec.json.decode(values[3])
    return Approval(*values)

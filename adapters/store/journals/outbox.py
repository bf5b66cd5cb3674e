"""The outbox of acts: what SQL decides, numbered within each group, kept until the twin has it.

An act is written in the transaction of its cause. Its number comes from the group's counter, whose row stays locked
until the commit, so the acts of a group are numbered in the order in which they become visible, without gaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from twin.core.messages import Act
from twin.ports import PendingAct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.store.engine.database import Database, Row, Transaction

_NEXT = (
    "INSERT INTO act_head (site, group_id, seq) VALUES (?, ?, 1)"
    " ON CONFLICT (site, group_id) DO UPDATE SET seq = act_head.seq + 1 RETURNING seq"
)
_INSERT = "INSERT INTO act (site, group_id, seq, body, ts, delivered, owed) VALUES (?, ?, ?, ?, ?, FALSE, ?)"
_CARRIED_OUT = "UPDATE act SET owed = 0 WHERE site = ? AND group_id = ? AND seq = ?"
_DELIVERED = "UPDATE act SET delivered = TRUE WHERE site = ? AND group_id = ? AND seq <= ? AND NOT delivered"
_DECODER: msgspec.json.Decoder[Act] = msgspec.json.Decoder(Act)


async def next_seq(tx: Transaction, site: str, group: str) -> int:
    """The next act number of a group; the group's counter is locked until the transaction ends."""
    rows = await tx.fetch(_NEXT, site, group)
    return int(rows[0][0])


async def append_act(tx: Transaction, site: str, group: str, act: Act, *, owed: bool = False) -> PendingAct:
    """Put an act that carries its number (from `next_seq`) into the outbox. One that is `owed` is carried out by twins
    made from SQL, until the ledger has what came of it."""
    await tx.execute(_INSERT, site, group, act.seq, encode_act(act), act.ts, int(owed))
    return PendingAct(site, group, act)


async def undelivered(database: Database, site: str | None, *, limit: int) -> list[PendingAct]:
    """Acts that no twin has confirmed, oldest first (so in order within each group); of all sites without `site`."""
    where, values = ("AND site = ? ", [site]) if site is not None else ("", [])
    sql = f"SELECT site, group_id, body FROM act WHERE NOT delivered {where}ORDER BY id LIMIT ?"  # noqa: S608
    return [_pending(row) for row in await database.fetch(sql, *values, limit)]


async def delivered(database: Database, site: str, taken: Mapping[str, int]) -> None:
    """The twins have every act of their groups up to these numbers; one transaction for all of them."""
    if not taken:
        return
    async with database.write() as tx:
        await tx.execute_many(_DELIVERED, [(site, group, seq) for group, seq in sorted(taken.items())])


async def carried_out(tx: Transaction, site: str, acts: Sequence[tuple[str, int]]) -> None:
    """These acts (group, number) are owed no more: what came of them is posted in the same transaction."""
    if acts:
        await tx.execute_many(_CARRIED_OUT, [(site, group, seq) for group, seq in acts])


async def doubt(database: Database, newest: int) -> None:
    """Count the newest acts as undelivered again: a Redis that lost its last second may have forgotten them.

    Delivering an act to a twin that has it changes nothing.
    """
    async with database.write() as tx:
        await tx.execute("UPDATE act SET delivered = FALSE WHERE id > (SELECT max(id) FROM act) - ?", newest)


def encode_act(act: Act) -> str:
    """An act as JSON text with its tag."""
    return msgspec.json.encode(act).decode()


def decode_act(body: str) -> Act:
    """The act of a JSON text. Raises msgspec.ValidationError for anything else."""
    return _DECODER.decode(body)


def _pending(row: Row) -> PendingAct:
    return PendingAct(row[0], row[1], decode_act(row[2]))

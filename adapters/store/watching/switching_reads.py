"""Reads of bulk switching: jobs with their tallies, steps, and what still needs somebody to look after it."""

# ruff: noqa: S608 -- every name in a statement is a constant of this file
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.keyed_rows import in_list
from twin.core.bulk import Pace, Selection, Tally
from twin.switched import SwitchJob, SwitchStep

if TYPE_CHECKING:
    from collections.abc import Collection

    from adapters.store.engine.database import Row, Transaction

_COLUMNS = (
    "site, job, operation, lock, who, why, asked_ts, state, selection, pace, include, undo_of, until_ts, approval,"
    " reason, changed_by, changed_why, changed_ts, started_ts, ended_ts, bad_before, settled_before"
)
_FIELDS = SwitchJob.__struct_fields__[:22]
"""In the order of the columns."""
_STEP = "device, tenant, group_id, state, reason, detail, command, act_seq, sent_ts, settled_ts, late"
_TALLY = (
    "SELECT state, count(*), max(CASE WHEN sent_ts IS NULL THEN NULL ELSE settled_ts END) FROM switch_step"
    " WHERE site = ? AND job = ? GROUP BY state"
)
_AT_WORK = (
    f"SELECT {_COLUMNS} FROM switch_job j WHERE state = 'running' OR (changed_ts > ? AND EXISTS (SELECT 1 FROM"
    " switch_step s WHERE s.site = j.site AND s.job = j.job AND s.state IN ('sent', 'silent', 'failed')))"
    " ORDER BY id"
)


async def job_of(tx: Transaction, site: str, job: str) -> SwitchJob | None:
    """One job with its tally."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM switch_job WHERE site = ? AND job = ?", site, job)
    return await _with_tally(tx, rows[0]) if rows else None


async def jobs(tx: Transaction, site: str, before: int, limit: int) -> list[tuple[int, SwitchJob]]:
    """Jobs with their positions, newest first."""
    sql = f"SELECT {_COLUMNS}, id FROM switch_job WHERE site = ? AND id < ? ORDER BY id DESC LIMIT ?"
    return [(row["id"], await _with_tally(tx, row)) for row in await tx.fetch(sql, site, before, limit)]


async def at_work(tx: Transaction, late_since: int) -> list[SwitchJob]:
    """Jobs of all sites that run, have breakers under way, or moved since an instant and have silent ones."""
    return [await _with_tally(tx, row) for row in await tx.fetch(_AT_WORK, late_since)]


async def steps(
    tx: Transaction, site: str, job: str, states: Collection[str], after: int, limit: int
) -> list[tuple[int, SwitchStep]]:
    """Steps with their positions, in order."""
    condition, values = in_list(tx, "state", sorted(states)) if states else ("1 = 1", ())
    sql = (
        f"SELECT {_STEP}, id FROM switch_step WHERE site = ? AND job = ? AND id > ? AND {condition} ORDER BY id LIMIT ?"
    )
    return [(row["id"], _step(row)) for row in await tx.fetch(sql, site, job, after, *values, limit)]


async def waiting(tx: Transaction, site: str, job: str) -> set[str]:
    """Breakers that are not dealt with yet."""
    sql = "SELECT device FROM switch_step WHERE site = ? AND job = ? AND state = 'waiting'"
    return {row[0] for row in await tx.fetch(sql, site, job)}


async def critical(tx: Transaction, site: str) -> frozenset[str]:
    """Devices whose entry says `critical`."""
    rows = await tx.fetch("SELECT device, settings FROM device WHERE site = ? AND settings LIKE '%critical%'", site)
    return frozenset(row[0] for row in rows if msgspec.json.decode(row[1]).get("critical"))


async def _with_tally(tx: Transaction, row: Row) -> SwitchJob:
    values: dict[str, Any] = dict(zip(_FIELDS, tuple(row), strict=False))
    values["selection"] = msgspec.json.decode(values["selection"], type=Selection)
    values["pace"] = msgspec.json.decode(values["pace"], type=Pace)
    values["include"] = tuple(msgspec.json.decode(values["include"]))
    found = await tx.fetch(_TALLY, values["site"], values["id"])
    settled = [last for _, _, last in found if last is not None]
    tally = Tally(**{state: count for state, count, _ in found}, settled_ts=max(settled, default=None))
    return SwitchJob(**values, tally=tally)


def _step(row: Row) -> SwitchStep:
    values = list(row)[:11]
    values[10] = bool(values[10])
    return SwitchStep(*values)

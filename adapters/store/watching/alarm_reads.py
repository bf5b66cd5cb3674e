"""Alarms as people see them: what the twins decided, joined with what people made of it.

An acknowledgement and a shelf hold up to the severity they were given at: an alarm that has become worse since is
unacknowledged, and not shelved, until it is back. A shelf ends by itself, because it is compared with the time of
whoever asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from adapters.store.journals.read_models import AlarmEntry, AlarmNoteEntry, Page
from adapters.store.sites.queries import before_key, page_size, paged
from rules.actions import SEVERITIES

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Row, Transaction

Shelved = Literal["hidden", "only", "shown"]


def _rank(column: str) -> str:
    """SQL for the place of a severity on the ladder, higher is worse."""
    cases = " ".join(f"WHEN '{name}' THEN {place}" for place, name in enumerate(SEVERITIES))
    return f"CASE {column} {cases} ELSE {len(SEVERITIES)} END"


ACKNOWLEDGED: Final = f"COALESCE(c.acknowledged AND {_rank('a.severity')} <= {_rank('c.ack_severity')}, FALSE)"
SHELVED: Final = f"COALESCE({_rank('a.severity')} <= {_rank('s.severity')} AND s.id IS NOT NULL, FALSE)"
_SELECT = (
    "SELECT a.id, a.rule, a.rule_version, a.twin, a.tenant, a.since, a.changed_ts, a.cleared_ts, a.severity, a.active,"  # noqa: S608 -- constants
    f" a.because, {ACKNOWLEDGED}, COALESCE(c.ack_by, ''), c.ack_ts, COALESCE(c.assignee, ''), {SHELVED}, s.until_ts,"
    " COALESCE(s.who, ''), COALESCE(s.reason, ''), COALESCE(s.severity, '') FROM alarm a"
    " LEFT JOIN alarm_care c ON c.site = a.site AND c.rule = a.rule AND c.twin = a.twin AND c.since = a.since"
    " LEFT JOIN alarm_shelf s ON s.site = a.site AND s.rule = a.rule AND s.twin = a.twin"
    " AND s.ended_ts IS NULL AND s.until_ts > ? WHERE a.site = ?"
)
_NOTES = (
    "SELECT id, ts, who, what, text FROM alarm_note WHERE site = ? AND rule = ? AND twin = ? AND since = ? AND id < ?"
    " ORDER BY id DESC LIMIT ?"
)


_EVIDENCE = (
    "SELECT evidence FROM alarm_evidence WHERE site = ? AND rule = ? AND twin = ? AND since = ? ORDER BY ts LIMIT 1"
)


class AlarmFilter(msgspec.Struct, frozen=True):
    """Which alarms are asked for; None asks for all. `assignee` empty: those of nobody."""

    active: bool | None = None
    acknowledged: bool | None = None
    shelved: Shelved = "hidden"
    severity: str | None = None
    assignee: str | None = None

    def condition(self) -> tuple[str, list[str]]:
        """The rest of the WHERE clause, and its values."""
        parts: list[str] = []
        values: list[str] = []
        for wanted, sql in ((self.active, "a.active"), (self.acknowledged, ACKNOWLEDGED)):
            if wanted is not None:
                parts.append(sql if wanted else f"NOT {sql}")
        if self.shelved != "shown":
            parts.append(SHELVED if self.shelved == "only" else f"NOT {SHELVED}")
        for value, column in ((self.severity, "a.severity"), (self.assignee, "COALESCE(c.assignee, '')")):
            if value is not None:
                parts.append(f"{column} = ?")
                values.append(value)
        return "".join(f" AND {part}" for part in parts), values


async def list_alarms(
    database: Database, site: str, wanted: AlarmFilter, *, now: int, cursor: str | None, limit: int
) -> Page[AlarmEntry]:
    """Alarms, newest first; `now` decides which shelves still stand."""
    where, values = wanted.condition()
    sql = f"{_SELECT} AND a.id < ?{where} ORDER BY a.id DESC LIMIT ?"
    rows = await database.fetch(sql, now, site, before_key(cursor), *values, page_size(limit) + 1)
    return paged(rows, limit, lambda row: row[0], _alarm)


async def read_alarm(reader: Database | Transaction, site: str, alarm: int, *, now: int) -> AlarmEntry | None:
    """One alarm; None for an unknown one."""
    rows = await reader.fetch(f"{_SELECT} AND a.id = ?", now, site, alarm)
    return _alarm(rows[0]) if rows else None


async def read_evidence(reader: Database | Transaction, site: str, alarm: AlarmEntry) -> dict[str, Any] | None:
    """The samples that proved an alarm when it was raised; None for one that rests on none."""
    rows = await reader.fetch(_EVIDENCE, site, alarm.rule, alarm.twin, alarm.since)
    found: dict[str, Any] | None = msgspec.json.decode(rows[0][0]) if rows else None
    return found


async def list_notes(
    database: Database, site: str, alarm: AlarmEntry, *, cursor: str | None, limit: int
) -> Page[AlarmNoteEntry]:
    """What people did to and said of one alarm, newest first."""
    key = (site, alarm.rule, alarm.twin, alarm.since)
    rows = await database.fetch(_NOTES, *key, before_key(cursor), page_size(limit) + 1)
    return paged(rows, limit, lambda row: row[0], lambda row: AlarmNoteEntry(*tuple(row)))


def _alarm(row: Row) -> AlarmEntry:
    values = list(row)
    values[9], values[11], values[15] = bool(values[9]), bool(values[11]), bool(values[15])
    values[10] = msgspec.json.decode(values[10])
    return AlarmEntry(*values)

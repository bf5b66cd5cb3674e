"""Care of alarms: people acknowledge, comment, assign and shelve them.

Whether an alarm stands is decided by the twins and written by the ledger; what people make of it is decided here, in
rows of its own beside that one, so neither overwrites the other. Each act is done once by (who, key), leaves a note and
an audit row, and goes to the alarm's twin as an act, which does nothing but tell the live feed.

A shelf belongs to a rule and a twin, not to one occurrence: an alarm that comes and goes is what shelves are for. It
needs a reason and an end, and hides nothing worse than what it was placed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.idempotency import answered, input_hash, remember
from adapters.store.journals.lock_acts import group_of, take_site
from adapters.store.journals.outbox import append_act, decode_act, encode_act, next_seq
from adapters.store.watching.alarm_reads import AlarmFilter, list_alarms, list_notes, read_alarm, read_evidence
from twin.core.messages import AlarmCared
from twin.ports import PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.read_models import AlarmEntry, AlarmNoteEntry, Page
    from adapters.store.watching.alarm_reads import Shelved

What = Literal["ack", "unack", "comment", "assign", "shelve", "unshelve"]
LONGEST_SHELF_MS: Final = 90 * 24 * 3_600_000
MOST_CHARACTERS: Final = 1_000

_CARE = (
    "INSERT INTO alarm_care (site, rule, twin, since, acknowledged, ack_severity, ack_by, ack_ts, assignee)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (site, rule, twin, since) DO UPDATE SET"
    " acknowledged = excluded.acknowledged, ack_severity = excluded.ack_severity, ack_by = excluded.ack_by,"
    " ack_ts = excluded.ack_ts, assignee = excluded.assignee"
)
_KNOWN_CARE = (
    "SELECT acknowledged, ack_severity, ack_by, ack_ts, assignee FROM alarm_care"
    " WHERE site = ? AND rule = ? AND twin = ? AND since = ?"
)
_SHELVE = (
    "INSERT INTO alarm_shelf (site, rule, twin, severity, until_ts, who, reason, ts, ended_ts)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (site, rule, twin) DO UPDATE SET"
    " severity = excluded.severity, until_ts = excluded.until_ts, who = excluded.who, reason = excluded.reason,"
    " ts = excluded.ts, ended_ts = NULL"
)
_UNSHELVE = (
    "UPDATE alarm_shelf SET ended_ts = ? WHERE site = ? AND rule = ? AND twin = ? AND ended_ts IS NULL AND until_ts > ?"
)
_NOTE = "INSERT INTO alarm_note (site, rule, twin, since, ts, who, what, text, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class AlarmWish(msgspec.Struct, frozen=True):
    """What a person wants done to an alarm (by its id). `text` is the comment or the reason; `assignee` empty means
    nobody; `until` is the end of a shelf (Unix ms)."""

    alarm: int
    what: What
    who: str
    ts: int
    key: str
    text: str = ""
    assignee: str = ""
    until: int = 0


class SqlAlarms:
    """Alarms of one database, with what people made of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        site: str,
        *,
        now: int,
        active: bool | None = None,
        acknowledged: bool | None = None,
        shelved: Shelved = "hidden",
        severity: str | None = None,
        assignee: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[AlarmEntry]:
        """Alarms, newest first. Shelved ones are hidden unless asked for."""
        wanted = AlarmFilter(active, acknowledged, shelved, severity, assignee)
        return await list_alarms(self._database, site, wanted, now=now, cursor=cursor, limit=limit)

    async def alarm(self, site: str, alarm: int, *, now: int) -> AlarmEntry | None:
        """One alarm; None for an unknown one."""
        return await read_alarm(self._database, site, alarm, now=now)

    async def evidence(self, site: str, alarm: AlarmEntry) -> dict[str, Any] | None:
        """The samples that proved an alarm; None for one that rests on none."""
        return await read_evidence(self._database, site, alarm)

    async def notes(
        self, site: str, alarm: AlarmEntry, *, cursor: str | None = None, limit: int = 100
    ) -> Page[AlarmNoteEntry]:
        """The history of an alarm's care, newest first."""
        return await list_notes(self._database, site, alarm, cursor=cursor, limit=limit)

    async def care(
        self,
        site: str,
        *,
        alarm: int,
        what: str,
        who: str,
        ts: int,
        key: str,
        text: str = "",
        assignee: str = "",
        until: int = 0,
    ) -> PendingAct:
        """Carry out a wish once by (who, key); the act tells the live feed. See `care_for`."""
        wish = msgspec.convert(
            {"alarm": alarm, "what": what, "who": who, "ts": ts, "key": key}
            | {"text": text, "assignee": assignee, "until": until},
            AlarmWish,
        )
        return await care_for(self._database, site, wish)


async def care_for(database: Database, site: str, wish: AlarmWish) -> PendingAct:
    """Do to an alarm what a person wants; the same (who, key) again gives the same act and changes nothing.

    Raises LookupError for an unknown alarm, ValueError for a shelf without reason or end, an empty comment or a text
    that is too long, and MoneyRefusedError `idempotency_conflict` for a key that came with another content.
    """
    check_wish(wish)
    digest = input_hash(wish.alarm, wish.what, wish.text, wish.assignee, wish.until)
    scope = f"alarm:{wish.who}"
    async with database.write() as tx:
        await take_site(tx, site)
        known = await answered(tx, site, scope, wish.key, digest)
        if known is not None:
            answer = msgspec.json.decode(known, type=dict[str, str])
            return PendingAct(site, answer["group"], decode_act(answer["act"]))
        before = await read_alarm(tx, site, wish.alarm, now=wish.ts)
        if before is None:
            raise LookupError(f"site {site} has no alarm {wish.alarm}")
        await _change(tx, site, before, wish)
        after = await read_alarm(tx, site, wish.alarm, now=wish.ts)
        assert after is not None
        await _record(tx, site, before, after, wish)
        pending = await _tell(tx, site, after, wish)
        kept = msgspec.json.encode({"group": pending.group, "act": encode_act(pending.act)}).decode()
        await remember(tx, site, scope, wish.key, digest, kept, wish.ts)
        return pending


def check_wish(wish: AlarmWish) -> None:
    """Raises ValueError, as `field: what is wrong`, for a wish that cannot be meant."""
    if wish.what == "comment" and not wish.text.strip():
        raise ValueError("text: a comment says something")
    if wish.what == "shelve" and not wish.text.strip():
        raise ValueError("reason: an alarm is shelved for a reason")
    if wish.what == "shelve" and wish.until <= wish.ts:
        raise ValueError("until: a shelf ends in the future")
    if wish.what == "shelve" and wish.until > wish.ts + LONGEST_SHELF_MS:
        raise ValueError("until: a shelf ends within 90 days; shelve again then, if it still makes sense")
    for name, value in (("text", wish.text), ("assignee", wish.assignee)):
        if "\x00" in value or len(value) > MOST_CHARACTERS:
            raise ValueError(f"{name}: at most {MOST_CHARACTERS} characters of text")


async def _change(tx: Transaction, site: str, alarm: AlarmEntry, wish: AlarmWish) -> None:
    if wish.what == "shelve":
        shelf = (alarm.severity, wish.until, wish.who, wish.text, wish.ts)
        await tx.execute(_SHELVE, site, alarm.rule, alarm.twin, *shelf)
    elif wish.what == "unshelve":
        await tx.execute(_UNSHELVE, wish.ts, site, alarm.rule, alarm.twin, wish.ts)
    elif wish.what != "comment":
        key = (site, alarm.rule, alarm.twin, alarm.since)
        known = await tx.fetch(_KNOWN_CARE, *key)
        acknowledged, severity, by, ts, assignee = tuple(known[0]) if known else (False, "", "", None, "")
        if wish.what == "ack":
            acknowledged, severity, by, ts = True, alarm.severity, wish.who, wish.ts
        elif wish.what == "unack":
            acknowledged, severity, by, ts = False, "", "", None
        else:
            assignee = wish.assignee
        await tx.execute(_CARE, *key, bool(acknowledged), severity, by, ts, assignee)


async def _record(tx: Transaction, site: str, before: AlarmEntry, after: AlarmEntry, wish: AlarmWish) -> None:
    """The note that people read, and the audit row."""
    data = msgspec.json.encode({"before": _care_of(before), "after": _care_of(after)}).decode()
    text = wish.assignee if wish.what == "assign" else wish.text
    key = (site, after.rule, after.twin, after.since)
    await tx.execute(_NOTE, *key, wish.ts, wish.who, wish.what, text, data)
    subject = f"alarm {after.id} {after.rule} {after.twin}"[:200]
    told = {**_care_of(after), "text": wish.text} if wish.text else _care_of(after)
    entry = AuditEntry(wish.ts, wish.who, f"alarm.{wish.what}", subject, _care_of(before), told)
    await record_audit(tx, site, [entry])


def _care_of(alarm: AlarmEntry) -> dict[str, str | int | bool | None]:
    return {
        "acknowledged": alarm.acknowledged,
        "assignee": alarm.assignee,
        "shelved_until": alarm.shelved_until,
        "severity": alarm.severity,
    }


async def _tell(tx: Transaction, site: str, alarm: AlarmEntry, wish: AlarmWish) -> PendingAct:
    """The act that brings the change to the live feed, by way of the group that the alarm is about."""
    group = await _group(tx, site, alarm)
    seq = await next_seq(tx, site, group)
    act = AlarmCared(
        seq=seq,
        rule=alarm.rule,
        twin=alarm.twin,
        since=alarm.since,
        what=wish.what,
        who=wish.who,
        ts=wish.ts,
        acknowledged=alarm.acknowledged,
        assignee=alarm.assignee,
        shelved_until=alarm.shelved_until,
    )
    return await append_act(tx, site, group, act)


async def _group(tx: Transaction, site: str, alarm: AlarmEntry) -> str:
    """The group of an alarm's twin now: a tenant's own, or that of a device; its tenant's where the device is gone."""
    if await tx.fetch("SELECT 1 FROM tenant WHERE site = ? AND tenant = ?", site, alarm.twin):
        return alarm.twin
    try:
        return await group_of(tx, site, alarm.twin)
    except LookupError:
        return alarm.tenant or alarm.twin

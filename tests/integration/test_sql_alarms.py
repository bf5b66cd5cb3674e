"""People's care of alarms, on both engines: acknowledged, commented, assigned, shelved beside the ledger's rows."""

from __future__ import annotations

import asyncio

import pytest

from adapters.store.engine.database import Database
from adapters.store.journals.read_models import AlarmEntry
from adapters.store.posting.ledger import SqlLedger, SqlNoticeBook
from adapters.store.sites.queries import SqlQueries
from adapters.store.watching.alarm_care import LONGEST_SHELF_MS, SqlAlarms
from tests.integration.test_sql_attacks import REFUSED
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.engines import Attack
from tests.unit.adapters.store.park import NOW, SITE, entry
from twin.core.effects import AlarmChanged, NotificationWanted
from twin.core.messages import AlarmCared
from twin.ports import MoneyRefusedError

MINUTE = 60_000


def raised(severity: str = "minor", *, since: int = NOW, ts: int | None = None, active: bool = True) -> AlarmChanged:
    """The alarm of a rule about em-001, which is a meter of t-001."""
    return AlarmChanged("volts", 1, "em-001", since, since if ts is None else ts, severity, active, "t-001")


class Scene:
    """One alarm, and hands that take care of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ledger = SqlLedger(database)
        self.alarms = SqlAlarms(database)
        self.entries = 0
        self.keys = 0

    async def post(self, *effects: AlarmChanged) -> None:
        self.entries += 1
        await self.ledger.post(SITE, [entry(self.entries, *effects)])

    async def only(self, *, now: int = NOW) -> AlarmEntry:
        found = (await self.alarms.page(SITE, now=now, shelved="shown")).items
        assert len(found) == 1
        return found[0]

    async def care(self, what: str, *, ts: int = NOW + 1, key: str | None = None, **more):
        self.keys += 1
        alarm = await self.only(now=ts)
        return await self.alarms.care(
            SITE, alarm=alarm.id, what=what, who="lin", ts=ts, key=key or f"k{self.keys}", **more
        )

    async def listed(self, *, now: int = NOW + 2, **wanted) -> list[str]:
        return [alarm.severity for alarm in (await self.alarms.page(SITE, now=now, **wanted)).items]


@pytest.fixture
async def scene(park: Database) -> Scene:
    made = Scene(park)
    await made.post(raised())
    return made


async def test_acknowledged_until_it_becomes_worse(scene: Scene) -> None:
    assert not (await scene.only()).acknowledged
    await scene.care("ack", text="seen")
    alarm = await scene.only()
    assert (alarm.acknowledged, alarm.acknowledged_by, alarm.acknowledged_ts) == (True, "lin", NOW + 1)
    await scene.post(raised("critical", ts=NOW + 5))
    assert not (await scene.only()).acknowledged, "nobody has seen it as bad as it is now"
    await scene.post(raised("minor", ts=NOW + 6))
    assert (await scene.only()).acknowledged
    await scene.post(raised("minor", ts=NOW + 7, active=False))
    alarm = await scene.only()
    assert (alarm.active, alarm.acknowledged) == (False, True), "cleared and acknowledged are two things"
    await scene.care("unack")
    assert not (await scene.only()).acknowledged


async def test_assigned_and_commented_with_history_and_audit(scene: Scene) -> None:
    await scene.care("assign", assignee="wang")
    await scene.care("comment", text="跳闸原因待查")
    await scene.care("ack")
    alarm = await scene.only()
    assert (alarm.assignee, alarm.acknowledged) == ("wang", True), "one does not undo the other"
    assert await scene.listed(assignee="wang") == ["minor"]
    assert await scene.listed(assignee="") == []
    notes = await scene.alarms.notes(SITE, alarm, limit=2)
    newest = [(note.what, note.who, note.text) for note in notes.items]
    assert newest == [("ack", "lin", ""), ("comment", "lin", "跳闸原因待查")]
    older = await scene.alarms.notes(SITE, alarm, cursor=notes.next)
    assert [(note.what, note.text) for note in older.items] == [("assign", "wang")]
    audited = [line.what for line in (await SqlQueries(scene.database).audit(SITE, limit=3)).items]
    assert audited == ["alarm.ack", "alarm.comment", "alarm.assign"]


async def test_a_shelf_hides_until_its_end_and_nothing_worse(scene: Scene) -> None:
    await scene.care("shelve", text="replaced on Friday", until=NOW + 10 * MINUTE)
    assert await scene.listed() == []
    assert await scene.listed(shelved="only") == ["minor"]
    alarm = await scene.only(now=NOW + 2)
    assert (alarm.shelved, alarm.shelved_until, alarm.shelved_by) == (True, NOW + 10 * MINUTE, "lin")
    assert alarm.shelf_reason == "replaced on Friday"
    await scene.post(raised("major", ts=NOW + 5))
    assert await scene.listed() == ["major"], "worse than it was shelved at"
    await scene.post(raised("minor", ts=NOW + 6))
    assert await scene.listed() == []
    assert await scene.listed(now=NOW + 10 * MINUTE) == ["minor"], "it ends by itself"


async def test_a_shelf_also_keeps_the_next_occurrence_aside(scene: Scene) -> None:
    await scene.care("shelve", text="flaps", until=NOW + 10 * MINUTE)
    await scene.post(raised(ts=NOW + 5, active=False), raised(since=NOW + MINUTE))
    assert await scene.listed(now=NOW + 2 * MINUTE) == []
    assert await scene.listed(now=NOW + 2 * MINUTE, shelved="shown") == ["minor", "minor"]


async def test_unshelved_before_the_end(scene: Scene) -> None:
    await scene.care("shelve", text="flaps", until=NOW + 10 * MINUTE)
    await scene.care("unshelve", ts=NOW + 2)
    assert await scene.listed(now=NOW + 3) == ["minor"]
    await scene.care("shelve", text="again", ts=NOW + 4, until=NOW + 10 * MINUTE)
    assert await scene.listed(now=NOW + 5) == []


async def test_the_same_key_does_it_once_and_another_content_is_refused(scene: Scene) -> None:
    acts = await asyncio.gather(*(scene.care("comment", key="same", text="once") for _ in range(10)))
    assert len({act.act.seq for act in acts}) == 1
    assert len((await scene.alarms.notes(SITE, await scene.only())).items) == 1
    with pytest.raises(MoneyRefusedError) as refused:
        await scene.care("comment", key="same", text="twice")
    assert refused.value.code == "idempotency_conflict"


async def test_each_act_reaches_the_group_that_the_alarm_is_about(scene: Scene) -> None:
    pending = await scene.care("shelve", text="flaps", until=NOW + MINUTE)
    act = pending.act
    assert isinstance(act, AlarmCared)
    assert (pending.group, act.what, act.shelved_until) == ("t-001", "shelve", NOW + MINUTE)
    waiting = await scene.ledger.undelivered(SITE, limit=100)
    assert waiting[-1] == pending


@pytest.mark.parametrize(
    ("what", "more", "field"),
    [
        ("shelve", {"text": " ", "until": NOW + MINUTE}, "reason"),
        ("shelve", {"text": "x", "until": NOW}, "until"),
        ("shelve", {"text": "x", "until": NOW + 2 + LONGEST_SHELF_MS}, "until"),
        ("comment", {"text": ""}, "text"),
        ("comment", {"text": "x" * 1001}, "text"),
        ("assign", {"assignee": "a\x00b"}, "assignee"),
    ],
)
async def test_what_cannot_be_meant_is_refused(scene: Scene, what: str, more: dict, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        await scene.care(what, **more)
    assert (await scene.alarms.notes(SITE, await scene.only())).items == []


async def test_an_unknown_alarm(scene: Scene) -> None:
    with pytest.raises(LookupError):
        await scene.alarms.care(SITE, alarm=999, what="ack", who="lin", ts=NOW, key="k")
    assert await scene.alarms.alarm(SITE, 999, now=NOW) is None


async def test_filters_go_together(scene: Scene) -> None:
    await scene.post(*(AlarmChanged("r", 1, f"x-{n}", NOW, NOW, "critical", n > 0, "") for n in range(3)))
    assert await scene.listed(severity="critical", active=True) == ["critical", "critical"]
    assert await scene.listed(severity="critical", active=False) == ["critical"]
    assert await scene.listed(acknowledged=True) == []
    page = await scene.alarms.page(SITE, now=NOW, limit=3)
    rest = await scene.alarms.page(SITE, now=NOW, limit=3, cursor=page.next)
    assert (len(page.items), len(rest.items), rest.next) == (3, 1, None)


async def test_history_is_posted_for_good(scene: Scene, attack: Attack) -> None:
    await scene.care("comment", text="true")
    for statement in ("UPDATE alarm_note SET text = 'false'", "DELETE FROM alarm_note"):
        with pytest.raises(REFUSED):
            await attack(statement)


def notice(severity: str = "", *, ts: int = NOW + 2, tenant: str = "t-001") -> NotificationWanted:
    return NotificationWanted(tenant, "volts", ts, {"rule": "volts", "meter": "em-001", "severity": severity})


async def test_notices_of_a_shelved_alarm_are_kept_back_up_to_its_severity(scene: Scene) -> None:
    book = SqlNoticeBook(scene.database, lambda: NOW + 3)
    assert await book.shelf_of(SITE, "em-001", notice()) == ""
    await scene.care("shelve", text="flaps", until=NOW + 10 * MINUTE)
    for severity in ("", "info", "minor"):
        assert "shelved until" in await book.shelf_of(SITE, "em-001", notice(severity))
    assert "by lin: flaps" in await book.shelf_of(SITE, "em-001", notice())
    assert await book.shelf_of(SITE, "em-001", notice("major")) == ""
    assert await book.shelf_of(SITE, "em-002", notice()) == ""
    assert await book.shelf_of(SITE, "em-001", notice(ts=NOW + 10 * MINUTE)) == "", "its end has come"


async def test_the_first_notice_of_a_group_leads_it_and_keeps_the_lead(scene: Scene) -> None:
    book = SqlNoticeBook(scene.database, lambda: NOW)
    first, second = notice(), notice(ts=NOW + MINUTE, tenant="t-002")
    late = notice(ts=NOW + 16 * MINUTE)
    within = {"within_ms": 15 * MINUTE}
    assert await book.leader_of(SITE, first, "gw-01", **within) == ""
    assert await book.leader_of(SITE, first, "gw-01", **within) == "", "also when it comes again after a crash"
    assert "to t-001" in await book.leader_of(SITE, second, "gw-01", **within)
    assert await book.leader_of(SITE, second, "gw-02", **within) == ""
    assert await book.leader_of(SITE, late, "gw-01", **within) == "", "a new outage is told anew"
    await book.withheld(SITE, second, "grouped", "told by another")
    assert not await book.was_told(SITE, second)
    rows = await scene.database.fetch("SELECT state, proof, attempts FROM notification WHERE tenant = 't-002'")
    assert [tuple(row) for row in rows] == [("grouped", "told by another", 0)]


async def test_evidence_is_posted_once_for_good_and_outlives_the_alarm(park: Database, attack: Attack) -> None:
    scene = Scene(park)
    proof = {"meter": "em-001", "before": [[NOW, 100, 0]], "after": [[NOW + 1, 1_600, 0]]}
    risen = AlarmChanged("steps", 1, "em-001", NOW, NOW, "critical", True, "t-001", {"evidence": proof})
    await scene.post(risen)
    await scene.post(risen)
    await scene.post(AlarmChanged("steps", 1, "em-001", NOW, NOW + 5, "critical", False, "t-001", {}))
    alarm = await scene.only()
    assert (alarm.active, await scene.alarms.evidence(SITE, alarm)) == (False, proof)
    assert len(await park.fetch("SELECT id FROM alarm_evidence WHERE site = ?", SITE)) == 1
    for statement in ("UPDATE alarm_evidence SET evidence = '{}'", "DELETE FROM alarm_evidence"):
        with pytest.raises(REFUSED):
            await attack(statement)

"""Recorded history and versions of rules on both engines: what goes in comes out, in order, once, and nothing moves
that may not."""

from __future__ import annotations

import asyncio
import copy
import random
from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.past.history import SqlHistory
from adapters.store.past.history_codec import pack, unpack
from adapters.store.past.past import SqlPast
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.rule_book import SqlRuleBook, SqlShadows
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import INTERVAL_MS, NOW, document
from twin.core.effects import ChargePosted, LockChanged, RuleChanged
from twin.ports import Entry
from twin.recorded import Finding, Recorded, VersionRefusedError

SITE = "park-1"
HOUR = 3_600_000
VERBS = ("tele", "tele", "tele", "event", "state", "conn")


def messages(count: int, *, seed: int = 7, start: int = 1_000_000, devices: int = 5) -> list[Recorded]:
    rng = random.Random(seed)
    at, found = start, []
    for number in range(count):
        at += rng.choice((0, 0, 1, 500, 60_000))
        body = b'{"v":1,"seq":%d,"ts":%d}' % (number, at)
        found.append(Recorded(at, f"em-{rng.randrange(devices):03d}", rng.choice(VERBS), body))
    return found


async def everything(history: SqlHistory, *span: int, devices: Any = None) -> list[Recorded]:
    return [m async for window in history.windows(SITE, *(span or (0, 1 << 60)), devices) for m in window.messages]


def sorted_by_device(found: list[Recorded]) -> dict[str, list[Recorded]]:
    by_device: dict[str, list[Recorded]] = {}
    for message in found:
        by_device.setdefault(message.device, []).append(message)
    return by_device


@pytest.mark.parametrize("level", [1, 6])
def test_a_block_gives_back_what_went_in(level: int) -> None:
    sent = [
        *messages(200),
        Recorded(2_000_000_000_000, "wm-1", "birth", b"\x00\xff{}"),
        Recorded(1, "x", "tele", b"{}"),
    ]
    assert unpack(pack(sent, level)) == sent
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(b"nonsense")


async def test_messages_come_back_in_the_order_of_receipt_sorted_or_not(database: Database) -> None:
    history = SqlHistory(database, window_messages=100, window_ms=HOUR)
    sent = messages(450)
    for first in range(0, 450, 37):
        await history.append(SITE, sent[first : first + 37])
    assert await everything(history) == sent
    sorted_count = 0
    while done := await history.compact(SITE, now=sent[-1].received_at):
        sorted_count += done
    assert sorted_count >= 400
    found = await everything(history)
    assert [m.received_at for m in found] == [m.received_at for m in sent]
    assert sorted_by_device(found) == sorted_by_device(sent), "each device keeps its own order"
    extent = await history.extent(SITE)
    assert extent is not None
    assert (extent.from_ts, extent.to_ts, extent.messages) == (sent[0].received_at, sent[-1].received_at, 450)
    begin, end = sent[100].received_at, sent[300].received_at
    two = {"em-001", "em-003"}
    part = await everything(history, begin, end, devices=two)
    wanted = [m for m in sent if begin <= m.received_at < end and m.device in two]
    assert sorted_by_device(part) == sorted_by_device(wanted)
    assert await history.extent("elsewhere") is None


async def test_a_message_that_came_twice_is_kept_once_where_it_has_a_number(database: Database) -> None:
    history = SqlHistory(database, window_messages=10, window_ms=HOUR)
    first = [Recorded(10 + n, "em-1", "tele", b'{"seq":%d}' % n) for n in range(6)]
    online = Recorded(20, "em-1", "conn", b'{"s":"online"}')
    await history.append(SITE, first)
    await history.append(SITE, [*first, online, Recorded(30, "em-1", "conn", b'{"s":"online"}')])
    assert await history.compact(SITE, now=100) == 8
    found = await everything(history)
    assert [m for m in found if m.verb == "tele"] == first
    assert len([m for m in found if m.verb == "conn"]) == 2, "a connection may well say the same again"


async def test_what_is_too_old_is_forgotten_and_numbers_go_on(database: Database) -> None:
    history = SqlHistory(database, window_messages=50, window_ms=HOUR)
    sent = messages(200)
    for first in range(0, 200, 50):
        await history.append(SITE, sent[first : first + 50])
        await history.compact(SITE, now=sent[-1].received_at)
    newest = max([window.seq async for window in history.tail(SITE, 0)])
    assert await history.forget(SITE, before=sent[100].received_at) > 0
    assert (await everything(history))[0].received_at >= sent[50].received_at
    assert await history.forget(SITE, before=1 << 60) > 0
    assert await everything(history), "the newest window stays, so that numbers go on"
    await history.append(SITE, [Recorded(9_000_000_000, "em-1", "tele", b"{}")])
    tail = [window async for window in history.tail(SITE, newest)]
    assert [m.device for window in tail for m in window.messages] == ["em-1"]


async def test_writers_at_once_lose_nothing(database: Database) -> None:
    history = SqlHistory(database, window_messages=60)
    parts = [messages(30, seed=seed, start=seed * 10_000_000) for seed in range(1, 6)]
    done = await asyncio.gather(*(history.append(SITE, part) for part in parts), return_exceptions=True)
    for part, result in zip(parts, done, strict=True):
        if isinstance(result, BaseException):  # what was refused is not acknowledged, and comes again
            await history.append(SITE, part)
    await history.compact(SITE, now=1)
    found = await everything(history)
    assert sorted(m.payload for m in found) == sorted(m.payload for part in parts for m in part)


# --- versions -----------------------------------------------------------------------------------------------------


def next_version(document: dict[str, Any], version: int) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    changed["version"] = version
    return changed


async def test_versions_never_change_and_pointers_are_recorded(database: Database, registry: SqlRegistry) -> None:
    park = document()
    site = park.site["site"]
    await registry.apply(park, who="test", now=100)
    book = SqlRuleBook(database)
    (name,) = park.rulesets
    old = park.rulesets[name]["version"]
    mark = await registry.policy_mark(site)
    new = next_version(park.rulesets[name], old + 1)
    assert await book.add(site, new, who="lin", now=200)
    assert not await book.add(site, new, who="wang", now=201), "the same again is nothing"
    with pytest.raises(VersionRefusedError, match="another content"):
        await book.add(site, {**new, "description": "x"}, who="lin", now=202)
    assert await registry.policy_mark(site) == mark, "a version that is only added changes nothing"
    assert (await registry.policy_sources(site)).rulesets[name]["version"] == old
    moved = await book.point(site, name, old + 1, expected=old, who="lin", why="try", now=300, source="activate")
    assert (moved.previous, moved.version) == (old, old + 1)
    assert await registry.policy_mark(site) != mark
    assert (await registry.policy_sources(site)).rulesets[name] == new
    with pytest.raises(VersionRefusedError, match="active meanwhile") as refused:
        await book.point(site, name, old, expected=old, who="wang", why="?", now=301, source="rollback")
    assert refused.value.code == "moved"
    for unknown in (old + 9, None):
        ruleset = name if unknown else "nothing"
        with pytest.raises(VersionRefusedError):
            await book.point(site, ruleset, unknown, expected=None, who="x", why="", now=1, source="activate")
    assert [(a.version, a.source, a.why) for a in await book.activations(site, name)] == [
        (old, "import", "site import"),
        (old + 1, "activate", "try"),
    ]
    rows = await database.fetch("SELECT what, who FROM audit WHERE site = ? AND what LIKE 'rules.%' ORDER BY id", site)
    assert [tuple(row) for row in rows] == [("rules.add", "lin"), ("rules.activate", "lin")]


async def test_the_record_of_activations_cannot_be_edited(database: Database, registry: SqlRegistry) -> None:
    park = document()
    await registry.apply(park, who="test", now=100)
    for sql in ("UPDATE ruleset_activation SET why = 'x'", "DELETE FROM ruleset_activation"):
        with pytest.raises(Exception, match="for good"):
            async with database.write() as tx:
                await tx.execute(sql)


async def test_an_import_never_undoes_what_people_decided(database: Database, registry: SqlRegistry) -> None:
    park = document()
    site = park.site["site"]
    (name,) = park.rulesets
    old = park.rulesets[name]["version"]
    await registry.apply(park, who="test", now=100)
    book = SqlRuleBook(database)
    await book.add(site, next_version(park.rulesets[name], old + 2), who="lin", now=200)
    await book.point(site, name, old + 2, expected=old, who="lin", why="", now=201, source="activate")

    async def imported(version: int | None) -> tuple[str, int | None]:
        wanted = copy.deepcopy(park)
        wanted.rulesets.clear()
        if version is not None:
            wanted.rulesets[name] = next_version(park.rulesets[name], version)
        difference, _ = await registry.apply(wanted, who="file", now=300)
        active = (await registry.policy_sources(site)).rulesets.get(name)
        return "\n".join(difference.refused), active and active["version"]

    told, active = await imported(old)
    assert active == old + 2, "the file is older than what is active"
    assert "rules activate" in told
    told, active = await imported(old + 1)
    assert active == old + 2, "a version nobody has seen, but older"
    assert "is active and newer" in told
    told, active = await imported(None)
    assert active == old + 2, "a ruleset activated on its own is not switched off by a file that does not name it"
    assert "rules deactivate" in told
    told, active = await imported(old + 3)
    assert (told, active) == ("", old + 3), "a new version is activated by its import, as ever"
    told, active = await imported(None)
    assert active is None, "and what an import activated, an import may switch off"


async def test_a_shadow_run_keeps_each_finding_once(database: Database, registry: SqlRegistry) -> None:
    park = document()
    site = park.site["site"]
    (name,) = park.rulesets
    await registry.apply(park, who="test", now=100)
    shadows = SqlShadows(database)
    with pytest.raises(VersionRefusedError, match="add it first"):
        await shadows.start(site, name, 99, who="lin", now=200)
    version = park.rulesets[name]["version"]
    first = await shadows.start(site, name, version, who="lin", now=200)
    second = await shadows.start(site, name, version, who="wang", now=300)
    assert [run.id for run in await shadows.running()] == [second.id], "one run a ruleset"
    found = [("active", Finding(400, "cut", "overload", "em-1", "t-1", "overload"))]
    await shadows.keep(second, found, seen_ts=400, messages=3)  # type: ignore[arg-type]
    await shadows.keep(second, found, seen_ts=500, messages=4)  # type: ignore[arg-type]
    assert await shadows.findings(second.id) == found
    (latest,) = await shadows.latest(site)
    assert (latest.id, latest.seen_ts, latest.messages, latest.state) == (second.id, 500, 4, "running")
    ended = await shadows.stop(site, name, who="lin", now=600, state="stopped")
    assert ended is not None
    assert (ended.state, ended.stopped_by) == ("stopped", "lin")
    assert await shadows.stop(site, name, who="lin", now=700, state="stopped") is None
    assert first.id != second.id


# --- the past -----------------------------------------------------------------------------------------------------


async def test_the_site_as_it_was_follows_the_instant(database: Database, registry: SqlRegistry, ledger) -> None:
    """Before and after a charge, a lock, a rule's firing and a second import."""
    past = SqlPast(database)
    await registry.apply(document(), who="test", now=NOW)
    later = NOW + 2 * INTERVAL_MS
    memory = {"s": "fired", "f": later}
    effects = (
        ChargePosted(
            "em-001", 1, 120_000, 121_000, NOW, later, "t-001", "", "electricity", "shop-flat", 1, 202601, 850_000,
            850_000_000,
        ),
        LockChanged("em-001", "overload", True, "rule", "overload", later, None, "overload", 1),
        RuleChanged("overload", 1, "em-001", later, "fired", "fired", {"rule": "overload", "scope": "meter"}, memory),
    )  # fmt: skip
    await ledger.post(SITE, [Entry("1-0", "t-001", effects)])
    raised = document()
    raised.rulesets["prepaid"]["version"] = 2
    await registry.apply(raised, who="test", now=later + 1)

    before = {group.id: group for group in await past.groups_at(SITE, later - 1)}
    after = {group.id: group for group in await past.groups_at(SITE, later)}
    assert before.keys() == after.keys() == {"t-001", "t-002", "@gw-01", "@em-spare"}
    assert await past.groups_at(SITE, NOW - 1) == []
    shop, then = before["t-001"], after["t-001"]
    assert (shop.tenant.credits_nano, shop.tenant.charges_nano) == (100_000_000_000, 0)
    assert (then.tenant.credits_nano, then.tenant.charges_nano) == (100_000_000_000, 850_000_000)
    assert (shop.meters["em-001"].register.head, then.meters["em-001"].register.head) == (120_000, 121_000)
    assert (then.meters["em-001"].register.month, then.meters["em-001"].register.month_use) == (202601, 1_000)
    assert (list(shop.breakers["em-001"].locks), list(then.breakers["em-001"].locks)) == ([], ["overload"])
    assert then.meters["em-001"].rules["overload"].state == "fired"
    assert not shop.meters["em-001"].rules
    assert [group.id for group in await past.groups_at(SITE, later, ["t-002"])] == ["t-002"]
    assert (await past.firing(SITE, "overload", ["em-001", "t-001"], later))["rule"] == "overload"
    assert await past.firing(SITE, "overload", ["em-001"], later - 1) is None
    acts = await past.acts_between(SITE, NOW - 1, NOW)
    assert [item.act.seq for item in acts if item.group == "t-001"] == [1, 2]
    timeline = await past.sources_between(SITE, NOW, later + 2)
    assert [(at, found.rulesets["prepaid"]["version"]) for at, found in timeline] == [(NOW, 1), (later + 1, 2)]
    with pytest.raises(LookupError, match="import its site file"):
        await past.sources_between("elsewhere", NOW, later)

"""Durable time in virtual time: restarts, rebuilds, new versions inside a `for`, clock changes, holidays, lateness."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from adapters.twins.codec import decode_group, encode_group
from rules.state import RuleState
from rules.step import RuleState as Remembered
from tests.unit.twin.rule_scenes import moves, policy_of, scene_of
from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, Scene
from twin.core.effects import RuleChanged
from twin.core.messages import DeviceEvent, Tick

DAY = 24 * HOUR
GRACE = {
    "id": "grace",
    "scope": {"twin": "tenant"},
    "on": ["account.balance", "clock"],
    "when": 'account.balance <= money("0")',
    "for": "24h",
    "then": [{"breaker.lock": {"lock": "maintenance"}}],
}
HOLD = {"id": "hold", "on": ["reading.power_w"], "when": "reading.power_w > 100", "for": "10m"}


def at(text: str, zone: str = "Asia/Shanghai") -> int:
    """Unix ms of a local instant."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def restart(scene: Scene) -> None:
    """The process dies and reads its twins back from where they are stored."""
    fields = {name.encode(): value for name, value in encode_group(scene.group).items()}
    scene.group = decode_group("park-1", "t-001", fields)


def rebuild(scene: Scene) -> None:
    """Redis is lost: what rules remember comes back from their records, wakes and timers do not."""
    newest = {(effect.record["scope"], effect.rule): effect for effect in scene.caused(RuleChanged)}
    memory = {"tenant": {}, "meter": {}, "breaker": {}}
    for (scope, rule), effect in newest.items():
        if effect.memory:
            memory[scope][rule] = msgspec.convert(effect.memory, Remembered)
    tenant, meter = scene.tenant, scene.meter
    scene.group = msgspec.structs.replace(
        scene.group,
        tenant=msgspec.structs.replace(tenant, rules=memory["tenant"], wakes={}),
        meters={"em-001": msgspec.structs.replace(meter, rules=memory["meter"], wakes={}, values={}, at=None)},
        wake=scene.now,
    )


@pytest.mark.parametrize("break_off", [restart, rebuild], ids=["restart", "rebuild"])
def test_a_for_runs_on_over_a_restart_and_a_rebuild(break_off) -> None:
    scene = scene_of(GRACE, credit="")
    since = scene.tenant.rules["grace"].since_ms
    scene.wait(10 * HOUR)
    break_off(scene)
    scene.wait(14 * HOUR - 1)
    assert moves(scene, "grace") == ["pending"]
    assert scene.tenant.rules["grace"].since_ms == since
    scene.wait(1)
    assert moves(scene, "grace") == ["pending", "fired"]
    assert list(scene.breaker.locks) == ["maintenance"]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"then": [{"breaker.lock": {"lock": "manual"}}]}, True),
        ({"when": 'account.balance  <=  money("0")'}, True),
        ({"cooldown": "1h"}, True),
        ({"when": 'account.balance < money("0.01")'}, False),
        ({"for": "25h"}, False),
    ],
)
def test_a_new_version_keeps_a_for_only_with_the_same_condition_and_length(change, kept: bool) -> None:
    scene = scene_of(GRACE, credit="")
    scene.wait(23 * HOUR)
    scene.policy = policy_of({**GRACE, **change}, version=2)
    scene.play(Tick())
    scene.wait(HOUR)
    assert (scene.tenant.rules["grace"].state == "fired") is kept
    scene.wait(DAY + HOUR)
    assert scene.tenant.rules["grace"].state == "fired"


def test_a_rule_that_is_taken_away_leaves_nothing_and_returns_with_a_new_for() -> None:
    scene = scene_of(GRACE, credit="")
    scene.wait(23 * HOUR)
    scene.policy = policy_of(HOLD)
    scene.wait(2 * HOUR)
    assert scene.tenant.rules == {}
    scene.policy = policy_of(GRACE)
    scene.credit("0.00")
    scene.wait(23 * HOUR)
    assert scene.tenant.rules["grace"].state == "pending"


@pytest.mark.parametrize(
    ("begins", "ends"),
    [("2026-03-28T20:00:00", "2026-03-29T21:00:00"), ("2026-10-24T20:00:00", "2026-10-25T19:00:00")],
    ids=["spring forward", "fall back"],
)
def test_twenty_four_hours_are_twenty_four_hours_when_the_clock_is_changed(begins: str, ends: str) -> None:
    zone = "Europe/Berlin"
    scene = scene_of(GRACE, credit="", start=at(begins, zone))
    scene.policy.zone = ZoneInfo(zone)
    scene.wait(DAY - 1)
    assert moves(scene, "grace") == ["pending"]
    scene.wait(1)
    assert scene.now == at(ends, zone)
    assert moves(scene, "grace") == ["pending", "fired"]


NIGHT = {
    "id": "night",
    "scope": {"twin": "meter"},
    "on": ["clock"],
    "when": "has(meter.id)",
    "active": {"in": "nights"},
    "then": [{"breaker.lock": {"lock": "schedule", "until": "calendar"}}],
}
NIGHTS = {"nights": [{"times": ["01:00-04:00"]}]}


@pytest.mark.parametrize(
    ("start", "hours"),
    [("2026-03-28T12:00:00", 2), ("2026-06-01T12:00:00", 3), ("2026-10-24T12:00:00", 4)],
    ids=["spring forward", "summer", "fall back"],
)
def test_a_lock_ends_with_its_calendar_also_in_the_night_the_clock_is_changed(start: str, hours: int) -> None:
    zone = "Europe/Berlin"
    scene = scene_of(NIGHT, calendars=NIGHTS, start=at(start, zone))
    scene.policy.zone = ZoneInfo(zone)
    scene.wait(13 * HOUR - 1)
    assert scene.breaker.locks == {}
    scene.wait(1)
    lock = scene.breaker.locks["schedule"]
    assert lock.until == lock.since + hours * HOUR
    restart(scene)
    scene.wait(hours * HOUR - 1)
    assert list(scene.breaker.locks) == ["schedule"]
    scene.wait(1)
    assert scene.breaker.locks == {}
    assert moves(scene, "night")[-1] == "ended"
    scene.wait(DAY)
    assert moves(scene, "night")[-2:] == ["fired", "ended"]


def test_a_rebuild_inside_the_night_keeps_the_lock_and_its_end() -> None:
    scene = scene_of(NIGHT, calendars=NIGHTS, start=at("2026-06-01T00:30:00"))
    scene.wait(HOUR)
    rebuild(scene)
    scene.wait(2 * HOUR)
    assert list(scene.breaker.locks) == ["schedule"]
    scene.wait(HOUR)
    assert scene.breaker.locks == {}
    scene.wait(DAY)
    assert moves(scene, "night").count("fired") == 2


def test_a_cutoff_that_falls_due_in_the_festival_waits_for_its_end_over_a_rebuild() -> None:
    rule = {**GRACE, "active": {"not_in": "rest"}}
    calendars = {"rest": [{"dates": "holidays/CN"}, {"times": ["16:00-09:00"]}]}
    scene = scene_of(rule, calendars=calendars, credit="", start=at("2026-02-16T10:00:00"))
    scene.wait(2 * DAY)
    assert moves(scene, "grace") == ["pending", "deferred"]
    rebuild(scene)
    scene.now = at("2026-02-24T08:59:59") - 1000
    scene.group = msgspec.structs.replace(scene.group, wake=scene.now)
    scene.wait(1000)
    assert moves(scene, "grace")[-1] == "deferred"
    scene.wait(1000)
    assert moves(scene, "grace")[-1] == "fired"
    assert scene.now == at("2026-02-24T09:00:00")


def test_a_deferred_rule_off_the_clock_wakes_after_a_rebuild() -> None:
    rule = {**HOLD, "for": "0s", "active": {"in": "morning"}}
    scene = scene_of(rule, calendars={"morning": [{"times": ["09:00-10:00"]}]})
    scene.sample(power_w=500)
    assert moves(scene, "hold") == ["deferred"]
    before = scene.meter
    rebuild(scene)
    scene.group.meters["em-001"] = msgspec.structs.replace(before, wakes={}, rules=scene.meter.rules)
    scene.wait(9 * HOUR)
    assert scene.meter.wakes == {} or scene.meter.wakes["hold"] > scene.now
    assert "hold" in scene.meter.rules


def test_who_pays_at_night_is_reconnected_when_the_day_begins() -> None:
    """An unlock that its calendar stops is made up for when that opens, also after a restart."""
    rule = {
        "id": "back",
        "scope": {"twin": "tenant"},
        "on": ["account.credited"],
        "when": 'account.balance > money("0") && "credit" in breaker.locks',
        "active": {"in": "day"},
        "then": [{"breaker.unlock": {"lock": "credit"}}],
    }
    scene = scene_of(rule, calendars={"day": [{"times": ["08:00-20:00"]}]}, credit="")
    scene.lock("credit")
    scene.credit("10.00")
    assert moves(scene, "back") == ["deferred"]
    assert list(scene.breaker.locks) == ["credit"]
    restart(scene)
    scene.wait(8 * HOUR - 1)
    assert list(scene.breaker.locks) == ["credit"]
    scene.wait(1)
    assert scene.breaker.locks == {}
    assert moves(scene, "back") == ["deferred", "fired"]
    scene.credit("1.00")
    assert scene.tenant.rules == {}, "nothing is left to make up for"


def test_a_rule_on_the_wall_clock_is_woken_at_its_minute() -> None:
    scene = scene_of(
        {"id": "late", "on": ["clock"], "when": 'now.time >= time("22:30") && now.weekday == "friday"'},
    )
    woken = 0
    while scene.group.wake is not None and scene.group.wake <= MIDNIGHT + DAY:
        scene.now = scene.group.wake
        scene.play(Tick())
        woken += 1
    assert moves(scene, "late") == ["fired", "cleared"]
    times = [effect.ts for effect in scene.caused(RuleChanged)]
    assert times == [MIDNIGHT + 22 * HOUR + 30 * MINUTE, MIDNIGHT + DAY]
    assert woken < 8


def test_late_samples_neither_start_nor_end_nor_fire_anything() -> None:
    rules = (
        {**HOLD, "for": "0s"},
        {"id": "trip", "on": ["event"], "when": "has(meter.id)", "then": [{"breaker.lock": {"lock": "overload"}}]},
        {"id": "cheap", "scope": {"twin": "tenant"}, "on": ["account.balance"],
         "when": 'account.balance < money("100")', "then": [{"breaker.lock": {"lock": "maintenance"}}]},
        {"id": "deduct", "on": ["reading.registers"], "when": "reading.delta > 0",
         "then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}]},
    )  # fmt: skip
    scene = scene_of(*rules)
    scene.now += HOUR
    scene.sample(power_w=50)
    scene.sample(10, power_w=5_000, hist=True)
    scene.sample(0, power_w=5_000, ts=scene.now - 30 * MINUTE, raw=scene.wh - 10)
    scene.play(DeviceEvent("em-001", "trip", scene.now, hist=True))
    assert scene.caused(RuleChanged) == []
    assert scene.breaker.locks == {}
    scene.now += HOUR
    scene.sample(500, power_w=5_000)
    assert moves(scene, "hold") == ["fired"]
    assert moves(scene, "cheap") == ["fired"], "what was used meanwhile is charged, and seen with the next live reading"


def test_cooldown_and_the_count_of_releases_survive_a_rebuild() -> None:
    rule = {**HOLD, "for": "0s", "on": ["reading.power_w"], "cooldown": "2h",
            "then": [{"breaker.lock": {"lock": "overload"}}],
            "retry": {"auto_release": "10m", "max_per_day": 1}}  # fmt: skip
    scene = scene_of(rule)
    scene.sample(power_w=500)
    scene.wait(5 * MINUTE)
    rebuild(scene)
    scene.wait(5 * MINUTE)
    assert moves(scene, "hold") == ["fired", "released"], "the release is not forgotten"
    rebuild(scene)
    scene.sample(power_w=500)
    assert moves(scene, "hold")[-1] == "deferred", "the cooldown runs on"
    scene.wait(2 * HOUR)
    scene.sample(power_w=500)
    assert moves(scene, "hold")[-1] == "fired"
    scene.wait(DAY)
    assert moves(scene, "hold")[-1] == "fired", "the day's only release has been given"


def test_memory_of_a_rule_is_stored_compactly_and_read_back_whole() -> None:
    state = RuleState(state="deferred", since_ms=1, due_ms=2, gate="guard", fingerprint="f", approved_until=9)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RuleState) == state
    assert b"approved" not in msgspec.msgpack.encode(state)

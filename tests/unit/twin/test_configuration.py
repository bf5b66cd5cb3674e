"""The load limit that a device keeps by itself: told under versions that only grow, sent until the device says that it
has it, and told anew after whatever was lost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rules.ruleset import compile_ruleset
from tests.unit.twin.scene import HOUR, MINUTE, Scene, make_policy
from tests.unit.twin.test_plans import change, scene, until
from twin.core import configuration
from twin.core.configuration import FIRST_RETRY_MS, LONGEST_RETRY_MS, MOST_TRIES, MOST_VERSION, NOT_TAKEN, PATIENCE_MS
from twin.core.effects import AlarmChanged, ConfigTaken, ConfigWanted, IncidentOpened, IncidentResolved
from twin.core.limit_why import LoadLimit, load_limit
from twin.core.messages import Birth, ConfigSent, ConnectionChanged, LinkChanged, StateReported, Tick
from twin.core.model import BreakerContract, BreakerTwin, Configuration
from twin.core.revival import revived_breaker
from twin.core.view import TWIN_MODEL

LIMIT = {"name": "room", "limit_w": 2_000, "at": [{"limit_w": 200, "times": ["23:00-06:00"]}]}
PLAIN = {"name": "room", "limit_w": 2_000}


def limited(limit: dict[str, Any] | None = None) -> Scene:
    return scene(None, limit=limit or PLAIN)


def wanted(made: Scene) -> list[ConfigWanted]:
    return made.caused(ConfigWanted)


def cfg(made: Scene) -> Configuration:
    known = made.breaker.cfg
    assert known is not None
    return known


def sent(made: Scene) -> None:
    made.play(ConfigSent("em-001", cfg(made).ver, made.now))


def reports(made: Scene, ver: int | None) -> None:
    made.play(StateReported("em-001", "closed", made.now, made.sid, "boot", 0, ver))


def takes(made: Scene) -> None:
    sent(made)
    reports(made, cfg(made).ver)


def open_incidents(made: Scene) -> bool:
    return NOT_TAKEN in made.breaker.incidents


def test_a_limit_is_told_as_a_whole_and_taken_when_the_device_says_so() -> None:
    made = limited()
    [one] = wanted(made)
    assert (one.device, one.settings, one.attempt) == ("em-001", {"limit_w": 2_000, "limit_for_ms": PATIENCE_MS}, 1)
    assert cfg(made).taken_at is None
    takes(made)
    assert cfg(made).taken_at == made.now
    assert cfg(made).retry_at is None
    [taken] = made.caused(ConfigTaken)
    assert (taken.ver, taken.settings) == (one.ver, one.settings)
    made.wait(HOUR)
    assert len(wanted(made)) == 1


def test_the_calendar_tells_each_of_its_limits_under_a_higher_version() -> None:
    made = scene(None, limit=LIMIT)
    takes(made)
    for hour in (23, 30, 47):
        until(made, hour * HOUR)
        takes(made)
    assert [one.settings["limit_w"] for one in wanted(made)] == [2_000, 200, 2_000, 200]
    versions = [one.ver for one in wanted(made)]
    assert versions == sorted(set(versions))
    change(made, load_limit=None)
    assert wanted(made)[-1].settings == {}
    assert wanted(made)[-1].ver > versions[-1]
    takes(made)
    assert made.breaker.plan_at is None
    assert cfg(made).retry_at is None


def test_without_a_limit_nothing_is_told_whatever_the_device_says() -> None:
    made = scene(None)
    reports(made, 7)
    made.play(Birth("em-001", "s2", made.now, "closed", cfg=7))
    made.wait(HOUR)
    assert made.breaker.cfg is None
    assert wanted(made) == []


def test_a_valve_has_no_load_limit() -> None:
    made = scene(None)
    change(made, op="valve.set", load_limit=PLAIN)
    assert wanted(made) == []


def test_the_same_limit_again_is_no_new_version() -> None:
    made = limited()
    change(made, load_limit={**PLAIN, "name": "other"})
    assert len(wanted(made)) == 1


def test_a_device_that_cannot_keep_a_limit_is_left_alone() -> None:
    made = scene(None, limit={**PLAIN, "on_device": False})
    assert made.breaker.cfg is None
    assert made.meter.params == {"limit_w": 2_000}, "the overload rule keeps it"
    change(made, load_limit=PLAIN)
    sent(made)
    made.wait(HOUR)
    assert open_incidents(made)
    change(made, load_limit={**PLAIN, "on_device": False})
    assert wanted(made)[-1].settings == {}
    assert not open_incidents(made)
    sent(made)
    made.wait(24 * HOUR)
    assert wanted(made)[-1].attempt <= 2
    assert not open_incidents(made)
    assert made.breaker.cfg is not None
    assert made.breaker.cfg.retry_at is None


def test_it_is_sent_again_with_growing_pauses_and_then_somebody_is_told() -> None:
    made = limited()
    sent(made)
    begun = made.now
    made.wait(24 * HOUR)
    assert {one.ver for one in wanted(made)} == {cfg(made).ver}
    waits = [after.ts - before.ts for before, after in zip(wanted(made), wanted(made)[1:], strict=False)]
    assert waits[:5] == [FIRST_RETRY_MS << step for step in range(5)]
    assert max(waits) <= LONGEST_RETRY_MS
    [incident] = made.caused(IncidentOpened)
    assert (incident.kind, incident.since) == (NOT_TAKEN, begun + sum(waits[:MOST_TRIES]))
    assert "2000 W" in incident.detail
    [alarm] = [one for one in made.caused(AlarmChanged) if one.rule == f"@{NOT_TAKEN}"]
    assert (alarm.severity, alarm.active) == ("warning", True)
    takes(made)
    assert not open_incidents(made)
    assert [one.kind for one in made.caused(IncidentResolved)] == [NOT_TAKEN]
    assert made.caused(AlarmChanged)[-1].active is False


def test_before_the_broker_has_it_nobody_blames_the_device() -> None:
    made = limited()
    made.wait(24 * HOUR)
    assert len(wanted(made)) > MOST_TRIES
    assert not open_incidents(made)


def test_a_device_that_is_away_finds_it_at_the_broker_and_is_asked_again_when_it_is_back() -> None:
    made = scene(None)
    made.play(ConnectionChanged("em-001", "offline", made.sid, made.now))
    change(made, load_limit=PLAIN)
    sent(made)
    made.wait(48 * HOUR)
    assert len(wanted(made)) == 1
    assert not open_incidents(made)
    made.play(Birth("em-001", "s2", made.now, "closed", cfg=0))
    assert [one.ver for one in wanted(made)] == [cfg(made).ver] * 2
    made.sid = "s2"
    takes(made)
    assert cfg(made).taken_at is not None


def test_behind_a_gateway_that_was_away_it_is_asked_again() -> None:
    made = scene(None)
    made.play(LinkChanged("gw-01", "online", "g1", made.now))
    made.play(LinkChanged("gw-01", "offline", "g1", made.now))
    change(made, load_limit=PLAIN)
    sent(made)
    made.wait(HOUR)
    assert cfg(made).retry_at is None
    made.play(LinkChanged("gw-01", "online", "g2", made.now))
    made.wait(FIRST_RETRY_MS)
    assert len(wanted(made)) == 2


def test_a_higher_version_of_the_device_is_overtaken_and_never_believed() -> None:
    made = limited()
    told = cfg(made).ver + 500
    reports(made, told)
    assert cfg(made).ver == told + 1
    assert wanted(made)[-1].settings == wanted(made)[0].settings
    assert made.caused(ConfigTaken) == []
    takes(made)
    assert cfg(made).taken_at is not None
    reports(made, told + 50)
    assert cfg(made).ver == told + 51
    assert cfg(made).taken_at is None


def test_a_device_that_always_says_a_higher_one_is_not_chased_for_ever() -> None:
    made = limited()
    for _ in range(200):
        sent(made)
        reports(made, cfg(made).ver + 1)
    assert len(wanted(made)) <= MOST_TRIES + 1
    made.wait(HOUR)
    assert open_incidents(made)


def test_an_absurd_version_is_not_believed() -> None:
    made = limited()
    before = cfg(made).ver
    reports(made, MOST_VERSION + 1)
    assert cfg(made).ver == before
    assert cfg(made).taken_at is None


def test_a_device_that_lost_its_memory_is_told_again() -> None:
    made = limited()
    takes(made)
    made.now += MINUTE
    made.play(Birth("em-001", "s2", made.now, "closed", cfg=0))
    assert cfg(made).taken_at is None
    assert [one.ver for one in wanted(made)] == [cfg(made).ver] * 2
    takes(made)
    assert cfg(made).taken_at is not None


def test_the_brokers_copy_of_an_old_birth_changes_nothing() -> None:
    made = limited()
    born = made.now
    made.now += 1_000
    takes(made)
    made.now += MINUTE
    made.play(Birth("em-001", made.sid, born, "closed", cfg=0))
    assert cfg(made).taken_at is not None
    assert len(wanted(made)) == 1


def test_a_state_of_the_configuration_alone_is_heard() -> None:
    made = limited()
    made.play(StateReported("em-001", None, made.now, made.sid, cfg=cfg(made).ver))
    assert cfg(made).taken_at is not None
    assert made.breaker.relay == "closed"


def test_twins_that_were_lost_go_on_above_what_was_published() -> None:
    made = scene(None, limit=LIMIT)
    takes(made)
    until(made, 23 * HOUR)
    takes(made)
    lost = cfg(made)
    made.group.breakers = {"em-001": BreakerTwin("em-001")}  # nothing is left, and SQL never heard of it
    made.now += MINUTE
    change(made, load_limit=LIMIT)
    assert cfg(made).ver > lost.ver
    assert cfg(made).settings == lost.settings


@pytest.mark.parametrize("still", [True, False])
def test_a_rebuilt_breaker_tells_what_holds_now_under_a_higher_version(still: bool) -> None:
    made = limited()
    takes(made)
    old = cfg(made)
    # SQL remembers the version; the limit was taken off while the store was away, or stands
    made.group.breakers = {"em-001": revived_breaker("em-001", {}, None, 1, Configuration(old.ver, dict(old.settings)))}
    if not still:
        contracts = msgspec.structs.replace(made.group.breaker_contracts["em-001"], load_limit=None)
        made.group.breaker_contracts = {"em-001": contracts}
    made.group.wake = made.now
    made.play(Tick())
    assert cfg(made).ver > old.ver
    assert wanted(made)[-1].settings == (old.settings if still else {})
    assert made.meter.params.get("limit_w") == (2_000 if still else None)


def test_a_report_that_comes_before_the_first_look_is_remembered() -> None:
    made = limited()
    old = cfg(made)
    cold = Configuration(old.ver, dict(old.settings))
    made.group.breakers = {"em-001": revived_breaker("em-001", {}, None, 1, cold)}
    made.group.wake = None
    ahead = made.now // 1_000 + 10_000
    reports(made, ahead)
    made.group.wake = made.now
    made.play(Tick())
    assert cfg(made).ver == ahead + 1


SETTER = {
    "apiVersion": "twinmeter.rules/v1",
    "ruleset": "heat",
    "version": 1,
    "params": {"limit_w": {"type": "int", "unit": "W", "default": 8_000}},
    "rules": [
        {
            "id": "hot",
            "scope": {"twin": "meter"},
            "on": ["reading.temperature_dc"],
            "when": "reading.temperature_dc > 700",
            "then": [{"set_param": {"name": "limit_w", "value": 3_000}}],
        }
    ],
}


def test_a_rule_that_sets_the_parameter_limits_the_device_too() -> None:
    made = Scene(policy=make_policy(rulesets=[compile_ruleset(SETTER, TWIN_MODEL)]))
    made.sample(1, temperature_dc=300)
    assert wanted(made) == []
    made.now += MINUTE
    made.sample(1, temperature_dc=800)
    [one] = wanted(made)
    assert one.settings["limit_w"] == 3_000


def test_the_lowest_limit_behind_a_breaker_counts_and_junk_does_not() -> None:
    made = scene(None)
    group = made.group
    group.breaker_contracts = {"em-001": BreakerContract("em-001", meters=("em-001", "em-404"))}
    for value, expected in ((5, 5), (0, 0), (True, None), ("6", None), (-1, None), (1 << 41, None)):
        made.meter.params = {"limit_w": value}
        assert configuration.limit_of(group, "em-001") == expected
    made.meter.params = {}
    made.tenant.params = {"limit_w": 900}
    assert configuration.limit_of(group, "em-001") == 900
    made.breaker.params = {"limit_w": 1_200}
    assert configuration.limit_of(group, "em-001") == 1_200


def test_the_readings_of_an_unlimited_device_ask_for_nothing() -> None:
    made = scene(None)
    before = made.breaker
    made.now += MINUTE
    made.sample(1)
    assert made.breaker.cfg is None
    assert msgspec.to_builtins(made.breaker) == msgspec.to_builtins(before)


def test_who_keeps_the_limit_is_told_in_every_state() -> None:
    made = scene(None, limit={**PLAIN, "on_device": False})
    assert load_limit(made.group, "em-001") == LoadLimit(2_000, "platform")
    change(made, load_limit=PLAIN)
    ver, issued = cfg(made).ver, cfg(made).issued
    assert load_limit(made.group, "em-001") == LoadLimit(2_000, "waiting", ver, issued, None, 1)
    takes(made)
    assert load_limit(made.group, "em-001") == LoadLimit(2_000, "device", ver, issued, made.now)
    change(made, load_limit=None)
    assert made.meter.params == {}, "also a limit without times ends"
    withdrawn = load_limit(made.group, "em-001")
    assert withdrawn is not None
    assert (withdrawn.limit_w, withdrawn.kept_by) == (None, "waiting")
    takes(made)
    assert load_limit(made.group, "em-001") is None

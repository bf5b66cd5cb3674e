"""Locks, commands and evidence: open for a reason, closed by a fresh decision, and known to have moved."""

from __future__ import annotations

import itertools

from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, Scene
from twin.core.commands import command_id
from twin.core.effects import AlarmChanged, CommandChanged, LockChanged, SupplyStateChanged
from twin.core.messages import (
    Birth,
    CommandAnswered,
    CommandSent,
    ConnectionChanged,
    CreditsPosted,
    LinkChanged,
    LockPlaced,
    StateReported,
)

WORKDAY_NOON = MIDNIGHT - 12 * HOUR
"""Thursday noon: outside the friendly window."""


def running(**more) -> Scene:
    scene = Scene(start=WORKDAY_NOON, **more)
    scene.now += MINUTE
    scene.sample(1)
    return scene


def states(scene):
    return [(effect.target, effect.state) for effect in scene.caused(CommandChanged)]


def cut_off() -> Scene:
    scene = running(credit="0.05", params={"grace": "10m", "low1": "0.04", "low2": "0.02"})
    scene.now += MINUTE
    scene.sample(100)
    scene.wait(10 * MINUTE)
    scene.sample(1)
    return scene


def test_arrears_lock_follows_grace_and_ends_verified():
    scene = cut_off()
    assert scene.tenant.state == "CUT_SENT"
    assert list(scene.breaker.locks) == ["credit"]
    scene.obey()
    assert scene.breaker.command.state == "verified"
    assert scene.tenant.state == "OFF_ARREARS"
    assert states(scene) == [("open", state) for state in ("created", "sent", "received", "executed", "verified")]


def test_a_recharge_reconnects():
    scene = cut_off()
    scene.obey()
    scene.credit("10.00")
    assert scene.breaker.locks == {}
    assert scene.breaker.command.target == "closed"
    scene.obey()
    assert scene.breaker.command.state == "verified"
    assert scene.tenant.state == "NORMAL"


def test_a_recharge_does_not_touch_a_manual_lock():
    scene = cut_off()
    scene.obey()
    scene.lock("manual")
    scene.credit("10.00")
    assert list(scene.breaker.locks) == ["manual"]
    assert scene.breaker.command.target == "open", "no closing was sent"
    assert scene.tenant.state == "OFF_MANUAL"
    scene.unlock("manual")
    scene.obey()
    assert scene.breaker.relay == "closed"


def test_a_recharge_during_the_cut_supersedes_it_and_fences_it_off():
    scene = cut_off()
    opening = scene.breaker.command
    scene.credit("10.00")
    assert (opening.target, "superseded") in states(scene)
    assert scene.breaker.command.target == "closed"
    assert scene.breaker.command.fence > opening.fence
    scene.play(CommandAnswered("em-001", opening.id, "executed", scene.now, "open"))
    assert scene.breaker.command.target == "closed", "an answer to a superseded command moves nothing"


def test_a_paid_tenant_whose_meter_was_offline_is_reconnected_when_it_returns():
    scene = cut_off()
    scene.obey()
    scene.play(ConnectionChanged("em-001", "offline", "s1", scene.now))
    scene.wait(2 * HOUR)
    scene.credit("10.00")
    assert scene.breaker.close is not None, "the wish to close waits"
    assert scene.breaker.command.target == "open"
    scene.wait(HOUR)
    scene.play(Birth("em-001", "s2", scene.now, "open"))
    assert scene.breaker.command.target == "open", "online, but its last reading is stale: nothing is closed yet"
    scene.sample(0, sid="s2", power_w=0)
    assert scene.breaker.command.target == "closed"
    scene.obey()
    assert scene.tenant.state == "NORMAL"


def test_an_opening_for_an_offline_device_is_not_stored_but_decided_again():
    scene = running()
    scene.play(LinkChanged("gw-01", "offline", "", scene.now))
    scene.play(LinkChanged("gw-01", "online", "g1", scene.now))
    scene.play(LinkChanged("gw-01", "offline", "g1", scene.now))
    scene.lock()
    assert scene.breaker.command.state == "queued"
    first = scene.breaker.command
    scene.wait(HOUR)
    assert scene.breaker.command.state == "expired"
    scene.play(LinkChanged("gw-01", "online", "g2", scene.now))
    assert scene.breaker.command.state == "created"
    assert scene.breaker.command.fence > first.fence


def test_a_lost_ack_is_made_good_by_the_report():
    scene = running()
    scene.lock()
    scene.play(CommandSent("em-001", scene.breaker.command.id, scene.now))
    scene.now += MINUTE // 2
    scene.play(StateReported("em-001", "open", scene.now))
    assert scene.breaker.command.state == "executed"
    scene.now += 3_000
    scene.sample(0, power_w=0)
    assert scene.breaker.command.state == "verified"


def test_no_answer_expires_and_is_tried_again_with_back_off():
    scene = running()
    scene.lock()
    ids = {scene.breaker.command.id}
    for _ in range(3):
        scene.wait(4 * MINUTE)
        ids.add(scene.breaker.command.id)
    assert len(ids) >= 3
    assert "command_failing" in scene.breaker.incidents
    assert ("open", "expired") in states(scene)


def test_executed_but_the_relay_does_not_move_ends_unverified_with_one_reissue_and_an_alarm():
    scene = running()
    scene.lock()
    scene.obey(report=False, settle=False)
    scene.play(StateReported("em-001", "closed", scene.now + 1))
    scene.wait(MINUTE)
    assert ("open", "unverified") in states(scene)
    assert scene.breaker.command.attempt == 2
    scene.obey(report=False, settle=False)
    scene.play(StateReported("em-001", "closed", scene.now + 1))
    scene.wait(MINUTE)
    assert [state for state in states(scene) if state[1] == "unverified"] == [("open", "unverified")] * 2
    scene.wait(25 * MINUTE)
    assert scene.breaker.command.attempt == 2, "after one re-issue a person is needed"
    alarms = [alarm for alarm in scene.caused(AlarmChanged) if alarm.rule == "@command_unverified"]
    assert [(alarm.severity, alarm.active) for alarm in alarms] == [("critical", True)]


def test_open_but_power_flows_is_an_alarm_of_its_own_and_never_verified():
    scene = running()
    scene.lock()
    scene.obey(settle=False)
    scene.now += 5_000
    scene.sample(5, power_w=900)
    assert scene.breaker.command.state == "executed"
    assert "open_but_power_flows" in scene.breaker.incidents
    scene.wait(MINUTE)
    assert ("open", "verified") not in states(scene)
    assert ("open", "unverified") in states(scene)


def test_a_local_key_press_is_recorded_and_not_fought():
    scene = running()
    scene.lock()
    scene.obey()
    commands = len(scene.caused(CommandChanged))
    scene.now += MINUTE
    scene.play(StateReported("em-001", "closed", scene.now, cause="key"))
    scene.now += MINUTE
    scene.sample(10, power_w=500)
    scene.wait(HOUR)
    assert "closed_locally_under_lock" in scene.breaker.incidents
    assert len(scene.caused(CommandChanged)) == commands, "no command was sent against the hand on site"
    scene.play(Birth("em-001", "s2", scene.now, "closed"))
    assert scene.breaker.command.target == "open", "a restart asserts standing locks again"


def test_an_overload_opens_and_a_recharge_does_not_close_it():
    scene = running(params={"limit_w": "6000"})
    for _ in range(5):
        scene.now += 10_000
        scene.sample(5, power_w=7_000)
    assert list(scene.breaker.locks) == ["overload"]
    scene.obey()
    scene.credit("50.00")
    assert list(scene.breaker.locks) == ["overload"]
    assert scene.tenant.state == "OFF_SAFETY"


def test_acts_are_applied_once_and_in_order():
    scene = running()
    before = scene.tenant.credits_nano
    act = CreditsPosted(scene.act + 1, before + 5, 5, scene.now)
    scene.play(act)
    scene.play(act)
    assert scene.tenant.credits_nano == before + 5
    scene.act += 1
    old = LockPlaced(scene.act, "em-001", "manual", "lin", "again", scene.now)
    scene.play(old)
    assert scene.breaker.locks == {}, "an act with a used number is void"


def test_a_stale_tenant_is_not_cut_off():
    scene = running(credit="0.05", params={"grace": "1h"})
    scene.now += MINUTE
    scene.sample(100)
    scene.wait(3 * HOUR)
    assert scene.breaker.locks == {}, "grace is over, but nobody has heard of the meter for three hours"
    assert scene.tenant.state in ("DUE", "HELD")
    scene.sample(0)
    scene.wait(2 * MINUTE)
    assert "credit" in scene.breaker.locks, "a fresh reading was what the cutoff waited for"


def test_the_device_knows_a_higher_fence():
    scene = running()
    scene.play(Birth("em-001", "s2", scene.now, "closed", fence=500))
    scene.lock()
    assert scene.breaker.command.fence == 501


def test_every_move_of_the_supply_state_is_told_with_the_balance():
    scene = cut_off()
    scene.obey()
    scene.credit("10.00")
    scene.obey()
    walk = [
        (effect.before, effect.after) for effect in scene.caused(SupplyStateChanged) if effect.before != effect.after
    ]
    assert all(first[1] == second[0] for first, second in itertools.pairwise(walk))
    assert walk[-1][1] == "NORMAL"
    assert [effect.active for effect in scene.caused(LockChanged)] == [True, False]


def test_command_ids_are_version_7_uuids_and_differ_by_fence():
    ids = {command_id("park-1", "em-001", fence, 1_767_888_000_000) for fence in range(1_000)}
    assert len(ids) == 1_000
    assert all(one[14] == "7" and one[19] in "89ab" for one in ids)


def test_a_person_who_releases_a_rules_lock_is_not_overruled_at_once():
    scene = cut_off()
    scene.obey()
    scene.unlock("credit")
    assert scene.breaker.command.target == "closed"
    scene.obey()
    scene.now += MINUTE
    scene.sample(1)
    assert scene.breaker.locks == {}, "the rule starts anew with its grace"
    scene.wait(11 * MINUTE)
    scene.sample(1)
    assert "credit" in scene.breaker.locks


def test_an_override_that_does_not_fit_its_parameter_counts_as_not_given():
    scene = running(credit="60.00", params={"low1": "a lot", "limit_w": "5000"})
    ruleset = scene.policy.rulesets[0]
    params = scene.policy.params_for(ruleset, scene.group.contract)
    assert params["low1"] == ruleset.params["low1"].default
    assert params["limit_w"] == 5_000


def test_a_slow_meter_gives_its_proof_with_its_next_reading_and_no_alarm_before():
    scene = running(interval_ms=15 * MINUTE)
    scene.lock()
    scene.obey(settle=False)
    scene.wait(14 * MINUTE)
    assert scene.breaker.command.state == "executed"
    assert scene.breaker.incidents == {}
    scene.sample(0, power_w=0)
    assert scene.breaker.command.state == "verified"


def test_a_meter_that_stays_silent_after_an_opening_leaves_it_unverified():
    scene = running(interval_ms=15 * MINUTE)
    scene.lock()
    scene.obey(settle=False)
    scene.wait(HOUR)
    assert ("open", "unverified") in states(scene)

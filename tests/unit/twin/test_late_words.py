"""Commands that were given up and executed all the same: the word of it is late, lost, or comes by a reading alone.

A device executes until a command expires. Between that and its next word nobody knows where the breaker stands, and
what moved it then was us, and nobody on site: a safety lock must not leave it closed, a paid tenant not dark.
"""

from __future__ import annotations

import pytest

from tests.unit.twin.rule_scenes import scene_of
from tests.unit.twin.scene import HOUR, MINUTE
from tests.unit.twin.test_switching import cut_off, running
from twin.core.effects import CommandChanged
from twin.core.messages import CommandAnswered, CommandSent, StateReported

CHARGE = {
    "id": "charge",
    "on": ["reading.registers"],
    "when": "reading.delta > 0",
    "then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}],
}
WARNING_CUT = {
    "id": "warning-cut",
    "scope": {"twin": "tenant"},
    "on": ["account.balance"],
    "when": 'account.balance < money("20")',
    "then": [{"breaker.lock": {"lock": "warning", "lasts": "10m"}}],
}


def sent(scene):
    """The command in flight has gone out, and nothing is heard of it."""
    scene.play(CommandSent("em-001", scene.breaker.command.id, scene.now))


def told(scene, relay, ts, cause):
    """The device's word on its relay comes: with its cause, or by a reading that knows of none."""
    scene.play(StateReported("em-001", relay, ts, scene.sid, cause))


def created(scene, target):
    return [one for one in scene.caused(CommandChanged) if one.target == target and one.state == "created"]


def closing_without_a_word():
    """Opened, released, and the closing goes out; its end is not heard of."""
    scene = running()
    scene.lock()
    scene.obey()
    scene.now += MINUTE
    scene.sample(power_w=0)
    scene.unlock()
    sent(scene)
    return scene, scene.now + 50_000


@pytest.mark.parametrize("cause", ["command", "telemetry", ""])
def test_a_closing_executed_before_its_expiry_does_not_outlive_a_safety_lock(cause):
    scene, executed_at = closing_without_a_word()
    scene.wait(61_000)
    assert (scene.breaker.command.state, scene.breaker.relay) == ("expired", "open")
    scene.lock("leakage")
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("open", "created"), "it may be closed by now"
    told(scene, "closed", executed_at, cause)
    assert scene.breaker.incidents == {}, "nobody on site did that"
    scene.obey()
    assert (scene.breaker.command.state, scene.breaker.relay) == ("verified", "open")


@pytest.mark.parametrize("cause", ["command", "telemetry"])
def test_an_opening_that_is_lost_behind_a_superseded_closing_is_tried_again(cause):
    scene, _ = closing_without_a_word()
    executed_at = scene.now + 500
    scene.now += 1_000
    scene.lock("leakage")
    sent(scene)
    scene.wait(61_000)
    assert (scene.breaker.command.state, scene.breaker.relay) == ("expired", "open")
    told(scene, "closed", executed_at, cause)
    assert "closed_locally_under_lock" not in scene.breaker.incidents
    scene.wait(MINUTE)
    assert len(created(scene, "open")) >= 3
    scene.obey()
    assert scene.breaker.relay == "open"


def test_an_opening_without_a_word_is_repeated_until_the_device_has_spoken():
    scene, _ = closing_without_a_word()
    scene.lock("leakage")
    sent(scene)
    scene.wait(5 * MINUTE)
    assert len(created(scene, "open")) >= 3
    scene.obey()
    count = len(created(scene, "open"))
    scene.wait(2 * HOUR)
    assert len(created(scene, "open")) == count, "it is proved: nothing is doubtful any more"


def test_an_opening_that_comes_after_the_top_up_does_not_leave_a_paid_tenant_dark():
    scene = cut_off()
    sent(scene)
    executed_at = scene.now + 14 * MINUTE
    scene.wait(15 * MINUTE + 1_000)
    assert (scene.breaker.command.state, scene.breaker.relay) == ("expired", "closed")
    scene.sample(1)
    scene.credit("100.00")
    told(scene, "open", executed_at, "command")
    assert "opened_locally" not in scene.breaker.incidents
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("closed", "created")
    scene.obey()
    assert (scene.breaker.relay, scene.tenant.state) == ("closed", "NORMAL")


def test_the_word_of_a_late_opening_may_come_long_after_the_top_up():
    scene = cut_off()
    sent(scene)
    executed_at = scene.now + 14 * MINUTE
    scene.wait(15 * MINUTE + 1_000)
    scene.sample(1)
    scene.credit("100.00")
    scene.obey(report=False, settle=False)  # the closing came first, to a breaker that was closed still
    assert scene.breaker.command.state == "verified"
    told(scene, "open", max(executed_at, scene.now), "command")
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("closed", "created")
    assert list(scene.breaker.incidents) == ["command_unverified"], "what was proved is not so any more"
    scene.obey()
    assert (scene.breaker.incidents, scene.breaker.relay) == ({}, "closed")


@pytest.mark.parametrize("cause", ["command", "telemetry"])
def test_a_device_that_claims_what_its_own_report_denies_is_not_asked_for_ever(cause):
    scene = running()
    scene.lock()
    scene.obey()
    scene.now += MINUTE
    scene.sample(power_w=0)
    scene.unlock()
    for _ in range(60):
        while scene.breaker.command.state == "created":
            command = scene.breaker.command
            sent(scene)
            scene.play(CommandAnswered("em-001", command.id, "executed", scene.now, "closed"))
            told(scene, "open", scene.now, cause)
        scene.wait(MINUTE)
        scene.sample(power_w=0)
    assert "command_unverified" in scene.breaker.incidents, "somebody must go there"
    assert "opened_locally" not in scene.breaker.incidents, "nobody on site did that"
    assert 4 <= len(created(scene, "closed")) <= 6, "twice, and twice again half an hour later"


def test_a_hand_is_told_and_left_alone_also_while_a_command_is_doubtful():
    scene, _ = closing_without_a_word()
    scene.wait(61_000)
    told(scene, "closed", scene.now, "command")
    scene.now += MINUTE
    told(scene, "open", scene.now, "lever")
    assert "opened_locally" in scene.breaker.incidents
    assert scene.breaker.close is None


def test_a_breaker_that_has_spoken_since_is_believed():
    scene, _ = closing_without_a_word()
    scene.wait(61_000)
    assert scene.breaker.command.state == "expired"
    told(scene, "open", scene.now, "")
    scene.lock("leakage")
    assert len(created(scene, "open")) == 1, "it stands open, and nothing of ours is on its way"


def test_a_key_that_ends_a_warning_cut_while_it_is_being_armed_causes_no_command():
    scene = scene_of(CHARGE, WARNING_CUT, interval_ms=MINUTE)
    for _ in range(10):
        scene.now += HOUR
        scene.sample(8_500)
    scene.obey()
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("armed", "created")
    sent(scene)
    scene.now += 2_000
    before = len(scene.caused(CommandChanged))
    told(scene, "closed", scene.now, "key")
    after = [(one.target, one.state) for one in scene.caused(CommandChanged)[before:]]
    assert after == [("armed", "executed"), ("armed", "verified")]
    assert (scene.breaker.locks, scene.breaker.close) == ({}, None)


def test_an_opening_that_stays_unproved_under_a_lock_is_tried_again_when_it_may_have_been_repaired():
    scene = running()
    scene.lock()
    for _ in range(2):
        command = scene.breaker.command
        sent(scene)
        scene.play(CommandAnswered("em-001", command.id, "executed", scene.now, "open"))
        told(scene, "closed", scene.now + 1, "command")
        scene.wait(MINUTE // 3)
        scene.sample(1)
    assert len(created(scene, "open")) == 2
    assert "command_unverified" in scene.breaker.incidents
    scene.wait(31 * MINUTE - MINUTE // 3)
    assert len(created(scene, "open")) == 3, "half an hour later, once more"
    scene.sample(1)
    scene.obey()
    scene.sample()
    assert scene.breaker.relay == "open"
    assert "command_unverified" not in scene.breaker.incidents

"""A device that restarts with a wrong clock, a clock that is put right, a fence that no device can have reached."""

from __future__ import annotations

import pytest

from tests.unit.twin.scene import HOUR, MINUTE, Scene
from tests.unit.twin.test_switching import running
from twin.core.commands import LAST_FENCE, MOST_FENCE
from twin.core.effects import CommandChanged, IncidentOpened, IncidentResolved
from twin.core.messages import Birth, CommandAnswered, CommandSent, StateReported

DAY = 24 * HOUR


def answer(scene: Scene, *, lag: int) -> None:
    command = scene.breaker.command
    scene.play(CommandSent("em-001", command.id, scene.now))
    scene.play(CommandAnswered("em-001", command.id, "executed", scene.now - lag, command.target))


def test_the_first_word_of_a_new_session_counts_from_its_receipt():
    scene = running()
    scene.now += HOUR
    scene.play(Birth("em-001", "s2", scene.now - DAY, "open"))
    assert scene.breaker.relay == "open"
    assert scene.breaker.relay_at == scene.now
    scene.now += MINUTE
    scene.play(StateReported("em-001", "closed", scene.now - DAY, "s2", "key"))
    assert scene.breaker.relay == "closed", "what follows in the same session follows by the device's own clock"
    assert scene.breaker.relay_at == scene.now


@pytest.mark.parametrize("sid", ["s1", "s0"])
def test_an_old_word_of_a_session_that_is_not_new_stays_unheard(sid: str):
    scene = running()
    scene.now += HOUR
    scene.play(StateReported("em-001", "open", scene.now - 10 * HOUR, sid))
    assert scene.breaker.relay == "closed"


def test_a_retained_birth_that_comes_again_does_not_undo_what_followed_it():
    scene = running()
    scene.now += HOUR
    birth = Birth("em-001", "s2", scene.now - DAY, "closed")
    scene.play(birth)
    scene.now += MINUTE
    scene.sample(1)
    scene.lock()
    answer(scene, lag=DAY)
    assert scene.breaker.relay == "open"
    scene.now += MINUTE
    scene.play(birth)
    assert scene.breaker.relay == "open", "the answer to the command is newer by the device's own clock"
    scene.play(StateReported("em-001", "closed", scene.now - DAY, "s2", "key"))
    assert scene.breaker.relay == "closed", "and what somebody did on site after it is heard"


def test_a_relay_in_telemetry_of_a_lagging_clock_keeps_the_order_of_the_device():
    scene = running(credit="100.00")
    scene.wait(15 * MINUTE)
    birth = Birth("em-001", "s2", scene.now - DAY, "closed")
    scene.play(birth)
    scene.wait(15 * MINUTE)
    scene.sid = "s2"
    scene.sample(100, ts=scene.now - DAY, relay="open", power_w=0)
    assert scene.breaker.relay == "open"
    scene.now += MINUTE
    scene.play(birth)
    assert scene.breaker.relay == "open"
    scene.play(StateReported("em-001", "closed", scene.now - DAY, "s2"))
    assert scene.breaker.relay == "closed"


def test_a_clock_that_is_put_right_ends_the_incident():
    scene = running(credit="100.00")
    for _ in range(2):
        scene.wait(15 * MINUTE)
        scene.sample(10, ts=scene.now - DAY)
    assert "clock_behind" in scene.meter.incidents
    scene.wait(15 * MINUTE)
    scene.sample(10, ts=scene.now - DAY - HOUR, hist=True)
    assert "clock_behind" in scene.meter.incidents, "a buffered sample tells nothing about the clock"
    scene.wait(15 * MINUTE)
    scene.sample(10)
    assert "clock_behind" not in scene.meter.incidents
    assert "clock_behind" in {effect.kind for effect in scene.caused(IncidentResolved)}


def test_a_clock_over_a_year_behind_is_forgiven_when_it_is_right():
    scene = running(credit="100.00")
    scene.wait(15 * MINUTE)
    scene.sample(10, ts=scene.now - 400 * DAY)
    assert "clock_behind" in scene.meter.incidents
    scene.wait(15 * MINUTE)
    scene.sample(10)
    assert "clock_behind" not in scene.meter.incidents


@pytest.mark.parametrize("fence", [MOST_FENCE + 1, LAST_FENCE])
@pytest.mark.parametrize("way", ["birth", "state", "rejected"])
def test_an_absurd_fence_is_not_believed_and_the_next_command_goes_out(way: str, fence: int):
    scene = running(credit="100.00")
    if way == "birth":
        scene.play(Birth("em-001", "s2", scene.now, "closed", fence))
    elif way == "state":
        scene.play(StateReported("em-001", "closed", scene.now, "s1", fence=fence))
    else:
        scene.lock()
        sent = scene.breaker.command
        scene.play(CommandAnswered("em-001", sent.id, "rejected", scene.now, reason="fence", fence=fence))
        scene.unlock()
    assert [effect.kind for effect in scene.caused(IncidentOpened)] == ["fence_absurd"]
    scene.now += HOUR
    scene.sample(1)
    scene.lock("maintenance")
    created = [effect for effect in scene.caused(CommandChanged) if effect.state == "created"]
    assert created[-1].fence < 10
    scene.play(Birth("em-001", "s3", scene.now, "closed", created[-1].fence))
    assert "fence_absurd" not in scene.breaker.incidents


def test_a_fence_far_ahead_and_possible_is_overtaken():
    scene = running(credit="100.00")
    scene.play(StateReported("em-001", "closed", scene.now, "s1", fence=MOST_FENCE))
    scene.lock()
    assert scene.breaker.command.fence == MOST_FENCE + 1
    assert "fence_absurd" not in scene.breaker.incidents

"""A device whose clock runs ahead by less than the allowed skew is believed at its own time, and its words are still
held against each other by ours."""

from __future__ import annotations

import pytest

from tests.unit.twin.scene import MINUTE
from tests.unit.twin.test_switching import running
from twin.core.messages import StateReported

AHEAD = pytest.mark.parametrize("ahead_ms", [0, 1_000, 240_000])


def reading(scene, relay, ahead_ms, power_w):
    scene.now += MINUTE
    scene.sample(0, power_w=power_w, relay=relay, ts=scene.now + ahead_ms)


@AHEAD
def test_a_trip_is_heard_of_soon_after_a_reading_of_a_clock_that_is_ahead(ahead_ms: int):
    scene = running()
    for _ in range(3):
        reading(scene, "closed", ahead_ms, 100)
    scene.now += 500
    scene.play(StateReported("em-001", "open", scene.now + ahead_ms, scene.sid, "trip"))
    assert (scene.breaker.relay, list(scene.breaker.incidents)) == ("open", ["opened_locally"])


@AHEAD
def test_a_key_under_a_lock_is_heard_of_soon_after_a_reading_of_a_clock_that_is_ahead(ahead_ms: int):
    scene = running()
    scene.lock()
    scene.obey(settle=False)
    for _ in range(3):
        reading(scene, "open", ahead_ms, 0)
    assert scene.breaker.command.state == "verified"
    scene.now += 500
    scene.play(StateReported("em-001", "closed", scene.now + ahead_ms, scene.sid, "key"))
    assert list(scene.breaker.incidents) == ["closed_locally_under_lock"]

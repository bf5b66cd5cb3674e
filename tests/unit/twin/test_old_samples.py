"""Samples whose own time is not the present: a clock that is off by a little, one that lags for good, and words that
waited somewhere on their way. Commands and locks live by our clock; what is over does not open a breaker."""

from __future__ import annotations

import pytest

from tests.unit.twin.scene import HOUR, MINUTE, Scene
from tests.unit.twin.test_safety import BAD, GOOD, SECOND, supplied
from twin.core.effects import CommandChanged, IncidentResolved

HOT = {**GOOD, **BAD["over-temperature"][0]}


def hot(scene: Scene, *, lag_ms: int, wait_s: int = 20) -> list[str]:
    """Two samples as far apart as the rule asks for, by a clock that lags (or leads); returns the locks."""
    for _ in range(2):
        scene.wait(wait_s * SECOND)
        scene.sample(0, ts=scene.now - lag_ms, **HOT)
    return list(scene.breaker.locks)


@pytest.mark.parametrize("lag_ms", [0, 30 * SECOND, 90 * SECOND, 4 * MINUTE, -30 * SECOND, -4 * MINUTE])
def test_a_command_lives_by_our_clock_whatever_the_meter_says(lag_ms: int):
    scene = Scene(policy=supplied().policy, interval_ms=MINUTE)
    scene.sample(0, ts=scene.now - lag_ms, **GOOD)
    assert hot(scene, lag_ms=lag_ms) == ["temperature"]
    created = next(one for one in scene.caused(CommandChanged) if one.state == "created")
    assert (created.issued, created.exp) == (scene.now, scene.now + 30 * SECOND)


def test_a_lock_for_a_while_lasts_as_long_as_it_is_meant_to():
    scene = Scene(policy=supplied().policy, interval_ms=MINUTE)
    lag_ms = 4 * MINUTE
    for _ in range(4):
        scene.wait(20 * SECOND)
        scene.sample(0, ts=scene.now - lag_ms, **{**GOOD, "power_w": 9_000})
    lock = scene.breaker.locks["overload"]
    assert lock.until is None or lock.until > scene.now


def test_what_waited_on_its_way_opens_nothing_and_is_charged():
    scene = supplied()
    began = scene.now
    scene.wait(HOUR)
    for minute in range(1, 50):
        scene.sample(10, ts=began + minute * MINUTE, **HOT)
    assert not scene.breaker.locks
    assert scene.breaker.command is None
    assert scene.meter.register.seen == scene.wh, "it counts all the same"
    assert "clock_behind" not in scene.meter.incidents


def test_what_is_still_wrong_after_the_wait_opens_the_breaker():
    scene = supplied()
    began = scene.now
    scene.wait(HOUR)
    for minute in range(1, 50):
        scene.sample(10, ts=began + minute * MINUTE, **HOT)
    assert hot(scene, lag_ms=0) == ["temperature"]


def test_a_meter_is_not_cut_for_money_that_old_samples_used_up():
    scene = Scene(credit="1.00", interval_ms=MINUTE)
    scene.sample(0)
    began = scene.now
    scene.wait(HOUR)
    for minute in range(1, 40):
        scene.sample(100, ts=began + minute * MINUTE)
    assert scene.tenant.balance_nano < 0
    assert not scene.breaker.locks, "nobody is cut on a reading from half an hour ago"
    assert not scene.tenant.wakes
    scene.sample(0)
    assert scene.tenant.wakes, "with the next fresh one the cutoff is on its way, and waits for its window"


@pytest.mark.parametrize("lag_ms", [20 * MINUTE, 24 * HOUR])
def test_a_clock_that_lags_for_good_does_not_switch_protection_off(lag_ms: int):
    scene = Scene(policy=supplied().policy, interval_ms=MINUTE)
    for _ in range(3):
        scene.wait(MINUTE)
        scene.sample(0, ts=scene.now - lag_ms, **GOOD)
    assert "clock_behind" in scene.meter.incidents
    assert hot(scene, lag_ms=lag_ms) == ["temperature"]


def test_a_lagging_clock_that_is_put_right_ends_the_incident():
    scene = Scene(policy=supplied().policy, interval_ms=MINUTE)
    for _ in range(3):
        scene.wait(MINUTE)
        scene.sample(0, ts=scene.now - HOUR, **GOOD)
    assert "clock_behind" in scene.meter.incidents
    scene.wait(MINUTE)
    scene.sample(0, **GOOD)
    assert "clock_behind" not in scene.meter.incidents
    assert scene.caused(IncidentResolved)[-1].kind == "clock_behind"

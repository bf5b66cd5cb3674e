"""Locks that people place where a rule, a calendar or the clock has its say as well."""

from __future__ import annotations

from tests.unit.twin.rule_scenes import scene_of
from tests.unit.twin.scene import HOUR, MINUTE
from tests.unit.twin.test_switching import running, states
from twin.core.effects import LockChanged
from twin.core.messages import LockPlaced

HOT = {
    "id": "hot",
    "on": ["reading.power_w"],
    "when": "reading.power_w > 1000",
    "then": [{"breaker.lock": {"lock": "manual"}}],
    "retry": {"auto_release": "5m", "max_per_day": 3, "then": "require_operator"},
}


def locked_by_a_rule():
    scene = scene_of(HOT, interval_ms=MINUTE)
    scene.now += MINUTE
    scene.sample(1, power_w=2_000)
    scene.obey()
    assert scene.breaker.locks["manual"].rule == "hot"
    return scene


def quiet(scene, minutes):
    for _ in range(minutes):
        scene.wait(MINUTE)
        scene.sample(0, power_w=0)


def test_a_rule_takes_off_its_own_lock():
    scene = locked_by_a_rule()
    quiet(scene, 10)
    assert scene.breaker.locks == {}


def test_what_a_person_orders_over_the_lock_of_a_rule_outlives_the_release_of_that_rule():
    scene = locked_by_a_rule()
    scene.lock("manual")
    assert scene.breaker.locks["manual"].who == "lin"
    quiet(scene, 20)
    assert list(scene.breaker.locks) == ["manual"]
    assert states(scene)[-1] == ("open", "verified"), "nothing closes on the person who works there"
    scene.unlock("manual")
    assert scene.breaker.locks == {}
    assert states(scene)[-1] == ("closed", "created")


def test_a_lock_that_comes_after_its_own_end_moves_nothing():
    scene = running()
    ended = scene.now - MINUTE
    scene.play(LockPlaced(scene.next_act(), "em-001", "manual", "lin", "works", ended - HOUR, ended))
    scene.wait(MINUTE)
    assert (states(scene), scene.breaker.locks) == ([], {}), "no blink in the supply"
    told = [(one.lock, one.active, one.until) for one in scene.caused(LockChanged)]
    assert told == [("manual", True, ended), ("manual", False, None)]


def test_a_lock_that_comes_after_its_own_end_leaves_one_that_stands():
    scene = running()
    scene.lock("manual")
    scene.play(LockPlaced(scene.next_act(), "em-001", "manual", "wang", "works", scene.now - HOUR, scene.now - MINUTE))
    assert scene.breaker.locks["manual"].who == "lin"
    assert len(scene.caused(LockChanged)) == 1

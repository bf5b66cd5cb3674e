"""Safety in virtual time, whole: from a sample to a lock, an open breaker, an automatic release with its daily limit,
and a person. With the safety pack as it is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rules.ruleset import compile_ruleset
from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, Scene, make_policy
from twin.core.effects import AlarmChanged
from twin.core.view import TWIN_MODEL

SAFETY = Path(__file__).parents[3] / "rules" / "packs" / "safety.yaml"
SECOND = 1_000
GOOD = {"voltage_mv": [220_000] * 3, "leakage_ma": 0, "temperature_dc": 300}
BAD = {
    "overload": ({"power_w": 9_000}, 30),
    "over-voltage": ({"voltage_mv": [220_000, 266_000, 220_000]}, 3),
    "phase-loss": ({"voltage_mv": [220_000, 220_000, 0]}, 5),
    "leakage": ({"leakage_ma": 30}, 0),
    "over-temperature": ({"temperature_dc": 851}, 10),
}
"""What is sent when something is wrong, and for how many seconds it must hold."""
LOCK = {"overload": "overload", "over-voltage": "voltage", "phase-loss": "voltage", "leakage": "leakage",
        "over-temperature": "temperature"}  # fmt: skip
RELEASE = {"overload": (5, 3), "over-voltage": (3, 10), "phase-loss": (15, 2)}
"""After how many minutes a lock is taken off by itself, and how often a local day."""


@cache
def safety():
    return compile_ruleset(YAML(typ="safe").load(SAFETY.read_text(encoding="utf-8")), TWIN_MODEL)


def supplied(start: int = MIDNIGHT + 10 * HOUR) -> Scene:
    scene = Scene(policy=make_policy(rulesets=[safety()]), interval_ms=MINUTE, start=start)
    scene.sample(0, **GOOD)
    return scene


def say(scene: Scene, wait_s: int, **channels) -> list[str]:
    """A sample so many seconds later; returns the locks that stand."""
    scene.wait(wait_s * SECOND)
    scene.sample(0, **{**GOOD, **channels})
    return list(scene.breaker.locks)


def go_wrong(scene: Scene, what: str) -> list[str]:
    """Whatever is wrong holds for as long as it must, and the device opens."""
    wrong, held_s = BAD[what]
    say(scene, 1, **wrong)
    locks = say(scene, held_s, **wrong) if held_s else list(scene.breaker.locks)
    if locks and scene.breaker.command.state in ("created", "queued"):
        assert scene.breaker.command.target == "open"
        scene.obey()
        assert scene.breaker.relay == "open"
    return locks


def pass_minutes(scene: Scene, minutes: int) -> None:
    """Time goes by with a healthy reading a minute; the device does what it is told."""
    follow(scene)
    for _ in range(minutes):
        say(scene, 60, power_w=0)
        follow(scene)


def follow(scene: Scene) -> None:
    """The device closes where it is told to."""
    if not scene.breaker.locks and scene.breaker.command.state == "created":
        scene.obey()


@pytest.mark.parametrize("what", list(BAD))
def test_it_opens_the_breaker_when_it_has_held_and_not_before(what):
    wrong, held_s = BAD[what]
    scene = supplied()
    if held_s:
        say(scene, 1, **wrong)
        assert say(scene, held_s - 1, **wrong) == [], "a second too short"
        assert say(scene, 1) == []
        assert say(scene, held_s + 5) == [], "it has been well in between"
    assert go_wrong(scene, what) == [LOCK[what]]
    assert scene.breaker.relay == "open"
    raised = [(one.severity, one.active) for one in scene.caused(AlarmChanged) if one.rule == f"safety-{what}"]
    assert raised[-1] == ("critical", True)


@pytest.mark.parametrize("what", list(RELEASE))
def test_it_is_released_by_itself_a_few_times_a_local_day_then_by_a_person(what):
    minutes, most = RELEASE[what]
    scene = supplied(MIDNIGHT + 6 * HOUR)
    for _ in range(most):
        assert go_wrong(scene, what) == [LOCK[what]]
        pass_minutes(scene, minutes - 1)
        assert list(scene.breaker.locks) == [LOCK[what]]
        pass_minutes(scene, 2)
        assert (list(scene.breaker.locks), scene.breaker.relay) == ([], "closed")
    assert go_wrong(scene, what) == [LOCK[what]]
    pass_minutes(scene, 3 * 60)
    assert (list(scene.breaker.locks), scene.breaker.relay) == ([LOCK[what]], "open"), "for a person"
    scene.credit("100.00")
    assert list(scene.breaker.locks) == [LOCK[what]], "money releases no safety lock"
    scene.unlock(LOCK[what])
    pass_minutes(scene, 1)
    assert (list(scene.breaker.locks), scene.breaker.relay) == ([], "closed")


def test_the_next_local_day_counts_anew():
    scene = supplied(MIDNIGHT + 23 * HOUR)
    for _ in range(3):
        go_wrong(scene, "overload")
        pass_minutes(scene, 6)
        assert scene.breaker.relay == "closed"
    pass_minutes(scene, 60)
    assert scene.now > MIDNIGHT + 24 * HOUR
    go_wrong(scene, "overload")
    pass_minutes(scene, 6)
    assert scene.breaker.relay == "closed"


@pytest.mark.parametrize("what", ["leakage", "over-temperature"])
def test_leakage_and_heat_are_released_by_people_alone(what):
    scene = supplied()
    go_wrong(scene, what)
    pass_minutes(scene, 20)
    assert (list(scene.breaker.locks), scene.breaker.relay) == ([LOCK[what]], "open")
    cleared = [one.active for one in scene.caused(AlarmChanged) if one.rule == f"safety-{what}"]
    assert cleared[-1] is False, "the alarm ends when it is well again; the lock does not"
    scene.unlock(LOCK[what])
    pass_minutes(scene, 1)
    assert scene.breaker.relay == "closed"


@pytest.mark.parametrize("what", ["over-voltage", "phase-loss"])
def test_nothing_is_switched_on_again_while_it_is_still_so(what):
    minutes, _ = RELEASE[what]
    wrong, _ = BAD[what]
    scene = supplied()
    go_wrong(scene, what)
    for _ in range(3 * minutes):
        assert say(scene, 60, power_w=0, **wrong) == [LOCK[what]]
    assert say(scene, 60, power_w=0) == []
    scene.obey()
    assert scene.breaker.relay == "closed"


def test_two_reasons_are_two_locks_and_the_breaker_closes_when_both_are_gone():
    scene = supplied()
    go_wrong(scene, "overload")
    scene.lock("manual")
    pass_minutes(scene, 6)
    assert (list(scene.breaker.locks), scene.breaker.relay) == (["manual"], "open")
    scene.unlock("manual")
    pass_minutes(scene, 1)
    assert scene.breaker.relay == "closed"


def test_under_voltage_is_told_and_switches_nothing():
    scene = supplied()
    for _ in range(3):
        assert say(scene, 6, voltage_mv=[170_000] * 3) == []
    told = [(one.severity, one.active) for one in scene.caused(AlarmChanged) if one.rule == "safety-under-voltage"]
    assert told == [("major", True)]


@pytest.mark.parametrize("what", list(BAD))
def test_late_and_buffered_samples_switch_nothing(what):
    wrong, held_s = BAD[what]
    scene = supplied()
    for _ in range(4):
        scene.wait((held_s + 1) * SECOND)
        scene.sample(0, hist=True, **{**GOOD, **wrong})
        assert list(scene.breaker.locks) == []

"""What a device protects itself from, and what a hand on site did, is never undone from afar, and told to its end."""

from __future__ import annotations

import msgspec
import pytest

from api.http.problems import Problem
from api.http.routes.switching import _check_closing
from tests.unit.twin.rule_scenes import scene_of
from tests.unit.twin.scene import HOUR, MINUTE, Scene
from tests.unit.twin.test_switching import running, states
from tests.unit.twin.test_switching_traps import closed_by_hand_under_a_lock, opened_commands
from twin.core.effects import AlarmChanged
from twin.core.messages import (
    Birth,
    CommandAnswered,
    CommandSent,
    ConnectionChanged,
    ContractsChanged,
    IncidentClosed,
    StateReported,
)
from twin.core.model import Group


def closed_from_afar():
    """Opened, released, and closed again by a command that is proved."""
    scene = running()
    scene.lock()
    scene.obey()
    scene.now += MINUTE
    scene.sample(power_w=0)
    scene.unlock()
    scene.obey(settle=False)
    assert (scene.breaker.command.state, scene.breaker.relay) == ("verified", "closed")
    return scene


@pytest.mark.parametrize("cause", ["trip", "leakage", "overload", "key"])
@pytest.mark.parametrize("after_ms", [300, 5_000])
def test_a_breaker_that_trips_as_it_is_closed_is_not_closed_onto_the_fault(cause: str, after_ms: int):
    scene = closed_from_afar()
    count = len(states(scene))
    scene.now += after_ms
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, cause))
    assert list(scene.breaker.incidents) == ["opened_locally"]
    for _ in range(40):
        scene.wait(MINUTE)
        scene.sample(power_w=0)
    assert len(states(scene)) == count, "nothing was sent"


def told_to_close():
    """Opened and released; the closing is at the broker."""
    scene = running()
    scene.lock()
    scene.obey()
    scene.sample(power_w=0)
    scene.unlock()
    command = scene.breaker.command
    scene.play(CommandSent("em-001", command.id, scene.now))
    return scene


@pytest.mark.parametrize("cause", ["trip", "key"])
@pytest.mark.parametrize("after_ms", [1_000, 70_000])
def test_a_trip_after_a_closing_of_which_nothing_was_heard_is_not_closed_onto(cause: str, after_ms: int):
    scene = told_to_close()
    scene.wait(after_ms)
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, cause))
    assert (scene.breaker.close, list(scene.breaker.incidents)) == (None, ["opened_locally"])
    count = len(states(scene))
    for _ in range(40):
        scene.wait(MINUTE)
        scene.sample(power_w=0)
    assert len(states(scene)) == count, "nothing more was sent"


@pytest.mark.parametrize(("cause", "known"), [("command", ""), ("", ""), ("trip", "trip")])
def test_an_old_position_told_again_does_not_end_a_closing(cause: str, known: str):
    scene = running()
    if known:
        scene.now += MINUTE
        scene.play(StateReported("em-001", "open", scene.now, scene.sid, known))
    scene.lock()
    if not known:
        scene.obey()
    scene.sample(power_w=0)
    scene.unlock()
    assert scene.breaker.command.target == "closed"
    scene.now += 1_000
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, cause))
    assert scene.breaker.command.state == "created"
    scene.obey()
    assert (scene.breaker.command.state, scene.breaker.relay) == ("verified", "closed")


def test_a_wish_that_waits_for_a_device_which_never_tells_its_position_is_told():
    scene = Scene()
    scene.group, scene.act = Group("park-1", "t-001"), 0
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    scene.credit("100.00")
    scene.lock(until=scene.now + MINUTE)
    scene.play(CommandAnswered("em-001", scene.breaker.command.id, "failed", scene.now))
    for _ in range(40):
        scene.wait(MINUTE)
        scene.sample(10, power_w=0)
    assert (scene.breaker.relay, scene.breaker.locks) == (None, {})
    assert [(one.rule, one.active) for one in scene.caused(AlarmChanged)] == [("@relay_unknown", True)], "once"
    scene.play(StateReported("em-001", "open", scene.now, scene.sid))
    assert "relay_unknown" not in scene.breaker.incidents
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("closed", "created")


@pytest.mark.parametrize("cause", ["trip", "lever"])
def test_a_trip_while_a_closing_is_under_way_ends_the_wish(cause: str):
    scene = running()
    scene.lock()
    command = scene.breaker.command
    scene.play(CommandSent("em-001", command.id, scene.now))
    scene.play(CommandAnswered("em-001", command.id, "failed", scene.now))
    scene.unlock()
    assert (scene.breaker.command.target, scene.breaker.relay) == ("closed", "closed"), "the opening is in doubt"
    scene.now += 5_000
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, cause))
    assert (scene.breaker.command.state, scene.breaker.close) == ("superseded", None)
    scene.wait(HOUR)
    scene.sample(power_w=0)
    assert states(scene)[-1] == ("closed", "superseded")
    assert "opened_locally" in scene.breaker.incidents


def test_the_alarm_of_a_hand_under_a_lock_ends_with_the_last_lock():
    scene = closed_by_hand_under_a_lock()
    scene.lock("leakage", until=scene.now + HOUR)
    scene.obey()
    scene.play(StateReported("em-001", "closed", scene.now + MINUTE, scene.sid, "key"), now=scene.now + MINUTE)
    scene.unlock("leakage")
    assert list(scene.breaker.incidents) == ["closed_locally_under_lock"], "the other lock stands"
    scene.unlock()
    assert scene.breaker.incidents == {}
    assert [one.active for one in scene.caused(AlarmChanged)] == [True, False] * 2
    assert states(scene)[-1] == ("open", "verified"), "it is closed, and nobody wants it open"


def test_to_close_the_incident_of_a_hand_does_not_hide_that_the_breaker_is_closed_under_a_lock():
    scene = closed_by_hand_under_a_lock()
    known = scene.breaker.incidents["closed_locally_under_lock"]
    scene.now += MINUTE
    scene.play(IncidentClosed(scene.next_act(), "em-001", known.kind, known.since, "lin", "seen", scene.now))
    assert scene.breaker.incidents["closed_locally_under_lock"].since == scene.now, "its cause is still there"
    for _ in range(20):
        scene.wait(MINUTE)
        scene.sample(10, power_w=600)
    assert [one.active for one in scene.caused(AlarmChanged)] == [True, False, True]
    assert states(scene)[-1] == ("open", "verified"), "and the hand is not fought because a clerk closed a case"


def test_a_restart_is_one_also_where_the_connection_was_heard_of_before_the_birth():
    scene = closed_by_hand_under_a_lock()
    before = len(opened_commands(scene))
    scene.now += MINUTE
    scene.play(ConnectionChanged("em-001", "offline", scene.sid, scene.now))
    scene.now += MINUTE
    scene.play(ConnectionChanged("em-001", "online", "s2", scene.now))
    assert len(opened_commands(scene)) == before
    scene.play(Birth("em-001", "s2", scene.now, "closed"))
    assert len(opened_commands(scene)) == before + 1, "brokers keep no order between topics"
    scene.obey(settle=False)
    scene.now += MINUTE
    scene.play(StateReported("em-001", "closed", scene.now, "s2", "key"))
    scene.play(Birth("em-001", "s2", scene.now - 2 * MINUTE, "closed"))
    assert len(opened_commands(scene)) == before + 1, "the broker's copy of it tells of no other restart"


def tripped():
    scene = running()
    scene.now += MINUTE
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, "trip"))
    assert list(scene.breaker.incidents) == ["opened_locally"]
    return scene


def test_the_end_of_a_lock_does_not_close_what_had_tripped_before_it_came():
    scene = tripped()
    scene.lock("schedule", until=scene.now + HOUR)
    for _ in range(90):
        scene.wait(MINUTE)
        scene.sample(power_w=0)
    assert (scene.breaker.locks, states(scene)) == ({}, [])
    assert list(scene.breaker.incidents) == ["opened_locally"], "somebody must go there"


def test_what_was_opened_on_site_is_over_once_it_is_closed_there_also_under_a_lock():
    scene = tripped()
    scene.lock("schedule", until=scene.now + HOUR)
    scene.now += MINUTE
    scene.play(StateReported("em-001", "closed", scene.now, scene.sid, "key"))
    assert list(scene.breaker.incidents) == ["closed_locally_under_lock"]
    scene.play(Birth("em-001", "s2", scene.now + MINUTE, "closed"), now=scene.now + MINUTE)
    scene.obey()
    scene.wait(2 * HOUR)
    scene.sample(power_w=0)
    assert states(scene)[-1][0] == "closed", "the end of the lock closes what the lock had opened"


def test_a_person_who_locks_and_releases_closes_it():
    scene = tripped()
    scene.lock()
    scene.unlock()
    assert states(scene)[-1] == ("closed", "created")


def opened_by_key_and_then_in_arrears(*, remote_close: bool = True):
    scene = running(credit="0.05", params={"grace": "10m", "low1": "0.04", "low2": "0.02"})
    contract = msgspec.structs.replace(scene.group.breaker_contracts["em-001"], remote_close=remote_close)
    scene.contracts["breakers"] = (contract,)
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    scene.now += MINUTE
    scene.sample(100)
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, "key"))
    scene.wait(10 * MINUTE)
    scene.sample(power_w=0)
    assert list(scene.breaker.locks) == ["credit"]
    return scene


def test_a_top_up_does_not_close_what_somebody_on_site_has_opened():
    scene = opened_by_key_and_then_in_arrears()
    scene.credit("10.00")
    assert (scene.breaker.locks, states(scene)) == ({}, [])
    scene.play(StateReported("em-001", "closed", scene.now + MINUTE, scene.sid, "key"), now=scene.now + MINUTE)
    assert (scene.breaker.incidents, scene.tenant.state) == ({}, "NORMAL")


def test_where_somebody_confirms_on_site_a_top_up_arms_what_was_opened_there():
    scene = opened_by_key_and_then_in_arrears(remote_close=False)
    scene.credit("10.00")
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("armed", "created")


def test_the_incident_of_a_refused_unlock_ends_with_the_lock():
    rule = {
        "id": "greedy",
        "scope": {"twin": "tenant"},
        "on": ["account.credited"],
        "when": 'account.balance > money("0")',
        "then": [{"breaker.unlock": {"lock": "manual"}}],
    }
    scene = scene_of(rule, credit="1.00")
    scene.lock()
    scene.credit("5.00")
    assert list(scene.breaker.incidents) == ["unlock_refused"]
    scene.unlock()
    assert scene.breaker.incidents == {}


def test_a_device_that_trips_and_stands_armed_is_told_until_it_is_closed():
    scene = running()
    scene.now += MINUTE
    scene.play(StateReported("em-001", "armed", scene.now, scene.sid, "trip"))
    assert list(scene.breaker.incidents) == ["opened_locally"], "its supply is off, and nothing else here says so"
    scene.now += MINUTE
    scene.play(StateReported("em-001", "closed", scene.now, scene.sid, "key"))
    assert (scene.breaker.incidents, states(scene)) == ({}, [])


def test_a_valve_that_a_hand_leaves_trickling_under_a_lock_for_safety_is_told():
    scene = running()
    valve = msgspec.structs.replace(scene.group.breaker_contracts["em-001"], op="valve.set", limits=True)
    scene.contracts["breakers"] = (valve,)
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    scene.lock("leakage")
    scene.obey()
    scene.now += MINUTE
    scene.play(StateReported("em-001", "limited", scene.now, scene.sid, "key"))
    assert list(scene.breaker.incidents) == ["closed_locally_under_lock"]


@pytest.mark.parametrize("late_ms", [0, 300, 30_000])
def test_a_device_that_restarts_closed_under_a_lock_is_opened_again(late_ms: int):
    scene = running()
    scene.lock()
    scene.obey()
    scene.now += MINUTE
    scene.play(Birth("em-001", "s2", scene.now, "closed"), now=scene.now + late_ms)
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("open", "created")
    assert scene.breaker.incidents == {}
    assert ("@closed_locally_under_lock", True) in [(one.rule, one.active) for one in scene.caused(AlarmChanged)]


@pytest.mark.parametrize("relay", ["open", "armed"])
def test_an_order_to_close_what_has_tripped_is_refused_and_not_called_satisfied(relay: str):
    scene = running()
    scene.now += MINUTE
    scene.play(StateReported("em-001", relay, scene.now, scene.sid, "trip"))
    with pytest.raises(Problem, match=f"stands {relay} without a lock"):
        _check_closing(scene.breaker)

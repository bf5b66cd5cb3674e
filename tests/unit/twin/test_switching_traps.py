"""Traps that the explorer or a second look found in the core, each in the fewest steps."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.twin.scene import HOUR, MINUTE
from tests.unit.twin.switching_books import Books
from tests.unit.twin.test_switching import cut_off, running, states
from twin.core.effects import CommandChanged
from twin.core.messages import (
    Birth,
    CommandAnswered,
    CommandSent,
    ConnectionChanged,
    ContractsChanged,
    LinkChanged,
    StateReported,
)
from twin.core.model import BreakerTwin


def closed_by_hand_under_a_lock():
    scene = running()
    scene.lock()
    scene.obey()
    scene.now += MINUTE
    scene.play(StateReported("em-001", "closed", scene.now, scene.sid, "key"))
    assert list(scene.breaker.incidents) == ["closed_locally_under_lock"]
    return scene


def opened_commands(scene):
    return [one for one in scene.caused(CommandChanged) if one.target == "open" and one.state == "created"]


def test_a_new_reason_opens_also_what_somebody_has_closed_by_hand():
    scene = closed_by_hand_under_a_lock()
    scene.lock("leakage")
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("open", "created")


def test_a_person_who_locks_again_asks_for_another_try():
    scene = closed_by_hand_under_a_lock()
    scene.lock()
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("open", "created")
    assert scene.breaker.incidents == {}


@pytest.mark.parametrize(("hours", "more"), [(1, None), (1, 2), (2, 1), (None, 1)])
def test_a_lock_that_lasts_longer_takes_the_place_of_the_one_that_stands(hours: int | None, more: int | None):
    scene = running()
    began = scene.now
    first, second = (None if length is None else began + length * HOUR for length in (hours, more))
    scene.lock("manual", first)
    scene.obey()
    scene.lock("manual", second)
    ends = [first, second]
    assert scene.breaker.locks["manual"].until == (None if None in ends else max(first, second))
    scene.wait(HOUR + MINUTE)
    assert list(scene.breaker.locks) == ["manual"], "the shorter one has ended, and nothing closes"


def test_the_brokers_copy_of_an_old_birth_does_not_fight_a_hand():
    scene = closed_by_hand_under_a_lock()
    before = len(opened_commands(scene))
    scene.play(Birth("em-001", scene.sid, scene.now - HOUR, "closed"))
    assert len(opened_commands(scene)) == before
    scene.play(Birth("em-001", "s2", scene.now + 1, "closed"))
    assert len(opened_commands(scene)) == before + 1, "a real restart asserts the standing lock"


def arming():
    """A breaker that may only be armed, with the arming under way."""
    scene = running()
    breaker = msgspec.structs.replace(scene.group.breaker_contracts["em-001"], remote_close=False)
    scene.contracts["breakers"] = (breaker,)
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    scene.lock()
    scene.obey()
    scene.unlock()
    assert scene.breaker.command.target == "armed"
    return scene


def test_an_armed_breaker_that_somebody_closed_before_the_report_is_what_was_asked_for():
    scene = arming()
    scene.play(CommandSent("em-001", scene.breaker.command.id, scene.now))
    scene.play(StateReported("em-001", "closed", scene.now + 5, scene.sid, "key"))
    assert scene.breaker.command.state == "verified"
    scene.wait(5 * MINUTE)
    assert scene.breaker.incidents == {}


def test_power_through_an_armed_breaker_is_an_alarm():
    scene = arming()
    scene.obey(settle=False)
    scene.now += MINUTE
    scene.sample(1, power_w=400, relay="armed")
    assert "open_but_power_flows" in scene.breaker.incidents
    scene.now += MINUTE
    scene.sample(0, power_w=0, relay="armed")
    assert scene.breaker.incidents == {}


def test_a_command_that_was_lost_with_a_restart_is_given_anew_at_once():
    scene = running()
    scene.lock()
    lost = scene.breaker.command
    scene.play(CommandSent("em-001", lost.id, scene.now))
    scene.now += 2_000
    scene.play(Birth("em-001", "s2", scene.now, "closed"))
    assert (lost.id, "superseded") in [(one.cmd, one.state) for one in scene.caused(CommandChanged)]
    assert scene.breaker.command.fence == lost.fence + 1
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("open", "created")


def test_a_closing_that_was_lost_with_a_restart_is_decided_anew():
    scene = running()
    scene.lock()
    scene.obey()
    scene.unlock()
    scene.play(CommandSent("em-001", scene.breaker.command.id, scene.now))
    scene.now += 2_000
    scene.play(Birth("em-001", "s2", scene.now, "open"))
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("closed", "created")


def test_a_hand_that_closes_between_execution_and_proof_is_told_and_not_fought():
    scene = running()
    scene.lock()
    scene.obey(settle=False)
    assert scene.breaker.command.state == "executed"
    scene.now += 5_000
    scene.play(StateReported("em-001", "closed", scene.now, scene.sid, "lever"))
    assert scene.breaker.command.state == "superseded"
    assert list(scene.breaker.incidents) == ["closed_locally_under_lock"]
    scene.wait(HOUR)
    assert len(opened_commands(scene)) == 1


def test_an_alarm_ends_when_the_relay_stands_right_after_all():
    scene = running()
    scene.lock()
    for _ in range(2):
        scene.obey(report=False, settle=False)
        scene.play(StateReported("em-001", "closed", scene.now + 1, scene.sid))
        scene.wait(MINUTE)
    assert "command_unverified" in scene.breaker.incidents
    scene.play(StateReported("em-001", "open", scene.now, scene.sid))
    assert "command_unverified" in scene.breaker.incidents, "the relay's word alone proves no opening"
    scene.now += MINUTE
    scene.sample(0, power_w=0)
    assert scene.breaker.incidents == {}


def test_an_opening_that_never_left_the_house_leaves_no_wish_to_close():
    scene = running()
    scene.play(ConnectionChanged("em-001", "offline", scene.sid, scene.now))
    scene.lock()
    scene.unlock()
    assert (scene.breaker.command.state, scene.breaker.close) == ("superseded", None)
    scene.now += MINUTE
    scene.play(Birth("em-001", "s2", scene.now, "open"))
    scene.sample(0, sid="s2", power_w=0)
    assert states(scene)[-1] == ("open", "superseded"), "somebody on site has opened it"
    assert "opened_locally" in scene.breaker.incidents


def test_who_opens_on_site_is_not_fought_with_an_older_wish():
    scene = running()
    scene.lock()
    scene.play(CommandSent("em-001", scene.breaker.command.id, scene.now))
    scene.play(ConnectionChanged("em-001", "offline", scene.sid, scene.now))
    scene.unlock()
    assert scene.breaker.close is not None
    scene.now += MINUTE
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, "key"))
    assert scene.breaker.close is None
    assert "opened_locally" in scene.breaker.incidents


def test_what_a_clerk_released_is_due_again_though_nothing_flows():
    scene = cut_off()
    scene.obey()
    scene.lock("manual")
    scene.unlock("credit")
    scene.wait(2_000)
    assert scene.tenant.rules["arrears-cutoff"].state == "pending", "its grace runs from the release"


def test_a_cutoff_that_waited_for_fresh_data_is_looked_at_with_the_next_reading():
    scene = cut_off()
    scene.obey()
    scene.lock("manual")
    scene.wait(HOUR)
    scene.unlock("credit")
    scene.wait(2_000)
    assert scene.tenant.rules["arrears-cutoff"].state == "unknown", "nobody is cut off on old data"
    scene.sample(0, power_w=0)
    assert scene.tenant.rules["arrears-cutoff"].state == "pending"


@pytest.mark.parametrize("what", ["device", "gateway"])
def test_a_reading_proves_that_a_device_is_back_where_the_word_of_it_was_lost(what: str):
    scene = running()
    if what == "device":
        scene.play(ConnectionChanged("em-001", "offline", scene.sid, scene.now))
    else:
        scene.play(LinkChanged("gw-01", "online", "g1", scene.now))
        scene.play(LinkChanged("gw-01", "offline", "g1", scene.now))
    scene.lock()
    assert scene.breaker.command.state == "queued"
    scene.now += 5_000
    scene.sample(1)
    assert scene.breaker.command.state == "created"


def test_a_breaker_found_open_with_nothing_that_locks_it_is_told():
    scene = running()
    scene.group.breakers["em-001"] = BreakerTwin("em-001", fence=7)
    scene.now += MINUTE
    scene.play(Birth("em-001", "s2", scene.now, "open"))
    assert list(scene.breaker.incidents) == ["opened_locally"]


def test_two_rebuilds_never_give_one_fence():
    scene, books = running(), Books(0, 1_000)
    first = books.rebuilt(scene.contracts).breakers["em-001"].fence
    assert books.rebuilt(scene.contracts).breakers["em-001"].fence > first + 100, "commands may have gone out between"


def test_a_command_for_a_breaker_that_is_taken_away_is_cancelled():
    scene = running()
    scene.lock()
    meter = msgspec.structs.replace(scene.group.meter_contracts["em-001"], breaker=None)
    scene.contracts |= {"meters": (meter,), "breakers": ()}
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    assert states(scene)[-1] == ("open", "cancelled")


def test_an_answer_to_a_command_that_gave_way_changes_nothing():
    scene = running()
    scene.lock()
    lost = scene.breaker.command
    scene.play(CommandSent("em-001", lost.id, scene.now))
    scene.play(Birth("em-001", "s2", scene.now + 1, "closed"))
    scene.play(CommandAnswered("em-001", lost.id, "failed", scene.now + 2, reason="restarted"))
    assert scene.breaker.command.state == "created"


def test_what_a_rebuild_lost_of_a_contract_gives_way_all_the_same():
    scene, books = cut_off(), Books(0, 1_000)
    for effect in scene.effects:
        books.post(effect)
    scene.contracts["contract"] = msgspec.structs.replace(scene.contracts["contract"], mode="postpaid")
    scene.group = books.rebuilt(scene.contracts)
    assert list(scene.breaker.locks) == ["credit"]
    scene.group.wake = scene.now
    scene.wait(1_000)
    assert scene.breaker.locks == {}


def test_an_old_birth_does_not_end_a_wish_that_outlived_the_store():
    scene, books = running(), Books(0, 1_000)
    scene.lock()
    scene.obey()
    for effect in scene.effects:
        books.post(effect)
    books.locks.clear()
    scene.group = books.rebuilt(scene.contracts)
    born = scene.now - HOUR
    scene.play(Birth("em-001", scene.sid, born, "closed"))
    assert scene.breaker.close is not None
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, "command"))
    scene.now += 1_000
    scene.sample(0, power_w=0)
    assert scene.breaker.command.target == "closed"

"""Bulk switching decided purely: who takes part, what came of a breaker, what a job does next."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, Scene
from twin.core import bulk
from twin.core.bulk import Judgement, Move, Order, Pace, Selection, Tally, Wish, judge, next_move, plan, selected
from twin.core.messages import Birth, CommandAnswered, CommandSent, ConnectionChanged, ContractsChanged, StateReported

OPEN, CLOSE, UNDO = Wish("open"), Wish("close"), Wish("undo")
PACE = Pace(answer_ms=60_000)


def skipped(scene: Scene, wish: Wish) -> str:
    return plan(scene.group, "em-001", wish, scene.now).skip


def fresh() -> Scene:
    scene = Scene()
    scene.sample(10)
    return scene


# --- who takes part ---------------------------------------------------------------------------------------------


def test_whoever_nothing_speaks_against_takes_part() -> None:
    found = plan(fresh().group, "em-001", OPEN, MIDNIGHT)
    assert (found.skip, found.tenant, found.group) == ("", "t-001", "t-001")


def test_a_guaranteed_supply_is_left_out_until_its_end_unless_it_is_meant() -> None:
    scene = Scene(contract={"protected_until": MIDNIGHT + HOUR})
    assert skipped(scene, OPEN) == "guaranteed"
    assert skipped(scene, Wish("open", include=("guaranteed",))) == ""
    scene.now += HOUR
    assert skipped(scene, OPEN) == ""


def test_safety_keeps_a_breaker_out_and_nobody_can_set_that_aside() -> None:
    scene = fresh()
    scene.lock("overload")
    assert skipped(scene, Wish("open", include=bulk.LIFTABLE)) == "safety_locked"
    assert skipped(scene, CLOSE) == "other_locks"


def test_critical_and_unreachable_unless_they_are_meant() -> None:
    scene = fresh()
    assert skipped(scene, Wish("open", critical=frozenset({"em-001"}))) == "critical"
    assert skipped(scene, Wish("open", critical=frozenset({"em-001"}), include=("critical",))) == ""
    scene.play(ConnectionChanged("em-001", "offline", scene.sid, scene.now))
    assert skipped(scene, OPEN) == "unreachable"
    assert skipped(scene, Wish("open", include=("unreachable",))) == ""


def test_closing_takes_off_only_what_would_bring_the_supply_back() -> None:
    scene = fresh()
    assert skipped(scene, CLOSE) == "not_locked"
    scene.lock()
    scene.obey()
    assert skipped(scene, CLOSE) == ""
    assert skipped(scene, OPEN) == "already_locked"
    scene.lock("maintenance")
    assert skipped(scene, CLOSE) == "other_locks"
    assert skipped(scene, UNDO) == ""


@pytest.mark.parametrize("wish", [CLOSE, UNDO])
def test_what_had_tripped_before_its_lock_came_is_left_out_of_a_closing_unless_it_is_meant(wish: Wish) -> None:
    scene = fresh()
    scene.now += MINUTE
    scene.play(StateReported("em-001", "open", scene.now, scene.sid, "trip"))
    scene.lock()
    found = plan(scene.group, "em-001", wish, scene.now)
    assert (found.skip, found.detail) == ("opened_on_site", "trip")
    assert skipped(scene, msgspec.structs.replace(wish, include=("opened_on_site",))) == ""
    scene.lock("maintenance")
    assert skipped(scene, wish) == ("" if wish is UNDO else "other_locks"), "nothing closes under the other lock"
    scene.unlock("maintenance")
    armed = msgspec.structs.replace(scene.contracts["breakers"][0], remote_close=False)
    scene.contracts["breakers"] = (armed,)
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    assert skipped(scene, wish) == "", "where somebody on site confirms, the end of the lock closes nothing"
    scene.unlock()
    assert skipped(scene, UNDO) == "lock_gone"


def test_closing_without_a_fresh_reading_would_wait() -> None:
    scene = fresh()
    scene.lock()
    scene.obey()
    scene.now += 46 * MINUTE
    assert skipped(scene, CLOSE) == "stale"
    assert skipped(scene, Wish("close", include=("unreachable",))) == ""


def test_a_device_without_a_relay() -> None:
    assert plan(fresh().group, "em-999", OPEN, MIDNIGHT).skip == "not_switchable"


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (Selection(everything=True), ["em-001"]),
        (Selection(devices=("em-001", "em-002")), ["em-001"]),
        (Selection(devices=("em-002",)), []),
        (Selection(tenants=("t-001",), gateways=("gw-01",)), ["em-001"]),
        (Selection(tenants=("t-001",), gateways=("gw-02",)), []),
        (Selection(groups=("house-1",)), ["em-001"]),
        (Selection(groups=("house-2",)), []),
        (Selection(utility="electricity"), ["em-001"]),
        (Selection(utility="water"), []),
    ],
)
def test_a_selection(chosen: Selection, found: list[str]) -> None:
    scene = Scene(contract={"group": "house-1"})
    assert selected(scene.group, chosen) == found


# --- what came of it --------------------------------------------------------------------------------------------


def ordered(scene: Scene) -> Order:
    sent_ts = scene.now
    scene.lock()
    return Order("em-001", scene.act, sent_ts)


def found(scene: Scene, order: Order, wish: Wish = OPEN) -> Judgement | None:
    return judge(scene.group, order, wish, PACE, scene.now)


def test_open_and_proved() -> None:
    scene = fresh()
    order = ordered(scene)
    assert found(scene, order) is None
    scene.obey(settle=False)
    assert found(scene, order) is None, "the device's word is no proof"
    scene.now += 3_000
    scene.sample(power_w=0)
    seen = found(scene, order)
    assert seen is not None
    assert (seen.state, seen.command) == ("verified", scene.breaker.command.id)


def test_an_act_that_has_not_arrived_proves_nothing() -> None:
    scene = fresh()
    scene.lock()
    scene.obey()
    order = Order("em-001", scene.act + 1, scene.now)
    assert found(scene, order) is None
    scene.now += 60_000
    assert found(scene, order) == Judgement("silent", "not_delivered")


def test_what_was_open_already_needs_no_command() -> None:
    scene = fresh()
    scene.lock("maintenance")
    scene.obey()
    scene.now += 1_000
    assert found(scene, ordered(scene)) == Judgement("verified", "was_open")


def test_a_device_that_refuses_has_failed_and_may_still_obey() -> None:
    scene = fresh()
    order = ordered(scene)
    command = scene.breaker.command
    scene.play(CommandSent("em-001", command.id, scene.now))
    scene.play(CommandAnswered("em-001", command.id, "failed", scene.now, reason="stuck"))
    seen = found(scene, order)
    assert seen is not None
    assert (seen.state, seen.reason, seen.detail) == ("failed", "failed", "stuck")
    again = msgspec.structs.replace(order, state="failed")
    assert found(scene, again) is None
    scene.wait(MINUTE)
    scene.obey()
    assert found(scene, again).state == "verified"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [((), "no_answer"), (("received",), "no_result"), (("received", "executed"), "no_proof")],
)
def test_silence_says_how_far_it_got(answers: tuple[str, ...], reason: str) -> None:
    scene = fresh()
    order = ordered(scene)
    command = scene.breaker.command
    scene.play(CommandSent("em-001", command.id, scene.now))
    for answer in answers:
        scene.play(CommandAnswered("em-001", command.id, answer, scene.now, "open" if answer == "executed" else None))
    pace = Pace(answer_ms=1_000)
    assert judge(scene.group, order, OPEN, pace, scene.now) is None
    seen = judge(scene.group, order, OPEN, pace, scene.now + 1_000)
    assert seen is not None
    assert (seen.state, seen.reason, seen.command) == ("silent", reason, command.id)


def test_silence_of_a_device_out_of_reach_and_its_return() -> None:
    scene = fresh()
    scene.play(ConnectionChanged("em-001", "offline", scene.sid, scene.now))
    order = ordered(scene)
    scene.now += 60_000
    assert found(scene, order).reason == "unreachable"  # type: ignore[union-attr]
    scene.sid = "s2"
    scene.play(Birth("em-001", "s2", scene.now, "closed"))
    scene.obey()
    assert found(scene, msgspec.structs.replace(order, state="silent")).state == "verified"  # type: ignore[union-attr]


def test_a_lock_that_somebody_took_off_meanwhile_is_no_success() -> None:
    scene = fresh()
    order = ordered(scene)
    scene.unlock()
    assert found(scene, order).reason == "lock_released"  # type: ignore[union-attr]


def test_closed_and_proved_or_released_under_another_lock() -> None:
    scene = fresh()
    scene.lock()
    scene.obey()
    sent_ts = scene.now = scene.now + 1_000
    scene.unlock()
    order = Order("em-001", scene.act, sent_ts)
    assert found(scene, order, CLOSE) is None
    scene.obey()
    assert found(scene, order, CLOSE).state == "verified"  # type: ignore[union-attr]
    scene.lock("maintenance")
    assert found(scene, order, UNDO) == Judgement("verified", "released_only", "maintenance")


def test_a_device_that_is_gone() -> None:
    order = Order("em-001", 1, MIDNIGHT)
    assert judge(None, order, OPEN, PACE, MIDNIGHT) == Judgement("failed", "device_gone")
    assert judge(None, msgspec.structs.replace(order, state="silent"), OPEN, PACE, MIDNIGHT) is None


# --- what a job does next ---------------------------------------------------------------------------------------

NONE = Tally()


def test_waves_with_a_pause_between_them() -> None:
    pace = Pace(wave=10, pause_ms=5_000)
    assert next_move(pace, Tally(waiting=25), NONE, 0) == Move(send=10)
    assert next_move(pace, Tally(waiting=15, sent=1, verified=9, settled_ts=100), NONE, 9_999) == Move()
    assert next_move(pace, Tally(waiting=15, verified=10, settled_ts=100), NONE, 5_099) == Move()
    assert next_move(pace, Tally(waiting=15, verified=10, settled_ts=100), NONE, 5_100) == Move(send=10)
    assert next_move(pace, Tally(waiting=5, verified=20, settled_ts=100), NONE, 9_000) == Move(send=5)
    assert next_move(pace, Tally(sent=1, verified=24), NONE, 9_000) == Move()
    assert next_move(pace, Tally(verified=25), NONE, 9_000) == Move(done=True)


def test_a_job_halts_beyond_a_number_of_failures_at_once() -> None:
    pace = Pace(most_failures=2, most_percent=None)
    assert next_move(pace, Tally(waiting=5, sent=9, failed=1, silent=1), NONE, 0) == Move()
    assert next_move(pace, Tally(waiting=5, sent=9, failed=1, silent=2), NONE, 0) == Move(halt="too_many_failures")
    assert next_move(pace, Tally(failed=9), NONE, 0) == Move(done=True), "nothing is left to be kept from harm"


def test_a_share_of_failures_is_judged_on_ten_or_on_a_whole_smaller_wave() -> None:
    pace = Pace(most_percent=20)
    few = Tally(waiting=5, sent=1, verified=6, failed=3)
    assert next_move(pace, few, NONE, 0) == Move()
    exact = Tally(waiting=5, sent=1, verified=8, failed=2)
    assert next_move(pace, exact, NONE, 0) == Move()
    assert next_move(pace, Tally(waiting=5, verified=7, silent=3), NONE, 0) == Move(halt="too_large_a_share")
    small = Pace(wave=2, most_percent=20)
    assert next_move(small, Tally(waiting=5, verified=1, silent=1), NONE, 0) == Move(halt="too_large_a_share")


def test_whoever_resumes_has_seen_what_failed() -> None:
    pace = Pace(most_failures=2, most_percent=20)
    tally = Tally(waiting=5, verified=7, silent=3)
    before = Tally(verified=7, failed=3)
    assert next_move(pace, tally, before, 0) == Move(send=5)


@given(
    size=st.integers(1, 60),
    wave=st.integers(1, 30),
    fates=st.lists(st.sampled_from(["verified", "failed", "silent"]), min_size=60, max_size=60),
    most=st.none() | st.integers(0, 10),
)
def test_every_job_ends_and_nobody_is_sent_twice(size: int, wave: int, fates: list[str], most: int | None) -> None:
    """A job run to its end: done with everybody settled, or halted with no more failures than a wave beyond the
    limit."""
    pace = Pace(wave=wave, pause_ms=10, most_failures=most, most_percent=None)
    counts = {"waiting": size, "sent": 0, "verified": 0, "failed": 0, "silent": 0}
    now, dealt = 0, 0
    for _ in range(10 * size + 10):
        move = next_move(pace, Tally(**counts, settled_ts=now), NONE, now + 10)
        if move.halt or move.done:
            break
        counts["waiting"] -= move.send
        counts["sent"] += move.send
        if counts["sent"]:
            counts["sent"] -= 1
            counts[fates[dealt]] += 1
            dealt += 1
        now += 10
    else:
        pytest.fail("the job never ended")
    bad = counts["failed"] + counts["silent"]
    if move.done:
        assert (counts["waiting"], counts["sent"], dealt) == (0, 0, size)
    else:
        assert most is not None
        assert most < bad <= most + wave

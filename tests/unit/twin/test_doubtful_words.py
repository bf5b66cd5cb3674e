"""Devices with a wrong clock, a silent channel or a register that cannot be: what is believed, and what follows."""

from __future__ import annotations

import pytest

from tests.unit.twin.scene import HOUR, MINUTE, Scene, make_policy
from tests.unit.twin.test_switching import WORKDAY_NOON, cut_off, running
from twin.core.decide import decide
from twin.core.effects import AlarmChanged, CommandChanged, EpochOpened, ReadingQuarantined
from twin.core.messages import Birth, CommandAnswered, CommandSent, ContractsChanged, StateReported, Telemetry
from twin.core.model import Contract, Group, MeterContract

DAY = 24 * HOUR


def alarms(scene) -> list[str]:
    return [effect.rule for effect in scene.caused(AlarmChanged) if effect.rule.startswith("@")]


def answer(scene, *, lag=0, relay=None):
    """The device executes the command in flight; its clock lags behind ours."""
    command = scene.breaker.command
    scene.play(CommandSent("em-001", command.id, scene.now))
    scene.play(CommandAnswered("em-001", command.id, "executed", scene.now - lag, relay or command.target))


def created(scene) -> int:
    return sum(effect.state == "created" for effect in scene.caused(CommandChanged))


def test_power_of_an_older_sample_proves_nothing():
    scene = running(credit="100.00")
    scene.now += MINUTE
    scene.sample(1, power_w=5000)
    scene.lock()
    scene.obey(settle=False)
    scene.now += 5_000
    scene.seq += 1
    register_only = {"import_wh": scene.wh}
    scene.play(Telemetry("em-001", "s1", scene.seq, scene.now, register_only, False, "good", scene.now))
    assert alarms(scene) == []
    scene.now += 5_000
    scene.seq += 1
    scene.play(Telemetry("em-001", "s1", scene.seq, scene.now, register_only, False, "good", scene.now))
    assert scene.breaker.command.state == "verified", "the register stood still between two readings"


def test_a_clock_set_back_a_day_does_not_give_a_day_of_free_supply():
    scene = running(credit="1.00", params={"grace": "10m", "low1": "0.04", "low2": "0.02"})
    for _ in range(16):
        scene.wait(15 * MINUTE)
        scene.sample(100, power_w=400, ts=scene.now - DAY)
    assert "clock_behind" in scene.meter.incidents
    assert list(scene.breaker.locks) == ["credit"]
    assert scene.meter.device_ts == scene.now - DAY, "the device's own word is kept beside ours"


def test_a_late_sample_without_hist_still_actuates_nothing():
    scene = running(credit="100.00")
    scene.now += HOUR
    scene.sample(1, power_w=100)
    scene.seq += 1
    late = Telemetry("em-001", "s1", scene.seq, scene.now - MINUTE, {"import_wh": scene.wh - 1, "power_w": 9000})
    scene.play(late)
    assert scene.meter.values["power_w"] == 100


@pytest.mark.parametrize("lag", [10_000, MINUTE])
def test_a_device_whose_clock_lags_is_verified_like_any_other(lag):
    scene = Scene(start=WORKDAY_NOON - lag, credit="0.05", params={"grace": "10m", "low1": "0.04", "low2": "0.02"})
    scene.now += lag + MINUTE
    scene.sample(1, ts=scene.now - lag)
    scene.now += MINUTE
    scene.sample(100, ts=scene.now - lag)
    scene.wait(10 * MINUTE)
    scene.sample(1, ts=scene.now - lag)
    answer(scene, lag=lag)
    scene.now += 3_000
    scene.sample(power_w=0, ts=scene.now - lag)
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("open", "verified")
    scene.wait(MINUTE)
    scene.sample(power_w=0, ts=scene.now - lag)
    scene.credit("10.00")
    answer(scene, lag=lag)
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("closed", "verified")
    assert alarms(scene) == []


def test_after_a_clock_went_back_a_closed_breaker_is_known_to_be_closed_and_can_be_cut_again():
    scene = cut_off()
    scene.obey()
    scene.wait(MINUTE)
    scene.sid, scene.seq = "s2", 0
    scene.play(Birth("em-001", "s2", scene.now - 3 * HOUR, "open", scene.breaker.fence))
    scene.credit("0.50")
    answer(scene, lag=3 * HOUR)
    assert (scene.breaker.relay, scene.breaker.command.state) == ("closed", "verified")
    scene.lock()
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("open", "created")


def test_an_answer_repeated_later_does_not_move_the_relay_again():
    scene = cut_off()
    scene.obey()
    scene.credit("10.00")
    command = scene.breaker.command
    answer(scene)
    scene.now += MINUTE
    scene.play(StateReported("em-001", "open", scene.now, cause="trip"))
    scene.play(CommandAnswered("em-001", command.id, "executed", scene.now - MINUTE, "closed"))
    assert scene.breaker.relay == "open"


def test_a_closing_that_is_executed_and_never_confirmed_backs_off():
    scene = cut_off()
    scene.obey()
    scene.credit("10.00")
    before = created(scene)
    for _ in range(120):
        if scene.breaker.command.state == "created":
            answer(scene, relay="open")  # its word is done, its relay says otherwise
        scene.wait(MINUTE)
        scene.sample(0, power_w=0)
    assert created(scene) - before <= 20, "not one after every reading"
    assert scene.breaker.close is not None, "the tenant has paid: it is tried again"
    assert "@command_unverified" in alarms(scene)


def fresh_meter(modulus=1_000_000):
    policy = make_policy()
    meter = MeterContract("em-9", tariff="flat", max_rate=13_800, modulus=modulus)
    act = ContractsChanged(1, WORKDAY_NOON, Contract("t-001", account="t-001"), (meter,))
    return policy, decide(Group("park-1", "t-001"), act, WORKDAY_NOON, policy).group


def read(policy, group, seq, raw):
    at = WORKDAY_NOON + seq * 15 * MINUTE
    return decide(group, Telemetry("em-9", "s", seq, at, {"import_wh": raw}), at, policy)


def test_a_first_reading_beyond_the_register_opens_nothing():
    policy, group = fresh_meter()
    decision = read(policy, group, 1, 5_000_000)
    kinds = {type(effect) for effect in decision.effects}
    assert ReadingQuarantined in kinds
    assert EpochOpened not in kinds
    decision = read(policy, decision.group, 2, 400_000)
    assert decision.group.meters["em-9"].register.opening == 400_000
    assert decision.group.meters["em-9"].incidents == {}


def test_a_register_made_shorter_by_contract_never_runs_backwards():
    policy, group = fresh_meter(modulus=1_000_000_000)
    group = read(policy, group, 1, 5_000_000).group
    shorter = MeterContract("em-9", tariff="flat", max_rate=13_800, modulus=1_000_000)
    act = ContractsChanged(2, WORKDAY_NOON, Contract("t-001", account="t-001"), (shorter,))
    group = decide(group, act, WORKDAY_NOON + 20 * MINUTE, policy).group
    group = read(policy, group, 2, 400_000).group
    assert group.meters["em-9"].register.seen == 5_000_000
    assert list(group.meters["em-9"].incidents) == ["fall"]


def reading(scene, used_wh):
    """A live sample that tells no power."""
    scene.now += 15 * MINUTE
    scene.wh += used_wh
    scene.seq += 1
    d = {"import_wh": scene.wh}
    scene.play(Telemetry("em-001", scene.sid, scene.seq, scene.now, d, False, "good", scene.now))


def test_a_register_that_moves_behind_an_open_breaker_is_told_where_no_power_is():
    scene = running(credit="100.00")
    scene.lock()
    scene.obey()
    reading(scene, 0)
    assert alarms(scene) == []
    reading(scene, 400)
    assert alarms(scene) == ["@open_but_power_flows"]
    assert "a register that moved" in scene.breaker.incidents["open_but_power_flows"].detail
    reading(scene, 0)
    assert scene.breaker.incidents == {}


def test_what_was_used_while_the_relay_moved_is_no_flow():
    scene = running(credit="100.00")
    scene.lock()
    scene.obey(settle=False)
    scene.wh += 3
    scene.seq += 1
    first = {"import_wh": scene.wh}
    scene.play(Telemetry("em-001", scene.sid, scene.seq, scene.now + 1, first, False, "good", scene.now))
    reading(scene, 1)
    assert alarms(scene) == []


def test_a_sample_without_power_and_register_proves_no_opening():
    scene = running(credit="100.00")
    scene.lock()
    scene.obey(settle=False)
    reading(scene, 30)
    assert scene.breaker.command.state == "executed"
    scene.seq += 1
    voltage = {"voltage_mv": [230_000]}
    scene.play(Telemetry("em-001", scene.sid, scene.seq, scene.now, voltage, False, "good", scene.now))
    assert scene.breaker.command.state == "executed", "nothing of that sample shows that no power flows"

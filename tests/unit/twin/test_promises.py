"""What a site has promised holds for every rule: guarantees, warnings, consent, modes, and water."""

from __future__ import annotations

import msgspec
import pytest

from billing.money import parse_money
from tests.unit.twin.rule_scenes import scene_of as scene_of_rules
from tests.unit.twin.scene import HOUR, MINUTE, Scene, make_policy
from tests.unit.twin.test_switching import WORKDAY_NOON, cut_off, running
from twin.core.arrears import emergency
from twin.core.effects import IncidentOpened, NotificationWanted
from twin.core.messages import ContractsChanged, EmergencyTaken, StateReported, WarningDelivered

CUT = {
    "id": "cut",
    "scope": {"twin": "tenant"},
    "on": ["account.balance", "clock"],
    "when": "account.balance <= -p.emergency_credit",
    "then": [{"breaker.lock": {"lock": "credit"}}],
}
DEDUCT = {
    "id": "deduct",
    "on": ["reading.registers"],
    "when": "reading.delta > 0",
    "then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}],
}
MONEY = {"low1": "50.00", "low2": "20.00", "emergency_credit": "0.00"}


def scene_of(rule, **more) -> Scene:
    return scene_of_rules(DEDUCT, rule, start=WORKDAY_NOON, **more)


def declared(**more):
    return {name: {"type": "money", "default": value} for name, value in MONEY.items()} | more


def change(scene: Scene, **contract):
    new = msgspec.structs.replace(scene.contracts["contract"], **contract)
    scene.contracts["contract"] = new
    return scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))


def use(scene: Scene, wh: int, minutes: int = 1):
    scene.now += minutes * MINUTE
    return scene.sample(wh)


def test_a_guarantee_takes_off_what_stands_for_arrears_and_keeps_it_off_until_it_ends():
    scene = cut_off()
    scene.obey()
    scene.lock("leakage")
    change(scene, protected_until=scene.now + 2 * HOUR)
    assert list(scene.breaker.locks) == ["leakage"], "safety is above it"
    scene.unlock("leakage")
    scene.sample(0, power_w=0)
    scene.obey()
    for _ in range(11):
        use(scene, 10, 10)
    assert scene.breaker.locks == {}
    assert any(reason.endswith(("inhibited_by", "protected")) for reason in scene.tenant.held)
    assert scene.tenant.state == "HELD"
    for _ in range(3):
        use(scene, 10, 10)
    assert list(scene.breaker.locks) == ["credit"]


def test_a_rule_whose_author_forgot_the_guarantee_is_held_all_the_same():
    scene = scene_of(CUT, params=declared(), credit="0.05", contract={"protected_until": WORKDAY_NOON + HOUR})
    change(scene, protected_until=scene.now + HOUR)
    use(scene, 100)
    assert (scene.breaker.locks, scene.tenant.rules["cut"].gate) == ({}, "protected")
    assert scene.tenant.held == ("cut: protected",)
    for _ in range(7):
        use(scene, 1, 10)
    assert list(scene.breaker.locks) == ["credit"]


def test_nobody_is_cut_off_without_proof_that_a_warning_was_delivered_in_time():
    notice = {"notice_time": {"type": "duration", "default": "2h"}}
    scene = scene_of(CUT, params=declared(**notice), credit="0.05")
    use(scene, 100)
    assert scene.tenant.rules["cut"].gate == "not_warned"
    scene.play(WarningDelivered("t-001", "leak_suspected", scene.now))
    assert scene.tenant.warned_at is None, "that told nothing about money"
    scene.play(WarningDelivered("t-001", "low_balance", scene.now))
    first = scene.tenant.warned_at
    for _ in range(11):
        use(scene, 1, 10)
    scene.play(WarningDelivered("t-001", "low_balance", scene.now))
    assert scene.tenant.warned_at == first, "the first word counts"
    assert scene.breaker.locks == {}
    use(scene, 1, 11)
    assert list(scene.breaker.locks) == ["credit"]


def test_a_warning_is_good_for_one_decline():
    notice = {"notice_time": {"type": "duration", "default": "1m"}}
    scene = scene_of(CUT, params=declared(**notice), credit="0.05")
    use(scene, 1)
    scene.play(WarningDelivered("t-001", "low_balance", scene.now))
    scene.credit("100.00")
    assert scene.tenant.state == "NORMAL"
    assert scene.tenant.warned_at is None
    scene.play(WarningDelivered("t-001", "low_balance", scene.now))
    assert scene.tenant.warned_at is None, "who is told late has meanwhile paid"


def opted_in():
    consent = {"emergency_opt_in": {"type": "bool", "default": True}}
    return scene_of(CUT, params=declared(**consent) | {"emergency_credit": {"type": "money", "default": "5.00"}},
                    credit="30.00")  # fmt: skip


def state_of(scene):
    tenant = scene.tenant
    return emergency(scene.group, scene.policy.tenant_params(scene.group.contract, tenant.params))


def test_emergency_credit_by_consent_is_offered_taken_used_and_repaid():
    scene = opted_in()
    scene.play(EmergencyTaken(scene.next_act(), "t-001", scene.now))
    assert not state_of(scene).taken, "nothing was offered yet"
    use(scene, 15_000, 120)
    assert state_of(scene).offered
    scene.play(EmergencyTaken(scene.next_act(), "t-001", scene.now))
    assert state_of(scene).taken
    use(scene, 17_000, 120)
    assert scene.tenant.state == "EMERGENCY"
    assert state_of(scene).used_nano == parse_money("2.00")
    assert scene.breaker.locks == {}
    scene.credit("1.00")
    told = [one for one in scene.caused(NotificationWanted) if one.template == "emergency_repaid"]
    assert (told[-1].data["repaid_nano"], told[-1].data["left_nano"]) == (parse_money("1.00"), parse_money("1.00"))
    assert state_of(scene).taken, "until it is repaid in full"
    scene.credit("4.00")
    assert not state_of(scene).taken
    assert state_of(scene).offered, "and it may be taken again"


def test_emergency_credit_that_was_not_taken_does_not_count():
    scene = opted_in()
    use(scene, 31_000, 240)
    assert list(scene.breaker.locks) == ["credit"]


def test_emergency_credit_that_is_used_up_ends():
    scene = opted_in()
    use(scene, 15_000, 120)
    scene.play(EmergencyTaken(scene.next_act(), "t-001", scene.now))
    use(scene, 21_000, 240)
    assert list(scene.breaker.locks) == ["credit"]


def test_who_pays_afterwards_from_now_on_is_reconnected():
    scene = cut_off()
    scene.obey()
    change(scene, mode="postpaid")
    assert scene.breaker.locks == {}
    assert scene.breaker.command.target == "closed"


def test_a_change_to_prepayment_cuts_nobody_off_for_a_day():
    prepaid = {**CUT, "scope": {"twin": "tenant", "where": 'tenant.mode == "prepaid"'}}
    scene = scene_of(prepaid, params=declared(), credit="0.05", mode="postpaid")
    use(scene, 100)
    change(scene, mode="prepaid")
    use(scene, 1)
    assert scene.tenant.rules["cut"].gate == "mode_changed"
    for _ in range(25):
        use(scene, 1, 60)
    assert list(scene.breaker.locks) == ["credit"]


@pytest.mark.parametrize("kind", ["overload", "manual", "maintenance"])
def test_money_ends_no_other_lock_than_credit_whatever_a_rule_says(kind: str):
    rule = {
        "id": "greedy",
        "scope": {"twin": "tenant"},
        "on": ["account.credited"],
        "when": 'account.balance > money("0")',
        "then": [{"breaker.unlock": {"lock": kind}}],
    }
    scene = scene_of(rule, credit="1.00")
    scene.lock(kind)
    scene.credit("5.00")
    assert list(scene.breaker.locks) == [kind]
    assert [one.kind for one in scene.caused(IncidentOpened)] == ["unlock_refused"]


def water(*, limits: bool):
    scene = scene_of({**CUT, "then": [{"valve.lock": {"lock": "credit"}}]}, params=declared(), credit="0.05")
    valve = msgspec.structs.replace(scene.group.breaker_contracts["em-001"], op="valve.set", limits=limits)
    scene.contracts["breakers"] = (valve,)
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    use(scene, 100)
    return scene


def test_water_is_never_shut_for_money():
    scene = water(limits=False)
    assert (scene.breaker.locks, scene.tenant.rules["cut"].gate) == ({}, "water_kept")


def test_water_is_limited_where_the_valve_can_and_shut_for_a_leak():
    scene = water(limits=True)
    assert scene.breaker.command.target == "limited"
    scene.play(StateReported("em-001", "limited", scene.now + 1))
    assert scene.breaker.command.state == "verified"
    assert scene.tenant.state == "OFF_ARREARS"
    scene.lock("leakage")
    assert scene.breaker.command.target == "open", "in switch language: nothing flows"
    scene.obey()
    scene.unlock("leakage")
    assert scene.breaker.command.target == "limited"


WARN = {
    "id": "warn",
    "scope": {"twin": "tenant"},
    "on": ["account.balance"],
    "when": "account.balance < p.low2",
    "then": [{"breaker.lock": {"lock": "warning", "lasts": "2m"}}],
}


def warned_off():
    scene = scene_of(WARN, params=declared(), credit="20.05")
    use(scene, 100)
    assert list(scene.breaker.locks) == ["warning"]
    scene.obey()
    assert scene.breaker.command.target == "armed", "whoever is there can confirm"
    return scene


def test_a_warning_cut_ends_when_somebody_confirms_it_on_site():
    scene = warned_off()
    scene.obey(settle=False)
    scene.now += 20_000
    scene.play(StateReported("em-001", "closed", scene.now, scene.sid, "key"))
    assert (scene.breaker.locks, scene.breaker.close, scene.breaker.incidents) == ({}, None, {})
    use(scene, 10)
    assert scene.breaker.locks == {}, "once for each fall below the second alarm"


def test_nobody_is_warned_by_a_cut_on_a_stale_balance():
    scene = scene_of(WARN, params=declared(), credit="50.00")
    use(scene, 10)
    scene.now += 10 * HOUR
    scene.credit("-45.00")
    assert scene.breaker.locks == {}, "the last reading is hours old"
    use(scene, 10)
    assert list(scene.breaker.locks) == ["warning"]


def test_a_warning_cut_ends_by_itself_and_the_supply_comes_back():
    scene = warned_off()
    scene.wait(2 * MINUTE)
    assert scene.breaker.locks == {}
    scene.sample(0, power_w=0)
    assert scene.breaker.command.target == "closed"


def test_the_params_of_a_policy_without_consent_are_as_they_were():
    scene = running(policy=make_policy(params={"emergency_credit": "3.00"}))
    assert state_of(scene).limit_nano == parse_money("3.00")
    assert not state_of(scene).opt_in


def test_a_guarantee_that_ends_lets_a_fired_rule_lock_though_nothing_flows():
    scene = cut_off()
    scene.obey()
    scene.lock("leakage")
    change(scene, protected_until=scene.now + HOUR)
    fired = scene.tenant.rules.get("arrears-cutoff")
    assert fired is None or fired.state != "fired"
    for _ in range(9):
        scene.now += 10 * MINUTE
        scene.sample(0, power_w=0)
    assert set(scene.breaker.locks) == {"leakage", "credit"}

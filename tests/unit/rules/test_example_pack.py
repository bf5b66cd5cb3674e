"""The seven rules of the example pack, each through its life, in virtual time on the Chinese wall clock."""

from datetime import datetime

from rules.actions import Alarm, Charge, Lock, Notify, Unlock
from rules.state import RuleState
from tests.unit.rules.twin_model import SHANGHAI, Bench, example

YUAN = 10**9


def bench(rule_id, start, **params):
    moment = datetime.fromisoformat(start).replace(tzinfo=SHANGHAI)
    return Bench(example(), rule_id, round(moment.timestamp() * 1000), **params)


def hours(number):
    return number * 3600


def test_deduct_charges_every_good_reading_that_moved():
    twin = bench("deduct", "2026-03-02T10:00")
    step = twin.at(0, "reading.registers", reading__quality="good", reading__delta=12)
    assert step.actions == (Charge("tenant.account", "meter.tariff"),)
    assert twin.at(60, "reading.registers", reading__delta=0).actions == ()
    assert twin.at(120, "reading.registers", reading__delta=3, reading__quality="suspect").actions == ()


def test_low_balance_warns_worsens_and_clears():
    twin = bench("low-balance", "2026-03-02T10:00", low1="30")
    assert twin.at(0, "account.balance", account__balance=31 * YUAN).gate == "when"
    assert twin.at(1, "account.balance", account__balance=29 * YUAN).actions == (
        Alarm("warning"),
        Notify("low_balance", hours(12) * 1000),
    )
    assert twin.at(2, "account.balance", account__balance=19 * YUAN).actions[0] == Alarm("major")
    assert twin.at(3, "account.balance", account__balance=35 * YUAN).transition == "cleared"


def test_arrears_wait_for_grace_then_for_the_end_of_the_friendly_hours():
    """Empty on Monday 14:00, a day of grace; due on Tuesday 14:00, which is no friendly hour: cut."""
    twin = bench("arrears-cutoff", "2026-03-02T14:00")
    twin.set(tenant__mode="prepaid", tenant__protected=False)
    first = twin.at(0, "account.balance", account__balance=0)
    assert (first.transition, first.wake_ms) == ("pending", twin.env.start + hours(24) * 1000)
    assert twin.at(hours(10), "account.balance", account__balance=-YUAN).gate == "pending"
    assert twin.at(hours(24), None).actions == (Lock("breaker", "credit", 900_000, 60_000),)
    assert twin.at(hours(25), "account.balance").assert_actions == (Lock("breaker", "credit", 900_000, 60_000),)
    assert twin.at(hours(26), "account.balance", account__balance=5 * YUAN).transition == "cleared"


def test_arrears_due_on_the_eve_of_spring_festival_are_cut_after_it():
    """Empty on Friday 13 February 2026 at 17:00, due in the weekend; the holidays follow: cut on the 24th at 09:00."""
    twin = bench("arrears-cutoff", "2026-02-13T17:00")
    twin.set(tenant__mode="prepaid", tenant__protected=False)
    twin.at(0, "account.balance", account__balance=-1)
    deferred = twin.at(hours(24), "clock")
    assert (deferred.transition, deferred.gate) == ("deferred", "active")
    reopened = datetime.fromtimestamp(deferred.wake_ms / 1000, SHANGHAI)
    assert reopened.isoformat() == "2026-02-24T09:00:00+08:00"
    assert twin.at((deferred.wake_ms - twin.env.start) / 1000, None).transition == "fired"


def test_arrears_respect_emergency_credit_protection_offline_meters_and_mode():
    twin = bench("arrears-cutoff", "2026-03-02T14:00", emergency_credit="10", grace="0s")
    twin.set(tenant__mode="prepaid", tenant__protected=True)
    assert twin.at(0, "account.balance", account__balance=-9 * YUAN).gate == "when"
    assert twin.at(1, "account.balance", account__balance=-10 * YUAN).gate == "inhibited_by"
    assert twin.at(2, "account.balance", tenant__protected=False, tenant__mode="postpaid").gate == "where"
    twin.env.states["meter-offline"] = RuleState("fired")
    assert twin.at(3, "account.balance", tenant__mode="prepaid").gate == "inhibited_by"
    twin.env.states["meter-offline"] = None
    assert twin.at(4, "account.balance").transition == "fired"


def test_a_recharge_in_the_grace_time_ends_the_matter():
    twin = bench("arrears-cutoff", "2026-03-02T14:00")
    twin.set(tenant__mode="prepaid", tenant__protected=False)
    twin.at(0, "account.balance", account__balance=0)
    assert twin.at(hours(23), "account.balance", account__balance=YUAN).transition == "normal"
    assert twin.state is None


def test_overload_cuts_after_thirty_seconds_and_clears_after_sixty():
    twin = bench("overload", "2026-03-02T14:00", limit_w=5000)
    twin.at(0, "reading.power_w", reading__power_w=5001)
    fired = twin.at(30, "reading.power_w", reading__power_w=5200)
    assert fired.actions == (Lock("breaker", "overload", 60_000, 10_000), Alarm("critical"))
    assert twin.at(40, "reading.power_w", reading__power_w=4500).transition is None
    assert twin.at(50, "reading.power_w", reading__power_w=4499).transition == "recovering"
    assert twin.at(110, "reading.power_w", reading__power_w=0).transition == "cleared"


def test_malignant_load_locks_and_lets_go_after_ten_minutes():
    twin = bench("malignant-load", "2026-03-02T14:00")
    fired = twin.at(0, "reading.power_step", reading__step_w=800, reading__step_pf_milli=950)
    assert fired.actions == (Lock("breaker", "malignant"), Alarm("critical"))
    assert twin.at(599, None).transition is None
    assert twin.at(600, None).actions == (Unlock("breaker", "malignant"),)
    assert twin.at(700, "reading.power_step", reading__step_pf_milli=949).gate == "when"


def test_reconnect_unlocks_at_every_credit_while_the_lock_stands():
    twin = bench("reconnect-on-recharge", "2026-03-02T14:00")
    twin.set(account__balance=YUAN, breaker__locks=("credit", "manual"))
    for at in (0, 5):
        assert twin.at(at, "account.credited").actions == (Unlock("breaker", "credit"),)
    assert twin.at(9, "account.credited", breaker__locks=("manual",)).actions == ()
    assert twin.at(9, "account.credited", breaker__locks=("credit",), account__balance=0).actions == ()


def test_meter_offline_follows_the_clock_from_flip_to_flip():
    twin = bench("meter-offline", "2026-03-02T14:00")
    start = twin.env.start
    twin.set(conn__state="online", reading__at=start, meter__interval=60_000)
    quiet = twin.at(0, "clock")
    assert (quiet.gate, quiet.wake_ms) == ("when", start + 180_001)
    pending = twin.at(180.001, None)
    assert (pending.transition, pending.wake_ms) == ("pending", start + 480_001)
    assert twin.at(480.001, None).actions == (Alarm("minor"),)
    back = twin.at(500, "clock", reading__at=start + 499_000)
    assert (back.transition, back.wake_ms) == ("cleared", start + 499_000 + 180_001)
    assert twin.at(510, "conn", conn__state="offline").transition == "pending"

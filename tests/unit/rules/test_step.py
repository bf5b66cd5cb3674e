"""The evaluator: `for`, unknown, gates, ladders, repeats, retries, and what survives a change of version."""

import msgspec
import pytest

from rules.actions import Alarm, Lock, Notify, Unlock
from rules.language.values import MISSING, Unknown
from rules.state import QUIET, RuleState
from rules.step import released_by_operator
from tests.unit.rules.twin_model import Bench, example, one_rule

POWER = "reading.power_w"
LOCK = {"breaker.lock": {"lock": "hot"}}
MONDAY_NOON = 1_767_585_600_000  # 2026-01-05T12:00 in Shanghai


def hot(**parts):
    return Bench(one_rule(**{"for": "30s", **parts}), "hot")


def test_the_quiet_case_allocates_nothing():
    bench = hot()
    assert bench.at(0, POWER, reading__power_w=10) is QUIET["when"]
    assert bench.at(1, POWER) is bench.at(2, POWER)


def test_for_is_counted_in_event_time_and_fires_once():
    bench = hot()
    assert bench.at(0, POWER, reading__power_w=7000).transition == "pending"
    assert bench.at(29.999, POWER).gate == "pending"
    assert not bench.last.changed
    fired = bench.at(30, POWER)
    assert (fired.transition, fired.actions) == ("fired", (Alarm("major"),))
    again = bench.at(40, POWER)
    assert (again.changed, again.transition, again.actions) == (False, None, ())
    assert bench.at(50, POWER, reading__power_w=100).transition == "cleared"
    assert bench.state is None


def test_unknown_neither_starts_nor_satisfies_nor_resets():
    bench = hot()
    assert bench.at(0, POWER, reading__power_w=MISSING).transition == "unknown"
    assert bench.name == "unknown"
    assert bench.at(10, POWER, reading__power_w=7000).transition == "pending"
    assert not bench.at(45, POWER, reading__power_w=MISSING).changed
    assert bench.last.gate == "unknown"
    assert bench.at(50, POWER, reading__power_w=7000).transition == "fired"
    assert not bench.at(60, POWER, reading__power_w=Unknown("stale")).changed
    assert bench.name == "fired"


def test_on_unknown_reset_begins_again_and_fire_counts_as_true():
    bench = hot(on_unknown="reset")
    bench.at(0, POWER, reading__power_w=7000)
    assert bench.at(20, POWER, reading__power_w=MISSING).transition == "unknown"
    assert bench.at(40, POWER, reading__power_w=7000).transition == "pending"
    assert bench.at(69, POWER).gate == "pending"
    assert bench.at(70, POWER).transition == "fired"
    bench = hot(on_unknown="fire")
    assert bench.at(0, POWER, reading__power_w=MISSING).transition == "pending"
    assert bench.at(30, POWER).transition == "fired"


def test_an_unknown_scope_never_fires():
    scope = {"twin": "meter", "where": 'tenant.mode == "prepaid"'}
    bench = hot(on_unknown="fire", scope=scope, **{"for": "0s"})
    assert bench.at(0, POWER, reading__power_w=7000, tenant__mode=MISSING).transition == "unknown"


def test_a_rule_that_became_a_repeating_one_is_not_stuck_in_its_fired_state():
    bench = Bench(example(), "deduct")
    bench.state = RuleState("fired", fired_at=5)
    step = bench.at(0, "reading.registers", reading__quality="good", reading__delta=5)
    assert (len(step.actions), bench.state) == (1, None)


def test_an_error_is_a_state_of_its_own():
    bench = hot(when="1000 / reading.step_w > 3")
    assert bench.at(0, POWER, reading__step_w=0).transition == "error"
    assert bench.at(1, POWER, reading__step_w=1).transition == "pending"


def test_passing_time_is_evidence_only_for_rules_on_the_clock():
    silent = hot()
    silent.at(0, POWER, reading__power_w=7000)
    assert silent.last.wake_ms is None
    assert not silent.at(30, None).changed
    clocked = hot(on=[POWER, "clock"])
    clocked.at(0, POWER, reading__power_w=7000)
    assert clocked.last.wake_ms == clocked.env.start + 30_000
    assert clocked.at(30, None).transition == "fired"
    assert not hot().at(0, "clock", reading__power_w=7000).changed


def test_hysteresis_recovers_and_may_relapse():
    clear = {"when": "reading.power_w < 5000", "for": "60s"}
    bench = Bench(one_rule(clear=clear, then=[LOCK]), "hot")
    assert bench.at(0, POWER, reading__power_w=7000).actions == (Lock("breaker", "hot"),)
    held = bench.at(10, POWER, reading__power_w=5500)
    assert (held.changed, held.assert_actions, bench.name) == (False, (), "fired")
    assert bench.at(15, POWER, reading__power_w=7000).assert_actions == (Lock("breaker", "hot"),)
    assert bench.at(20, POWER, reading__power_w=4000).transition == "recovering"
    assert bench.at(50, POWER, reading__power_w=5500).transition == "relapsed"
    assert bench.at(60, POWER, reading__power_w=4000).transition == "recovering"
    assert not bench.at(90, POWER, reading__power_w=MISSING).changed
    assert not bench.at(119, POWER, reading__power_w=4000).changed
    assert bench.at(120, POWER).transition == "cleared"


def test_a_level_rises_and_falls_in_place_and_notifies_only_worse_news():
    bench = Bench(example(), "low-balance")
    on = "account.balance"

    def told(at, yuan):
        done = bench.at(at, on, account__balance=yuan * 10**9)
        kinds = [type(action).__name__ + getattr(action, "severity", "") for action in done.actions]
        return done.transition, kinds, bench.state.level if bench.state else None

    assert told(0, 60) == (None, [], None)
    assert told(1, 49) == ("fired", ["Alarmwarning", "Notify"], 0)
    assert told(2, 52) == (None, [], 0)  # cleared only at 55
    assert told(3, 19) == ("level_up", ["Alarmmajor", "Notify"], 1)
    assert told(4, 52) == ("level_down", ["Alarmwarning"], 0)
    assert told(5, 19) == ("level_up", ["Alarmmajor"], 1)  # told already, within 12 hours
    assert told(6, 60) == ("cleared", [], -1)
    assert told(7, 49) == ("fired", ["Alarmwarning"], 0)
    assert told(8, 60)[0] == "cleared"
    assert told(12 * 3600 + 4, 10) == ("fired", ["Alarmmajor", "Notify"], 1)


def test_an_unknown_rung_neither_lifts_nor_lets_fall():
    ladder = [
        {"severity": "minor", "when": "reading.power_w > 10"},
        {"severity": "major", "when": "reading.step_w > 10"},
    ]
    bench = Bench(one_rule(when=None, levels=ladder), "hot")
    bench.at(0, POWER, reading__power_w=20, reading__step_w=20)
    assert bench.state.level == 1
    assert not bench.at(1, POWER, reading__step_w=MISSING).changed
    assert not bench.at(2, POWER, reading__power_w=0).changed
    assert bench.at(3, POWER, reading__power_w=20, reading__step_w=0).transition == "level_down"
    assert not bench.at(4, POWER, reading__step_w=MISSING).changed
    assert bench.at(5, POWER, reading__step_w=0, reading__power_w=0).transition == "cleared"


def test_a_calendar_defers_visibly_and_its_end_is_a_wake():
    calendars = {"night": [{"times": ["18:00-08:00"]}]}
    document = {**one_rule(active={"not_in": "night"}, then=[LOCK]), "calendars": calendars}
    bench = Bench(document, "hot", start=MONDAY_NOON)
    deferred = bench.at(7 * 3600, POWER, reading__power_w=7000)
    morning = MONDAY_NOON + 20 * 3600 * 1000
    assert (deferred.transition, deferred.gate, deferred.wake_ms, deferred.actions) == (
        "deferred",
        "active",
        morning,
        (),
    )
    assert not bench.at(8 * 3600, POWER).changed
    assert bench.at(20 * 3600, None).transition == "fired"
    bench = Bench(document, "hot", start=MONDAY_NOON)
    bench.at(7 * 3600, POWER, reading__power_w=7000)
    assert bench.at(8 * 3600, POWER, reading__power_w=1).transition == "normal"


def test_inhibitors_and_the_guard_hold_back_until_they_let_go():
    bench = hot(inhibited_by=[{"flag": "tenant.protected"}], guard={"max": 1, "per": "10m"}, **{"for": "0s"})
    held = bench.at(0, POWER, reading__power_w=7000, tenant__protected=True)
    assert (held.transition, held.gate) == ("deferred", "inhibited_by")
    assert held.wake_ms == bench.env.now + 60_000
    assert bench.at(1, POWER, tenant__protected=MISSING).gate == "inhibited_by"
    bench.env.fired_at["hot"] = [bench.env.now]
    guarded = bench.at(2, POWER, tenant__protected=False)
    assert (guarded.changed, guarded.transition, guarded.gate) == (True, "deferred", "guard")
    assert bench.at(3, None).gate == "guard"
    assert bench.at(700, None).transition == "fired"


def test_a_peer_rule_inhibits_while_it_is_fired():
    document = one_rule(inhibited_by=[{"rule": "other", "equal": ["meter.id"]}])
    document["rules"].append({**document["rules"][0], "id": "other", "inhibited_by": []})
    bench = Bench(document, "hot")
    bench.env.states["other"] = RuleState("fired")
    assert bench.at(0, POWER, reading__power_w=7000).gate == "inhibited_by"
    bench.env.states["other"] = None
    assert bench.at(1, POWER).transition == "fired"


def test_a_cooldown_defers_the_next_firing():
    bench = hot(cooldown="10m", **{"for": "0s"})
    bench.at(0, POWER, reading__power_w=7000)
    bench.at(10, POWER, reading__power_w=1)
    held = bench.at(20, POWER, reading__power_w=7000)
    assert (held.gate, held.wake_ms) == ("cooldown", bench.env.start + 600_000)
    assert bench.at(600, None).transition == "fired"


def test_a_twin_that_leaves_the_scope_is_normal():
    scope = {"twin": "meter", "where": 'tenant.mode == "prepaid"'}
    bench = Bench(one_rule(scope=scope), "hot")
    assert bench.at(0, POWER, reading__power_w=7000, tenant__mode="postpaid").gate == "where"
    assert bench.at(1, POWER, tenant__mode="prepaid").transition == "fired"
    assert not bench.at(2, POWER, tenant__mode=MISSING).changed
    assert bench.at(3, POWER, tenant__mode="postpaid").transition == "cleared"
    assert bench.state is None


def test_charges_repeat_and_a_timer_is_no_reading():
    bench = Bench(example(), "deduct")
    bench.set(reading__quality="good", reading__delta=5)
    first, second = bench.at(0, "reading.registers"), bench.at(1, "reading.registers")
    assert first.transition == "fired"
    assert first.actions
    assert first.actions == second.actions
    assert not first.changed
    assert not bench.at(2, None).actions
    assert bench.at(3, "reading.registers", reading__quality="bad").gate == "when"
    assert bench.at(4, "reading.registers", reading__quality=MISSING).gate == "unknown"
    assert bench.state is None


def test_retry_releases_a_bounded_number_of_times_a_day():
    bench = Bench(example(), "malignant-load", start=MONDAY_NOON)
    on = "reading.power_step"
    for trip in range(3):
        at = trip * 1000
        assert bench.at(at, on, reading__step_w=900, reading__step_pf_milli=990).transition == "fired"
        assert bench.last.wake_ms == bench.env.now + 600_000
        assert not bench.at(at + 5, on, reading__step_w=-900).changed
        bench.set(reading__step_w=900)
        released = bench.at(at + 600, None)
        assert (released.transition, released.actions) == ("released", (Unlock("breaker", "malignant"),))
        assert not bench.at(at + 700, None).changed
    assert bench.at(3000, on).transition == "fired"
    assert (bench.last.wake_ms, bench.state.release_ms) == (None, 0)
    assert not bench.at(86_400, None).changed
    bench.state = released_by_operator(bench.state, bench.env.now)
    assert bench.state is None
    assert bench.at(90_000, on).wake_ms is not None


def test_the_days_releases_are_counted_anew_the_next_local_day():
    bench = Bench(example(), "malignant-load", start=MONDAY_NOON)
    bench.set(reading__step_w=900, reading__step_pf_milli=990)
    bench.state = RuleState(retries=3, retry_day=739_621)  # 2026-01-05
    bench.at(0, "reading.power_step")
    assert bench.state.release_ms == 0
    bench.state = RuleState(retries=3, retry_day=739_621)
    bench.at(12 * 3600, "reading.power_step")
    assert bench.state.release_ms
    assert bench.state.retries == 0


def test_a_pending_for_survives_a_version_that_does_not_touch_it():
    bench = hot()
    bench.at(0, POWER, reading__power_w=7000)
    kept = bench.state
    same = hot(then=[{"alarm": {"severity": "critical"}}])
    same.state = kept
    assert same.at(30, POWER, reading__power_w=7000).transition == "fired"
    changed = hot(when="reading.power_w > 6500")
    changed.state = kept
    assert changed.at(30, POWER, reading__power_w=7000).transition == "pending"
    assert changed.state.since_ms == changed.env.now
    fired = hot(when="reading.power_w > 6500")
    fired.state = same.state
    assert fired.at(40, POWER, reading__power_w=6400).transition == "cleared"


def test_durations_of_actions_may_be_parameters():
    document = one_rule(then=[{"breaker.lock": {"lock": "hot", "expires": "p.life"}}])
    document["params"] = {"life": {"type": "duration", "default": "5m"}}
    bench = Bench(document, "hot", life="7m")
    assert bench.at(0, POWER, reading__power_w=7000).actions == (Lock("breaker", "hot", 420_000, 0),)


@pytest.mark.parametrize(
    "state", [RuleState(), RuleState("pending", 5, 10, fingerprint="ab"), RuleState("fired", level=1, retries=2)]
)
def test_a_state_is_small_and_travels_as_json(state):
    wire = msgspec.json.encode(state)
    assert msgspec.json.decode(wire, type=RuleState) == state
    assert len(wire) < 60


def test_a_notification_without_cooldown_is_sent_at_every_firing():
    bench = Bench(one_rule(then=[{"notify": {"template": "t"}}]), "hot")
    for at in (0, 2):
        assert bench.at(at, POWER, reading__power_w=7000).actions == (Notify("t"),)
        bench.at(at + 1, POWER, reading__power_w=1)
        assert bench.state is None


def told(step):
    return [(action.template, action.to) for action in step.actions if isinstance(action, Notify)]


def test_inside_its_cooldown_a_notification_is_not_repeated_and_afterwards_it_is():
    bench = Bench(one_rule(then=[{"notify": {"template": "t", "cooldown": "1h"}}]), "hot")
    sent = []
    for minute in (0, 20, 59, 60, 100, 125):
        sent.append(bool(told(bench.at(minute * 60, POWER, reading__power_w=7000))))
        bench.at(minute * 60 + 1, POWER, reading__power_w=1)
    assert sent == [True, False, False, True, False, True]


def test_each_of_several_notifications_has_a_cooldown_of_its_own():
    then = [
        {"notify": {"template": "t", "cooldown": "12h"}},
        {"notify": {"template": "t", "to": "operator", "cooldown": "1h"}},
    ]
    bench = Bench(one_rule(then=then), "hot")
    sent = {}
    for hour in range(14):
        sent[hour] = [to for _, to in told(bench.at(hour * 3600, POWER, reading__power_w=7000))]
        bench.at(hour * 3600 + 1, POWER, reading__power_w=1)
    assert sent.pop(0) == ["tenant", "operator"]
    assert sent.pop(12) == ["tenant", "operator"], "the hourly one does not keep the daily one back"
    assert set(map(tuple, sent.values())) == {("operator",)}
    wire = msgspec.json.encode(bench.state)
    assert msgspec.json.decode(wire, type=RuleState) == bench.state

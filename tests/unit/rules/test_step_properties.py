"""What holds for every rule of the example, whatever happens to its twin and in whatever order."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.explain import explain, render
from rules.language.values import MISSING, Unknown
from rules.state import STATES, RuleState
from rules.step import step
from tests.unit.rules.twin_model import Bench, example

ABSENT = st.sampled_from([MISSING, Unknown("stale"), None])
YUAN = 10**9
VALUES = {
    "account.balance": st.sampled_from([-5 * YUAN, 0, 19 * YUAN, 49 * YUAN, 54 * YUAN, 90 * YUAN]),
    "tenant.mode": st.sampled_from(["prepaid", "postpaid"]),
    "tenant.protected": st.booleans(),
    "breaker.locks": st.sampled_from([(), ("credit",)]),
    "conn.state": st.sampled_from(["online", "offline"]),
    "reading.quality": st.sampled_from(["good", "bad"]),
    "reading.delta": st.integers(0, 1),
    "reading.power_w": st.sampled_from([0, 5399, 5400, 6000, 6001]),
    "reading.step_w": st.sampled_from([-900, 799, 800]),
    "reading.step_pf_milli": st.sampled_from([949, 950]),
}
ages = st.sampled_from([0, 1_000, 170_000, 10**6])
waits = st.sampled_from([1, 999, 30_000, 60_000, 300_000, 600_000, 3_600_000, 43_200_000, 86_400_000])
EVENTS = st.lists(
    st.tuples(
        waits,
        st.booleans(),
        ages,
        st.fixed_dictionaries({}, optional={name: st.one_of(kind, kind, ABSENT) for name, kind in VALUES.items()}),
    ),
    max_size=25,
)
RULES = [rule["id"] for rule in example()["rules"]]


@pytest.mark.parametrize("rule_id", RULES)
@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_invariants_of_a_life(rule_id, events):
    bench = Bench(example(), rule_id)
    rule, env = bench.rule, bench.env
    env.values.update({"meter.interval": 60_000, "account.balance": 90 * YUAN, "tenant.mode": "prepaid"})
    state, fired = None, False
    for wait_ms, by_timer, age_ms, values in events:
        env.now += wait_ms
        env.values.update(values)
        env.values["reading.at"] = env.now - age_ms
        done = step(rule, env, state, env.now, None if by_timer else rule.on[0])
        assert done.wake_ms is None or done.wake_ms > env.now
        assert not done.actions or done.transition in ("fired", "level_up", "level_down", "released")
        assert not (done.assert_actions and (done.changed and done.transition != "relapsed"))
        assert not done.changed or done.state != state
        if not rule.repeats and done.transition is not None:
            assert done.changed
            assert (done.transition == "fired") <= (not fired)
            fired = done.state is not None and done.state.state in ("fired", "recovering")
        state = done.state if done.changed else state
        assert state is None or state.state in STATES
        assert msgspec.json.decode(msgspec.json.encode(state), type=RuleState | None) == state
        record = explain(rule, env, state, env.now)
        assert render(record, "en")
        assert render(record, "zh")


@pytest.mark.parametrize("rule_id", RULES)
@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_a_repeated_message_changes_nothing_more(rule_id, events):
    """The same evaluation at the same instant, again: no second transition (a repeating rule is the caller's)."""
    bench = Bench(example(), rule_id)
    rule, env = bench.rule, bench.env
    env.values.update({"meter.interval": 60_000, "tenant.mode": "prepaid", "tenant.protected": False})
    state = None
    for wait_ms, _by_timer, age_ms, values in events:
        env.now += wait_ms
        env.values.update(values)
        env.values["reading.at"] = env.now - age_ms
        done = step(rule, env, state, env.now, rule.on[0])
        state = done.state if done.changed else state
        again = step(rule, env, state, env.now, rule.on[0])
        if done.transition != "released":  # its locks are gone, and the same step of the load may be made again
            assert not again.changed
            assert again.transition is None or rule.repeats

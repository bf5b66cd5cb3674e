"""Properties of the language: arbitrary text is refused politely and quickly, fast and traced agree, time flips."""

import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.errors import InvalidExpressionError
from rules.language import compile_expression
from rules.language.kinds import BOOL, DURATION, INT, TIMESTAMP
from rules.language.tracer import Trace
from rules.language.values import ABSENT, MISSING, PathSpec

MODEL = {
    **{name: PathSpec(INT, None, lambda env, n=name: env.values.get(n, MISSING)) for name in ("i.x", "i.y")},
    **{name: PathSpec(BOOL, None, lambda env, n=name: env.values.get(n, MISSING)) for name in ("b.x", "b.y")},
    "t.at": PathSpec(TIMESTAMP, None, lambda env: env.values["t.at"]),
    "d.x": PathSpec(DURATION, None, lambda env: env.values["d.x"]),
}
ATTACKS = [
    "__class__.__mro__", "().__class__", "9**9**9", "a" * 5000, "(" * 3000, "!" * 3000, "-" * 3000, "[" * 3000,
    "1" * 4000, "1+" * 2000 + "1", "b.x&&" * 800 + "b.x", "b.x?" * 900, '"' + "\\\\" * 2000,
    "'{0.__class__}'.format(1)", "\u0661 == 1", "а.х > 1", "import('os')", "has(" * 1000, "size(size(size('')))",
    "1 in [[[[[[1]]]]]]", "\x00", "\ud800", "true ? " * 700 + "true", "- - - 1 == -1",
    "9223372036854775807 * 9223372036854775807 * 9223372036854775807 > 1",
]  # fmt: skip
WORDS = ["i.x", "i.y", "b.x", "now", "t.at", "p.x", "1", "0", "2.5", '"s"', "true", "has", "size", "min", "in"]
WORDS += [*list("!-+*/%<?:()[],"), "&&", "||", ">=", "=="]


def mistakes(text):
    try:
        compile_expression(text, MODEL, {})
    except InvalidExpressionError as error:
        return error.errors
    return []


def check_refusal(text):
    began = time.thread_time()  # its own work: what else runs on the machine takes none of it
    found = mistakes(text)
    took = time.thread_time() - began
    assert all(0 <= one.offset <= len(text) and one.message for one in found)
    return took


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks_end_in_a_rule_error_or_a_bounded_expression(text):
    assert min(check_refusal(text) for _ in range(3)) < 0.05


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(WORDS), max_size=24).map(" ".join)))
def test_any_text_is_compiled_or_refused(text):
    check_refusal(text)


integers = st.recursive(
    st.sampled_from(["i.x", "i.y", "0", "1", "3", "-7"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, inner).map(lambda p: f"min({p[0]}, {p[1]})"),
    ),
    max_leaves=4,
)
atoms = st.one_of(
    st.sampled_from(["b.x", "b.y", "true", "false", "has(i.x)"]),
    st.tuples(integers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), integers).map(" ".join),
)
booleans = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        inner.map(lambda p: f"!({p})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]}) ? ({p[1]}) : ({p[2]})"),
    ),
    max_leaves=5,
)
values = st.fixed_dictionaries(
    {},
    optional={
        "i.x": st.integers(-9, 9),
        "i.y": st.integers(-9, 9),
        "b.x": st.booleans(),
        "b.y": st.booleans(),
    },
)


@settings(max_examples=300, deadline=None)
@given(booleans, values)
def test_the_fast_and_the_tracing_closure_agree(text, given_values):
    if found := mistakes(text):  # constants only: folded when the file is loaded
        assert all(one.message == "division by zero" or "remainder" in one.message for one in found)
        return
    expression = compile_expression(text, MODEL, {})
    env = SimpleNamespace(now=0, values=given_values, params={})
    fast, traced = expression.run(env), expression.trace(env, Trace())
    assert fast is traced or (type(fast) is type(traced) and type(fast) in ABSENT)
    raw: list = []
    recorded = expression.record(env, raw)
    assert fast is recorded or (type(fast) is type(recorded) and type(fast) in ABSENT)
    trace = Trace()
    expression.trace(env, trace)
    told = [(one.text, one.left, one.op, one.right, one.result, one.freshness) for one in trace.clauses]
    again = [(one.text, one.left, one.op, one.right, one.result, one.freshness) for one in expression.teller.told(raw)]
    assert again == told or "?" in text


FLIPS = [
    "now - t.at > d.x", "now - t.at >= d.x", "t.at < now - d.x", "t.at + d.x <= now", "now < t.at + d.x",
    "t.at + 3 * d.x == now", "now != t.at + d.x", "3 * (now - t.at) > d.x", "d.x / 2 < now - t.at",
    "now - t.at > d.x / 3", "-(t.at - now) > d.x", "now - t.at > d.x || t.at > now", "b.x && now > t.at",
    "(now - t.at > d.x) == true",
]  # fmt: skip


@pytest.mark.parametrize("text", FLIPS)
@settings(max_examples=40, deadline=None)
@given(st.integers(-30, 30), st.integers(0, 25))
def test_no_change_by_time_alone_is_missed(text, at, interval):
    """From every instant, the expression keeps its result until the instant that `flip` names (or for good)."""
    expression = compile_expression(text, MODEL, {})
    env = SimpleNamespace(values={"t.at": at, "d.x": interval, "b.x": True}, now=0, params={})

    def result_at(now):
        env.now = now
        return expression.run(env)

    for now in range(-20, 60, 7):
        env.now = now
        flip = expression.flip(env)
        first = next((later for later in range(now + 1, 140) if result_at(later) != result_at(now)), None)
        assert flip is None or flip > now
        if first is not None:
            assert flip is not None
            assert flip <= first


def test_a_flip_is_exact_for_a_plain_age():
    env = SimpleNamespace(values={"t.at": 100, "d.x": 50}, now=120, params={})
    assert compile_expression("now - t.at > 3 * d.x", MODEL, {}).flip(env) == 251
    assert compile_expression("now - t.at >= 3 * d.x", MODEL, {}).flip(env) == 250
    env.now = 251
    assert compile_expression("now - t.at > 3 * d.x", MODEL, {}).flip(env) is None
    assert compile_expression("t.at > t.at", MODEL, {}).flip is None


def test_other_uses_of_now_are_looked_at_again_after_a_minute():
    env = SimpleNamespace(values={"t.at": 100, "d.x": 50}, now=120, params={})
    assert compile_expression("max(now, t.at) - t.at > d.x", MODEL, {}).flip(env) == 60_120

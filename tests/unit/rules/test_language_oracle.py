"""Our expressions against Google's CEL on the subset both know: ints, bools, strings, logic and absorbed errors.

Division is left out on purpose: CEL truncates, we divide exactly. A mistake that we report when the file is loaded
(constant arithmetic without a result) is an error value in CEL.
"""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.errors import InvalidExpressionError
from rules.language import compile_expression
from rules.language.kinds import BOOL, INT, STRING, STRINGS
from rules.language.values import Failure, PathSpec

cel = pytest.importorskip("cel_expr_python.cel")

TYPES = {"i1": INT, "i2": INT, "b1": BOOL, "b2": BOOL, "s1": STRING, "s2": STRING, "l1": STRINGS}
CEL_TYPES = {"i": cel.Type.INT, "b": cel.Type.BOOL, "s": cel.Type.STRING, "l": cel.Type("list<string>")}
MODEL = {name: PathSpec(kind, None, lambda env, n=name: env.values[n]) for name, kind in TYPES.items()}
ORACLE = cel.NewEnv(variables={name: CEL_TYPES[name[0]] for name in TYPES})

RELATIONS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
texts = st.sampled_from(["s1", "s2", '"a"', "'b\\n'", '""', '"\\"q"'])


def joined(*parts):
    return st.tuples(*parts).map(lambda found: "(" + " ".join(found) + ")")


ints = st.recursive(
    st.sampled_from(["i1", "i2", "0", "2", "-3", "9223372036854775807", "size(l1)", "size(s1)"]),
    lambda inner: st.one_of(
        joined(inner, st.sampled_from(["+", "-", "*", "%"]), inner), inner.map(lambda x: f"-({x})")
    ),
    max_leaves=4,
)
bools = st.recursive(
    st.one_of(
        st.sampled_from(["b1", "b2", "true", "false"]),
        joined(ints, RELATIONS, ints),
        joined(texts, RELATIONS, texts),
        joined(texts, st.just("in"), st.one_of(st.just("l1"), st.just('["a", s2]'))),
        joined(ints, st.just("in"), st.just("[i1, 2]")),
    ),
    lambda inner: st.one_of(
        joined(inner, st.sampled_from(["&&", "||", "==", "!="]), inner),
        joined(inner, st.just("?"), inner, st.just(":"), inner),
        inner.map(lambda x: f"!{x}" if x.startswith("(") else f"!({x})"),
    ),
    max_leaves=6,
)
numbers = st.one_of(st.integers(-4, 4), st.sampled_from([2**62, -(2**63), 2**63 - 1]))
strings = st.sampled_from(["", "a", "b\n", "ä", '"q'])
values = st.fixed_dictionaries(
    {"i1": numbers, "i2": numbers, "b1": st.booleans(), "b2": st.booleans(), "s1": strings, "s2": strings,
     "l1": st.lists(strings, max_size=3)}
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(bools, values)
def test_results_and_errors_agree_with_cel(text, given_values):
    theirs = ORACLE.compile(text).eval(data=given_values)
    try:
        run = compile_expression(text, MODEL, {}).run
    except InvalidExpressionError as refused:
        reasons = {error.message for error in refused.errors}
        assert reasons <= {"division by zero", "a number past 64 bits"}
        return
    ours = run(SimpleNamespace(values=given_values, now=0, params={}))
    if theirs.type() == cel.Type.BOOL:
        assert ours is theirs.value(), text
    else:
        assert isinstance(ours, Failure), text

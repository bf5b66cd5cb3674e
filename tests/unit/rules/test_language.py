"""The expression language: values, three-valued logic, types, and mistakes that point at their place."""

from decimal import Decimal
from types import SimpleNamespace

import pytest

from rules.errors import InvalidExpressionError
from rules.language import compile_expression
from rules.language.kinds import BOOL, DECIMAL, DURATION, INT, MONEY, STRING, STRINGS, TIMESTAMP, Type
from rules.language.tracer import Trace
from rules.language.values import Failure, PathSpec, Unknown

SCOPES = frozenset({"meter"})


def path(kind, name, unit=None, scopes=SCOPES):
    return PathSpec(kind, unit, lambda env: getattr(env, name), scopes, at=lambda env: env.now - 5_000)


MODEL = {
    "a.power_w": path(INT, "power", "W"),
    "a.count": path(INT, "count"),
    "a.share": path(DECIMAL, "share"),
    "a.yes": path(BOOL, "yes"),
    "a.no": path(BOOL, "no"),
    "a.unknown": path(BOOL, "unknown"),
    "a.gone_w": path(INT, "gone", "W"),
    "a.name": path(STRING, "name"),
    "a.balance": path(MONEY, "balance"),
    "a.interval": path(DURATION, "interval"),
    "a.at": path(TIMESTAMP, "at"),
    "a.locks": path(STRINGS, "locks"),
    "t.mode": path(STRING, "name", scopes=frozenset({"tenant"})),
}
PARAMS = {"limit_w": Type("int", "W"), "plain": INT, "low": MONEY, "grace": DURATION}
ENV = SimpleNamespace(
    now=1_000_000,
    power=6500,
    count=7,
    share=Decimal("0.3"),
    yes=True,
    no=False,
    unknown=Unknown("stale"),
    gone=None,
    name="x",
    balance=50_000_000_000,
    interval=60_000,
    at=900_000,
    locks=("credit",),
    params={"limit_w": 6000, "plain": 3, "low": 20_000_000_000, "grace": 1000},
)


def compiled(text, expected=BOOL):
    return compile_expression(text, MODEL, PARAMS, "meter", expected)


def value(text, expected=BOOL):
    return compiled(text, expected).run(ENV)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.power_w > p.limit_w", True),
        ("a.power_w < p.limit_w * 9 / 10", False),
        ("a.count / 2 == 3.5", True),
        ("a.count % 4 == 3 && -a.count % 4 == -3 && a.count % -4 == 3", True),
        ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 2 - 1 - 1 == 0", True),
        ("-2 * 3 == -6 && !false && !!true", True),
        ("0.1 + 0.2 == 0.3 && a.share == 0.3", True),
        ('a.balance >= p.low + money("5.00") && a.balance == money("50")', True),
        ('money("1.00") * 1.5 == money("1.5") && money("3") / money("2") == 1.5', True),
        ("a.balance > -p.low", True),
        ("now - a.at > a.interval && now - a.at <= 2 * a.interval", True),
        ('now == timestamp("1970-01-01T08:16:40+08:00")', True),
        ('a.interval == duration("1m") && duration("1h") / duration("30m") == 2', True),
        ('"credit" in a.locks && !("manual" in a.locks)', True),
        ('a.name in ["x", "y"] && a.count in [1, 7] && !(a.name in [])', True),
        ('size(a.locks) == 1 && size(a.name) == 1 && size("") == 0', True),
        ("min(a.power_w, p.limit_w, 9000) == 6000 && max(1, 2.5) == 2.5", True),
        ("min(0, 1) == 0", True),
        ("min([3, 1, 2]) == 1 && max([a.count, 2.5]) == 7 && has(a.count)", True),
        ("has(a.power_w) && !has(a.gone_w) && !has(a.unknown)", True),
        ('a.yes ? a.name == "x" : a.gone_w > 1', True),
        ("a.no ? true : a.yes ? false : true", False),
        ('a.name == "\\x22".name || true', None),
        ("a.name != 'it\\'s' && a.name < 'y'", True),
        ("true || false && false", True),
        ("a.count == 7 == true", True),
    ],
)
def test_values(text, expected):
    if expected is None:
        with pytest.raises(InvalidExpressionError):
            value(text)
    else:
        assert value(text) is expected


T, F, U, E = "a.yes", "a.no", "a.unknown", "1 / (a.count - 7) == 1"


@pytest.mark.parametrize(
    ("left", "right", "and_", "or_"),
    [
        (T, T, True, True),
        (T, F, False, True),
        (F, F, False, False),
        (T, U, "unknown", True),
        (F, U, False, "unknown"),
        (U, U, "unknown", "unknown"),
        (T, E, "error", True),
        (F, E, False, "error"),
        (E, E, "error", "error"),
        (U, E, "unknown", "unknown"),
    ],
)
def test_three_valued_logic_absorbs_what_does_not_matter(left, right, and_, or_):
    for op, expected in (("&&", and_), ("||", or_)):
        for first, second in ((left, right), (right, left)):
            expression = compiled(f"({first}) {op} ({second})")
            assert _named(expression.run(ENV)) == expected
            assert _named(expression.trace(ENV, Trace())) == expected


def _named(found):
    return {Unknown: "unknown", Failure: "error"}.get(type(found), found)


@pytest.mark.parametrize(
    "text",
    ["a.gone_w > 5", "5 < a.gone_w", "a.gone_w == 5", "a.gone_w != p.limit_w", "a.gone_w + 5 > 1", "-a.gone_w < 1",
     "a.gone_w * 2 > 1", "2 * a.gone_w > 1", "a.gone_w / 2 > 1", "a.gone_w in [1, 2]", "min(a.gone_w, 2) == 2",
     "a.unknown", "!a.unknown", "a.unknown ? true : true", "p.limit_w >= a.gone_w", "a.gone_w - 1 <= 2"],
)  # fmt: skip
def test_a_missing_input_makes_the_result_unknown(text):
    found = value(text)
    assert isinstance(found, Unknown)
    assert found.reason in ("missing", "stale")


def test_numbers_fail_past_64_bits_and_are_never_floats():
    assert isinstance(value("a.count * 9223372036854775807 > 1"), Failure)
    assert isinstance(value("a.count + 9223372036854775807 > 1"), Failure)
    assert value("p.limit_w * 9 / 10", Type("decimal", "W")) == 5400
    assert value("a.count / 3", DECIMAL) == Decimal("2.333333333333333333333333333")
    assert type(value("a.count / 7", DECIMAL)) is int


@pytest.mark.parametrize(
    ("text", "offset", "message", "suggestion"),
    [
        ("a.powr_w > 3", 0, "unknown path a.powr_w", "did you mean a.power_w?"),
        ("a.power_w > p.limt_w", 12, "unknown parameter p.limt_w", "did you mean p.limit_w?"),
        ("a.power_w > a.balance", 0, "cannot compare int W with money", "only money meets money"),
        ("a.balance < 5", 0, "cannot compare money with int", 'write money("5")'),
        ("a.power_w > p.plain", 0, "cannot compare int W with int", "`unit: W`"),
        ("now > a.interval", 0, "cannot compare timestamp with duration", "subtract an instant"),
        ("a.yes && a.count", 9, "the right side of && must be true or false, found int", ""),
        ("a.count", 0, "the expression must give a bool, found int", ""),
        ("siz(a.locks) == 1", 0, "unknown function siz()", "did you mean size?"),
        ("a.count = 3", 8, "unexpected character '='", "compare with =="),
        ("a.count > ", 10, "a value was expected, found the end", ""),
        ("(a.count > 3", 12, "')' expected, found the end", ""),
        ("a.count > 3 a.yes", 12, "unexpected 'a.yes'", "an operator is missing"),
        ("a.count == null", 11, "there is no null", "has(path)"),
        ('a.name == "open', 10, "unexpected character '\"'", "the string is not closed"),
        ("a.balance + a.interval > a.balance", 0, "cannot add money and duration", ""),
        ("a.balance * a.balance > a.balance", 0, "cannot multiply money and money", ""),
        ('a.balance > money("1.2.3")', 18, "is not money", ""),
        ('a.interval > duration("1h30m")', 22, "is not a duration", ""),
        ('a.at > timestamp("2026-01-01T00:00:00")', 17, "offset", ""),
        ("a.balance > money(5)", 12, "money() takes one quoted text", ""),
        ("a.count > 1 / 0", 10, "division by zero", ""),
        ("has(1)", 0, "has() takes a path", ""),
        ("min(1) == 1", 0, "min() takes a list, or 2 to 16 values, found one int", ""),
        ("max([]) == 1", 0, "max() of an empty list has no value", ""),
        ("max(a.locks) == 'x'", 0, "max() takes numbers, money, durations or instants", ""),
        ("min() == 1", 0, "min() takes 1 to 16 arguments, found 0", ""),
        ("a.name in a.name", 10, "must be a list", ""),
        ("a.count in a.locks", 0, "cannot look for int in a list of string", ""),
        ("a.yes < a.no", 0, "a bool has no order", "=="),
        ("1 < a.count < 9", 0, "cannot compare bool with int", "&&"),
        ('t.mode == "x"', 0, "cannot be read by a rule whose scope is meter", "scopes: tenant"),
        ("99999999999999999999 > 1", 0, "the number is too long", ""),
        ("", 0, "empty", ""),
    ],
)
def test_mistakes_name_their_place_and_what_would_be_right(text, offset, message, suggestion):
    with pytest.raises(InvalidExpressionError) as caught:
        compiled(text)
    first = caught.value.errors[0]
    assert (first.offset, message in first.message, suggestion in first.suggestion) == (offset, True, True), vars(first)


def test_all_mistakes_of_an_expression_are_reported():
    with pytest.raises(InvalidExpressionError) as caught:
        compiled("a.powr_w > 3 && a.balance < 5 || p.nothing")
    assert [error.offset for error in caught.value.errors] == [0, 16, 33]


def test_a_trace_shows_every_clause_even_where_the_result_is_decided():
    trace = Trace()
    assert compiled("a.no && a.power_w > p.limit_w && a.gone_w > 1").trace(ENV, trace) is False
    shown = [(clause.text, clause.left, clause.op, clause.right, clause.result) for clause in trace.clauses]
    assert shown == [
        ("a.no", "false", "", "", False),
        ("a.power_w > p.limit_w", "6500 W", ">", "6000 W", True),
        ("a.gone_w > 1", "unknown", ">", "1", None),
    ]
    assert [clause.freshness for clause in trace.clauses] == ["fresh", "fresh", "missing"]
    assert trace.clauses[1].age_ms == 5_000
    assert trace.inputs == {"a.no": "false", "a.power_w": "6500 W", "p.limit_w": "6000 W", "a.gone_w": "unknown"}

"""Tests inside rule files: the series shorthand, and what a failing test says."""

from decimal import Decimal

import pytest

from rules.language.kinds import BOOL, DECIMAL, DURATION, INT, MONEY, STRING, STRINGS
from rules.language.values import Unknown
from rules.ruleset import compile_ruleset
from rules.series import read_series
from rules.testing import run_tests
from tests.unit.rules.twin_model import MODEL, SHANGHAI, example
from twin.core.rehearsal import rehearse


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (INT, "5000 6500x2 _ 6500x2", [5000, 6500, 6500, 6500, "missing", 6500, 6500, 6500]),
        (INT, "1+2x3 0-5x1 -3x0", [1, 3, 5, 7, 0, -5, -3]),
        (INT, "_x3 stale stalex2", ["missing"] * 3 + ["stale"] * 3),
        (MONEY, "1.00-0.25x2", [10**9, 75 * 10**7, 5 * 10**8]),
        (DECIMAL, "0.1+0.1x2", [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]),
        (DURATION, "10s+5sx1", [10_000, 15_000]),
        (STRING, "onlinex1 offline", ["online", "online", "offline"]),
        (BOOL, "truex1 false", [True, True, False]),
        (STRINGS, "[] [credit,manual]", [(), ("credit", "manual")]),
    ],
)
def test_series(kind, text, expected):
    found = [sample.reason if isinstance(sample, Unknown) else sample for sample in read_series(kind, text)]
    assert found == expected


@pytest.mark.parametrize("text", ["5.5", "abc", "1x999999", "1x99999 1"])
def test_bad_series_are_refused(text):
    with pytest.raises(ValueError):
        read_series(INT, text)


def outcome(**test):
    document = example()
    document["tests"] = [{"name": "t", **test}]
    (result,) = run_tests(compile_ruleset(document, MODEL), document, SHANGHAI, rehearse)
    return result


def test_the_example_passes_its_own_tests():
    document = example()
    results = run_tests(compile_ruleset(document, MODEL), document, None, rehearse)
    assert [(one.name, one.passed) for one in results] == [("overload holds through one lost sample", True)]


def test_a_failing_test_tells_expected_found_and_how_it_came():
    result = outcome(
        interval="10s",
        series={"reading.power_w": "5000 6500x2 _ 6500x2"},
        expect=[{"at": "40s", "rule": "overload", "state": "fired", "gate": "when", "severity": "critical"}],
    )
    assert result.failures == (
        "at 40s, rule overload: expected state fired, found pending (10s pending; stopped by unknown)",
        "at 40s, rule overload: expected severity critical, found none (10s pending; stopped by unknown)",
        "at 40s, rule overload: expected gate when, found unknown (10s pending; stopped by unknown)",
    )


@pytest.mark.parametrize(
    "test",
    [
        {  # levels, and the ladder's severity
            "series": {"account.balance": "60 49 19 52 55"},
            "expect": [
                {"at": "1m", "rule": "low-balance", "state": "fired", "severity": "warning", "transition": "fired"},
                {"at": "2m", "rule": "low-balance", "severity": "major", "transition": "level_up"},
                {"at": "3m", "rule": "low-balance", "severity": "warning"},
                {"at": "4m", "rule": "low-balance", "state": "normal", "transition": "cleared"},
            ],
        },
        {  # timers between samples; `reading.at` follows the samples
            "interval": "1m",
            "given": {"conn.state": "online", "meter.interval": "1m"},
            "series": {"reading.power_w": "1 1 _x20"},
            "expect": [
                {"at": "4m", "rule": "meter-offline", "state": "normal", "gate": "when"},
                {"at": "5m", "rule": "meter-offline", "state": "pending"},
                {"at": "9m", "rule": "meter-offline", "state": "pending"},
                {"at": "10m", "rule": "meter-offline", "state": "fired"},
            ],
        },
        {  # calendar, with a start on the local wall clock
            "interval": "1h",
            "start": "2026-03-02T15:00:00",
            "timezone": "Asia/Shanghai",
            "params": {"grace": "2h"},
            "given": {"tenant.mode": "prepaid", "tenant.protected": False},
            "series": {"account.balance": "-1"},
            "expect": [
                {"at": "2h", "rule": "arrears-cutoff", "state": "deferred", "gate": "active"},
                {"at": "17h", "rule": "arrears-cutoff", "state": "deferred"},
                {"at": "18h", "rule": "arrears-cutoff", "state": "fired", "transition": "fired"},
            ],
        },
        {  # an event with a series of its own
            "given": {"account.balance": "5", "breaker.locks": ["credit"]},
            "series": {"account.credited": "_ 1 _"},
            "expect": [
                {"at": "0s", "rule": "reconnect-on-recharge", "transition": "none"},
                {"at": "1m", "rule": "reconnect-on-recharge", "transition": "fired", "state": "normal"},
                {"at": "2m", "rule": "reconnect-on-recharge", "transition": "none"},
            ],
        },
        {  # an event below which samples arrive
            "given": {"reading.quality": "good"},
            "series": {"reading.delta": "0 5 _ 5"},
            "expect": [
                {"at": "0s", "rule": "deduct", "transition": "none", "gate": "when"},
                {"at": "1m", "rule": "deduct", "transition": "fired"},
                {"at": "2m", "rule": "deduct", "transition": "none"},
                {"at": "3m", "rule": "deduct", "transition": "fired"},
            ],
        },
        {  # another rule inhibits
            "interval": "1h",
            "start": "2026-03-03T10:00:00",
            "given": {"tenant.mode": "prepaid", "tenant.protected": False, "conn.state": "offline", "reading.at": None},
            "params": {"grace": "0s"},
            "series": {"account.balance": "1 -1"},
            "expect": [{"at": "1h", "rule": "arrears-cutoff", "state": "deferred", "gate": "inhibited_by"}],
        },
    ],
)
def test_what_rule_tests_can_say(test):
    assert outcome(**test).failures == ()


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"series": {"reading.powr_w": "1"}}, "unknown path reading.powr_w did you mean reading.power_w?"),
        ({"series": {"reading.power_w": "1.5"}}, "not a whole number"),
        ({"params": {"grace": "soon"}}, "parameter grace"),
        ({"timezone": "Mars/Phobos"}, "Mars/Phobos"),
        ({"expect": [{"at": "0s", "rule": "overlod", "state": "normal"}]}, "did you mean overload?"),
    ],
)
def test_a_test_that_cannot_run_fails_with_the_reason(test, words):
    result = outcome(**{"expect": [{"at": "0s", "rule": "overload", "state": "normal"}], **test})
    assert not result.passed
    assert words in result.failures[0]

"""Explanations: the gate, the clauses and the paragraph, for rules that fired and that did not."""

import msgspec
import pytest

from rules.explain import Record, explain, render
from tests.unit.rules.twin_model import SHANGHAI, Bench, example

MONDAY_AFTERNOON = 1_767_592_800_000  # 2026-01-05T14:00 in Shanghai


def arrears(balance, **values):
    bench = Bench(example(), "arrears-cutoff", MONDAY_AFTERNOON)
    bench.env.twin_id = "t-001"
    bench.at(0, "account.balance", **{"account__balance": balance, "tenant__mode": "prepaid", **values})
    return bench


def told(bench):
    return explain(bench.rule, bench.env, bench.state, bench.env.now)


def test_a_pending_rule_says_how_long_it_has_held():
    bench = arrears(-(10**9), tenant__protected=False)
    bench.env.now += 2 * 3_600_000
    record = told(bench)
    assert (record.state, record.gate, record.twin) == ("pending", "pending", "t-001")
    assert (record.pending.elapsed_ms, record.pending.required_ms) == (7_200_000, 86_400_000)
    assert [(clause.text, clause.result) for clause in record.clauses] == [
        ('tenant.mode == "prepaid"', True),
        ("account.balance <= -p.emergency_credit", True),
    ]
    assert record.inputs["account.balance"] == "-1.00"
    assert (record.active.open, record.active.until_ms - record.at) == (False, 17 * 3_600_000)  # opens at nine tomorrow
    assert (record.guard.used, record.guard.max) == (0, 50)
    assert "its condition has held for 2h of 1d" in render(record, "en")
    assert "条件已持续 2h，需要 1d" in render(record, "zh")


@pytest.mark.parametrize(
    ("values", "gate", "english", "chinese"),
    [
        ({"balance": 10**9}, "when", "its condition does not hold", "条件不成立"),
        ({"balance": 0, "tenant__mode": "postpaid"}, "where", "does not apply here", "不适用于此对象"),
        ({"balance": None}, "unknown", "missing or too old", "缺失或已过期"),
    ],
)
def test_a_rule_that_did_not_fire_names_the_gate(values, gate, english, chinese):
    record = told(arrears(**values))
    assert record.gate == gate
    assert english in render(record, "en")
    assert chinese in render(record, "zh")


def test_a_deferred_rule_names_calendar_or_inhibitor():
    bench = arrears(0, tenant__protected=True)
    bench.env.now += 24 * 3_600_000
    bench.at(24 * 3600, None)
    record = told(bench)
    assert (record.state, record.gate, record.inhibited_by) == ("deferred", "inhibited_by", "tenant.protected")
    assert "because tenant.protected holds it back" in render(record, "en")
    bench.at(27 * 3600, None)
    record = told(bench)
    assert record.gate == "active"
    assert "time window (not in friendly) is closed until 2026-01-07T01:00:00Z" in render(record, "en")
    assert "直到 2026-01-07T09:00:00+08:00" in render(record, "zh", SHANGHAI)


def test_a_fired_rule_has_no_gate_and_the_record_travels_as_json():
    bench = Bench(example(), "overload")
    bench.at(0, "reading.power_w", reading__power_w=7000)
    bench.at(30, "reading.power_w")
    record = told(bench)
    assert (record.state, record.gate, record.actions) == ("fired", "", ("lock breaker overload", "alarm critical"))
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record
    assert render(record, "en") == (
        "Rule overload (version 7) at 2026-01-04T16:00:30Z has fired. "
        "What it looked at: reading.power_w > p.limit_w (7000 W > 6000 W) is true; "
        "reading.power_w < p.limit_w * 9 / 10 (7000 W < 5400 W) is false."
    )


def test_a_for_that_is_over_waits_for_the_next_message_of_a_rule_off_the_clock():
    bench = Bench(example(), "overload")
    bench.at(0, "reading.power_w", reading__power_w=7000)
    bench.at(45, None)
    record = told(bench)
    assert (record.state, record.gate, record.pending.elapsed_ms) == ("pending", "trigger", 45_000)
    assert "it waits for the next message" in render(record, "en")


def test_explaining_changes_nothing():
    bench = arrears(0, tenant__protected=False)
    before = bench.state
    assert told(bench) == told(bench)
    assert bench.state is before


def test_other_languages_are_refused():
    with pytest.raises(ValueError, match="zh or en"):
        render(told(arrears(0)), "de")

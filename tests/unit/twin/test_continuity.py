"""Which register values are believed: a table of cases, one row an outcome."""

from __future__ import annotations

import pytest

from tests.unit.twin.scene import HOUR, MINUTE, make_policy
from twin.core.continuity import judge
from twin.core.model import MeterContract, Register, Suspects

POLICY = make_policy(rulesets=[])
MODULUS = 1_000_000
# 10 kW and a tolerance of 1.2: 12 000 Wh an hour, 3 000 Wh a quarter, plus one digit (10 Wh).
METER = MeterContract("em", modulus=MODULUS, max_rate=10_000)
UNLIMITED = MeterContract("em", modulus=MODULUS, max_rate=0)


def at(seen: int, ts: int = HOUR, turns: int = 0, suspects: Suspects | None = None) -> Register:
    return Register(opened=True, seen=seen, seen_ts=ts, head=seen, turns=turns, suspects=suspects)


CASES = [
    ("first reading opens the chain", Register(), METER, 500, HOUR, "opening", 500),
    ("growth within the limit", at(5_000), METER, 7_000, HOUR + 15 * MINUTE, "accepted", 7_000),
    ("growth of exactly the limit", at(5_000), METER, 8_010, HOUR + 15 * MINUTE, "accepted", 8_010),
    ("one more than can have flowed", at(5_000), METER, 8_011, HOUR + 15 * MINUTE, "implausible_rise", 0),
    ("no growth", at(5_000), METER, 5_000, HOUR + MINUTE, "accepted", 5_000),
    ("the same instant, the same value", at(5_000), METER, 5_000, HOUR, "accepted", 5_000),
    ("the same instant, one digit more", at(5_000), METER, 5_010, HOUR, "accepted", 5_010),
    ("the same instant, far more", at(5_000), METER, 6_000, HOUR, "implausible_rise", 0),
    ("older and lower is late", at(5_000), METER, 4_000, HOUR - MINUTE, "late", 0),
    ("older and equal is late", at(5_000), METER, 5_000, HOUR - MINUTE, "late", 0),
    ("older and higher contradicts", at(5_000), METER, 5_001, HOUR - MINUTE, "ahead_of_its_time", 0),
    ("newer and lower falls", at(5_000), METER, 4_999, HOUR + MINUTE, "fall", 0),
    ("glitch to zero", at(500_000), METER, 0, HOUR + MINUTE, "fall", 0),
    ("rollover", at(999_900), METER, 100, HOUR + 15 * MINUTE, "rollover", 1_000_100),
    ("second rollover", at(1_999_900, turns=1), METER, 100, HOUR + 15 * MINUTE, "rollover", 2_000_100),
    ("rollover by more than can have flowed", at(999_900), METER, 4_000, HOUR + 15 * MINUTE, "fall", 0),
    ("late sample from before the rollover", at(1_000_100, turns=1), METER, 999_000, HOUR - MINUTE, "late", 0),
    ("beyond the register", at(5_000), METER, MODULUS, HOUR + MINUTE, "beyond_register", 0),
    ("negative", at(5_000), METER, -1, HOUR + MINUTE, "beyond_register", 0),
    ("unknown limit takes any rise", at(5_000), UNLIMITED, 900_000, HOUR + MINUTE, "accepted", 900_000),
    ("unknown limit wraps only near the end", at(999_900), UNLIMITED, 100, HOUR + MINUTE, "rollover", 1_000_100),
    ("unknown limit, far fall is no wrap", at(500_000), UNLIMITED, 100, HOUR + MINUTE, "fall", 0),
]


@pytest.mark.parametrize(
    ("name", "register", "contract", "raw", "ts", "outcome", "quantity"), CASES, ids=[c[0] for c in CASES]
)
def test_judgement(name, register, contract, raw, ts, outcome, quantity):
    verdict = judge(register, contract, POLICY, raw, ts)
    assert (verdict.reason or verdict.kind, verdict.quantity) == (outcome, quantity)


def test_third_consistent_reading_after_a_reset_opens_an_epoch():
    register = at(500_000)
    outcomes = []
    for minute, raw in ((1, 0), (2, 40), (3, 90)):
        verdict = judge(register, METER, POLICY, raw, HOUR + minute * MINUTE)
        outcomes.append(verdict.kind)
        register = at(500_000, suspects=verdict.suspects)
    assert outcomes == ["quarantined", "quarantined", "reset"]
    assert verdict.suspects == Suspects("fall", 3, 0, HOUR + MINUTE, 90, HOUR + 3 * MINUTE)


def test_true_values_after_an_accepted_false_high_one_are_not_taken_for_a_reset():
    register = at(500_000)  # false: the meter stands at 400 000
    for minute in range(1, 20):
        verdict = judge(register, METER, POLICY, 400_000 + minute, HOUR + minute * MINUTE)
        assert verdict.kind == "quarantined"
        register = at(500_000, suspects=verdict.suspects)
    assert verdict.suspects is not None
    assert verdict.suspects.count == 19, "a person sees how long it has been going on"


def test_a_run_of_suspects_starts_again_when_it_does_not_agree_with_itself():
    run = judge(at(500_000), METER, POLICY, 100, HOUR + MINUTE).suspects
    again = judge(at(500_000, suspects=run), METER, POLICY, 50, HOUR + 2 * MINUTE).suspects
    assert again is not None
    assert (again.count, again.first_raw) == (1, 50)

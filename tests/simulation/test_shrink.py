"""What counts as the same failure when a plan is made smaller."""

from __future__ import annotations

import pytest

from tests.simulation import shrink as shrinking
from tests.simulation.plan import Happening, Plan
from tests.simulation.run import Outcome
from tests.simulation.shrink import failure_of, shrink


def failed(invariant: str, detail: str) -> Outcome:
    return Outcome(1, "", 1, 0.0, 1, 1, 1, 1, invariant, detail)


SPOKE = failed("I9 no loss", "em-002: 120096 Wh (137d2055 13) was acknowledged, and nobody knows of it")


@pytest.mark.parametrize(
    ("invariant", "detail", "same"),
    [
        ("I9 no loss", "em-002: 5 Wh (00ffa1 2) was acknowledged, and nobody knows of it", True),
        ("I9 no loss", "em-001: 5 Wh (00ffa1 2) was acknowledged, and nobody knows of it", False),
        ("I9 no loss", "3 messages wait for ingest", False),
        ("I2 energy", "em-002: 5 Wh (00ffa1 2) was acknowledged, and nobody knows of it", False),
        ("", "", False),
    ],
)
def test_the_numbers_may_differ_and_nothing_else(invariant: str, detail: str, same: bool) -> None:
    assert (failure_of(failed(invariant, detail)) == failure_of(SPOKE)) is same


def test_of_a_crash_the_error_counts_and_not_the_way_to_it() -> None:
    first = failed("crash", 'File "a.py", line 3, in f\nKeyError: 7\n')
    assert failure_of(first) == failure_of(failed("crash", 'File "b.py", line 9, in g\nKeyError: 12\n'))
    assert failure_of(first) != failure_of(failed("crash", 'File "a.py", line 3, in f\nValueError: 7\n'))


def test_a_smaller_plan_that_fails_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hand-over something else of the same invariant fails: that is another bug, for another day."""
    plan = Plan(1, meters=1, layout="one", length_ms=1, happenings=tuple(Happening(1, what, 0) for what in "abcd"))

    def run(candidate: Plan) -> Outcome:
        names = {one.what for one in candidate.happenings}
        if {"b", "d"} <= names:
            return failed("I9 no loss", "em-002: 7 Wh (1 1) was acknowledged, and nobody knows of it")
        return failed("I9 no loss", "3 messages wait for ingest")

    monkeypatch.setattr(shrinking, "run_plan", run)
    small, outcome = shrink(plan, SPOKE)
    assert [one.what for one in small.happenings] == ["b", "d"]
    assert outcome.detail.startswith("em-002: 7")

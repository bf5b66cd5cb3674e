"""Whatever a rule file holds, loading it ends in a ruleset or in a rule error; its cost is bounded."""

from __future__ import annotations

import json

import pytest

from rules.errors import MOST_PROBLEMS, RulesetError
from rules.ruleset import MOST_PARTS, compile_ruleset
from tests.unit.rules.fuzz import Report, big_files, fuzz, main
from tests.unit.rules.twin_model import one_rule
from twin.core.view import TWIN_MODEL

GOAL_MS = 50
BUSY = 4
"""A machine that does other things as well is allowed so many times the goal; the figure itself is printed."""


def test_three_thousand_inputs_end_in_a_rule_error_or_a_ruleset() -> None:
    report = Report()
    fuzz(3_000, seed=20260105, report=report)
    assert report.refused > 1_000
    assert report.accepted > 100


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_a_hundred_thousand_inputs_and_files_of_100_kb(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        slowest = main(100_000, seed=1)
        print(f"slowest file of 100 KB: {slowest:.1f} ms; goal {GOAL_MS} ms")
    assert slowest < GOAL_MS * BUSY


def test_a_big_file_is_loaded_or_refused_and_never_half() -> None:
    outcomes = {}
    for name, document in big_files():
        assert len(json.dumps(document)) > 99_000
        try:
            outcomes[name] = len(compile_ruleset(document, TWIN_MODEL).rules) == len(document["rules"])
        except RulesetError as error:
            outcomes[name] = len(error.problems) > MOST_PROBLEMS + 1
    assert outcomes["safety, many times"]
    assert not outcomes["lists"], "its expressions have too many parts together"


def test_the_expressions_of_a_file_are_bounded_together() -> None:
    document = one_rule(when=f"reading.power_w in {list(range(60))}")
    (rule,) = document["rules"]
    document["rules"] = [{**rule, "id": f"r{number}"} for number in range(MOST_PARTS // 63 + 1)]
    with pytest.raises(RulesetError, match=f"more than {MOST_PARTS} parts together"):
        compile_ruleset(document, TWIN_MODEL)
    document["rules"].pop()
    assert compile_ruleset(document, TWIN_MODEL).rules


def test_of_very_many_mistakes_the_first_are_told() -> None:
    document = one_rule(on=["reading.powr_w"])
    (rule,) = document["rules"]
    document["rules"] = [{**rule, "id": f"r{number}"} for number in range(300)]
    with pytest.raises(RulesetError) as refused:
        compile_ruleset(document, TWIN_MODEL)
    assert len(refused.value.problems) == MOST_PROBLEMS + 1
    assert any("did you mean reading.power_w?" in one.suggestion for one in refused.value.problems)
    assert "the others are not told" in str(refused.value)

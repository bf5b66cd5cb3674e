"""Whatever a rule file holds, loading it ends in a ruleset or in a rule error; its cost is bounded."""

from __future__ import annotations

import pytest

from rules.errors import MOST_PROBLEMS, RulesetError
from rules.ruleset import MOST_PARTS, compile_ruleset
from schemas.documents import DocumentError
from schemas.registry import PROBLEMS_MAX
from tests.unit.rules.fuzz import NAMES, Report, big_files, big_texts, fuzz, loaded, main
from tests.unit.rules.twin_model import one_rule
from twin.core.view import TWIN_MODEL

GOAL_MS = 50


def test_three_thousand_inputs_end_in_a_rule_error_or_a_ruleset() -> None:
    report = Report()
    fuzz(3_000, seed=20260105, report=report)
    assert report.refused > 1_000
    assert report.accepted > 100


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_a_hundred_thousand_inputs_and_files_of_100_kb(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        accepted, slowest_ms = main(100_000, seed=1)
        print(f"slowest file of 100 KB: {slowest_ms:.1f} ms; goal {GOAL_MS} ms")
    assert 1_000 < accepted < 99_000


def test_a_big_file_is_loaded_or_refused_and_never_half() -> None:
    outcomes = {}
    for name, document in big_files():
        try:
            outcomes[name] = len(compile_ruleset(document, TWIN_MODEL).rules) == len(document["rules"])
        except RulesetError as error:
            outcomes[name] = len(error.problems) > MOST_PROBLEMS + 1
    assert outcomes["small"]
    assert outcomes["lists"]
    assert not outcomes["unknown words"]


@pytest.mark.timeout(120)
def test_of_files_of_100_kb_the_good_are_loaded_and_the_hostile_refused() -> None:
    """How long each takes is printed by `python -m tests.unit.rules.fuzz`; here the least machine must come through."""
    good = {name for name, text in big_texts() if _is_loaded(name, text)}
    assert {name for name in good if "seven times" in name} == {f"{name}, seven times or more.yaml" for name in NAMES}
    assert {"small.yaml", "different and wordy.yaml", "safety, many times.json"} < good
    assert not {"ones.yaml", "rules of nonsense.yaml", "brackets.yaml", "aliases.yaml", "unknown words.yaml"} & good


def _is_loaded(name: str, text: str) -> bool:
    try:
        return bool(loaded(name, text))
    except (DocumentError, RulesetError):
        return False


@pytest.mark.parametrize(("name", "told"), [
    ("unknown fields.yaml", "there is no field 'field_0'"), ("empty rules.yaml", "has 7900 entries, at most 300"),
    ("nonsense.json", "rules[0].id: the number 1 is not"), ("ones.yaml", "more than 8000 values"),
    ("the same key.yaml", "is written twice"), ("brackets.yaml", "nested deeper than 64"),
])  # fmt: skip
def test_of_a_hostile_file_the_first_mistakes_are_told(name: str, told: str) -> None:
    with pytest.raises(DocumentError) as refused:
        loaded(name, dict(big_texts())[name])
    assert told in str(refused.value)
    assert len(refused.value.problems) <= PROBLEMS_MAX


def test_the_expressions_of_a_file_are_bounded_together() -> None:
    document = one_rule()
    (rule,) = document["rules"]
    whens = [f"reading.power_w in {list(range(number, number + 60))}" for number in range(MOST_PARTS // 63 + 1)]
    document["rules"] = [{**rule, "id": f"r{number}", "when": when} for number, when in enumerate(whens)]
    with pytest.raises(RulesetError, match=f"more than {MOST_PARTS} parts together"):
        compile_ruleset(document, TWIN_MODEL)
    document["rules"].pop()
    document["rules"] += [{**rule, "id": f"again-{number}", "when": whens[0]} for number in range(200)]
    assert compile_ruleset(document, TWIN_MODEL).rules  # what stands there often is compiled, and counted, once


def test_of_very_many_mistakes_the_first_are_told() -> None:
    document = one_rule(on=["reading.powr_w"])
    (rule,) = document["rules"]
    document["rules"] = [{**rule, "id": f"r{number}"} for number in range(300)]
    with pytest.raises(RulesetError) as refused:
        compile_ruleset(document, TWIN_MODEL)
    assert len(refused.value.problems) == MOST_PROBLEMS + 1
    assert any("did you mean reading.power_w?" in one.suggestion for one in refused.value.problems)
    assert "the others are not told" in str(refused.value)

"""Every pack: passes its schema and its own tests with full coverage, on the paths that the twin really has."""

from itertools import combinations

import pytest

from rules.ruleset import compile_ruleset
from rules.testing import run_suite
from schemas.documents import load_checked
from tests.unit.rules.mutation import is_caught, main, mutants, mutated_expression, score
from tests.unit.rules.twin_model import PACKS, SHANGHAI, pack
from twin.core.locks import KINDS
from twin.core.rehearsal import rehearse
from twin.core.view import TWIN_MODEL

NAMES = sorted(path.stem for path in PACKS.glob("*.yaml"))


def loaded(name):
    document = load_checked(PACKS / f"{name}.yaml", "ruleset")
    return document.data, compile_ruleset(document.data, TWIN_MODEL, document.locate)


def test_all_packs_are_here():
    assert NAMES == [
        "commercial-prepaid",
        "device-health",
        "dormitory",
        "residential-prepaid",
        "safety",
        "water-prepaid",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_pack_passes_its_own_tests_and_they_exercise_all_of_it(name):
    document, ruleset = loaded(name)
    assert ruleset.name == name
    suite = run_suite(ruleset, document, SHANGHAI, rehearse)
    assert {result.name: result.failures for result in suite.results if not result.passed} == {}
    assert suite.coverage.gaps == []
    assert suite.coverage.complete


@pytest.mark.parametrize("name", NAMES)
def test_a_pack_locks_with_names_that_the_platform_weighs(name):
    _, ruleset = loaded(name)
    locks = {plan.action.lock for rule in ruleset.rules for plan in rule.actions if hasattr(plan.action, "lock")}
    assert locks <= set(KINDS)


def test_packs_can_be_loaded_together():
    ids = {name: {(rule.scope_twin, rule.id) for rule in loaded(name)[1].rules} for name in NAMES}
    assert [(one, other) for one, other in combinations(NAMES, 2) if ids[one] & ids[other]] == []


def test_what_is_mutated_in_an_expression():
    assert list(mutated_expression('-a.x >= 2 && a.m == money("5.00")')) == [
        'a.x >= 2 && a.m == money("5.00")',
        '-a.x > 2 && a.m == money("5.00")',
        '-a.x < 2 && a.m == money("5.00")',
        '-a.x <= 2 && a.m == money("5.00")',
        '-a.x >= 1 && a.m == money("5.00")',
        '-a.x >= 3 && a.m == money("5.00")',
        '-a.x >= 2 || a.m == money("5.00")',
        '-a.x >= 2 && a.m != money("5.00")',
        '-a.x >= 2 && a.m == money("4.99")',
        '-a.x >= 2 && a.m == money("5.01")',
    ]


def test_a_hole_in_the_tests_lets_mutants_live():
    document = pack("device-health")
    document["tests"] = [one for one in document["tests"] if one["name"] != "open, and yet power flows"]
    alive = [mutant.change for mutant in mutants(document) if is_caught(mutant.document, mutant.rule) is False]
    assert {change.partition(" ")[0] for change in alive} == {"device-relay-stuck", "seep_w"}


def test_the_tests_of_the_smallest_pack_catch_every_mutant():
    found = score("device-health")
    assert found.survivors == []
    assert found.mutants > 40


@pytest.mark.soak
def test_the_tests_of_every_pack_catch_every_mutant(capsys):
    status = main(NAMES)
    assert status == 0, capsys.readouterr().out

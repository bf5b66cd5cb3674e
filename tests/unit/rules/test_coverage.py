"""Coverage of rule tests: what counts, what is missing, and how it is told; and the results as JUnit XML."""

from xml.etree import ElementTree

import msgspec

from rules.coverage import render
from rules.junit import junit_xml
from rules.ruleset import compile_ruleset
from rules.testing import TestResult, run_suite
from tests.unit.rules.twin_model import MODEL, SHANGHAI, example, one_rule


def suite_of(document, *tests):
    document["tests"] = [{"name": f"test {index}", **test} for index, test in enumerate(tests)]
    return run_suite(compile_ruleset(document, MODEL), document, SHANGHAI)


def gates(suite, rule=0):
    return {gate.name: (gate.tally.true, gate.tally.false) for gate in suite.coverage.rules[rule].gates}


def clauses(suite, rule=0):
    found = suite.coverage.rules[rule].clauses
    return {(one.part, one.text): (one.tally.true, one.tally.false, one.tally.unknown) for one in found}


def test_nothing_is_covered_without_tests_and_disabled_rules_have_no_points():
    document = example()
    document["rules"][0]["enabled"] = False
    suite = suite_of(document)
    assert suite.passed
    assert suite.coverage.points[0] == 0
    assert not suite.coverage.complete
    assert [rule.rule for rule in suite.coverage.rules] == [rule["id"] for rule in document["rules"][1:]]


def test_clauses_are_counted_true_false_and_unknown():
    document = one_rule(when="reading.power_w > 6000 && reading.quality == 'good'")
    suite = suite_of(
        document,
        {
            "given": {"reading.quality": "good"},
            "series": {"reading.power_w": "1 7000 _"},
            "expect": [{"at": "2m", "rule": "hot", "state": "fired"}],
        },
    )
    assert clauses(suite) == {
        ("when", "reading.power_w > 6000"): (1, 1, 1),
        ("when", "reading.quality == 'good'"): (3, 0, 0),
    }
    assert suite.coverage.gaps == ["hot: when: `reading.quality == 'good'` is never false"]
    assert suite.coverage.points == (5, 6)


def test_a_gate_counts_only_when_the_rule_has_come_to_it():
    document = one_rule(**{"for": "1m", "cooldown": "1h", "clear": {"when": "reading.power_w < 5000", "for": "1m"}})
    test = {"series": {"reading.power_w": "1 7000 7000 4000 4000 7000 7000"}}
    first = suite_of(document, {**test, "expect": [{"at": "2m", "rule": "hot", "state": "fired"}]})
    assert gates(first) == {"for": (1, 1), "cooldown": (1, 0), "clear": (0, 0), "clear.for": (0, 0)}
    whole = suite_of(document, {**test, "expect": [{"at": "6m", "rule": "hot", "state": "deferred"}]})
    assert gates(whole) == {"for": (2, 2), "cooldown": (1, 1), "clear": (2, 0), "clear.for": (1, 1)}
    assert whole.coverage.gaps == [
        "hot: clear.when: `reading.power_w < 5000` is never false",
        "hot: gate clear never stops",
    ]


def test_every_inhibitor_guard_window_and_cooldown_is_a_gate_of_its_own():
    names = {rule.rule: [gate.name for gate in rule.gates] for rule in suite_of(example()).coverage.rules}
    assert names == {
        "deduct": [],
        "low-balance": ["clear", "notify.cooldown"],
        "arrears-cutoff": [
            "where",
            "for",
            "active",
            "inhibited_by tenant.protected",
            "inhibited_by meter-offline",
            "guard",
        ],
        "overload": ["for", "clear", "clear.for"],
        "malignant-load": ["retry"],
        "reconnect-on-recharge": [],
        "meter-offline": ["for"],
    }


def test_a_test_can_say_how_much_of_a_guard_the_site_has_used():
    test = {
        "given": {"tenant.mode": "prepaid", "tenant.protected": False, "guard.arrears_cutoff": 50},
        "start": "2026-03-03T10:00:00",
        "params": {"grace": "0s"},
        "series": {"account.balance": "-1"},
    }
    held = {**test, "expect": [{"at": "0s", "rule": "arrears-cutoff", "state": "deferred", "gate": "guard"}]}
    freed = {
        **test,
        "given": {"tenant.mode": "prepaid", "tenant.protected": False},
        "series": {"account.balance": "-1 -1", "guard.arrears_cutoff": "50 49"},
        "expect": [{"at": "1m", "rule": "arrears-cutoff", "state": "fired"}],
    }
    suite = suite_of(example(), held, freed)
    assert [result.failures for result in suite.results] == [(), ()]
    assert gates(suite, 2)["guard"] == (1, 2)


def test_the_report_names_what_is_missing_and_serialises():
    suite = suite_of(
        one_rule(), {"series": {"reading.power_w": "7000"}, "expect": [{"at": "0s", "rule": "hot", "state": "fired"}]}
    )
    assert render(suite.coverage).splitlines() == [
        "hot: 2 of 4 points (1 clause, 0 gates)",
        "    acts at every evaluation",
        "    when: `reading.power_w > 6000` is never false",
        "coverage of one version 1: 2 of 4 points, 50 %",
    ]
    data = msgspec.to_builtins(suite.coverage)
    assert data["rules"][0]["clauses"][0] == {
        "part": "when",
        "text": "reading.power_w > 6000",
        "tally": {"true": 1, "false": 0, "unknown": 0},
    }


def test_junit_escapes_whatever_a_test_is_called():
    nasty = "a < b & \"c\" 'd' \x00\x1b 火锅 ]]>"
    results = [TestResult("fine", True), TestResult(nasty, False, ("expected <x>", "found & nothing"))]
    root = ElementTree.fromstring(junit_xml([('dir/"a".yaml', "pack", results)]))
    suite = root.find("testsuite")
    assert (root.attrib, suite.attrib["file"]) == ({"tests": "2", "failures": "1"}, 'dir/"a".yaml')
    fine, failed = suite.findall("testcase")
    assert fine.find("failure") is None
    assert failed.attrib["name"] == "a < b & \"c\" 'd' \ufffd\ufffd 火锅 ]]>"
    assert failed.find("failure").text == "expected <x>\nfound & nothing"
    assert failed.find("failure").attrib["message"] == "expected <x>"

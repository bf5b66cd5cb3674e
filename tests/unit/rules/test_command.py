"""`twinmeter rules check|test` on files: coverage, JUnit XML, warnings of conflicts, exit codes."""

import json
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from api.cli.rules import app
from tests.unit.rules.twin_model import PACKS

FIGHT = """
apiVersion: twinmeter.rules/v1
ruleset: fight
version: 1
rules:
- id: cut
  scope: {twin: tenant}
  on: [account.balance]
  when: account.balance < money("2")
  then: [{breaker.lock: {lock: credit}}]
- id: back
  scope: {twin: tenant}
  on: [account.balance]
  when: account.balance > money("1")
  then: [{breaker.unlock: {lock: credit}}]
tests:
- name: a wrong expectation
  series: {account.balance: "1.50"}
  expect: [{at: 0s, rule: cut, state: normal}]
"""


@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_a_pack_passes_with_coverage_and_junit(run, tmp_path):
    out = tmp_path / "out.xml"
    done = run("test", PACKS / "device-health.yaml", "--coverage", "--junit", out)
    assert done.exit_code == 0
    assert "coverage of device-health version 1: 52 of 52 points, 100 %" in done.output
    suite = ElementTree.parse(out).getroot().find("testsuite")
    assert (suite.attrib["name"], suite.attrib["failures"]) == ("device-health", "0")


def test_a_failure_exits_1_and_stands_in_the_junit_file(run, tmp_path):
    file, out = tmp_path / "fight.yaml", tmp_path / "out.xml"
    file.write_text(FIGHT)
    done = run("test", file, "--coverage", "--junit", out)
    assert done.exit_code == 1
    assert "expected state normal, found fired" in done.output
    assert '    when: `account.balance > money("1")` is never false' in done.output
    assert "expected state normal" in ElementTree.parse(out).getroot().find(".//failure").text


def test_a_conflict_is_a_warning_with_its_place(run, tmp_path):
    file = tmp_path / "fight.yaml"
    file.write_text(FIGHT)
    done = run("check", file)
    assert done.exit_code == 0
    assert f"{file}:6:3: rules[0]: warning: on account.balance, rule cut locks" in done.output
    data = json.loads(run("check", file, "--format", "json").output)
    (warning,) = data["files"][0]["warnings"]
    assert (data["ok"], warning["kind"], warning["line"]) == (True, "fight", 6)
    assert warning["with"] == [f"{file}: back"]


def test_files_checked_together_are_looked_at_together(run, tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(FIGHT)
    other.write_text(FIGHT.replace("ruleset: fight", "ruleset: other"))
    data = json.loads(run("check", one, other, "--format", "json").output)
    kinds = [warning["kind"] for file in data["files"] for warning in file["warnings"]]
    assert sorted(kinds) == ["fight"] * 4 + ["name"] * 2

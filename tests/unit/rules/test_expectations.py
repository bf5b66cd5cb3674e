"""What rule tests can expect of actions: alarms, notices, locks, commands, charges, parameters, calls, clauses."""

from __future__ import annotations

from typing import Any

import pytest

from rules.ruleset import compile_ruleset
from rules.testing import run_tests
from tests.unit.rules.twin_model import SHANGHAI
from twin.core.rehearsal import rehearse
from twin.core.view import TWIN_MODEL

RULES = """
apiVersion: twinmeter.rules/v1
ruleset: park
version: 3
params:
  limit_w: {type: int, unit: W, default: 6000}
calendars:
  nights: [{times: ["23:00-06:00"]}]
rules:
- id: deduct
  scope: {twin: meter}
  on: [reading.registers]
  when: reading.delta > 0
  then: [{charge: {account: tenant.account, tariff: meter.tariff}}]
- id: hot
  scope: {twin: meter}
  on: [reading.power_w]
  when: reading.power_w > p.limit_w
  clear: {when: reading.power_w < p.limit_w / 2}
  then:
  - {breaker.lock: {lock: overload}}
  - {alarm: {severity: major}}
  - {notify: {template: too_much, to: operator}}
  - {set_param: {name: limit_w, value: 4000}}
  - {webhook: {name: duty, data: {power: reading.power_w}}}
- id: lights-out
  scope: {twin: tenant, where: tenant.group == "dormitory"}
  on: [clock]
  when: tenant.mode == "prepaid"
  active: {in: nights}
  then: [{breaker.lock: {lock: schedule, until: calendar}}, {alarm: {severity: info}}]
- id: refused
  scope: {twin: breaker}
  on: [command]
  when: command.state == "failed"
  then: [{alarm: {severity: critical}}]
- id: stands-open
  scope: {twin: breaker}
  on: [breaker.locks]
  when: size(breaker.locks) > 0
  then: [{alarm: {severity: info}}]
- id: leak
  scope: {twin: breaker, where: breaker.kind == "valve"}
  on: [event]
  when: valve.position == "open"
  then: [{valve.lock: {lock: leakage}}]
"""


def run(**test: Any) -> tuple[str, ...]:
    """The failures of one test."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe", pure=True).load(RULES)
    document["tests"] = [{"name": "t", **test}]
    (result,) = run_tests(compile_ruleset(document, TWIN_MODEL), document, SHANGHAI, rehearse)
    return result.failures


HOT: dict[str, Any] = {"series": {"reading.power_w": "5000 6001 1999"}}


def test_everything_that_one_firing_brings_about() -> None:
    fired = {
        "at": "1m",
        "rule": "hot",
        "transition": "fired",
        "alarm": "major",
        "notify": "too_much",
        "locks": ["overload"],
        "command": "breaker.open",
        "param": {"limit_w": 4000},
        "webhook": "duty",
        "because": {"reading.power_w > p.limit_w": True},
    }
    quiet = {"at": "0s", "rule": "hot", "alarm": "none", "notify": "none", "locks": [], "command": "none"}
    cleared = {"at": "2m", "rule": "hot", "transition": "cleared", "alarm": "none", "locks": ["overload"]}
    by_breaker = {"at": "1m", "rule": "stands-open", "state": "fired"}
    assert run(**HOT, expect=[quiet, fired, cleared]) == ()
    (apart,) = run(**HOT, expect=[by_breaker])
    assert "expected state fired, found normal" in apart, "a rule about another kind of twin takes no part"


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"alarm": "none"}, "expected alarm none, found major"),
        ({"notify": "other"}, "expected notify other, found [too_much]"),
        ({"notify": "none"}, "expected notify none, found [too_much]"),
        ({"locks": ["credit"]}, "expected locks [credit], found [overload]"),
        ({"command": "breaker.closed"}, "expected command breaker.closed, found breaker.open"),
        ({"param": {"limit_w": 6000}}, "expected param {limit_w: 6000}, found {limit_w: 4000 W}"),
        ({"webhook": "none"}, "expected webhook none, found duty"),
        ({"charge": "1.00"}, "expected charge 1.00, found none"),
        (
            {"because": {"reading.power_w > p.limit_w": False}},
            "expected because {reading.power_w > p.limit_w: false}, found {reading.power_w > p.limit_w: true}",
        ),
        ({"because": {"reading.power_w > 1": True}}, "found {reading.power_w > 1: no such clause}"),
    ],
)
def test_a_difference_is_told_in_the_words_of_the_test(expected: dict[str, Any], found: str) -> None:
    (failure,) = run(**HOT, expect=[{"at": "1m", "rule": "hot", **expected}])
    assert found in failure
    assert failure.startswith("at 1m, rule hot: expected ")
    assert failure.endswith("(1m fired)")


def test_charges_are_rated_by_the_ledgers_own_code() -> None:
    expect = [
        {"at": "0s", "rule": "deduct", "charge": "none"},
        {"at": "1m", "rule": "deduct", "charge": "0.40095"},
        {"at": "2m", "rule": "deduct", "charge": "0.401"},
    ]
    failures = run(series={"reading.delta": "0 495 5"}, price="0.8100", expect=expect)
    assert failures == ("at 2m, rule deduct: expected charge 0.401, found 0.00405 (1m fired, 2m fired)",)


def test_lights_go_out_and_come_on_with_the_calendar() -> None:
    at_night = {"rule": "lights-out", "locks": ["schedule"], "alarm": "info"}
    assert (
        run(
            start="2026-03-03T22:00:00",
            timezone="Asia/Shanghai",
            given={"tenant.mode": "prepaid", "tenant.group": "dormitory"},
            series={"reading.power_w": "1"},
            expect=[
                {"at": "0s", "rule": "lights-out", "state": "deferred", "gate": "active", "locks": []},
                {"at": "1h", "transition": "fired", "command": "breaker.open", **at_night},
                {"at": "28799s", "state": "fired", **at_night},
                {"at": "8h", "rule": "lights-out", "transition": "ended", "state": "deferred", "locks": []},
                {"at": "8h", "rule": "lights-out", "alarm": "none", "command": "breaker.closed"},
                {"at": "25h", "transition": "fired", **at_night},
            ],
        )
        == ()
    )


def test_rules_about_a_breaker_and_a_valve() -> None:
    failed = {"at": "1m", "rule": "refused", "state": "fired", "alarm": "critical"}
    assert run(series={"command.state": "sent failed"}, expect=[failed]) == ()
    shut = {"at": "0s", "rule": "leak", "state": "fired", "locks": ["leakage"], "command": "valve.closed"}
    watched = {"at": "0s", "rule": "stands-open", "state": "normal"}
    given = {"breaker.kind": "valve", "valve.position": "open"}
    assert run(given=given, series={"event": "1"}, expect=[shut, watched]) == ()


def test_without_a_stage_such_expectations_are_refused() -> None:
    from ruamel.yaml import YAML

    document = YAML(typ="safe", pure=True).load(RULES)
    document["tests"] = [{"name": "t", **HOT, "expect": [{"at": "1m", "rule": "hot", "locks": ["overload"]}]}]
    (result,) = run_tests(compile_ruleset(document, TWIN_MODEL), document)
    assert "nothing here carries actions out" in result.failures[0]

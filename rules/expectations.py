"""Expectations of rule tests: what was found at an instant, held against what the test says must hold there."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rules.actions import Alarm
from rules.language.tracer import shown_value
from rules.literals import print_duration, print_money, read_money
from rules.params import param_value
from rules.rule import Rule, Ruleset
from rules.stage import EXPECTATIONS, NOTHING, Happened
from rules.state import FIRED, NORMAL, RECOVERING, RuleState

Standing = list[tuple[int, tuple[str, ...], Mapping[str, Any]]]
"""(time after the start in ms, locks that stand, parameters in force), in order."""


class Moment(msgspec.Struct, frozen=True):
    """What one rule did at one instant of a test."""

    at_ms: int
    state: RuleState | None
    transition: str | None
    gate: str
    happened: Happened = NOTHING
    clauses: Mapping[str, bool | None] = {}


class Seen:
    """What one rule did in a test; `standing` is None where nothing carried its actions out."""

    def __init__(self, rule: Rule, plain: Ruleset, moments: list[Moment], standing: Standing | None) -> None:
        self.rule = rule
        self.plain = plain
        self.moments = moments
        self.standing = standing

    def differences(self, at_ms: int, expected: Mapping[str, Any]) -> list[str]:
        """A sentence for each expectation that does not hold. Raises ValueError for one that cannot be told here."""
        rule = self.rule
        moments = [moment for moment in self.moments if moment.at_ms <= at_ms]
        last = moments[-1] if moments else Moment(0, None, None, "")
        now_there = [moment.transition for moment in moments if moment.at_ms == at_ms and moment.transition]
        found: dict[str, Any] = {
            "state": last.state.state if last.state is not None else NORMAL,
            "severity": _severity(rule, last.state),
            "transition": now_there[-1] if now_there else "none",
            "gate": last.gate or "none",
        }
        if any(what in expected for what in EXPECTATIONS):
            found |= self.carried_out(moments, at_ms, expected)
        if "because" in expected:
            found["because"] = _because(last.clauses, expected["because"])
        place = f"at {print_duration(at_ms)}, rule {rule.id}"
        return [
            f"{place}: expected {what} {_shown(expected[what])}, found {_shown(found[what])}"
            f" ({self.story(at_ms, last)})"
            for what in found
            if what in expected and _plain(expected[what]) != _plain(found[what])
        ]

    def carried_out(self, moments: list[Moment], at_ms: int, expected: Mapping[str, Any]) -> dict[str, Any]:
        """What the stage has seen of a rule up to an instant, in the words of expectations."""
        if self.standing is None:
            raise ValueError(f"{', '.join(EXPECTATIONS)} are expected, and nothing here carries actions out")
        there = [moment.happened for moment in moments if moment.at_ms == at_ms]
        alarms = [moment.happened.alarm for moment in moments if moment.happened.alarm]
        amounts = [one.charged_nano for one in there if one.charged_nano is not None]
        _, locks, params = [entry for entry in self.standing if entry[0] <= at_ms][-1]
        commands = [command for one in there for command in one.commands]
        notices = [notice for one in there for notice in one.notices]
        webhooks = [webhook for one in there for webhook in one.webhooks]
        found: dict[str, Any] = {
            "alarm": alarms[-1] if alarms else "none",
            "notify": notices or "none",
            "locks": list(locks),
            "command": commands[-1] if commands else "none",
            "charge": print_money(sum(amounts)) if amounts else "none",
            "webhook": webhooks[-1] if webhooks else "none",
        }
        if "param" in expected:
            found["param"] = {
                name: _written_param(self.plain, name, params, wanted) for name, wanted in expected["param"].items()
            }
        if expected.get("charge", "none") != "none" and amounts:
            same = read_money(expected["charge"]) == sum(amounts)
            found["charge"] = expected["charge"] if same else found["charge"]
        return found

    def story(self, at_ms: int, last: Moment) -> str:
        """How the rule came to where it is: its transitions so far, and the gate that holds it."""
        changes = [
            f"{print_duration(moment.at_ms)} {moment.transition}"
            for moment in self.moments
            if moment.transition and moment.at_ms <= at_ms
        ]
        told = ", ".join(changes[-8:]) or "nothing happened"
        return f"{told}; stopped by {last.gate}" if last.gate else told


def _severity(rule: Rule, state: RuleState | None) -> str:
    if state is None or state.state not in (FIRED, RECOVERING):
        return "none"
    alarms = [plan.action.severity for plan in rule.actions if isinstance(plan.action, Alarm)]
    return rule.severity(state.level) or (alarms[0] if alarms else "none")


def _because(clauses: Mapping[str, bool | None], expected: Mapping[str, Any]) -> dict[str, Any]:
    """What the expected clauses gave, by the text that was expected; one that there is not says so."""
    known = {" ".join(text.split()): result for text, result in clauses.items()}
    found: dict[str, Any] = {}
    for text in expected:
        result = known.get(" ".join(text.split()), "no such clause")
        found[text] = "unknown" if result is None else result
    return found


def _written_param(plain: Ruleset, name: str, params: Mapping[str, Any], wanted: object) -> object:
    """The expected text of a parameter where it holds that value, otherwise the value that it holds."""
    param = plain.params.get(name)
    if param is None:
        return f"no parameter {name}"
    return wanted if param_value(param, wanted) == params[name] else shown_value(params[name], param.type)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else [value] if isinstance(value, str) else value


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)

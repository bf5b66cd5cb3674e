"""What the tests of a rule file have exercised: every rule, every clause and every gate, both ways.

A condition that was never true in a test, or never false, could say anything. So while tests run, each evaluation is
counted: whether the rule acted, what each clause of its conditions gave (true, false or unknown), and for each gate
whether it let a rule pass that had come so far, and whether it stopped one. A gate is counted only when the rule
reached it: a calendar is no news while the condition does not hold.

The points of a rule are its firing, its clauses and its gates, each worth two: once true and once false. Unknown is
reported and asked of nobody. Disabled rules are never evaluated and have no points.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from rules.actions import Notify
from rules.language.tracer import Trace
from rules.rule import Rule
from rules.state import FIRED, PENDING, RECOVERING, RuleState, Step

_GATES = ("where", "when", PENDING, "active", "inhibited_by", "guard", "cooldown")
_SHOWN = {PENDING: "for"}
_STANDING = (FIRED, RECOVERING)


class Tally(msgspec.Struct):
    """How often something was true, false and unknown. Of a gate: how often it let pass, and how often it stopped."""

    true: int = 0
    false: int = 0
    unknown: int = 0

    @property
    def points(self) -> int:
        """0 to 2: once true, once false."""
        return (self.true > 0) + (self.false > 0)

    def count(self, result: bool | None) -> None:
        """Count one result; None is unknown."""
        if result is None:
            self.unknown += 1
        elif result:
            self.true += 1
        else:
            self.false += 1


class ClauseCoverage(msgspec.Struct):
    """One clause: the part of the rule it stands in (`when`, `levels[0].when`, `clear.when`) and its text."""

    part: str
    text: str
    tally: Tally


class GateCoverage(msgspec.Struct):
    """One gate: where, for, active, inhibited_by NAME, guard, cooldown, clear, clear.for, retry, notify.cooldown."""

    name: str
    tally: Tally


class RuleCoverage(msgspec.Struct):
    """One rule: whether it acted at an evaluation (true) or not (false), its clauses and its gates."""

    rule: str
    acted: Tally
    clauses: list[ClauseCoverage]
    gates: list[GateCoverage]

    @property
    def points(self) -> tuple[int, int]:
        """Points reached, and points there are."""
        tallies = [self.acted, *(clause.tally for clause in self.clauses), *(gate.tally for gate in self.gates)]
        return sum(tally.points for tally in tallies), 2 * len(tallies)

    @property
    def gaps(self) -> list[str]:
        """What the tests never did, one sentence each."""
        found = _lacks(self.acted, "never acts", "acts at every evaluation")
        for clause in self.clauses:
            place = f"{clause.part}: `{clause.text}`"
            found += _lacks(clause.tally, f"{place} is never true", f"{place} is never false")
        for gate in self.gates:
            found += _lacks(gate.tally, f"gate {gate.name} never lets pass", f"gate {gate.name} never stops")
        return found


class CoverageReport(msgspec.Struct):
    """The coverage of a rule file. `msgspec.to_builtins` gives the form for programs."""

    ruleset: str
    version: int
    rules: list[RuleCoverage]

    @property
    def complete(self) -> bool:
        """Whether every point was reached."""
        reached, there = self.points
        return reached == there

    @property
    def points(self) -> tuple[int, int]:
        """Points reached, and points there are."""
        each = [rule.points for rule in self.rules]
        return sum(reached for reached, _ in each), sum(there for _, there in each)

    @property
    def gaps(self) -> list[str]:
        """Everything that the tests never did, as `rule: what`."""
        return [f"{rule.rule}: {gap}" for rule in self.rules for gap in rule.gaps]


class Coverage:
    """Counts the evaluations of a ruleset's enabled rules."""

    def __init__(self, ruleset: str, version: int, rules: Iterable[Rule]) -> None:
        self.report = CoverageReport(ruleset, version, [])
        self.counters: dict[str, _Counter] = {}
        for rule in rules:
            if rule.enabled:
                counter = self.counters[rule.id] = _Counter(rule)
                self.report.rules.append(counter.coverage)

    def count(self, rule: Rule, env: Any, before: RuleState | None, outcome: Step) -> None:
        """Count one evaluation; `env` stands as it did for `step`, `before` is the state that went in."""
        self.counters[rule.id].count(env, before, outcome)


class _Counter:
    """The counting of one rule, with its tallies at hand by name."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.clauses: dict[tuple[str, str], Tally] = {}
        for part, expression in _parts(rule):
            for text in expression.clauses:
                self.clauses[part, text] = Tally()
        self.gates = {name: Tally() for name in _gate_names(rule)}
        self.coverage = RuleCoverage(
            rule.id,
            Tally(),
            [ClauseCoverage(part, text, tally) for (part, text), tally in self.clauses.items()],
            [GateCoverage(name, tally) for name, tally in self.gates.items()],
        )

    def count(self, env: Any, before: RuleState | None, outcome: Step) -> None:
        standing = before is not None and before.state in _STANDING and not self.rule.repeats
        fires = outcome.transition == FIRED
        self.coverage.acted.count(fires)
        self.count_clauses(env, standing)
        if standing and outcome.gate != "where":
            self.pass_gate("where", True)
            self.count_standing(before, outcome)
        else:
            self.count_gates(env, fires, outcome.gate)
        if fires or outcome.transition == "level_up":
            self.count_notify(outcome)

    def count_clauses(self, env: Any, standing: bool) -> None:
        """Each clause that this evaluation had to do with: the condition only inside the scope, `clear` when fired."""
        inside = self.rule.where is None or self.rule.where.run(env) is True
        for part, expression in _parts(self.rule):
            if part not in ("scope.where", "clear.when") and not inside:
                continue
            if part == "clear.when" and not standing:
                continue
            trace = Trace()
            expression.trace(env, trace)
            for clause in trace.clauses:
                self.clauses[part, clause.text].count(clause.result)

    def count_gates(self, env: Any, fires: bool, gate: str) -> None:
        """The gates in their order, up to the one that stopped the rule."""
        gate = "when" if gate in ("unknown", "error") else gate
        if not fires and gate not in _GATES:
            return
        stopped = len(_GATES) if fires else _GATES.index(gate)
        for index, name in enumerate(_GATES[: stopped + 1]):
            if name == "inhibited_by":
                self.count_inhibitors(env)
            else:
                self.pass_gate(_SHOWN.get(name, name), index < stopped)

    def count_inhibitors(self, env: Any) -> None:
        for one in self.rule.inhibited_by:
            holds = env.peer_fired(one.name) if one.flag is None else one.flag(env) is not False
            self.pass_gate(f"inhibited_by {one.name}", not holds)

    def count_standing(self, before: RuleState | None, outcome: Step) -> None:
        """A rule that had fired: did it clear, recover, release?"""
        cleared = outcome.transition == "cleared"
        after = outcome.state if outcome.changed else before
        self.pass_gate("clear", cleared or (after is not None and after.state == RECOVERING))
        if cleared or (after is not None and after.state == RECOVERING):
            self.pass_gate("clear.for", cleared)
        if outcome.transition == "released":
            self.pass_gate("retry", True)
        elif before is not None and not before.release_ms:
            self.pass_gate("retry", False)

    def count_notify(self, outcome: Step) -> None:
        self.pass_gate("notify.cooldown", any(isinstance(action, Notify) for action in outcome.actions))

    def pass_gate(self, name: str, passes: bool) -> None:
        """Count a gate, if the rule has it."""
        if name in self.gates:
            self.gates[name].count(passes)


def _parts(rule: Rule) -> list[tuple[str, Any]]:
    """The conditions of a rule, by the part of the file they stand in."""
    found = [("scope.where", rule.where)]
    if rule.has_ladder:
        found += [(f"levels {level.severity}", level.when) for level in rule.levels]
    else:
        found.append(("when", rule.levels[0].when))
    found.append(("clear.when", rule.clear.when if rule.clear is not None else None))
    return [(part, expression) for part, expression in found if expression is not None]


def _gate_names(rule: Rule) -> list[str]:
    clear = rule.clear
    cooled = any(isinstance(plan.action, Notify) and _has_cooldown(plan) for plan in rule.actions)
    present = {
        "where": rule.where is not None,
        "for": rule.for_ is not None,
        "active": rule.active is not None,
        **{f"inhibited_by {one.name}": True for one in rule.inhibited_by},
        "guard": rule.guard is not None,
        "cooldown": rule.cooldown is not None,
        "clear": clear is not None and clear.when is not None,
        "clear.for": clear is not None and clear.for_ is not None,
        "retry": rule.retry is not None,
        "notify.cooldown": cooled,
    }
    return [name for name, there in present.items() if there]


def _has_cooldown(plan: Any) -> bool:
    return plan.action.cooldown_ms > 0 or any(field == "cooldown_ms" for field, _ in plan.late)


def _lacks(tally: Tally, never_true: str, never_false: str) -> list[str]:
    found = [] if tally.true else [never_true]
    return found if tally.false else [*found, never_false]


def render(report: CoverageReport) -> str:
    """The report for people: a line a rule, the gaps under it, and the sum."""
    lines = []
    for rule in report.rules:
        reached, there = rule.points
        clauses, gates = len(rule.clauses), len(rule.gates)
        lines.append(f"{rule.rule}: {reached} of {there} points ({_some(clauses, 'clause')}, {_some(gates, 'gate')})")
        lines += [f"    {gap}" for gap in rule.gaps]
    reached, there = report.points
    share = f"{100 * reached // there} %" if there else "nothing to cover"
    lines.append(f"coverage of {report.ruleset} version {report.version}: {reached} of {there} points, {share}")
    return "\n".join(lines)


def _some(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

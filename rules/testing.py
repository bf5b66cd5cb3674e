"""Tests that stand in the rule file, run with the evaluator that runs live.

A test is one twin without a platform: its paths hold what `given` and the `series` say, its clock goes from sample to
sample, and in between to every instant at which a rule asks to be woken. What triggers a rule at a sample: the path
itself or its beginning (`conn` for `conn.state`); an event such as `reading.registers` is triggered by every sample
below its first word (`reading.`), unless the test gives the event a series of its own, whose samples are the
occurrences. `clock` counts at every sample. A missing sample (`_`) is an evaluation with an unknown input. `X.at`
follows the newest sample below `X.` by itself. `guard.RULE` (with `_` for `-`) stands for the rest of the site: the
firings that other twins have spent of the rule's guard. With a stage (see `stage`) the actions are carried out too;
paths that follow from them, such as `breaker.locks`, are then read from there unless the test says what they hold.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from rules.coverage import Coverage, CoverageReport
from rules.errors import ParamError, did_you_mean
from rules.expectations import Moment, Seen
from rules.explain import explain
from rules.language.kinds import INT, Type
from rules.language.values import MISSING, PathSpec, TwinModel, Unknown
from rules.literals import EPOCH, read_duration
from rules.rule import CLOCK, Rule, Ruleset
from rules.ruleset import compile_ruleset, resolve_params
from rules.series import EVENT, read_sample, read_series
from rules.stage import NOTHING, OpenStage
from rules.state import FIRED, RECOVERING, RuleState, Step
from rules.step import step

DEFAULT_START = "2026-01-05T00:00:00"
DEFAULT_INTERVAL = "1m"
MAX_WAKES = 10_000
MAX_FOLLOWED = 8
GUARD = "guard."


class TestResult(msgspec.Struct, frozen=True):
    """The outcome of one test; `failures` says in words what was expected and what was found."""

    __test__ = False

    name: str
    passed: bool
    failures: tuple[str, ...] = ()


class Suite(msgspec.Struct, frozen=True):
    """All tests of a rule file: their results in file order, and what they have exercised."""

    results: tuple[TestResult, ...]
    coverage: CoverageReport

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return all(result.passed for result in self.results)


class PlainEnv:
    """An environment that holds its values by path: one twin of a test, without a platform."""

    def __init__(self, start: int, zone: tzinfo, ruleset: Ruleset, params: Mapping[str, Any]) -> None:
        self.start = start
        self.now = start
        self.zone = zone
        self.ruleset = ruleset
        self.params = params
        self.values: dict[str, Any] = {}
        self.sampled_at: dict[str, int] = {}
        self.states: dict[str, RuleState | None] = {}
        self.fired_at: dict[str, list[int]] = {}

    def peer_fired(self, rule_id: str) -> bool:
        """Whether the other rule of the test stands fired."""
        state = self.states.get(rule_id)
        return state is not None and state.state in (FIRED, RECOVERING)

    def held_back(self, rule: Any) -> str:  # noqa: ARG002 -- a file's tests are about its rules, not about a site
        """Nothing: what a site has promised is not part of a rule file."""
        return ""

    def guard_used(self, rule_id: str) -> int:
        """How many times the rule has fired inside its guard's window: in this test, and elsewhere at the site."""
        guard = self.ruleset.by_id[rule_id].guard
        window = guard.per_ms if guard is not None else 0
        here = sum(1 for instant in self.fired_at.get(rule_id, ()) if instant > self.now - window)
        elsewhere = self.values.get(guard_path(rule_id), 0)
        return here + (elsewhere if isinstance(elsewhere, int) else 0)


def guard_path(rule_id: str) -> str:
    """The path by which a test says how much of a rule's guard other twins have used."""
    return GUARD + rule_id.replace("-", "_").lower()


def plain_model(model: TwinModel) -> dict[str, PathSpec]:
    """The same paths and types, read from a `PlainEnv`."""
    return {
        name: PathSpec(spec.type, spec.unit, _reader(name), spec.scopes, at=_age_reader(name))
        for name, spec in model.items()
    }


def _reader(name: str) -> Callable[[PlainEnv], Any]:
    below = name.removesuffix("at")
    if name.endswith(".at"):
        return lambda env: env.values.get(name, max(_instants_below(env, below), default=MISSING))
    return lambda env: env.values.get(name, MISSING)


def _instants_below(env: PlainEnv, prefix: str) -> list[int]:
    return [instant for path, instant in env.sampled_at.items() if path.startswith(prefix)]


def _age_reader(name: str) -> Callable[[PlainEnv], int | None]:
    return lambda env: env.sampled_at.get(name)


def run_tests(
    ruleset: Ruleset, document: Mapping[str, Any], zone: tzinfo | None = None, stage: OpenStage | None = None
) -> list[TestResult]:
    """Run every test of a rule file that compiles; `zone` is that of the calendars where a test names none."""
    return list(run_suite(ruleset, document, zone, stage).results)


def run_suite(
    ruleset: Ruleset, document: Mapping[str, Any], zone: tzinfo | None = None, stage: OpenStage | None = None
) -> Suite:
    """`run_tests`, together with the coverage of the rules by them."""
    plain = compile_ruleset(document, plain_model(ruleset.model))
    coverage = Coverage(plain.name, plain.version, plain.rules)
    results = [run_test(plain, test, zone or ZoneInfo("UTC"), coverage, stage) for test in document.get("tests", ())]
    return Suite(tuple(results), coverage.report)


def run_test(
    plain: Ruleset,
    test: Mapping[str, Any],
    zone: tzinfo,
    coverage: Coverage | None = None,
    stage: OpenStage | None = None,
) -> TestResult:
    """Run one test against a ruleset compiled over a `plain_model`; `coverage` counts what it exercises."""
    try:
        failures = _TestRun(plain, test, zone, coverage, stage).failures()
    except (ValueError, ZoneInfoNotFoundError, ParamError) as error:
        failures = [str(error)]
    return TestResult(test["name"], not failures, tuple(failures))


class _TestRun:
    """One test on its way: the environment, the samples to come, and what each rule did."""

    def __init__(
        self,
        plain: Ruleset,
        test: Mapping[str, Any],
        zone: tzinfo,
        coverage: Coverage | None,
        open_stage: OpenStage | None,
    ) -> None:
        self.plain = plain
        self.test = test
        self.coverage = coverage
        zone = ZoneInfo(test["timezone"]) if "timezone" in test else zone
        self.interval = read_duration(test.get("interval", DEFAULT_INTERVAL))
        if self.interval <= 0:
            raise ValueError("the interval must be longer than nothing")
        params = resolve_params(plain, test.get("params", {}))
        self.env = PlainEnv(_start(test.get("start", DEFAULT_START), zone), zone, plain, params)
        self.guards = {guard_path(rule.id) for rule in plain.rules if rule.guard is not None}
        self.events = {trigger for rule in plain.rules for trigger in rule.on} - set(plain.model)
        self.series = {path: read_series(self.type_of(path), text) for path, text in test.get("series", {}).items()}
        for path, raw in test.get("given", {}).items():
            self.env.values[path] = MISSING if raw is None else read_sample(self.type_of(path), raw)
            self.env.sampled_at[path] = self.env.start
        self.told = {*self.series, *test.get("given", {})}
        self.rules = self.chosen_rules()
        self.stage = open_stage(plain, self.env.start, zone, test) if open_stage is not None else None
        self.traced = {expected["rule"] for expected in test["expect"] if "because" in expected}
        self.standing: list[tuple[int, tuple[str, ...], Mapping[str, Any]]] = []
        self.depth = 0
        self.look_around()
        self.moments: dict[str, list[Moment]] = {rule.id: [] for rule in self.rules}
        self.wakes: dict[str, int] = {}

    def type_of(self, path: str) -> Type:
        spec = self.plain.model.get(path)
        if spec is not None:
            return spec.type
        if path in self.events:
            return EVENT
        if path in self.guards:
            return INT
        known = [*self.plain.model, *self.guards, *self.events]
        raise ValueError(f"unknown path {path} {did_you_mean(path, known)}".rstrip())

    def chosen_rules(self) -> list[Rule]:
        """The enabled rules of the test's twin, and those that can inhibit them."""
        for expected in self.test["expect"]:
            if expected["rule"] not in self.plain.by_id:
                raise ValueError(
                    f"unknown rule {expected['rule']!r} {did_you_mean(expected['rule'], self.plain.by_id)}"
                )
        scopes = {self.plain.by_id[expected["rule"]].scope_twin for expected in self.test["expect"]}
        scopes = {self.test["twin"]} if "twin" in self.test else scopes
        chosen = [rule for rule in self.plain.rules if rule.enabled and rule.scope_twin in scopes]
        peers = {peer.name for rule in chosen for peer in rule.inhibited_by if peer.flag is None}
        return [rule for rule in self.plain.rules if rule in chosen or (rule.id in peers and rule.enabled)]

    def failures(self) -> list[str]:
        found: list[str] = []
        expectations = [(read_duration(expected["at"]), expected) for expected in self.test["expect"]]
        self.run_until(max(at_ms for at_ms, _ in expectations))
        for at_ms, expected in expectations:
            found.extend(self.differences(at_ms, expected))
        return found

    def differences(self, at_ms: int, expected: Mapping[str, Any]) -> list[str]:
        rule = self.plain.by_id[expected["rule"]]
        seen = Seen(rule, self.plain, self.moments.get(rule.id, []), self.standing if self.stage is not None else None)
        return seen.differences(at_ms, expected)

    def look_around(self) -> list[str]:
        """Take over from the stage what the test itself does not say; returns the paths that have changed."""
        if self.stage is None:
            return []
        changed = []
        for path, value in self.stage.paths().items():
            if path in self.plain.model and path not in self.told and self.env.values.get(path) != value:
                self.env.values[path] = value
                self.env.sampled_at[path] = self.env.now
                changed.append(path)
        self.standing.append((self.env.now - self.env.start, self.stage.locks(), dict(self.env.params)))
        return changed

    def run_until(self, end_ms: int) -> None:
        samples = max((len(series) for series in self.series.values()), default=0)
        index, woken = 0, 0
        while True:
            sample_at = self.env.start + index * self.interval
            due = min(self.wakes.values(), default=None)
            by_sample = index < max(samples, 1) and (due is None or sample_at <= due)
            now = sample_at if by_sample else due
            if now is None or now > self.env.start + end_ms:
                return
            self.env.now = now
            if by_sample:
                self.sample(index)
                index += 1
            else:
                woken += 1
                if woken > MAX_WAKES:
                    raise ValueError(f"the rules asked to be woken more than {MAX_WAKES} times")
                self.evaluate_due()

    def sample(self, index: int) -> None:
        touched: set[str] = set()
        occurred: set[str] = set()
        for path, series in self.series.items():
            if index >= len(series):
                continue
            value = series[index]
            present = not isinstance(value, Unknown)
            if path in self.plain.model or path in self.guards:
                self.env.values[path] = value
                touched.add(path)
            if present:
                occurred.add(path)
                self.env.sampled_at[path] = self.env.now
        for rule in self.rules:
            trigger = next((on for on in rule.on if self.triggers(on, touched, occurred)), None)
            if trigger is not None:
                self.evaluate(rule, trigger)
            elif rule.clocked or self.wakes.get(rule.id, self.env.now + 1) <= self.env.now:
                self.evaluate(rule, CLOCK)

    def triggers(self, on: str, touched: set[str], occurred: set[str]) -> bool:
        if on in self.plain.model:
            return on in touched
        if on in self.series:
            return on in occurred
        if any(name.startswith(f"{on}.") for name in self.plain.model):
            return any(path.startswith(f"{on}.") for path in touched)
        return on != CLOCK and any(path.startswith(on.split(".")[0] + ".") for path in occurred)

    def evaluate_due(self) -> None:
        for rule in self.rules:
            if self.wakes.get(rule.id, self.env.now + 1) <= self.env.now:
                self.evaluate(rule, None)

    def evaluate(self, rule: Rule, trigger: str | None) -> None:
        env = self.env
        before = env.states.get(rule.id)
        outcome: Step = step(rule, env, before, env.now, trigger)
        if self.coverage is not None:
            self.coverage.count(rule, env, before, outcome)
        if outcome.changed:
            env.states[rule.id] = outcome.state
        if outcome.transition == FIRED:
            env.fired_at.setdefault(rule.id, []).append(env.now)
        self.wakes.pop(rule.id, None)
        if outcome.wake_ms is not None:
            self.wakes[rule.id] = max(outcome.wake_ms, env.now + 1)
        after = env.states.get(rule.id)
        clauses = {}
        if rule.id in self.traced:
            clauses = {clause.text: clause.result for clause in explain(rule, env, after, env.now).clauses}
        happened = self.stage.carry_out(rule, env, before, outcome) if self.stage is not None else NOTHING
        if happened.set_params:
            env.params = {**env.params, **happened.set_params}
        at_ms = env.now - env.start
        self.moments[rule.id].append(Moment(at_ms, after, outcome.transition, outcome.gate, happened, clauses))
        self.follow(self.look_around())

    def follow(self, changed: list[str]) -> None:
        """Rules that look at what was just carried out, as they would live."""
        if not changed or self.depth >= MAX_FOLLOWED:
            return
        self.depth += 1
        for rule in self.rules:
            trigger = next((on for on in rule.on for path in changed if path == on or path.startswith(f"{on}.")), None)
            if trigger is not None:
                self.evaluate(rule, trigger)
        self.depth -= 1


def _start(text: str, zone: tzinfo) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    return (moment - EPOCH) // timedelta(milliseconds=1)


__all__ = ["PlainEnv", "Suite", "TestResult", "guard_path", "plain_model", "run_suite", "run_test", "run_tests"]

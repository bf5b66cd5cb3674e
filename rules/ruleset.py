"""From a rule file's document to a compiled `Ruleset`, or to the list of everything that is wrong with it.

The document is a plain dict that has passed the schema; what is checked here is meaning: paths, types, units,
references to calendars and rules, and parts that contradict each other. `locate` gives line and column of a part, so
that a mistake inside an expression points into the file.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2s
from typing import Any

import msgspec

from rules.actions import SEVERITIES, ActionError, Alarm, Charge, Lock, PlannedAction, Unlock, read_action
from rules.calendars import Calendar, CalendarError, read_entry
from rules.errors import (
    MOST_PROBLEMS,
    ExpressionError,
    InvalidExpressionError,
    ParamError,
    RuleProblem,
    RulesetError,
    did_you_mean,
)
from rules.language import Expression, compile_expression
from rules.language.compiler import Run
from rules.language.flips import Flip, earliest, later_than_now
from rules.language.kinds import BOOL, DURATION, Type
from rules.language.values import TwinModel
from rules.literals import is_duration, read_duration
from rules.params import Param, declared_type, param_value, read_param, resolved
from rules.rule import CLOCK, Active, Clear, Guard, Inhibitor, Level, Locate, Retry, Rule, Ruleset, ready_step

EVENTS = frozenset(
    {CLOCK, "birth", "conn", "state", "event", "reading", "reading.registers", "reading.power_step", "account.credited"}
)
"""What can happen to a twin beside the change of a path; a path of the model, or its beginning, is a trigger too."""

MOST_PARTS = 500
"""Literals, paths and operators of all expressions of a file, one that stands there often counted once: bounds how
long it takes to load. Our largest pack has 81."""
_CHARACTERS_A_PART = 4
"""What an expression with a mistake counts for, whose parts are not known: reading it has cost time as well."""
SEEN_FROM = {
    "meter": ("meter", "tenant"),
    "breaker": ("breaker", "tenant", "meter"),
    "tenant": ("tenant", "meter"),
    "gateway": ("gateway",),
}
"""Rules of which twins `inhibited_by` can see, by the twin of the rule that asks: a gateway is in no tenant's group."""
ON_UNKNOWN = ("hold", "reset", "fire")


def compile_ruleset(document: Mapping[str, Any], model: TwinModel, locate: Locate | None = None) -> Ruleset:
    """Compile a rule file. Raises `RulesetError` with all problems, in file order where `locate` tells the lines."""
    return _Compilation(document, model, locate).ruleset()


def resolve_params(ruleset: Ruleset, *overrides: Mapping[str, str | int]) -> dict[str, Any]:
    """The parameter values in force, later overrides on top: site, tenant, device. Raises `ParamError`."""
    return resolved(ruleset.params, *overrides)


class _TooManyProblemsError(Exception):
    """Enough has been found wrong."""


class _Compilation:
    """One pass over a document; problems are gathered, not raised, until the end."""

    def __init__(self, document: Mapping[str, Any], model: TwinModel, locate: Locate | None) -> None:
        self.document = document
        self.model = model
        self.locate = locate
        self.problems: list[RuleProblem] = []
        self.parts = 0
        self.params: dict[str, Param] = {}
        self.types: dict[str, Type] = {}
        self.calendars: dict[str, Calendar] = {}
        self.expressions: dict[tuple[str, str, Type], Expression] = {}
        """By text, scope and type: the same condition stands in many rules."""
        self.rule_ids = [str(rule.get("id")) for rule in document.get("rules", ())]
        self.first_index = {name: index for index, name in reversed(list(enumerate(self.rule_ids)))}
        self.triggers = EVENTS | set(model)
        self.triggers |= {name.rsplit(".", depth)[0] for name in model for depth in (1, 2)}

    def ruleset(self) -> Ruleset:
        rules: list[Rule] = []
        try:
            self.read_params()
            self.read_calendars()
            rules += [self.rule(index, written) for index, written in enumerate(self.document.get("rules", ()))]
        except _TooManyProblemsError:
            if self.parts > MOST_PARTS:
                raise RulesetError(self.problems) from None
            self.problems.append(RuleProblem("", 0, 0, f"more than {MOST_PROBLEMS} problems; the others are not told"))
        if self.problems:
            raise RulesetError(sorted(self.problems, key=lambda one: (one.line, one.column)))
        by_trigger: dict[tuple[str, str], list[Rule]] = {}
        for rule in rules:
            for trigger in rule.on if rule.enabled else ():
                by_trigger.setdefault((rule.scope_twin, trigger), []).append(rule)
        return Ruleset(
            name=self.document["ruleset"],
            version=self.document["version"],
            params=self.params,
            calendars=self.calendars,
            rules=tuple(rules),
            by_trigger={key: tuple(found) for key, found in by_trigger.items()},
            by_id={rule.id: rule for rule in rules},
            model=self.model,
        )

    def problem(self, place: tuple[Any, ...], message: str, suggestion: str = "", offset: int | None = None) -> None:
        line, column = self.locate(place) if self.locate is not None else (0, 0)
        column += (offset or 0) if line else 0
        self.problems.append(RuleProblem(_path_text(place), line, column, message, suggestion))
        if len(self.problems) >= MOST_PROBLEMS:
            raise _TooManyProblemsError

    def read_params(self) -> None:
        for name, declared in self.document.get("params", {}).items():
            self.types[name] = declared_type(declared)
            try:
                self.params[name] = read_param(name, declared)
            except ParamError as error:
                self.problem(("params", name), str(error))

    def read_calendars(self) -> None:
        for name, entries in self.document.get("calendars", {}).items():
            found = []
            for index, entry in enumerate(entries):
                try:
                    found.append(read_entry(entry))
                except CalendarError as error:
                    place = ("calendars", name, index, *([error.field] if error.field else []))
                    self.problem(place, str(error))
            self.calendars[name] = Calendar(name, tuple(found))

    def rule(self, index: int, written: Mapping[str, Any]) -> Rule:
        return _RuleCompilation(self, ("rules", index), written).rule()


class _RuleCompilation:
    """One rule of the file; `place` is its position in the document."""

    def __init__(self, whole: _Compilation, place: tuple[Any, ...], written: Mapping[str, Any]) -> None:
        self.whole = whole
        self.place = place
        self.written = written
        self.scope = str(written["scope"]["twin"])
        self.paths: set[str] = set()

    def rule(self) -> Rule:
        written = self.written
        self.check_id()
        on = self.triggers()
        where = self.expression(("scope", "where"), written["scope"].get("where"))
        levels = self.levels()
        clear = self.clear()
        actions = self.actions()
        expressions = [where, *(level.when for level in levels)]
        rule = Rule(
            id=written["id"],
            ruleset=str(self.whole.document.get("ruleset", "")),
            version=int(self.whole.document.get("version", 0)),
            scope_twin=self.scope,
            on=on,
            levels=levels,
            where=where,
            for_=self.duration(("for",), written.get("for")),
            clear=clear,
            active=self.active(),
            on_unknown=self.on_unknown(),
            inhibited_by=self.inhibitors(),
            group_by=tuple(
                self.known_path(("group_by", i), path) for i, path in enumerate(written.get("group_by", ()))
            ),
            cooldown=self.duration(("cooldown",), written.get("cooldown")),
            guard=self.guard(),
            retry=self.retry(),
            actions=actions,
            locks=tuple(plan for plan in actions if isinstance(plan.action, Lock)),
            enabled=written.get("enabled", True),
            description=written.get("description"),
            fingerprint=self.fingerprint(),
            repeats=any(isinstance(plan.action, (Charge, Unlock)) for plan in actions) and not self.has_edges(),
            defers=not any(isinstance(plan.action, Charge) for plan in actions),
            ends_with_calendar=any(isinstance(plan.action, Lock) and plan.action.until_calendar for plan in actions),
            clocked=CLOCK in on,
            flip=earliest([*(found.flip for found in expressions if found is not None), *self.stale_flips()]),
            clear_flip=clear.when.flip if clear is not None and clear.when is not None else None,
            run_where=where.run if where is not None else None,
            run_levels=tuple(level.when.run for level in levels),
            run_when=levels[0].when.run if "when" in written and levels else None,
            paths=frozenset(self.paths),
        )
        self.check_whole(rule)
        ready = ready_step(rule)
        return rule if ready is None else msgspec.structs.replace(rule, ready=ready)

    def problem(self, where: tuple[Any, ...], message: str, suggestion: str = "", offset: int | None = None) -> None:
        self.whole.problem((*self.place, *where), message, suggestion, offset)

    def check_id(self) -> None:
        if self.whole.first_index[self.written["id"]] != self.place[1]:
            self.problem(("id",), f"two rules have the id {self.written['id']!r}")

    def triggers(self) -> tuple[str, ...]:
        known = self.whole.triggers
        for index, trigger in enumerate(self.written["on"]):
            if trigger not in known:
                self.problem(("on", index), f"nothing triggers {trigger!r}", did_you_mean(trigger, known))
        return tuple(self.written["on"])

    def expression(self, where: tuple[Any, ...], text: str | None, expected: Type = BOOL) -> Expression | None:
        if text is None:
            return None
        known = self.whole.expressions
        compiled = known.get((text, self.scope, expected))
        if compiled is None:
            try:
                compiled = compile_expression(text, self.whole.model, self.whole.types, self.scope, expected)
            except InvalidExpressionError as invalid:
                for error in invalid.errors:
                    self.expression_problem(where, text, error)
                self.count(where, len(text) // _CHARACTERS_A_PART)
                return None
            self.count(where, compiled.size)
            known[text, self.scope, expected] = compiled
        self.paths.update(compiled.paths)
        return compiled

    def count(self, where: tuple[Any, ...], parts: int) -> None:
        """Hold the bound on all expressions of the file together."""
        self.whole.parts += parts
        if self.whole.parts > MOST_PARTS:
            self.problem(where, f"the expressions of this file have more than {MOST_PARTS} parts together", "split it")
            raise _TooManyProblemsError

    def expression_problem(self, where: tuple[Any, ...], text: str, error: ExpressionError) -> None:
        """An expression on one line is pointed into; in a folded one the file's lines are not known: its start."""
        offset = error.offset if "\n" not in text else 0
        self.problem(where, f"{error.message} in `{_excerpt(text, error.offset)}`", error.suggestion, offset)

    def levels(self) -> tuple[Level, ...]:
        written = self.written
        if ("when" in written) == ("levels" in written):
            self.problem((), "a rule has either `when` or `levels`")
        if "when" in written:
            when = self.expression(("when",), written["when"])
            return () if when is None else (Level("", when),)
        found: list[Level] = []
        for index, level in enumerate(written.get("levels", ())):
            when = self.expression(("levels", index, "when"), level["when"])
            if level["severity"] not in SEVERITIES:
                self.problem(("levels", index, "severity"), f"unknown severity {level['severity']!r}")
            elif any(level["severity"] == other.severity for other in found):
                self.problem(("levels", index, "severity"), f"two levels have the severity {level['severity']!r}")
            elif when is not None:
                found.append(Level(level["severity"], when))
        return tuple(sorted(found, key=lambda level: SEVERITIES.index(level.severity)))

    def clear(self) -> Clear | None:
        written = self.written.get("clear")
        if written is None:
            return None
        when = self.expression(("clear", "when"), written.get("when"))
        return Clear(when, self.duration(("clear", "for"), written.get("for")))

    def duration(self, where: tuple[Any, ...], text: Any) -> Run | None:
        """The closure of `30s` or of an expression that gives a duration, such as `p.grace`."""
        if text is None:
            return None
        if is_duration(str(text)):
            constant = read_duration(text)
            return lambda _env: constant
        compiled = self.expression(where, str(text), DURATION)
        return None if compiled is None else compiled.run

    def active(self) -> Active | None:
        written = self.written.get("active")
        if written is None:
            return None
        side, name = next(iter(written.items()))
        calendar = self.whole.calendars.get(name)
        if calendar is None:
            self.problem(("active", side), f"unknown calendar {name!r}", did_you_mean(name, self.whole.calendars))
            return None
        return Active(calendar, side == "in")

    def on_unknown(self) -> str:
        choice = self.on_unknown_choice()
        if choice not in ON_UNKNOWN:
            self.problem(("on_unknown",), f"unknown choice {choice!r}", "hold, reset or fire")
        return choice

    def on_unknown_choice(self) -> str:
        return str(self.written.get("on_unknown", "hold"))

    def inhibitors(self) -> tuple[Inhibitor, ...]:
        found: list[Inhibitor] = []
        for index, written in enumerate(self.written.get("inhibited_by", ())):
            if "flag" in written:
                flag = self.expression(("inhibited_by", index, "flag"), written["flag"])
                found.append(Inhibitor(written["flag"], flag.run if flag is not None else None))
                continue
            name = written["rule"]
            if name not in self.whole.first_index:
                place = ("inhibited_by", index, "rule")
                self.problem(place, f"unknown rule {name!r}", did_you_mean(name, self.whole.rule_ids))
            else:
                self.check_seen(("inhibited_by", index, "rule"), name)
            equal = self.known_paths(("inhibited_by", index, "equal"), written.get("equal", ()))
            found.append(Inhibitor(name, None, equal))
        return tuple(found)

    def check_seen(self, place: tuple[Any, ...], name: str) -> None:
        """A rule that can never be seen from here would never inhibit: better to say so at once."""
        other = self.whole.document["rules"][self.whole.first_index[name]]["scope"]["twin"]
        if other not in SEEN_FROM.get(self.scope, ()):
            hint = """ask the connection itself: `flag: gateway.state == "offline"`""" if other == "gateway" else ""
            self.problem(place, f"a rule of scope {self.scope} never sees rule {name!r} of scope {other}", hint)

    def known_path(self, where: tuple[Any, ...], path: str) -> str:
        """A path that names something for the caller: it must exist, in whatever scope."""
        if path not in self.whole.model:
            self.problem(where, f"unknown path {path}", did_you_mean(path, self.whole.model))
        return path

    def known_paths(self, where: tuple[Any, ...], paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.known_path((*where, index), path) for index, path in enumerate(paths))

    def guard(self) -> Guard | None:
        written = self.written.get("guard")
        return None if written is None else Guard(written["max"], read_duration(written["per"]))

    def retry(self) -> Retry | None:
        written = self.written.get("retry")
        if written is None:
            return None
        release = self.duration(("retry", "auto_release"), written["auto_release"])
        return None if release is None else Retry(release, written["max_per_day"])

    def actions(self) -> tuple[PlannedAction, ...]:
        found: list[PlannedAction] = []
        for index, written in enumerate(self.written["then"]):
            try:
                found.append(self.action(index, written))
            except ActionError as error:
                name = next(iter(written), "")
                place = ("then", index, name, error.field) if error.field else ("then", index)
                self.problem(place, str(error))
        if "levels" in self.written and not any(isinstance(plan.action, Alarm) for plan in found):
            found.insert(0, PlannedAction(Alarm("")))
        return tuple(found)

    def action(self, index: int, written: Mapping[str, Any]) -> PlannedAction:
        name = next(iter(written), "")

        def duration(field: str, text: Any) -> int | Callable[[Any], Any]:
            if is_duration(str(text)):
                return read_duration(text)
            return self.duration(("then", index, name, field), text) or 0

        plan = read_action(written, duration, lambda field, path: self.known_path(("then", index, name, field), path))
        if name == "set_param":
            self.check_set_param(index, written[name])
        for key, path in written[name].get("data", {}).items() if name == "webhook" else ():
            self.known_path(("then", index, name, "data", key), path)
        return plan

    def check_set_param(self, index: int, fields: Mapping[str, Any]) -> None:
        param = self.whole.params.get(fields["name"])
        if param is None:
            hint = did_you_mean(fields["name"], self.whole.params)
            self.problem(("then", index, "set_param", "name"), f"unknown parameter {fields['name']!r}", hint)
            return
        try:
            param_value(param, fields["value"])
        except ParamError as error:
            self.problem(("then", index, "set_param", "value"), str(error))

    def stale_flips(self) -> list[Flip | None]:
        """Where an unknown input matters (`reset`, `fire`), the instants at which inputs go stale count as well."""
        if self.on_unknown_choice() == "hold":
            return []
        specs = [self.whole.model[path] for path in sorted(self.paths) if path in self.whole.model]
        return [later_than_now(spec.stale_at) for spec in specs if spec.stale_at is not None]

    def has_edges(self) -> bool:
        return any(part in self.written for part in ("for", "levels", "clear", "retry"))

    def check_whole(self, rule: Rule) -> None:
        """Parts that contradict each other."""
        kinds = [type(plan.action) for plan in rule.actions]
        if Charge in kinds and not rule.repeats:
            self.problem(("then",), "a charge repeats on every trigger: it takes no for, levels, clear or retry")
        if rule.repeats and (Lock in kinds or Alarm in kinds):
            self.problem(
                ("then",), "a rule that repeats (charge, unlock) cannot raise alarms or lock; use a rule of its own"
            )
        if rule.ends_with_calendar and rule.active is None and "active" not in self.written:
            self.problem(("then",), "`until: calendar` needs `active`: its calendar says when the lock ends")
        self.check_targets(rule)
        if rule.retry is not None and not rule.locks and len(kinds) >= len(self.written["then"]):
            self.problem(("retry",), "retry releases locks, and this rule locks nothing")

    def check_targets(self, rule: Rule) -> None:
        """Actions must have something to act on: a gateway has no register and no breaker, a tenant no register."""
        for index, plan in enumerate(rule.actions[-len(self.written["then"]) :]):
            if isinstance(plan.action, Charge) and self.scope != "meter":
                self.problem(("then", index), "only a rule of scope meter can charge: the register is the meter's")
            if isinstance(plan.action, (Lock, Unlock)) and self.scope == "gateway":
                self.problem(("then", index), "a gateway has no breaker and no valve: lock by meter, breaker or tenant")

    def fingerprint(self) -> str:
        conditions = [level["when"] for level in self.written.get("levels", ())]
        parts = [self.written.get("when", ""), *conditions, self.written.get("for", "")]
        text = "\x1f".join(" ".join(str(part).split()) for part in parts)
        return blake2s(text.encode(), digest_size=5).hexdigest()


def _excerpt(text: str, offset: int) -> str:
    """The text from the mistake on, at most 40 characters of it."""
    rest = " ".join(text[offset:].split()) or " ".join(text.split())
    return rest if len(rest) <= 40 else rest[:39] + "…"


def _path_text(place: tuple[Any, ...]) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text

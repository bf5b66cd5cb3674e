"""Mutation of rule packs: does the pack's own tests notice when an operator, a constant or a duration is wrong?

Each mutant is the pack with one thing changed: an operator or a constant of an expression, the default of a parameter,
the `for`, `clear.for`, `cooldown` and `retry` of a rule, the bound of its guard, one of its actions left out, or what
an action carries: the severity of an alarm, the template and cooldown of a notice, the name of a lock, the value of a
parameter. A mutant that does not compile is no mutant. One that passes every test of the pack survives and is a hole in
them. Not mutated, because an expectation cannot see them: how soon a command expires, whom a notice goes to,
calendars, and
parameters that no rule reads because the platform does.

`python -m tests.unit.rules.mutation [PACK ...]` prints the score of each pack and its survivors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rules.errors import RulesetError
from rules.language.lexer import Token, tokens_of
from rules.literals import is_duration, print_duration, print_money, read_duration, read_money
from rules.ruleset import compile_ruleset
from rules.testing import plain_model, run_test
from tests.unit.rules.twin_model import PACKS, pack
from twin.core.arrears import PLATFORM_PARAMS
from twin.core.malignant import PARAMS as STEP_PARAMS
from twin.core.rehearsal import rehearse
from twin.core.view import TWIN_MODEL

PLAIN = plain_model(TWIN_MODEL)
ZONE = ZoneInfo("Asia/Shanghai")
OPERATORS: dict[str, tuple[str, ...]] = {
    "<": ("<=", ">", ">="),
    "<=": ("<", ">", ">="),
    ">": (">=", "<", "<="),
    ">=": (">", "<", "<="),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "%": ("*",),
    "!": ("",),
}
WORDS = {"min": "max", "max": "min", "true": "false", "false": "true"}
CENT = read_money("0.01")
SECOND = 1_000


class Mutant(msgspec.Struct):
    """One changed document, what was changed in words, and in which rule (empty for a parameter)."""

    change: str
    rule: str
    document: dict[str, Any]


class Score(msgspec.Struct):
    """Of one pack: how many mutants there were, and which of them its tests did not notice."""

    pack: str
    mutants: int
    survivors: list[str]

    @property
    def caught(self) -> int:
        """Mutants that at least one test noticed."""
        return self.mutants - len(self.survivors)

    def __str__(self) -> str:
        share = 100 * self.caught / self.mutants if self.mutants else 100.0
        return f"{self.pack}: {self.caught} of {self.mutants} mutants caught, {share:.1f} %"


def score(name: str) -> Score:
    """Mutate a pack in every way and run its tests on each mutant. Raises `ValueError` if it fails them unmutated."""
    document = pack(name)
    if is_caught(document) is not False:
        raise ValueError(f"{name} fails its own tests")
    found = Score(name, 0, [])
    for mutant in mutants(document):
        verdict = is_caught(mutant.document, mutant.rule)
        if verdict is None:
            continue
        found.mutants += 1
        if not verdict:
            found.survivors.append(mutant.change)
    return found


def is_caught(document: Mapping[str, Any], rule: str = "") -> bool | None:
    """Whether a test of the changed pack fails; None when the change does not compile.

    Tests that expect something of the changed rule run first, as they are the ones that will notice.
    """
    try:
        plain = compile_ruleset(document, PLAIN)
    except RulesetError:
        return None
    tests = sorted(document["tests"], key=lambda test: all(expected["rule"] != rule for expected in test["expect"]))
    return any(not run_test(plain, test, ZONE, stage=rehearse).passed for test in tests)


def mutants(document: dict[str, Any]) -> Iterator[Mutant]:
    """Every mutant of a pack."""
    for name, declared in document.get("params", {}).items():
        if name in PLATFORM_PARAMS or name in STEP_PARAMS:
            continue
        for value in mutated_default(declared):
            yield changed(document, ("params", name, "default"), value)
    for index, rule in enumerate(document["rules"]):
        for path, value in places_of(rule):
            for other in ways_of(path, value):
                yield changed(document, ("rules", index, *path), other)
        for path, other in mutated_actions(rule):
            yield changed(document, ("rules", index, *path), other)


def places_of(rule: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Where a rule holds something to mutate, and what stands there."""
    fixed = [("scope", "where"), ("when",), ("for",), ("clear", "when"), ("clear", "for"), ("cooldown",)]
    fixed += [("retry", "auto_release"), ("retry", "max_per_day"), ("guard", "max")]
    levels = [("levels", index, "when") for index in range(len(rule.get("levels", ())))]
    for path in [*fixed, *levels]:
        part: Any = rule
        for key in path:
            part = part.get(key) if isinstance(part, Mapping) else part[key] if part is not None else None
        if part is not None:
            yield path, part


def mutated_actions(rule: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Other words in the actions of a rule, each with its place."""
    for index, action in enumerate(rule["then"]):
        ((name, fields),) = action.items()
        for field, value in fields.items():
            place = ("then", index, name, field)
            if field == "severity":
                yield place, "info" if value != "info" else "major"
            elif field in ("template", "lock") or (name, field) == ("webhook", "name"):
                yield place, f"{value}-x"
            elif field == "cooldown" and is_duration(str(value)):
                yield from ((place, other) for other in mutated_duration(value))
            elif (name, field) == ("set_param", "value") and isinstance(value, int):
                yield place, value + 1
        if len(rule["then"]) > 1:
            yield ("then",), [other for other in rule["then"] if other is not action]


def ways_of(path: tuple[Any, ...], value: Any) -> Iterator[Any]:
    if isinstance(value, int):
        yield from (value - 1, value + 1)
    elif is_duration(value):
        yield from mutated_duration(value)
    elif path[-1] in ("when", "where"):
        yield from mutated_expression(value)


def mutated_default(declared: Mapping[str, Any]) -> Iterator[Any]:
    """The default of a parameter, a little less and a little more."""
    value = declared["default"]
    if declared["type"] == "int":
        yield from (value - 1, value + 1)
    elif declared["type"] == "money":
        yield from (print_money(read_money(value) + step) for step in (-CENT, CENT))
    elif declared["type"] == "duration":
        yield from mutated_duration(value)
    elif declared["type"] == "bool":
        yield not value


def mutated_duration(text: str) -> Iterator[str]:
    """A duration, a second shorter and a second longer."""
    whole = read_duration(text)
    yield from (print_duration(other) for other in (whole - SECOND, whole + SECOND) if other >= 0)


def mutated_expression(text: str) -> Iterator[str]:
    """The expression with one token changed."""
    tokens = tokens_of(text)[:-1]
    for index, token in enumerate(tokens):
        for other in mutated_token(tokens, index):
            yield text[: token.start] + other + text[token.end :]


def mutated_token(tokens: list[Token], index: int) -> Iterator[str]:
    token = tokens[index]
    if token.kind == "op":
        unary = token.text == "-" and (index == 0 or ends_no_value(tokens[index - 1]))
        yield from ("",) if unary else OPERATORS.get(token.text, ())
    elif token.kind == "int":
        yield from (str(int(token.text) + step) for step in (-1, 1) if int(token.text) + step >= 0)
    elif token.kind == "string":
        yield from mutated_string(token.text, tokens[index - 2].text if index > 1 else "")
    elif token.text in WORDS:
        yield WORDS[token.text]


def ends_no_value(token: Token) -> bool:
    """Whether a value still has to come after this token, so that a minus behind it is a sign."""
    return token.text == "in" or (token.kind == "op" and token.text not in (")", "]"))


def mutated_string(quoted: str, function: str) -> Iterator[str]:
    body = quoted[1:-1]
    if function == "money":
        yield from (f'"{print_money(read_money(body) + step)}"' for step in (-CENT, CENT))
    elif function == "duration":
        yield from (f'"{other}"' for other in mutated_duration(body))
    else:
        yield f'"{body}~"'


def changed(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> Mutant:
    """A copy of the document with another value at a path; the tests, which stay, are shared."""
    tests = document["tests"]
    copy = {**deepcopy({key: part for key, part in document.items() if key != "tests"}), "tests": tests}
    part: Any = copy
    for key in path[:-1]:
        part = part[key]
    before, part[path[-1]] = part[path[-1]], value
    rule = document["rules"][path[1]]["id"] if path[0] == "rules" else ""
    place = ".".join(str(key) for key in path[2:])
    return Mutant(f"{rule or path[1]} {place}: {before} -> {value}", rule, copy)


def main(names: list[str], show: Callable[[str], object] = print) -> int:
    """Print the score of the packs; 1 when a mutant survived."""
    scores = [score(name) for name in names or sorted(path.stem for path in PACKS.glob("*.yaml"))]
    for found in scores:
        show(str(found))
        for survivor in found.survivors:
            show(f"    {survivor}")
    return 1 if any(found.survivors for found in scores) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Fuzzing of rule files and expressions: whatever comes, a rule error or a ruleset, and never for long.

Inputs are made from a seed: attacks by name, expressions of the packs with tokens changed, repeated, nested or cut, and
whole packs with any part replaced by another part, by an attack, or by nonsense. `python -m tests.unit.rules.fuzz
[COUNT [SEED]]` prints how many were refused and accepted, the slowest input, and the time of files of 100 KB.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import yaml

from rules.errors import RuleError
from rules.language import compile_expression
from rules.ruleset import compile_ruleset
from schemas.documents import DocumentError, check_document, read_document
from tests.unit.rules.twin_model import PACKS, pack
from twin.core.view import TWIN_MODEL

NAMES = sorted(path.stem for path in PACKS.glob("*.yaml"))
ATTACKS = (
    "__import__('os').system('id')", "reading.__class__.__mro__", "().__class__.__bases__[0].__subclasses__()",
    "'{0.__class__}'.format(reading)", "f'{reading}'", "9**9**9", "9" * 4000, "1" + "*9" * 900, "1" + "+1" * 2000,
    "(" * 4000, "(" * 40 + "1" + ")" * 40, "[" * 2000, "!" * 4000 + "true", "-" * 3000 + "1", "a?" * 1000,
    "[" + "1," * 3000 + "1]", "min(" * 60 + "1" + ")" * 60, "getattr(reading, 'power_w')", "lambda: 0", "import os",
    "reading.power_w > 1; drop", "a" * 4097, '"' + "a" * 4000, '"' + "\\" * 3999, "'" * 4000, "reading." * 500 + "x",
    "ｒeading.power_w > 1", "reading․power_w", "\u202ereading", "\x00", "\ud800", "", " " * 4000, "\n" * 4000, "0x1f",
    "1e309", "NaN", "1.0.0", "..", "0.0" + "0" * 4000, "timestamp(\"9999-99-99T00:00:00Z\") > now", "x in x in x",
    'duration("99999999999999999d") > 1', 'money("99999999999999999999")', "reading.power_w % 0 == 0", "1/0 == 1",
    'timestamp("0001-01-01T00:00:00+23:59") < now', "now - " * 400 + "now", "9223372036854775807 + 1 == 0",
    "has(has(x))", "size(size)", "min()", "max([])", "max([[1]])", "p.", "p.__dict__",
    "now.time.hour", "time(\"99:99\")",
    "(a+)+$" * 200, "{{7*7}}", "${jndi:ldap://x}", "%s%s%n", "reading.power_w >" + " " * 3000 + "1",
    "true" + "&&true" * 700,
)  # fmt: skip
NONSENSE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    1.5,
    "",
    "x",
    [],
    {},
    [[]],
    {"x": {}},
    [None] * 99,
    "p.x",
    "clock",
)
CHARACTERS = "()[]!<>=&|+-*/%?:,.\"'\\ \n\tap_019é中\x00"


class Report:
    """What became of the inputs."""

    def __init__(self) -> None:
        self.accepted = 0
        self.refused = 0
        self.slowest_ms = 0.0
        self.slowest = ""

    def try_out(self, what: str, act: Callable[[], object]) -> None:
        """Run one input; anything but a result or a refusal is raised with the input in its notes."""
        began = time.process_time()
        try:
            act()
            self.accepted += 1
        except (RuleError, DocumentError):
            self.refused += 1
        except BaseException as error:
            error.add_note(f"input: {what[:2000]}")
            raise
        took_ms = 1_000 * (time.process_time() - began)
        if took_ms > max(self.slowest_ms, 10.0):  # slow by itself, or was the machine busy?
            took_ms = min(took_ms, least_ms(act, 1))
        if took_ms > self.slowest_ms:
            self.slowest_ms, self.slowest = took_ms, what[:300]


def expressions_of(document: Any) -> Iterator[str]:
    """Every text of a rule file that stands where an expression may."""
    if isinstance(document, dict):
        for key, part in document.items():
            if key in ("when", "where", "flag") and isinstance(part, str):
                yield part
            else:
                yield from expressions_of(part)
    elif isinstance(document, list):
        for part in document:
            yield from expressions_of(part)


EXPRESSIONS = tuple(dict.fromkeys(text for name in NAMES for text in expressions_of(pack(name)["rules"])))


def expression(chance: random.Random) -> str:
    """One text that may be an expression."""
    text = chance.choice(EXPRESSIONS if chance.random() < 0.8 else ATTACKS)
    for _ in range(chance.randrange(4)):
        at, to = sorted((chance.randrange(len(text) + 1), chance.randrange(len(text) + 1)))
        way = chance.randrange(6)
        if way == 0:
            text = text[:at] + text[to:]
        elif way == 1:
            text = text[:at] + chance.choice(CHARACTERS) + text[at:]
        elif way == 2:
            text = text[:at] + text[at:to] * chance.randrange(1, 20) + text[to:]
        elif way == 3:
            text = chance.choice("(!-[") * chance.randrange(1, 60) + text + ")" * chance.randrange(60)
        elif way == 4:
            text = f"{text} {chance.choice(('&&', '||', '?', ':', '==', 'in', '%'))} {chance.choice(EXPRESSIONS)}"
        else:
            text = text[:at] + chance.choice(ATTACKS)[:400] + text[to:]
        text = text[:6_000]
    return text


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document but its root."""
    found = [at] if at else []
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, part in parts:
        found += places(part, (*at, key))
    return found


def rule_file(chance: random.Random) -> dict[str, Any]:
    """A pack with a few of its parts replaced, taken away or doubled."""
    document = pack(chance.choice(NAMES))
    document["rules"] = chance.sample(document["rules"], k=min(3, len(document["rules"])))
    document["tests"] = []
    for _ in range(chance.randrange(1, 4)):
        spots = places(document)
        path = chance.choice(spots)
        whole: Any = document
        for key in path[:-1]:
            whole = whole[key]
        way = chance.randrange(5)
        if way == 0:
            del whole[path[-1]]
        elif way == 1:
            whole[path[-1]] = deepcopy(_at(document, chance.choice(spots)))
        elif way == 2:
            whole[path[-1]] = deepcopy(chance.choice(NONSENSE))
        elif way == 3:
            whole[path[-1]] = expression(chance)
        elif isinstance(whole, list):
            whole.extend(deepcopy(whole) * chance.randrange(1, 5))
        else:
            whole[chance.choice(("x", "when", "levels", "until", *map(str, path)))] = whole[path[-1]]
    return document


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def compiled(document: dict[str, Any]) -> object:
    """What loading does: the schema first, then the meaning."""
    check_document(read_document(json.dumps(document, default=str), "fuzz.json"), "ruleset")
    return compile_ruleset(document, TWIN_MODEL)


def big_files() -> Iterator[tuple[str, dict[str, Any]]]:
    """Files of 100 KB as documents: good ones, and the worst we can think of."""
    for name in NAMES:
        document = pack(name)
        document["tests"] = []
        yield f"{name}, many times", _filled(document, document["rules"])
    document = pack("safety")
    rule = {"id": "r", "scope": {"twin": "meter"}, "on": ["clock"], "then": [{"alarm": {"severity": "minor"}}]}
    document["tests"] = []
    worst = {
        "long sums": " + ".join(["reading.power_w"] * 45) + " > 1",
        "deep": "(" * 20 + "!" * 20 + '(now - reading.at > duration("1s"))' + ")" * 20,
        "unknown paths": " || ".join(f"reading.powr_{n} > 1" for n in range(45)),
        "lists": "reading.power_w in [" + ", ".join(map(str, range(60))) + "]",
        "small": "true",
    }
    for name, text in worst.items():
        yield name, _filled(document, [{**rule, "when": text}])
    for name in ("(" * 4_000, "9" * 4_000, "a" * 4_000, "1" + "*9" * 900):
        yield name[:12], _filled(document, [{**rule, "when": name}])
    different = [{**rule, "when": f"reading.power_w > {number}"} for number in range(160)]
    yield "different", _filled(document, different)
    wordy = {
        "title": {"en": "x", "zh": "x"},
        "description": {"en": "x", "zh": "x"},
        "on": ["clock", "reading.power_w", "reading.voltage_mv", "reading.current_ma", "reading.pf_milli"],
    }
    yield "different and wordy", _filled(document, [{**one, **wordy} for one in different])
    yield "unknown words", _filled(document, [{**rule, "when": "true", "on": ["reading.powr_w"] * 16}])


def _filled(document: dict[str, Any], rules: list[dict[str, Any]]) -> dict[str, Any]:
    """The document with copies of the rules, 100 KB of them, each with an id of its own."""
    found: list[dict[str, Any]] = []
    size = 0
    while size < 100_000 and len(found) < 300:
        rule = {**rules[len(found) % len(rules)], "id": f"{rules[len(found) % len(rules)]['id']}-{len(found)}"}
        rule.pop("inhibited_by", None)
        found.append(rule)
        size += len(json.dumps(rule))
    return {**document, "rules": found}


def big_texts() -> Iterator[tuple[str, str]]:
    """Files of 100 KB as people, machines and enemies write them, with the name that tells how to read them."""
    for name in NAMES:
        yield f"{name}, seven times or more.yaml", _repeated((PACKS / f"{name}.yaml").read_text(encoding="utf-8"))
    for name, document in big_files():
        yield f"{name}.yaml", _cut(_as_yaml(document))
    as_json = _cut_document(dict(big_files())["safety, many times"])
    yield "safety, many times.json", json.dumps(as_json, ensure_ascii=False)
    yield "safety, many times, indented.json", json.dumps(as_json, ensure_ascii=False, indent=2)[:100_000]
    head = "ruleset: x\nversion: 1\nrules:\n"
    yield "ones.yaml", f"a: [{'1,' * 49_900}1]"
    yield "ones in a rule.yaml", f"{head}- {{id: r, on: [{'1,' * 6_900}1]}}\n".ljust(100_000)
    yield "no rules at all.yaml", head + "- x\n" * 7_900
    yield "empty rules.yaml", head + "- {}\n" * 7_900
    yield "rules of nonsense.yaml", head + "- {id: 1, on: 2, when: 3, then: 4, x: 5}\n" * 1_300
    yield "unknown fields.yaml", "".join(f"field_{number}: 1\n" for number in range(6_500))
    yield "long names.yaml", "".join(f"{'x' * 900}{number}: 1\n" for number in range(110))
    yield "brackets.yaml", "[" * 100_000
    yield "dashes.yaml", "- " * 50_000
    yield "questions.yaml", "? " * 50_000
    yield "quotes.yaml", '"' + '\\"' * 49_000
    yield "spaces.yaml", "a:" + " " * 99_990 + "1"
    yield "comments.yaml", "#\n" * 50_000
    yield "aliases.yaml", "a: &a [" + "1," * 500 + "1]\nb: [" + "*a," * 5_000 + "*a]\n"
    yield "floats.yaml", "a: [" + "0.1," * 20_000 + "1]"
    yield "the same key.yaml", "a: 1\n" * 7_900
    yield "brackets.json", "[" * 100_000
    yield "ones.json", f"[{'1,' * 49_900}1]"
    yield "nonsense.json", json.dumps({"ruleset": "x", "version": 1, "rules": [{"id": 1, "on": 2, "then": 4}] * 1_300})


def _as_yaml(document: Any) -> str:
    """YAML without anchors, as long as people would make its lines."""
    text: str = yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
    return text


class _Plain(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _repeated(text: str) -> str:
    """A rule file whose rules and tests are there so often that it has 100 KB, each rule under an id of its own."""
    document = read_document(text).data
    rules, tests = document["rules"], document["tests"]
    found: list[Any] = []
    size = len(text)
    while size < 100_000:
        found += [{**rule, "id": f"{rule['id']}-{len(found)}"} for rule in rules]
        size += len(text)
    more = tests * (1 + len(found) // len(rules))
    return _cut(_as_yaml({**document, "rules": rules + found, "tests": more}), 110_000)


def _cut_document(document: dict[str, Any]) -> dict[str, Any]:
    while len(json.dumps(document, ensure_ascii=False)) > 100_000:
        document = {**document, "rules": document["rules"][:-4]}
    return document


def _cut(text: str, most: int = 100_000) -> str:
    """At most 100 KB or so, cut where a rule or a test begins."""
    return text if len(text) <= most else text[: text.rindex("\n- ", 0, most) + 1]


def loaded(name: str, text: str) -> object:
    """Everything that happens to a rule file before it is used: reading, checking, compiling."""
    document = check_document(read_document(text, name, "ruleset"), "ruleset")
    return compile_ruleset(document.data, TWIN_MODEL, document.locate)


def fuzz(count: int, seed: int, report: Report) -> None:
    """Nine in ten inputs are expressions, one is a whole file."""
    chance = random.Random(seed)
    for text in ATTACKS:
        report.try_out(text, lambda text=text: compile_expression(text, TWIN_MODEL, {}))
    for number in range(count):
        if number % 10:
            text = expression(chance)
            report.try_out(text, lambda text=text: compile_expression(text, TWIN_MODEL, {}, "meter"))
        else:
            document = rule_file(chance)
            report.try_out(json.dumps(document, default=str), lambda document=document: compiled(document))


def least_ms(act: Callable[[], object], runs: int = 5) -> float:
    """CPU milliseconds of the least disturbed of some runs."""
    found = []
    for _ in range(runs):
        began = time.process_time()
        with contextlib.suppress(RuleError, DocumentError):
            act()
        found.append(1_000 * (time.process_time() - began))
    return min(found)


def _outcome(name: str, text: str) -> str:
    try:
        loaded(name, text)
    except (RuleError, DocumentError) as error:
        return f"refused with {len(error.problems)} problems"  # type: ignore[union-attr]
    return "loaded"


def _steps() -> None:
    for _ in range(1_000_000):
        pass


def main(count: int = 100_000, seed: int = 1) -> tuple[int, float]:
    """Print what was found; returns how many inputs were accepted, and the CPU time of the slowest big file (ms)."""
    report = Report()
    for name in NAMES:  # what happens once in the life of a process: the library of holidays, the compiled schema
        compiled(pack(name))
    with contextlib.suppress(DocumentError):
        compiled({"rules": 1})
    fuzz(count, seed, report)
    print(f"{count} inputs of seed {seed}: {report.accepted} accepted, {report.refused} refused, no other outcome")
    print(f"slowest: {report.slowest_ms:.1f} ms: {report.slowest[:100]!r}")
    return report.accepted, big_ones()


def big_ones(runs: int = 5) -> float:
    """Print what each big file takes, and what one million simple steps take meanwhile; returns the slowest (ms)."""
    slowest = 0.0
    for name, text in big_texts():
        took = least_ms(lambda name=name, text=text: loaded(name, text), runs)
        slowest = max(slowest, took)
        print(f"{len(text.encode()) // 1_000:4d} KB {took:5.1f} ms, {_outcome(name, text)}: {name}")
    print(f"slowest {slowest:.1f} ms; 1 000 000 steps of a loop take {least_ms(_steps):.0f} ms of this machine now")
    return slowest


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

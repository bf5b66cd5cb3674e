"""Rules that get in each other's way, found when files are checked: warnings, because only their author knows better.

Three kinds are looked for among the enabled rules of all loaded rulesets:

- `fight`: one rule locks and another releases the same lock of a breaker or valve, on the same trigger, with
  conditions that can hold together. The breaker would open and close at every message.
- `loop`: a rule sets a parameter that its own condition reads, or that of a rule which sets one of the first rule's:
  the rules can go round for ever. Locks lead round as well: a rule that releases what another holds, because it reads
  that the lock is there, while the other locks again.
- `name`: two rulesets have a rule of the same twin and id. What one remembers about a twin is the other's as well.

Whether two conditions can hold together is judged carefully and simply: each is split at `||` and `&&` into
comparisons of something with a constant; they exclude each other when something would have to lie in two ranges that
do not meet, or be two texts at once. Parameters count with their defaults. In doubt there is a warning.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import combinations, product
from types import SimpleNamespace
from typing import Any

import msgspec

from rules.actions import Lock, SetParam, Unlock
from rules.language import syntax
from rules.language.checker import Checker
from rules.language.compiler import compiled, is_absent
from rules.language.parser import parse
from rules.language.syntax import Node
from rules.rule import Rule, Ruleset

MAX_ALTERNATIVES = 16

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


class Place(msgspec.Struct, frozen=True):
    """A rule of one of the checked rulesets: `ruleset` is the position in the list given, `path` that in its file."""

    ruleset: int
    rule: str
    path: tuple[str | int, ...]


class Conflict(msgspec.Struct, frozen=True):
    """One warning: its kind (`fight`, `loop`, `name`), what it is in a sentence, and the rules that take part."""

    kind: str
    message: str
    places: tuple[Place, ...]


class _Member(msgspec.Struct, frozen=True, eq=False):
    ruleset: Ruleset
    rule: Rule
    place: Place


def find_conflicts(rulesets: Sequence[Ruleset]) -> list[Conflict]:
    """All conflicts among the enabled rules of rulesets that are loaded together."""
    members = [
        _Member(ruleset, rule, Place(number, rule.id, ("rules", index)))
        for number, ruleset in enumerate(rulesets)
        for index, rule in enumerate(ruleset.rules)
        if rule.enabled
    ]
    return [*_same_names(members), *_fights(members), *_loops(members)]


def _same_names(members: Sequence[_Member]) -> Iterator[Conflict]:
    first: dict[tuple[str, str], _Member] = {}
    for other in members:
        one = first.setdefault((other.rule.scope_twin, other.rule.id), other)
        if one is not other:
            both = f"{one.ruleset.name} and {other.ruleset.name}"
            message = f"rule {one.rule.id} stands in {both}: each would take the other's state for its own"
            yield Conflict("name", message, (one.place, other.place))


def _fights(members: Sequence[_Member]) -> Iterator[Conflict]:
    releasers = [member for member in members if any(isinstance(act, Unlock) for act in _actions(member.rule))]
    for locker in members:
        for releaser in releasers if locker.rule.locks else ():
            yield from _fights_of(locker, releaser)


def _fights_of(locker: _Member, releaser: _Member) -> Iterator[Conflict]:
    locked = {(act.target, act.lock) for act in _actions(locker.rule) if isinstance(act, Lock)}
    released = {(act.target, act.lock) for act in _actions(releaser.rule) if isinstance(act, Unlock)}
    trigger = _common_trigger(locker.rule, releaser.rule) if locked & released else ""
    if not trigger or not _can_hold_together(locker, releaser):
        return
    for target, lock in sorted(locked & released):
        message = (
            f"on {trigger}, rule {locker.rule.id} locks the {target} for {lock} and rule {releaser.rule.id} releases"
            " it; their conditions can hold together"
        )
        yield Conflict("fight", message, (locker.place, releaser.place))


def _actions(rule: Rule) -> list[Any]:
    return [plan.action for plan in rule.actions]


def _common_trigger(one: Rule, other: Rule) -> str:
    """A trigger that reaches both rules, such as `reading` and `reading.power_w`; empty when there is none."""
    for mine, theirs in product(one.on, other.on):
        if mine == theirs or mine.startswith(f"{theirs}.") or theirs.startswith(f"{mine}."):
            return max(mine, theirs, key=len)
    return ""


def _loops(members: Sequence[_Member]) -> Iterator[Conflict]:
    """Each set of rules that reach one another by what they set, lock and read, once."""
    actors = [index for index, member in enumerate(members) if _moves_something(member.rule)]
    follows = {index: _next_rules(index, actors, members) for index in actors}
    reached = {index: _reachable(index, follows) for index in follows}
    seen: set[int] = set()
    for index in actors:
        if index in seen or index not in reached[index]:
            continue
        ring = [other for other in sorted(reached[index]) if index in reached[other]]
        seen.update(ring)
        kinds = {type(act) for other in ring for act in _actions(members[other].rule)}
        if SetParam in kinds or {Lock, Unlock} <= kinds:  # what is only ever locked, or only released, comes to rest
            yield Conflict("loop", _loop_message(ring, members), tuple(members[other].place for other in ring))


def _loop_message(ring: Sequence[int], members: Sequence[_Member]) -> str:
    acts = [act for other in ring for act in _actions(members[other].rule)]
    names = sorted({f"p.{act.name}" for act in acts if isinstance(act, SetParam)})
    locks = sorted({f"{act.lock} lock of the {act.target}" for act in acts if isinstance(act, (Lock, Unlock))})
    rules = ", ".join(members[other].rule.id for other in ring)
    if len(ring) == 1:
        return f"rule {rules} sets {', '.join(names)}, which its own condition reads: it can set itself off for ever"
    if not locks:
        return (
            f"rules {rules} set {', '.join(names)} and read them from each other: they can set each other off for ever"
        )
    what = " and ".join([*(f"set {name}" for name in names), *(f"move the {lock}" for lock in locks)])
    return f"rules {rules} {what}, each because of what the other does: they can set each other off for ever"


def _moves_something(rule: Rule) -> bool:
    return any(isinstance(act, (SetParam, Lock, Unlock)) for act in _actions(rule))


def _next_rules(index: int, actors: Sequence[int], members: Sequence[_Member]) -> set[int]:
    """The rules that look at what this rule does."""
    member = members[index]
    return {
        other
        for other in actors
        if _sets_for(member.rule, members[other].rule)
        or (other != index and (_shows_to(member.rule, members[other].rule) or _undoes(member, members[other])))
    }


def _sets_for(one: Rule, other: Rule) -> bool:
    """Whether a rule sets a parameter that another reads. A tenant's parameter reaches its meters, not reversely."""
    written = {f"p.{act.name}" for act in _actions(one) if isinstance(act, SetParam)}
    return bool(written & other.paths) and one.scope_twin in (other.scope_twin, "tenant")


def _shows_to(one: Rule, other: Rule) -> bool:
    """Whether a rule moves a lock where another one looks: at the locks, or at the position that follows them."""
    moved = {act.target for act in _actions(one) if isinstance(act, (Lock, Unlock))}
    return any(f"{target}.{part}" in other.paths for target in moved for part in ("locks", "relay", "position"))


def _undoes(one: _Member, other: _Member) -> bool:
    """Whether a rule releases what another one holds, and so locks again, while both their conditions hold."""
    released = {(act.target, act.lock) for act in _actions(one.rule) if isinstance(act, Unlock)}
    held = {(act.target, act.lock) for act in _actions(other.rule) if isinstance(act, Lock)}
    return bool(released & held) and _can_hold_together(one, other)


def _reachable(start: int, follows: dict[int, set[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(follows[start])
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(follows[index])
    return found


class _Fact(msgspec.Struct, frozen=True):
    """What a comparison demands: `subject` (a text of the rule file) stands in relation `op` to a value."""

    subject: str
    op: str
    value: Any


def _can_hold_together(one: _Member, other: _Member) -> bool:
    """Whether some alternative of one condition and some of the other demand nothing that excludes itself."""
    mine, theirs = _alternatives_of(one), _alternatives_of(other)
    return any(_is_possible([*first, *second]) for first in mine for second in theirs)


def _alternatives_of(member: _Member) -> list[list[_Fact]]:
    rule = member.rule
    found = [facts for level in rule.levels for facts in _alternatives(_read(member, level.when.text), member, True)]
    if rule.where is None:
        return found
    inside = _alternatives(_read(member, rule.where.text), member, True)
    return _joined(inside, found)


def _joined(left: list[list[_Fact]], right: list[list[_Fact]]) -> list[list[_Fact]]:
    """Both must hold: every way of the one with every way of the other. Too many ways: anything goes."""
    if len(left) * len(right) > MAX_ALTERNATIVES:
        return [[]]
    return [[*first, *second] for first in left for second in right]


def _read(member: _Member, text: str) -> tuple[Node, str]:
    types = {name: param.type for name, param in member.ruleset.params.items()}
    return Checker(member.ruleset.model, types, member.rule.scope_twin).check(parse(text)), text


def _alternatives(read: tuple[Node, str], member: _Member, wanted: bool) -> list[list[_Fact]]:
    """The ways in which the condition gives `wanted`, each a list of facts that must hold; no facts: anything goes."""
    node, text = read
    if isinstance(node, syntax.Unary) and node.op == "!":
        return _alternatives((node.operand, text), member, not wanted)
    if not isinstance(node, syntax.Logic):
        fact = _fact(node, text, member, wanted)
        return [[fact] if fact is not None else []]
    left = _alternatives((node.left, text), member, wanted)
    right = _alternatives((node.right, text), member, wanted)
    if (node.op == "&&") is wanted:
        return _joined(left, right)
    return [*left, *right] if len(left) + len(right) <= MAX_ALTERNATIVES else [[]]


def _fact(node: Node, text: str, member: _Member, wanted: bool) -> _Fact | None:
    """What a clause demands; None when the clause is nothing that can be compared with another."""
    if not isinstance(node, syntax.Binary) or node.op not in _FLIPPED:
        return _Fact(_spaced(text[node.start : node.end]), "==", wanted)
    sides = (_constant(node.left, member), _constant(node.right, member))
    if (sides[0] is None) is (sides[1] is None):
        return _Fact(_spaced(text[node.start : node.end]), "==", wanted)
    subject, value = (node.left, sides[1]) if sides[0] is None else (node.right, sides[0])
    op = node.op if sides[0] is None else _FLIPPED[node.op]
    return _Fact(_spaced(text[subject.start : subject.end]), op if wanted else _NEGATED[op], value)


def _constant(node: Node, member: _Member) -> Any:
    """The value of a side that reads parameters only, with their defaults; None when it reads the twin or fails."""
    if any(not name.startswith("p.") for name in syntax.paths(node)):
        return None
    params = {name: param.default for name, param in member.ruleset.params.items()}
    value = compiled(node, member.ruleset.model)(SimpleNamespace(params=params))
    return None if is_absent(value) else value


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _is_possible(facts: Sequence[_Fact]) -> bool:
    """Whether no two of the facts exclude each other."""
    return not any(one.subject == other.subject and _exclude(one, other) for one, other in combinations(facts, 2))


def _exclude(one: _Fact, other: _Fact) -> bool:
    if "==" in (one.op, other.op):
        exact, free = (one, other) if one.op == "==" else (other, one)
        return not _satisfies(exact.value, free)
    if "!=" in (one.op, other.op):
        return False
    below, above = (one, other) if one.op in ("<", "<=") else (other, one)
    if below.op not in ("<", "<=") or above.op not in (">", ">=") or not _comparable(below.value, above.value):
        return False
    if below.value == above.value:
        return below.op == "<" or above.op == ">"
    return bool(below.value < above.value)


def _satisfies(value: Any, fact: _Fact) -> bool:
    """Whether a value stands in the fact's relation; in doubt it does."""
    if fact.op in ("==", "!="):
        return bool((value == fact.value) is (fact.op == "=="))
    if not _comparable(value, fact.value):
        return True
    strictly = value < fact.value if fact.op in ("<", "<=") else value > fact.value
    return bool(strictly or (fact.op in ("<=", ">=") and value == fact.value))


def _comparable(one: Any, other: Any) -> bool:
    numbers = (int, Decimal)
    return (isinstance(one, numbers) and isinstance(other, numbers)) or (
        isinstance(one, str) and isinstance(other, str)
    )

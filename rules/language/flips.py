"""When will an expression change its result by the passing of time alone?

A comparison that is linear in `now` with a whole factor, such as `now - reading.at > 3 * meter.interval`, changes at
one instant, which follows from the difference of its sides at any other instant: with d(now) = c * now + g, the sign
of d changes at -g / c. The compiler finds the factor c from the tree; g comes from the values. Any other use of
`now` (inside `%`, `min`, `?:`, divided, multiplied by a value) is looked at again after `RECHECK_MS`.
"""

from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from rules.language import syntax
from rules.language.compiler import Run, compiled
from rules.language.syntax import Node
from rules.language.values import ABSENT, TwinModel
from rules.language.walltime import DAY_MINUTES, next_showing

RECHECK_MS = 60_000

Flip = Callable[[Any], int | None]
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


def flip_of(node: Node, model: TwinModel) -> Flip | None:
    """The closure that gives the next instant (ms, after `env.now`) at which the tree may change by time alone.

    None when the tree does not read `now`; the closure gives None when nothing is left to change.
    """
    found = _flips(node, model)
    if not found:
        return None
    if len(found) == 1:
        return found[0]

    def earliest(env: Any) -> int | None:
        instants = [instant for flip in found if (instant := flip(env)) is not None]
        return min(instants) if instants else None

    return earliest


def _flips(node: Node, model: TwinModel) -> list[Flip]:
    if _joins_bools(node):
        return [flip for child in syntax.children(node) for flip in _flips(child, model)]
    names = syntax.paths(node)
    if "now" not in names:
        return _showings(node, names, model)
    if isinstance(node, syntax.Binary) and node.op in _COMPARISONS:
        left, right = _factor(node.left), _factor(node.right)
        if left is None or right is None:
            return [_recheck]
        factor = left - right
        return [_crossing(node.op, factor, compiled(node.left, model), compiled(node.right, model))] if factor else []
    return [_recheck]


def _showings(node: Node, names: list[str], model: TwinModel) -> list[Flip]:
    """When the wall clock next shows something that a clause without `now` itself may be waiting for."""
    if "now.time" not in names:
        return [lambda env: next_showing(env, {0})] if "now.weekday" in names else []
    if isinstance(node, syntax.Binary) and node.op in _COMPARISONS:
        for clock, other in ((node.left, node.right), (node.right, node.left)):
            alone = isinstance(clock, syntax.Path) and clock.name == "now.time"
            if alone and not any(name.startswith("now.") for name in syntax.paths(other)):
                return [_showing(compiled(other, model))]
    return [_next_minute]


def _joins_bools(node: Node) -> bool:
    """Whether the node only joins the results of conditions below it."""
    if isinstance(node, syntax.Binary):
        return node.left.type.kind == "bool"
    return isinstance(node, (syntax.Logic, syntax.Choice, syntax.Unary)) and node.type.kind == "bool"


def _showing(other: Run) -> Flip:
    """A comparison of `now.time` with a time of day changes when the clock shows that minute, the next, or midnight."""

    def flip(env: Any) -> int | None:
        minute = other(env)
        if minute.__class__ is not int:
            return None
        return next_showing(env, {0, minute % DAY_MINUTES, (minute + 1) % DAY_MINUTES})

    return flip


def _next_minute(env: Any) -> int | None:
    instant: int = (env.now // RECHECK_MS + 1) * RECHECK_MS
    return instant


def _recheck(env: Any) -> int | None:
    instant: int = env.now + RECHECK_MS
    return instant


def _factor(node: Node) -> int | None:
    """The whole factor of `now` in a linear tree (0 without `now`), None when the tree is not linear in it."""
    if "now" not in syntax.paths(node):
        return 0
    if isinstance(node, syntax.Path):
        return 1
    if isinstance(node, syntax.Unary):
        inner = _factor(node.operand)
        return None if inner is None else -inner
    if not isinstance(node, syntax.Binary) or node.op not in ("+", "-", "*"):
        return None
    left, right = _factor(node.left), _factor(node.right)
    if left is None or right is None:
        return None
    if node.op == "*":
        return _product(node.left, right) if left == 0 else _product(node.right, left)
    return left + right if node.op == "+" else left - right


def _product(constant: Node, factor: int) -> int | None:
    return constant.value * factor if isinstance(constant, syntax.Literal) and isinstance(constant.value, int) else None


def _unit_crossing(factor: int, lag: int, left: Run, right: Run, general: Flip) -> Flip:
    """The crossing of an ordered comparison with factor 1 or -1 over ints, by far the most frequent one."""

    def flip(env: Any) -> int | None:
        first, second = left(env), right(env)
        if first.__class__ is int and second.__class__ is int:
            ahead: int = (second - first if factor == 1 else first - second) + lag
            return env.now + ahead if ahead > 0 else None
        return general(env)

    return flip


def _crossing(op: str, factor: int, left: Run, right: Run) -> Flip:
    at_zero = op in (">=", "<") if factor > 0 else op in (">", "<=")
    past_zero = not at_zero
    if op in ("==", "!="):
        at_zero = past_zero = True

    def flip(env: Any) -> int | None:
        first, second = left(env), right(env)
        if first.__class__ in ABSENT or second.__class__ in ABSENT:
            return None
        now: int = env.now
        zero, whole = _root(now, factor, first - second)
        for instant, wanted in ((zero, at_zero), (zero + 1 if whole else zero, past_zero)):
            if wanted and instant > now:
                return instant
        return None

    if factor in (1, -1) and at_zero is not past_zero:
        return _unit_crossing(factor, 0 if at_zero else 1, left, right, flip)
    return flip


def _root(now: int, factor: int, difference: Any) -> tuple[int, bool]:
    """The first ms at or past the root of the difference, and whether the root is exactly that ms."""
    if isinstance(difference, int):
        steps, rest = divmod(difference, factor)
        return now - steps, rest == 0
    quotient = Decimal(difference) / factor
    floor, ceiling = quotient.to_integral_value(ROUND_FLOOR), quotient.to_integral_value(ROUND_CEILING)
    return now - int(floor), floor == ceiling


def later_than_now(instant_of: Flip) -> Flip:
    """The same flip while it lies ahead; an instant that has passed is none."""

    def flip(env: Any) -> int | None:
        instant = instant_of(env)
        return instant if instant is not None and instant > env.now else None

    return flip


def earliest(flips: Sequence[Flip | None]) -> Flip | None:
    """The first of several flips; None when none of them is one."""
    found = [flip for flip in flips if flip is not None]
    if len(found) <= 1:
        return found[0] if found else None

    def first(env: Any) -> int | None:
        return min((instant for flip in found if (instant := flip(env)) is not None), default=None)

    return first

"""Runtime values: the two kinds of absence, exact arithmetic, and what a caller must provide.

Beside its plain value an expression may give `Unknown` (an input is missing or stale) or `Failure` (division by zero,
a number past 64 bits). Both are *absent*: a comparison with one is absent too, `&&` and `||` absorb it when the other
side decides, and where both kinds meet `Unknown` wins, as in CEL. Neither supports any operator, so the fast
closures notice one by the `TypeError` and pay nothing when all inputs are there.

Numbers are `int` or `Decimal`, never float. `+ - *` on ints are exact and fail past 64 bits; `/` is exact when it
divides and otherwise rounds to 28 significant digits (CEL truncates: this is our deviation); `%` has the sign of the
dividend, as in CEL.
"""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from decimal import Context, Decimal
from typing import Any, Protocol

import msgspec

from rules.language.kinds import Type

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
CONTEXT = Context(prec=28)


class Unknown(msgspec.Struct, frozen=True, eq=False):
    """An input that is not there: `reason` is a word such as `missing` or `stale`."""

    reason: str = "missing"


class Failure(msgspec.Struct, frozen=True, eq=False):
    """A computation that has no result: `reason` says why."""

    reason: str


MISSING = Unknown("missing")
TOO_LARGE = Failure("a number past 64 bits")
ABSENT: frozenset[type] = frozenset({Unknown, Failure, type(None)})


class Env(Protocol):
    """What an evaluation reads. The caller's object may carry more for the getters of its own model."""

    now: int
    params: Mapping[str, Any]
    zone: tzinfo

    def peer_fired(self, rule_id: str) -> bool:
        """Whether the named rule has fired on a twin that shares the inhibitor's `equal` paths."""

    def held_back(self, rule: Any) -> str:
        """The gate by which the platform itself keeps a rule from locking, whatever its author wrote; empty: none."""

    def guard_used(self, rule_id: str) -> int:
        """How many times the named rule has fired inside its guard's window."""


class PathSpec(msgspec.Struct, frozen=True):
    """One readable path of the twin model.

    `get` returns a plain value or an `Unknown`. `scopes` are the twins whose rules may read it (empty: all). `at`, if
    given, is the instant (ms) of the sample behind the value; `stale_at` the instant from which it becomes unknown.
    """

    type: Type
    unit: str | None
    get: Callable[[Any], Any]
    scopes: frozenset[str] = frozenset()
    at: Callable[[Any], int | None] | None = None
    stale_at: Callable[[Any], int | None] | None = None


TwinModel = Mapping[str, PathSpec]


def absent_of(*operands: Any) -> Unknown | Failure:
    """The absence that a computation over these operands has, for the reason of the first one that is absent."""
    failure: Failure | None = None
    for operand in operands:
        if operand is None:
            return MISSING
        if operand.__class__ is Unknown:
            return operand
        if failure is None and operand.__class__ is Failure:
            failure = operand
    return failure or Failure("the values do not fit this operator")


def add(left: Any, right: Any) -> Any:
    """Exact sum; a `Failure` past 64 bits."""
    if left.__class__ is int and right.__class__ is int:
        result = left + right
        return result if INT64_MIN <= result <= INT64_MAX else TOO_LARGE
    return CONTEXT.add(left, right)


def subtract(left: Any, right: Any) -> Any:
    """Exact difference; a `Failure` past 64 bits."""
    if left.__class__ is int and right.__class__ is int:
        result = left - right
        return result if INT64_MIN <= result <= INT64_MAX else TOO_LARGE
    return CONTEXT.subtract(left, right)


def multiply(left: Any, right: Any) -> Any:
    """Exact product of ints (a `Failure` past 64 bits); 28 digits with decimals."""
    if left.__class__ is int and right.__class__ is int:
        result = left * right
        return result if INT64_MIN <= result <= INT64_MAX else TOO_LARGE
    return CONTEXT.multiply(left, right)


def divide(left: Any, right: Any) -> Any:
    """Exact quotient when it divides, else 28 digits; a `Failure` for division by zero."""
    if left.__class__ in ABSENT or right.__class__ in ABSENT:
        return absent_of(left, right)
    if not right:
        return Failure("division by zero")
    if left.__class__ is int and right.__class__ is int and not left % right:
        return left // right
    return CONTEXT.divide(Decimal(left), Decimal(right))


def remainder(left: Any, right: Any) -> Any:
    """Remainder of ints with the sign of the dividend; a `Failure` for division by zero."""
    if left.__class__ in ABSENT or right.__class__ in ABSENT:
        return absent_of(left, right)
    if not right:
        return Failure("division by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def negate(operand: Any) -> Any:
    """The operand with its sign turned; a `Failure` past 64 bits."""
    if operand.__class__ is int and operand != INT64_MIN:
        return -operand
    return subtract(0, operand)


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}


def both(left: Any, right: Any) -> Any:
    """Three-valued `&&`: false decides, whatever the other side is."""
    if left is False or right is False:
        return False
    if left is True:
        return right
    return left if right is True else absent_of(left, right)


def either(left: Any, right: Any) -> Any:
    """Three-valued `||`: true decides, whatever the other side is."""
    if left is True or right is True:
        return True
    if left is False:
        return right
    return left if right is False else absent_of(left, right)


def as_truth(value: Any) -> Any:
    """A bool as it is; nothing becomes `Unknown`, and anything that is no bool a `Failure`."""
    if value is True or value is False or value.__class__ is Unknown or value.__class__ is Failure:
        return value
    return MISSING if value is None else Failure("not a bool")

"""The types of the rule language and their algebra.

A type is a kind and, for numbers, a unit. `W` meets only `W`; a bare literal takes the unit of its neighbour (its own
unit is `*`); a path or a parameter without a unit is dimensionless and does not meet watts. Money, durations and
instants are kinds of their own: money times a number is money, an instant minus an instant is a duration, money
against watts is a mistake found when the file is loaded.
"""

from __future__ import annotations

import msgspec

ANY_UNIT = "*"


class Type(msgspec.Struct, frozen=True, gc=False):
    """A type: `kind` is int, decimal, bool, string, money, duration, timestamp, time or list (then `item` is set)."""

    kind: str
    unit: str | None = None
    item: Type | None = None

    def __str__(self) -> str:
        if self.item is not None:
            return f"list of {self.item}"
        return f"{self.kind} {self.unit}" if self.unit not in (None, ANY_UNIT) else self.kind


INT = Type("int")
DECIMAL = Type("decimal")
BOOL = Type("bool")
STRING = Type("string")
MONEY = Type("money")
DURATION = Type("duration")
TIMESTAMP = Type("timestamp")
TIME = Type("time")  # minutes of the local day
STRINGS = Type("list", item=STRING)

NUMBERS = frozenset({"int", "decimal"})
ORDERED = frozenset({"int", "decimal", "string", "money", "duration", "timestamp", "time"})


def list_of(item: Type) -> Type:
    """The type of a list whose elements all have one type."""
    return Type("list", item=item)


def is_number(kind: Type) -> bool:
    """Whether the type is a plain number, with or without a unit."""
    return kind.kind in NUMBERS


def merge(left: Type, right: Type) -> Type | None:
    """The type both sides share when they are compared, added or chosen between; None when they do not meet."""
    if is_number(left) and is_number(right):
        if left.unit == right.unit or right.unit == ANY_UNIT:
            unit = left.unit
        elif left.unit == ANY_UNIT:
            unit = right.unit
        else:
            return None
        return Type("int" if left.kind == right.kind == "int" else "decimal", unit)
    if left.item is not None and right.item is not None:
        item = merge(left.item, right.item)
        return None if item is None else list_of(item)
    return left if left == right else None


def sum_type(op: str, left: Type, right: Type) -> Type | None:
    """The type of `left + right` or `left - right`; None when it has no meaning."""
    kinds = (left.kind, right.kind)
    if kinds == ("timestamp", "duration"):
        return TIMESTAMP
    if op == "+" and kinds == ("duration", "timestamp"):
        return TIMESTAMP
    if op == "-" and kinds == ("timestamp", "timestamp"):
        return DURATION
    if left.kind in ("money", "duration") or is_number(left):
        return merge(left, right)
    return None


def product_type(left: Type, right: Type) -> Type | None:
    """The type of `left * right`; None when it has no meaning."""
    for amount, factor in ((left, right), (right, left)):
        if amount.kind in ("money", "duration"):
            return amount if is_number(factor) and factor.unit in (None, ANY_UNIT) else None
    if not (is_number(left) and is_number(right)):
        return None
    kind = "int" if left.kind == right.kind == "int" else "decimal"
    return Type(kind, _product_unit(left.unit, right.unit))


def quotient_type(left: Type, right: Type) -> Type | None:
    """The type of `left / right`; None when it has no meaning. Division is exact, so ints give a decimal."""
    if left.kind in ("money", "duration"):
        if left == right:
            return DECIMAL
        return left if is_number(right) and right.unit in (None, ANY_UNIT) else None
    if not (is_number(left) and is_number(right)):
        return None
    return Type("decimal", _quotient_unit(left.unit, right.unit))


def _product_unit(left: str | None, right: str | None) -> str | None:
    if left in (None, ANY_UNIT):
        return right if right != ANY_UNIT else left
    return left if right in (None, ANY_UNIT) else "*".join(sorted((str(left), str(right))))


def _quotient_unit(left: str | None, right: str | None) -> str | None:
    if right in (None, ANY_UNIT):
        return left if left != ANY_UNIT else right
    if left == right:
        return None
    return f"{'1' if left in (None, ANY_UNIT) else left}/{right}"

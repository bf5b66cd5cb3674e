"""The recording closures: the same tree, evaluated with the values of every clause put aside, and printed later.

A trace of everything must cost little, so nothing is printed while rules run: a clause leaves (left, right, result) in
a list, in the order of the text, and `told` makes `Clause`s of them when somebody looks. As in a trace nothing is cut
short, and the result equals that of the fast closure.
"""

import operator
from collections.abc import Callable
from typing import Any

from rules.language import syntax
from rules.language.compiler import compiled, is_absent
from rules.language.kinds import Type
from rules.language.syntax import Node
from rules.language.tracer import Clause, shown_value
from rules.language.values import ABSENT, Failure, TwinModel, Unknown, absent_of, both, either

Raw = tuple[Any, Any, Any]
"""Left, right and result of one clause; of a clause without an operator its value, None and the result."""
Recording = Callable[[Any, list[Raw]], Any]

_ORDERED: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SAMENESS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "in": lambda item, items: item in items,
}


def recorded(node: Node, model: TwinModel) -> Recording:
    """The recording closure of a checked tree."""
    if isinstance(node, syntax.Logic):
        return _joined(both if node.op == "&&" else either, recorded(node.left, model), recorded(node.right, model))
    if isinstance(node, syntax.Unary) and node.op == "!":
        return _inverted(recorded(node.operand, model))
    if isinstance(node, syntax.Choice) and node.type.kind == "bool":
        return _chosen(*(recorded(part, model) for part in syntax.children(node)))
    if isinstance(node, syntax.Binary) and node.op in _ORDERED:
        return _compared(_ORDERED[node.op], compiled(node.left, model), compiled(node.right, model))
    if isinstance(node, syntax.Binary) and node.op in _SAMENESS:
        return _matched(_SAMENESS[node.op], compiled(node.left, model), compiled(node.right, model))
    return _alone(compiled(node, model))


def _joined(join: Callable[[Any, Any], Any], left: Recording, right: Recording) -> Recording:
    def run(env: Any, out: list[Raw]) -> Any:
        first, second = left(env, out), right(env, out)
        if first is False or second is False or first is not True or second is not True:
            return join(first, second)
        return True

    return run


def _inverted(operand: Recording) -> Recording:
    def run(env: Any, out: list[Raw]) -> Any:
        value = operand(env, out)
        return (not value) if value is True or value is False else value

    return run


def _chosen(condition: Recording, then: Recording, otherwise: Recording) -> Recording:
    def run(env: Any, out: list[Raw]) -> Any:
        value = condition(env, out)
        if value is True:
            return then(env, out)
        return otherwise(env, out) if value is False else value

    return run


def _compared(compare: Callable[[Any, Any], Any], left: Any, right: Any) -> Recording:
    def run(env: Any, out: list[Raw]) -> Any:
        first, second = left(env), right(env)
        try:
            result = compare(first, second)
        except TypeError:
            result = absent_of(first, second)
        out.append((first, second, result))
        return result

    return run


def _matched(compare: Callable[[Any, Any], Any], left: Any, right: Any) -> Recording:
    def run(env: Any, out: list[Raw]) -> Any:
        first, second = left(env), right(env)
        absent = first.__class__ in ABSENT or second.__class__ in ABSENT
        result = absent_of(first, second) if absent else compare(first, second)
        out.append((first, second, result))
        return result

    return run


def _alone(value_of: Any) -> Recording:
    def run(env: Any, out: list[Raw]) -> Any:
        value = value_of(env)
        out.append((value, None, value))
        return value

    return run


class Teller:
    """Prints what an expression has recorded: the texts, operators and types of its clauses, in their order."""

    def __init__(self, node: Node, text: str) -> None:
        self._node, self._text = node, text
        self._known: list[_Shape] = []

    def told(self, raw: list[Raw]) -> list[Clause]:
        """The clauses of one evaluation. A condition of `?:` may have left some out; then they are matched in order
        as far as they go."""
        if not self._known:
            self._known = _shapes(self._node, self._text)
        return [_clause(shape, entry) for shape, entry in zip(self._known, raw, strict=False)]


_Shape = tuple[str, str, Type, Type | None]


def _shapes(node: Node, text: str) -> list[_Shape]:
    if isinstance(node, syntax.Logic):
        return [*_shapes(node.left, text), *_shapes(node.right, text)]
    if isinstance(node, syntax.Unary) and node.op == "!":
        return _shapes(node.operand, text)
    if isinstance(node, syntax.Choice) and node.type.kind == "bool":
        return [shape for part in syntax.children(node) for shape in _shapes(part, text)]
    if isinstance(node, syntax.Binary) and (node.op in _ORDERED or node.op in _SAMENESS):
        return [(text[node.start : node.end], node.op, node.left.type, node.right.type)]
    return [(text[node.start : node.end], "", node.type, None)]


def _clause(shape: _Shape, entry: Raw) -> Clause:
    text, op, left, right = shape
    first, second, value = entry
    reason = value.reason if isinstance(value, Unknown) else ""
    reason = f"error: {value.reason}" if isinstance(value, Failure) else reason
    result = None if is_absent(value) else bool(value)
    shown = shown_value(second, right) if right is not None else ""
    return Clause(text, shown_value(first, left), op, shown, result, reason or "fresh")

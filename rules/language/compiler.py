"""From a checked tree to closures: the fast one that runs on every message.

A closure takes the environment and returns a plain value, an `Unknown` or a `Failure`. Paths are the model's own
getters, called directly; comparisons do not look for absence but let it raise `TypeError`, which costs nothing when
every input is there.
"""

from collections.abc import Callable
from typing import Any

from rules.language import syntax
from rules.language.syntax import Node
from rules.language.values import (
    ABSENT,
    ARITHMETIC,
    INT64_MAX,
    INT64_MIN,
    MISSING,
    TOO_LARGE,
    Failure,
    TwinModel,
    absent_of,
    add,
    as_truth,
    both,
    either,
    multiply,
    negate,
    subtract,
)
from rules.language.walltime import READERS

Run = Callable[[Any], Any]


def compiled(node: Node, model: TwinModel) -> Run:
    """The fast closure of a checked tree."""
    if isinstance(node, syntax.Literal):
        return _constant(node.value)
    if isinstance(node, syntax.Path):
        return _path(node, model)
    if isinstance(node, syntax.Unary):
        operand = compiled(node.operand, model)
        return _not(operand) if node.op == "!" else _negation(operand)
    if isinstance(node, syntax.Logic):
        build = _and if node.op == "&&" else _or
        return build(compiled(node.left, model), compiled(node.right, model))
    if isinstance(node, syntax.Choice):
        return _choice(*(compiled(part, model) for part in syntax.children(node)))
    if isinstance(node, syntax.Binary):
        return _binary(node, model)
    parts = tuple(compiled(part, model) for part in syntax.children(node))
    if isinstance(node, syntax.Call):
        return _CALLS[node.name](*parts)
    return _list(parts)


def _constant(value: Any) -> Run:
    return lambda _env: value


def _path(node: syntax.Path, model: TwinModel) -> Run:
    if node.name == "now":
        get: Run = lambda env: env.now  # noqa: E731 - one of four getters
    elif node.name in READERS:
        get = READERS[node.name]
    elif node.name.startswith("p."):
        name = node.name[2:]
        get = lambda env: env.params[name]  # noqa: E731
    else:
        get = model[node.name].get
    return _truth(get) if node.type.kind == "bool" else get


def _truth(get: Run) -> Run:
    return lambda env: as_truth(get(env))


def _not(operand: Run) -> Run:
    def run(env: Any) -> Any:
        value = operand(env)
        return (not value) if value is True or value is False else value

    return run


def _negation(operand: Run) -> Run:
    def run(env: Any) -> Any:
        value = operand(env)
        try:
            return negate(value)
        except TypeError:
            return absent_of(value)

    return run


def _and(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        first = left(env)
        if first is False:
            return False
        second = right(env)
        return second if first is True else both(first, second)

    return run


def _or(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        first = left(env)
        if first is True:
            return True
        second = right(env)
        return second if first is False else either(first, second)

    return run


def _choice(condition: Run, then: Run, otherwise: Run) -> Run:
    def run(env: Any) -> Any:
        chosen = condition(env)
        if chosen is True:
            return then(env)
        return otherwise(env) if chosen is False else chosen

    return run


def _binary(node: syntax.Binary, model: TwinModel) -> Run:
    left, right = compiled(node.left, model), compiled(node.right, model)
    if node.op == "*" and isinstance(node.left, syntax.Literal) and isinstance(node.left.value, int):
        return _scaled(node.left.value, right)
    if node.op in ARITHMETIC:
        return _arithmetic(node.op, left, right)
    if node.op in _COMPARE_CONSTANT and isinstance(node.right, syntax.Literal):
        return _COMPARE_CONSTANT[node.op](left, node.right.value)
    return _COMPARE[node.op](left, right)


def _arithmetic(op: str, left: Run, right: Run) -> Run:
    if op == "+":
        return _sum(left, right)
    if op == "-":
        return _difference(left, right)
    operation = ARITHMETIC[op]
    return lambda env: _operated(operation, left(env), right(env))


def _operated(operation: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    try:
        return operation(first, second)
    except TypeError:
        return absent_of(first, second)
    except ArithmeticError:
        return Failure("a number that does not fit")


def _sum(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        first, second = left(env), right(env)
        if first.__class__ is int and second.__class__ is int:
            result = first + second
            return result if INT64_MIN <= result <= INT64_MAX else TOO_LARGE
        return _operated(add, first, second)

    return run


def _difference(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        first, second = left(env), right(env)
        if first.__class__ is int and second.__class__ is int:
            result = first - second
            return result if INT64_MIN <= result <= INT64_MAX else TOO_LARGE
        return _operated(subtract, first, second)

    return run


def _scaled(factor: int, right: Run) -> Run:
    def run(env: Any) -> Any:
        second = right(env)
        if second.__class__ is int:
            result = factor * second
            return result if INT64_MIN <= result <= INT64_MAX else TOO_LARGE
        return _operated(multiply, factor, second)

    return run


def _less(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        first, second = left(env), right(env)
        try:
            return first < second
        except TypeError:
            return absent_of(first, second)

    return run


def _less_equal(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        first, second = left(env), right(env)
        try:
            return first <= second
        except TypeError:
            return absent_of(first, second)

    return run


def _equal(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        first, second = left(env), right(env)
        if first.__class__ in ABSENT or second.__class__ in ABSENT:
            return absent_of(first, second)
        return first == second

    return run


def _contains(left: Run, right: Run) -> Run:
    def run(env: Any) -> Any:
        item, items = left(env), right(env)
        if item.__class__ in ABSENT or items.__class__ in ABSENT:
            return absent_of(item, items)
        return item in items

    return run


def _equal_constant(left: Run, constant: Any) -> Run:
    def run(env: Any) -> Any:
        first = left(env)
        return absent_of(first) if first.__class__ in ABSENT else first == constant

    return run


def _unequal_constant(left: Run, constant: Any) -> Run:
    def run(env: Any) -> Any:
        first = left(env)
        return absent_of(first) if first.__class__ in ABSENT else first != constant

    return run


def _more_constant(left: Run, constant: Any) -> Run:
    def run(env: Any) -> Any:
        first = left(env)
        try:
            return first > constant
        except TypeError:
            return absent_of(first)

    return run


def _less_constant(left: Run, constant: Any) -> Run:
    def run(env: Any) -> Any:
        first = left(env)
        try:
            return first < constant
        except TypeError:
            return absent_of(first)

    return run


_COMPARE: dict[str, Callable[[Run, Run], Run]] = {
    "<": _less,
    "<=": _less_equal,
    ">": lambda left, right: _less(right, left),
    ">=": lambda left, right: _less_equal(right, left),
    "==": _equal,
    "!=": lambda left, right: _not(_equal(left, right)),
    "in": _contains,
}
_COMPARE_CONSTANT: dict[str, Callable[[Run, Any], Run]] = {
    ">": _more_constant,
    "<": _less_constant,
    "==": _equal_constant,
    "!=": _unequal_constant,
}


def _has(path: Run) -> Run:
    return lambda env: path(env).__class__ not in ABSENT


def _size(of: Run) -> Run:
    def run(env: Any) -> Any:
        value = of(env)
        return absent_of(value) if value.__class__ in ABSENT else len(value)

    return run


def _extreme(pick: Callable[[Any], Any]) -> Callable[..., Run]:
    def build(*parts: Run) -> Run:
        if len(parts) == 1:
            return _extreme_of_list(pick, parts[0])

        def run(env: Any) -> Any:
            values = [part(env) for part in parts]
            absent = any(value.__class__ in ABSENT for value in values)
            return absent_of(*values) if absent else pick(values)

        return run

    return build


def _extreme_of_list(pick: Callable[[Any], Any], items: Run) -> Run:
    def run(env: Any) -> Any:
        found = items(env)
        if found.__class__ in ABSENT:
            return absent_of(found)
        try:
            return pick(found) if found else MISSING
        except TypeError:  # one of several is absent, and has no order
            return absent_of(*found)

    return run


_CALLS: dict[str, Callable[..., Run]] = {"has": _has, "size": _size, "min": _extreme(min), "max": _extreme(max)}


def _list(parts: tuple[Run, ...]) -> Run:
    def run(env: Any) -> Any:
        values = [part(env) for part in parts]
        absent = any(value.__class__ in ABSENT for value in values)
        return absent_of(*values) if absent else values

    return run


def is_absent(value: Any) -> bool:
    """Whether a result is neither a plain value nor a bool: unknown, failed or missing."""
    return value.__class__ in ABSENT

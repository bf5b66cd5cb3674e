"""The tracing closures: the same tree, evaluated with a record of every clause.

A clause is a comparison, a membership, a `has()` or a bare bool: what stands between `&&`, `||` and `!`. Nothing is
cut short here, so a reader sees every clause of a rule that did not fire. The result equals that of the fast closure.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from rules.language import syntax
from rules.language.compiler import compiled, is_absent
from rules.language.kinds import Type
from rules.language.syntax import Node
from rules.language.values import Failure, TwinModel, Unknown, both, either
from rules.literals import print_clock_time, print_duration, print_money, print_timestamp


class Clause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One clause of an evaluation. Values are printed with their unit; `result` is None when it is unknown.

    `freshness` is `fresh`, or the reason why an input is not there (`missing`, `stale`, `error: ...`); `age_ms` is
    the age of its oldest sample, where the model knows it.
    """

    text: str
    left: str
    op: str
    right: str
    result: bool | None
    freshness: str = "fresh"
    age_ms: int | None = None


class Trace(msgspec.Struct):
    """What one traced evaluation saw: its clauses in the order of the text, and every input."""

    clauses: list[Clause] = msgspec.field(default_factory=list)
    inputs: dict[str, str] = msgspec.field(default_factory=dict)


Tracing = Callable[[Any, Trace], Any]


def clause_texts(node: Node, text: str) -> tuple[str, ...]:
    """The text of every clause that a traced evaluation can record, each once, in the order of the text."""
    if isinstance(node, syntax.Logic):
        parts: tuple[Node, ...] = (node.left, node.right)
    elif isinstance(node, syntax.Unary) and node.op == "!":
        parts = (node.operand,)
    elif isinstance(node, syntax.Choice) and node.type.kind == "bool":
        parts = syntax.children(node)
    else:
        return (text[node.start : node.end],)
    return tuple(dict.fromkeys(found for part in parts for found in clause_texts(part, text)))


def traced(node: Node, text: str, model: TwinModel) -> Tracing:
    """The tracing closure of a checked tree whose expression is `text`."""
    if isinstance(node, syntax.Logic):
        join = both if node.op == "&&" else either
        return _joined(join, traced(node.left, text, model), traced(node.right, text, model))
    if isinstance(node, syntax.Unary) and node.op == "!":
        return _inverted(traced(node.operand, text, model))
    if isinstance(node, syntax.Choice) and node.type.kind == "bool":
        return _chosen(*(traced(part, text, model) for part in syntax.children(node)))
    return _clause(node, text, model)


def _joined(join: Callable[[Any, Any], Any], left: Tracing, right: Tracing) -> Tracing:
    return lambda env, trace: join(left(env, trace), right(env, trace))


def _inverted(operand: Tracing) -> Tracing:
    def run(env: Any, trace: Trace) -> Any:
        value = operand(env, trace)
        return (not value) if value is True or value is False else value

    return run


def _chosen(condition: Tracing, then: Tracing, otherwise: Tracing) -> Tracing:
    def run(env: Any, trace: Trace) -> Any:
        value = condition(env, trace)
        if value is True:
            return then(env, trace)
        return otherwise(env, trace) if value is False else value

    return run


def _clause(node: Node, text: str, model: TwinModel) -> Tracing:
    run = compiled(node, model)
    shown = text[node.start : node.end]
    inputs = _input_readers(node, model)
    sides = (node.left, node.right) if isinstance(node, syntax.Binary) else (node,)
    readers = [(compiled(side, model), side.type) for side in sides]
    op = node.op if isinstance(node, syntax.Binary) else ""

    def record(env: Any, trace: Trace) -> Any:
        value = run(env)
        ages: list[int] = []
        for name, get, kind, at in inputs:
            trace.inputs[name] = shown_value(get(env), kind)
            instant = at(env) if at is not None else None
            if instant is not None:
                ages.append(env.now - instant)
        printed = [shown_value(get(env), kind) for get, kind in readers]
        right = printed[1] if op else ""
        result = None if is_absent(value) else bool(value)
        age_ms = max(ages) if ages else None
        trace.clauses.append(Clause(shown, printed[0], op, right, result, _freshness(value), age_ms))
        return value

    return record


def _input_readers(node: Node, model: TwinModel) -> list[tuple[str, Any, Type, Any]]:
    readers = []
    for name, path in _typed_paths(node).items():
        spec = model.get(name)
        readers.append((name, compiled(path, model), path.type, spec.at if spec else None))
    return readers


def _typed_paths(node: Node) -> dict[str, syntax.Path]:
    found = {node.name: node} if isinstance(node, syntax.Path) else {}
    for child in syntax.children(node):
        found.update(_typed_paths(child))
    return found


def _freshness(value: Any) -> str:
    if isinstance(value, Unknown):
        return value.reason
    if isinstance(value, Failure):
        return f"error: {value.reason}"
    return "fresh" if value is not None else "missing"


def shown_value(value: Any, kind: Type) -> str:
    """A value as people read it: money with decimals, durations and instants as text, numbers with their unit."""
    if is_absent(value):
        return "unknown" if not isinstance(value, Failure) else "error"
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind.kind == "money":
        return print_money(value)
    if kind.kind == "duration":
        return print_duration(value)
    if kind.kind == "timestamp":
        return print_timestamp(value)
    if kind.kind == "time":
        return print_clock_time(value)
    if kind.item is not None:
        return "[" + ", ".join(shown_value(item, kind.item) for item in value) + "]"
    unit = f" {kind.unit}" if kind.unit and kind.unit != "*" else ""
    return f"{value}{unit}" if isinstance(value, (int, Decimal)) else str(value)

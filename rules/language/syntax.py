"""The syntax tree of an expression. Offsets count characters in its text; the checker fills in `type`."""

from collections.abc import Callable
from typing import Any

import msgspec

from rules.language.kinds import Type

UNTYPED = Type("untyped")


class Node(msgspec.Struct, kw_only=True, eq=False, gc=False):
    """Common to all nodes: where the text stands, how high the tree is, and the type once it is checked."""

    start: int
    end: int
    height: int = 1
    type: Type = UNTYPED


class Literal(Node, gc=False):
    """A constant, already in its runtime form (money in nano, durations and instants in ms)."""

    value: Any


class Path(Node, gc=False):
    """`a.b.c`, `p.name` or `now`."""

    name: str


class Unary(Node, gc=False):
    """`!x` or `-x`."""

    op: str
    operand: Node


class Binary(Node, gc=False):
    """Arithmetic, comparison or `in`."""

    op: str
    left: Node
    right: Node


class Logic(Node, gc=False):
    """`&&` or `||`."""

    op: str
    left: Node
    right: Node


class Choice(Node, gc=False):
    """`condition ? then : otherwise`."""

    condition: Node
    then: Node
    otherwise: Node


class Call(Node, gc=False):
    """`has(path)`, `size(list)`, `min(a, b)`, `max(a, b)`; `min` and `max` also of one list."""

    name: str
    args: tuple[Node, ...]


class ListOf(Node, gc=False):
    """`[a, b, c]`."""

    items: tuple[Node, ...]


_PARTS: dict[type[Node], Callable[[Any], tuple[Node, ...]]] = {
    Binary: lambda node: (node.left, node.right),
    Logic: lambda node: (node.left, node.right),
    Unary: lambda node: (node.operand,),
    Choice: lambda node: (node.condition, node.then, node.otherwise),
    Call: lambda node: node.args,
    ListOf: lambda node: node.items,
}


def children(node: Node) -> tuple[Node, ...]:
    """The direct parts of a node, from left to right."""
    parts = _PARTS.get(node.__class__)
    return () if parts is None else parts(node)


def paths(node: Node) -> list[str]:
    """The paths that the tree reads, each once, in the order of the text."""
    return survey(node)[0]


def survey(node: Node) -> tuple[list[str], int]:
    """The paths that the tree reads, and how many parts it has."""
    found: dict[str, None] = {}
    waiting = [node]
    count = 0
    while waiting:
        count += 1
        part = waiting.pop()
        if isinstance(part, Path):
            found[part.name] = None
        else:
            waiting.extend(reversed(children(part)))
    return list(found), count

"""Type checking against the twin model, and folding of what is constant.

Every mistake of an expression is reported, each once: a part that does not type-check is left `UNTYPED` and what
stands around it stays silent.
"""

from collections.abc import Mapping

from rules.errors import ExpressionError, did_you_mean
from rules.language import syntax
from rules.language.kinds import (
    BOOL,
    DURATION,
    INT,
    ORDERED,
    STRING,
    TIME,
    TIMESTAMP,
    Type,
    is_number,
    list_of,
    merge,
    product_type,
    quotient_type,
    sum_type,
)
from rules.language.syntax import UNTYPED, Node
from rules.language.values import ARITHMETIC, Failure, TwinModel, negate

BUILT_IN = {"now": TIMESTAMP, "now.time": TIME, "now.weekday": STRING}
"""Paths that every rule may read, whatever its twin: the instant, and what the local clock shows."""

MOST_HINTS = 5
"""Mistakes of one expression for which a better word is looked for."""
_VERBS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "take the remainder of"}


class Checker:
    """Checks one expression; afterwards `errors` holds what is wrong with it."""

    def __init__(self, model: TwinModel, params: Mapping[str, Type], scope: str | None) -> None:
        self.model = model
        self.params = params
        self.scope = scope
        self.errors: list[ExpressionError] = []

    def check(self, node: Node) -> Node:
        """The tree with `type` set everywhere and its constant arithmetic done."""
        if isinstance(node, syntax.Path):
            node.type = self.path(node)
        elif isinstance(node, syntax.Unary):
            return self.unary(node)
        elif isinstance(node, syntax.Binary):
            return self.binary(node)
        elif isinstance(node, syntax.Logic):
            node.left, node.right = self.check(node.left), self.check(node.right)
            self.want_bool(node.left, f"the left side of {node.op}")
            self.want_bool(node.right, f"the right side of {node.op}")
            node.type = BOOL
        elif isinstance(node, syntax.Choice):
            self.choice(node)
        elif isinstance(node, syntax.Call):
            self.call(node)
        elif isinstance(node, syntax.ListOf):
            self.list_of_items(node)
        return node

    def fail(self, node: Node, message: str, suggestion: str = "") -> Type:
        self.errors.append(ExpressionError(message, node.start, suggestion))
        return UNTYPED

    def want_bool(self, node: Node, what: str) -> None:
        if node.type not in (BOOL, UNTYPED):
            self.fail(node, f"{what} must be true or false, found {node.type}")

    def path(self, node: syntax.Path) -> Type:
        name = node.name
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name.startswith("p."):
            found = self.params.get(name[2:])
            if found is None:
                hint = did_you_mean(name, self.known()) if len(self.errors) < MOST_HINTS else ""
                hint = hint or "declare it under params"
                return self.fail(node, f"unknown parameter {name}", hint)
            return found
        spec = self.model.get(name)
        if spec is None:
            hint = did_you_mean(name, self.known()) if len(self.errors) < MOST_HINTS else ""
            return self.fail(node, f"unknown path {name}", hint)
        if self.scope is not None and spec.scopes and self.scope not in spec.scopes:
            where = ", ".join(sorted(spec.scopes))
            return self.fail(node, f"{name} cannot be read by a rule whose scope is {self.scope}", f"scopes: {where}")
        return Type(spec.type.kind, spec.unit or spec.type.unit, spec.type.item)

    def known(self) -> list[str]:
        """Everything that could have been meant, for suggestions."""
        visible = (name for name, spec in self.model.items() if not spec.scopes or self.scope in (None, *spec.scopes))
        return [*visible, *(f"p.{name}" for name in self.params), *BUILT_IN]

    def unary(self, node: syntax.Unary) -> Node:
        node.operand = self.check(node.operand)
        kind = node.operand.type
        if node.op == "!":
            self.want_bool(node.operand, "what ! negates")
            node.type = BOOL
            return node
        if kind == UNTYPED or is_number(kind) or kind.kind in ("money", "duration"):
            node.type = kind
        else:
            node.type = self.fail(node, f"a {kind} cannot be negated")
        if isinstance(node.operand, syntax.Literal) and node.type != UNTYPED:
            return self.folded(node, negate(node.operand.value))
        return node

    def binary(self, node: syntax.Binary) -> Node:
        node.left, node.right = self.check(node.left), self.check(node.right)
        if UNTYPED in (node.left.type, node.right.type):
            node.type = UNTYPED if node.op in ARITHMETIC else BOOL
        elif node.op == "in":
            self.membership(node)
        elif node.op in ARITHMETIC:
            return self.arithmetic(node)
        else:
            self.comparison(node)
        return node

    def arithmetic(self, node: syntax.Binary) -> Node:
        left, right = node.left.type, node.right.type
        found = _arithmetic_type(node.op, left, right)
        if found is None:
            message = f"cannot {_VERBS[node.op]} {left} and {right}"
            node.type = self.fail(node, message, _meeting_hint(node))
            return node
        node.type = found
        if isinstance(node.left, syntax.Literal) and isinstance(node.right, syntax.Literal):
            return self.folded(node, ARITHMETIC[node.op](node.left.value, node.right.value))
        return node

    def folded(self, node: Node, value: object) -> Node:
        if isinstance(value, Failure):
            node.type = self.fail(node, value.reason)
            return node
        return syntax.Literal(start=node.start, end=node.end, value=value, type=node.type)

    def comparison(self, node: syntax.Binary) -> None:
        left, right = node.left.type, node.right.type
        node.type = BOOL
        merged = merge(left, right)
        if merged is None:
            self.fail(node, f"cannot compare {left} with {right}", _meeting_hint(node))
        elif merged.kind == "list":
            self.fail(node, "lists cannot be compared", "ask `x in list` or size(list)")
        elif node.op not in ("==", "!=") and merged.kind not in ORDERED:
            self.fail(node, f"a {merged} has no order", "compare with == or !=")

    def membership(self, node: syntax.Binary) -> None:
        node.type = BOOL
        item = node.right.type.item
        if item is None:
            self.fail(node.right, f"the right side of `in` must be a list, found {node.right.type}")
        elif item != UNTYPED and merge(node.left.type, item) is None:
            self.fail(node, f"cannot look for {node.left.type} in a {node.right.type}")

    def choice(self, node: syntax.Choice) -> None:
        node.condition = self.check(node.condition)
        node.then, node.otherwise = self.check(node.then), self.check(node.otherwise)
        self.want_bool(node.condition, "the condition of ?:")
        if UNTYPED in (node.then.type, node.otherwise.type):
            return
        merged = merge(node.then.type, node.otherwise.type)
        if merged is None:
            self.fail(node, f"both results of ?: need one type, found {node.then.type} and {node.otherwise.type}")
        else:
            node.type = merged

    def call(self, node: syntax.Call) -> None:
        node.args = tuple(self.check(arg) for arg in node.args)
        kinds = [arg.type for arg in node.args]
        if node.name == "has":
            node.type = BOOL
        elif node.name == "size":
            node.type = INT
            if kinds[0].kind not in ("list", "string") and kinds[0] != UNTYPED:
                self.fail(node, f"size() takes a list or a string, found {kinds[0]}")
        elif UNTYPED not in kinds:
            node.type = self.extreme_of_list(node) if len(kinds) == 1 else self.common(node, kinds, f"{node.name}()")
            if node.type != UNTYPED and node.type.kind not in ORDERED - {"string"}:
                node.type = self.fail(node, f"{node.name}() takes numbers, money, durations or instants")

    def extreme_of_list(self, node: syntax.Call) -> Type:
        """The type of `min` or `max` with one argument, which must be a list: `max(reading.voltage_mv)`."""
        kind = node.args[0].type
        if kind.item is None:
            return self.fail(node, f"{node.name}() takes a list, or 2 to 16 values, found one {kind}")
        if kind.item == UNTYPED:
            return self.fail(node, f"{node.name}() of an empty list has no value")
        return kind.item

    def list_of_items(self, node: syntax.ListOf) -> None:
        node.items = tuple(self.check(item) for item in node.items)
        kinds = [item.type for item in node.items]
        if not kinds:
            node.type = list_of(UNTYPED)
        elif UNTYPED not in kinds:
            common = self.common(node, kinds, "a list")
            node.type = UNTYPED if common == UNTYPED else list_of(common)

    def common(self, node: Node, kinds: list[Type], what: str) -> Type:
        merged = kinds[0]
        for kind in kinds[1:]:
            met = merge(merged, kind)
            if met is None:
                return self.fail(node, f"{what} needs values of one type, found {merged} and {kind}")
            merged = met
        return merged


def _arithmetic_type(op: str, left: Type, right: Type) -> Type | None:
    if op in "+-":
        return sum_type(op, left, right)
    if op == "*":
        return product_type(left, right)
    if op == "/":
        return quotient_type(left, right)
    return merge(left, right) if left.kind == right.kind == "int" else None


def _meeting_hint(node: syntax.Binary) -> str:
    """What to write so that the two sides meet, for the mistakes that people make."""
    for this, other in ((node.left, node.right), (node.right, node.left)):
        if this.type.kind == "money" and is_number(other.type):
            return f'write money("{other.value}")' if isinstance(other, syntax.Literal) else "only money meets money"
        if this.type == DURATION and is_number(other.type):
            return f'write duration("{other.value}s")' if isinstance(other, syntax.Literal) else "give it type duration"
        if this.type == TIMESTAMP and other.type == DURATION:
            return "subtract an instant first: now - reading.at > duration"
        if is_number(this.type) and this.type.unit and is_number(other.type) and other.type.unit is None:
            return f"give the side without a unit `unit: {this.type.unit}`"
        if this.type == BOOL and other.type != BOOL:
            return "join comparisons with &&"
    return ""

r"""From tokens to a tree: a Pratt parser whose depth and size are bounded.

Grammar (a subset of CEL; `LITERAL` functions take one string literal):

    expression = logic [ "?" expression ":" expression ]
    logic      = and { "||" and }            and     = relation { "&&" relation }
    relation   = sum { ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") sum }
    sum        = product { ("+" | "-") product }
    product    = unary { ("*" | "/" | "%") unary }
    unary      = ("!" | "-") unary | primary
    primary    = int | decimal | string | "true" | "false" | path
               | "(" expression ")" | "[" [ expression { "," expression } ] "]"
               | ("has" | "size" | "min" | "max") "(" expression { "," expression } ")"
               | ("money" | "duration" | "timestamp" | "time") "(" string ")"
    path       = name { "." name }
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from rules.errors import ExpressionError, did_you_mean
from rules.language import syntax
from rules.language.kinds import ANY_UNIT, BOOL, DURATION, MONEY, STRING, TIME, TIMESTAMP, Type
from rules.language.lexer import Token, tokens_of
from rules.language.syntax import Node
from rules.literals import read_clock_time, read_duration, read_money, read_timestamp

MAX_DEPTH = 48
MAX_NODES = 512
MAX_ITEMS = 64
MAX_INT = 2**63 - 1
MAX_DECIMAL_DIGITS = 28

LITERAL_FUNCTIONS: dict[str, tuple[Type, Callable[[object], int]]] = {
    "money": (MONEY, read_money),
    "duration": (DURATION, read_duration),
    "timestamp": (TIMESTAMP, read_timestamp),
    "time": (TIME, read_clock_time),
}
FUNCTIONS = {"has": (1, 1), "size": (1, 1), "min": (1, 16), "max": (1, 16)}
KNOWN_FUNCTIONS = (*FUNCTIONS, *LITERAL_FUNCTIONS)

_BINDING = {"?": 1, "||": 2, "&&": 3, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_BINDING.update(dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 4))
_UNARY_BINDING = 7
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


def parse(text: str) -> Node:
    """The tree of an expression. Raises `ExpressionError` for anything that is not one, in time linear in the text."""
    parser = _Parser(tokens_of(text))
    if parser.token.kind == "end":
        raise ExpressionError("the expression is empty", 0)
    root = parser.expression(0)
    if parser.token.kind != "end":
        raise ExpressionError(f"unexpected {parser.token.text!r}", parser.token.start, "an operator is missing before")
    return root


class _Parser:
    """One pass over the tokens; `token` is the one not yet taken."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.index = 0
        self.depth = 0
        self.nodes = 0
        self.token = tokens[0]

    def take(self) -> Token:
        taken = self.token
        if taken.kind != "end":
            self.index += 1
            self.token = self.tokens[self.index]
        return taken

    def expect(self, text: str) -> Token:
        if self.token.kind != "op" or self.token.text != text:
            found = repr(self.token.text) if self.token.text else "the end"
            raise ExpressionError(f"{text!r} expected, found {found}", self.token.start)
        return self.take()

    def build(self, node_type: type[Node], start: int, end: int, *parts: Node, **fields: Any) -> Node:
        self.nodes += 1
        height = 1
        for part in parts:
            if part.height >= height:
                height = part.height + 1
        if self.nodes > MAX_NODES:
            raise ExpressionError(f"the expression has more than {MAX_NODES} parts", start)
        if height > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested deeper than {MAX_DEPTH}", start)
        return node_type(start=start, end=end, height=height, **fields)

    def expression(self, binding: int) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested deeper than {MAX_DEPTH}", self.token.start)
        left = self.prefix()
        while self.token.kind in ("op", "path") and _BINDING.get(self.token.text, 0) > binding:
            left = self.infix(left)
        self.depth -= 1
        return left

    def infix(self, left: Node) -> Node:
        op = self.take()
        if op.text == "?":
            then = self.expression(0)
            self.expect(":")
            otherwise = self.expression(0)
            fields = {"condition": left, "then": then, "otherwise": otherwise}
            return self.build(syntax.Choice, left.start, otherwise.end, left, then, otherwise, **fields)
        right = self.expression(_BINDING[op.text])
        node_type = syntax.Logic if op.text in ("&&", "||") else syntax.Binary
        return self.build(node_type, left.start, right.end, left, right, op=op.text, left=left, right=right)

    def prefix(self) -> Node:
        token = self.take()
        if token.kind == "path":
            return self.word(token)
        if token.kind == "op" and token.text in ("!", "-"):
            operand = self.expression(_UNARY_BINDING - 1)
            return self.build(syntax.Unary, token.start, operand.end, operand, op=token.text, operand=operand)
        if token.kind == "op" and token.text == "(":
            inner = self.expression(0)
            self.expect(")")
            return inner
        if token.kind == "op" and token.text == "[":
            items = self.arguments("]")
            end = self.expect("]").end
            return self.build(syntax.ListOf, token.start, end, *items, items=items)
        if token.kind in ("int", "decimal", "string"):
            return self.literal(token)
        found = repr(token.text) if token.text else "the end of the expression"
        raise ExpressionError(f"a value was expected, found {found}", token.start)

    def literal(self, token: Token) -> Node:
        if token.kind == "string":
            value: Any = _unescaped(token)
            return self.build(syntax.Literal, token.start, token.end, value=value, type=STRING)
        if len(token.text) > MAX_DECIMAL_DIGITS + 1 or (token.kind == "int" and int(token.text) > MAX_INT):
            raise ExpressionError("the number is too long", token.start, "64-bit integers, decimals of 28 digits")
        value = int(token.text) if token.kind == "int" else Decimal(token.text)
        return self.build(syntax.Literal, token.start, token.end, value=value, type=Type(token.kind, ANY_UNIT))

    def word(self, token: Token) -> Node:
        if self.token.kind == "op" and self.token.text == "(":
            return self.call(token)
        if token.text in ("true", "false"):
            return self.build(syntax.Literal, token.start, token.end, value=token.text == "true", type=BOOL)
        if token.text == "null":
            raise ExpressionError("there is no null", token.start, "ask has(path): a missing input is unknown")
        if token.text in _BINDING:
            raise ExpressionError(f"a value was expected, found {token.text!r}", token.start)
        return self.build(syntax.Path, token.start, token.end, name=token.text)

    def call(self, name: Token) -> Node:
        if name.text not in KNOWN_FUNCTIONS:
            hint = did_you_mean(name.text, KNOWN_FUNCTIONS) or "known: " + ", ".join(KNOWN_FUNCTIONS)
            raise ExpressionError(f"unknown function {name.text}()", name.start, hint)
        self.expect("(")
        args = self.arguments(")")
        end = self.expect(")").end
        if name.text in LITERAL_FUNCTIONS:
            return self.constant(name, args, end)
        least, most = FUNCTIONS[name.text]
        if not least <= len(args) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise ExpressionError(f"{name.text}() takes {wanted} arguments, found {len(args)}", name.start)
        if name.text == "has" and not isinstance(args[0], syntax.Path):
            raise ExpressionError("has() takes a path", name.start, "such as has(reading.power_w)")
        return self.build(syntax.Call, name.start, end, *args, name=name.text, args=args)

    def constant(self, name: Token, args: tuple[Node, ...], end: int) -> Node:
        kind, read = LITERAL_FUNCTIONS[name.text]
        if len(args) != 1 or not isinstance(args[0], syntax.Literal) or args[0].type != STRING:
            raise ExpressionError(f"{name.text}() takes one quoted text", name.start)
        try:
            value = read(args[0].value)
        except ValueError as error:
            raise ExpressionError(str(error), args[0].start) from None
        return self.build(syntax.Literal, name.start, end, value=value, type=kind)

    def arguments(self, close: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not (self.token.kind == "op" and self.token.text == close):
            if found:
                self.expect(",")
            if len(found) == MAX_ITEMS:
                raise ExpressionError(f"a list has at most {MAX_ITEMS} elements", self.token.start)
            found.append(self.expression(0))
        return tuple(found)


def _unescaped(token: Token) -> str:
    parts: list[str] = []
    body = iter(token.text[1:-1])
    for character in body:
        if character == "\\":
            escape = next(body)
            if escape not in _ESCAPES:
                raise ExpressionError(f"unknown escape \\{escape}", token.start, "known: \\n \\t \\r \\\\ \\\" \\'")
            character = _ESCAPES[escape]
        parts.append(character)
    return "".join(parts)

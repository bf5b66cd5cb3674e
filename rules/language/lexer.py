"""From text to tokens. One regular expression without nested repeats, so the time is linear in the text."""

import re

import msgspec

from rules.errors import ExpressionError

MAX_TEXT = 4096
MAX_TOKENS = 1024

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<decimal>[0-9]+\.[0-9]+)
      | (?P<int>[0-9]+)
      | (?P<path>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<op>&&|\|\||[=!<>]=|[-+*/%!<>?:(),\[\]])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_HINTS = {
    "=": "compare with ==",
    "&": "write &&",
    "|": "write ||",
    '"': "the string is not closed",
    "'": "the string is not closed",
}


class Token(msgspec.Struct, frozen=True, gc=False):
    """`kind` is decimal, int, path, string, op or end."""

    kind: str
    text: str
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """The tokens of an expression, closed by an `end` token. Raises `ExpressionError`."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"the expression is longer than {MAX_TEXT} characters", MAX_TEXT)
    found: list[Token] = []
    at = 0
    while (match := _TOKEN.match(text, at)) is not None:
        kind = match.lastgroup or ""
        start, at = match.span(kind)
        found.append(Token(kind, match[kind], start, at))
        if kind == "end":
            return found
        if len(found) > MAX_TOKENS:
            raise ExpressionError(f"the expression has more than {MAX_TOKENS} tokens", at)
    at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
    raise ExpressionError(f"unexpected character {text[at]!r}", at, _HINTS.get(text[at], ""))

"""What the rules room raises: problems that name their place, and nothing else.

`RuleError` is the root: arbitrary text given to the parser, or an arbitrary ruleset given to the compiler, ends in a
result or in a `RuleError`, never in another exception.
"""

from collections.abc import Iterable
from difflib import get_close_matches

import msgspec


class RuleError(Exception):
    """Root of everything this room raises."""


class ExpressionError(RuleError):
    """One mistake in one expression; `offset` counts characters from the start of the expression's text."""

    def __init__(self, message: str, offset: int, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.suggestion = suggestion


class InvalidExpressionError(RuleError):
    """All mistakes found in one expression."""

    def __init__(self, errors: list[ExpressionError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class ParamError(RuleError):
    """A parameter's value does not fit its declaration; the text names the parameter."""


class RuleProblem(msgspec.Struct, frozen=True):
    """One mistake in a rule file. `line` and `column` count from 1; 0 means that the place is not known."""

    path: str
    line: int
    column: int
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}: " if self.line else ""
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{place}{self.path}: {self.message}{hint}"


class RulesetError(RuleError):
    """A rule file is refused; `problems` lists everything that is wrong with it, in file order."""

    def __init__(self, problems: list[RuleProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


MOST_PROBLEMS = 25
"""So many problems of a file are told at once; more would not be read, and looking for them would take its time."""
_MOST_COMPARED = 24


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean X?` for the nearest known word, or an empty string when nothing is near.

    Compared closely are only words of about the same length that begin alike: a file full of mistakes must not take
    long to refuse.
    """
    word = word[:64]
    likely = [other for other in known if abs(len(other) - len(word)) <= 4 and other[:1] == word[:1]]
    near = get_close_matches(word, likely[:_MOST_COMPARED], n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""

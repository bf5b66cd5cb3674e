"""The expression language of rule files: a documented subset of CEL, compiled to closures.

`compile_expression` turns a text into an `Expression`: parsed (`parser`, the grammar stands there), checked against
the twin model (`checker`), and compiled twice from one tree, into a fast closure (`compiler`) and a tracing one
(`tracer`). `flips` finds out when the passing of time alone can change a result. What values are, and how they are
absent, stands in `values`; what meets what in `kinds`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rules.errors import ExpressionError, InvalidExpressionError
from rules.language import syntax
from rules.language.checker import Checker
from rules.language.compiler import Run, compiled
from rules.language.flips import Flip, flip_of
from rules.language.kinds import BOOL, Type
from rules.language.parser import parse
from rules.language.recorder import Recording, Teller, recorded
from rules.language.syntax import UNTYPED
from rules.language.tracer import Tracing, clause_texts, traced
from rules.language.values import TwinModel

__all__ = ["Expression", "compile_expression"]


class Expression(msgspec.Struct, frozen=True, eq=False):
    """One compiled expression.

    `run(env)` gives the value, an `Unknown` or a `Failure`; `trace(env, trace)` the same with a record; `flip(env)`
    the next instant at which time alone may change it (`flip` is None when it does not read `now`). `clauses` are the
    texts of the clauses that a trace can record. `record(env, out)` puts the values of the clauses aside at little
    cost, for `teller` to print when somebody looks.
    """

    text: str
    type: Type
    paths: tuple[str, ...]
    run: Run
    trace: Tracing
    flip: Flip | None
    clauses: tuple[str, ...]
    record: Recording
    teller: Teller
    size: int = 0
    """Parts of the tree: what compiling and evaluating it costs."""


def compile_expression(
    text: str, model: TwinModel, params: Mapping[str, Type], scope: str | None = None, expected: Type = BOOL
) -> Expression:
    """Compile one expression that must give the expected type. Raises `InvalidExpressionError` with all mistakes."""
    try:
        root = parse(text)
    except ExpressionError as error:
        raise InvalidExpressionError([error]) from None
    checker = Checker(model, params, scope)
    root = checker.check(root)
    if root.type not in (expected, UNTYPED) and not checker.errors:
        checker.fail(root, f"the expression must give a {expected}, found {root.type}")
    if checker.errors:
        raise InvalidExpressionError(checker.errors)
    names, size = syntax.survey(root)
    timely = any(name == "now" or name.startswith("now.") for name in names)
    return Expression(
        text=text,
        type=root.type,
        paths=tuple(names),
        run=compiled(root, model),
        trace=_when_needed(lambda: traced(root, text, model)),
        flip=flip_of(root, model) if timely else None,
        clauses=clause_texts(root, text),
        record=_when_needed(lambda: recorded(root, model)),
        teller=Teller(root, text),
        size=size,
    )


def _when_needed(build: Callable[[], Callable[[Any, Any], Any]]) -> Callable[[Any, Any], Any]:
    """A closure that is built when it is first called: most expressions of most files are never traced, and a file is
    compiled whenever somebody checks it."""
    built: list[Callable[[Any, Any], Any]] = []

    def run(env: Any, out: Any) -> Any:
        if not built:
            built.append(build())
        return built[0](env, out)

    return run

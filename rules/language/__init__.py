"""The expression language of rule files: a documented subset of CEL, compiled to closures.

`compile_expression` turns a text into an `Expression`: parsed (`parser`, the grammar stands there), checked against
the twin model (`checker`), and compiled twice from one tree, into a fast closure (`compiler`) and a tracing one
(`tracer`). `flips` finds out when the passing of time alone can change a result. What values are, and how they are
absent, stands in `values`; what meets what in `kinds`.
"""

from collections.abc import Mapping

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
    names = tuple(syntax.paths(root))
    tree = (compiled(root, model), traced(root, text, model), flip_of(root, model))
    told = (clause_texts(root, text), recorded(root, model), Teller(root, text))
    return Expression(text, root.type, names, *tree, *told)

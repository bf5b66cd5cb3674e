"""Reading rule files for commands: checked, compiled, with every mistake at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rules.rule import Ruleset
    from schemas.documents import Document


def load_rules(file: Path) -> tuple[Document, Ruleset]:
    """A rule file and what it compiles to; raises DocumentError with every problem at its place."""
    from rules.errors import RulesetError
    from rules.ruleset import compile_ruleset
    from schemas.documents import DocumentError, load_checked
    from schemas.registry import Problem
    from twin.core.view import TWIN_MODEL

    document = load_checked(file, "ruleset")
    try:
        return document, compile_ruleset(document.data, TWIN_MODEL, document.locate)
    except RulesetError as error:
        problems = [
            Problem(
                item.line, item.column, item.path, item.message + (f" ({item.suggestion})" if item.suggestion else "")
            )
            for item in error.problems
        ]
        raise DocumentError(document.source, problems) from None

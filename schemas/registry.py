"""Every JSON Schema of the contract, compiled once, with errors that a person can act on.

jsonschema (draft 2020-12) is the reference implementation here, and words what is wrong. It is slow, so a faster one
(`schemas.fast_look`, held equal to it by property tests) says first whether anything is wrong, and where: only there
the reference implementation looks again. Two points are stricter than the library's defaults, because money and
registers ride on them: `1.0` and `true` are not integers, and `$` in a pattern means the very end of the text, not the
place before a last line feed (ECMA meaning, which JSON Schema asks for).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import msgspec
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from referencing import Registry, Resource

from schemas.fast_look import LOOKING_AT, narrowed, wrong_places
from schemas.sentences import explain_error

PathTuple = tuple[str | int, ...]
Locate = Callable[[PathTuple], tuple[int, int]]

PROBLEMS_MAX: Final = 25
"""So many problems are told at once; more would not be read."""

_FOLDER = Path(__file__).parent
_SUFFIX: Final = ".v1.json"


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong with a document. Line and column count from 1; 0 means that the place is not known."""

    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Line and column, where they are known, path and message, joined by colons."""
        place = f"{self.line}:{self.column}: " if self.line else ""
        return f"{place}{self.path or 'document'}: {self.message}"


@cache
def names() -> tuple[str, ...]:
    """Names of all schemas, such as `tele` or `tariff`."""
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in _FOLDER.glob(f"*{_SUFFIX}")))


def schema(name: str) -> dict[str, Any]:
    """A copy of the schema with that name. Raises KeyError, naming the known ones."""
    return copy.deepcopy(_schema(name))


def problems(
    name: str, document: object, locate: Locate | None = None, locate_key: Locate | None = None
) -> list[Problem]:
    """What is wrong with a document by the schema `name`; an empty list means that it is right.

    `locate` gives line and column of the value at a path, `locate_key` those of its key (for fields that should not
    be there). Problems are in the order of the document, and at most `PROBLEMS_MAX`.
    """
    wrong = wrong_places(_fast(name), document, PROBLEMS_MAX)
    if not wrong.where:
        return []
    token = LOOKING_AT.set(wrong)
    try:
        found = _told(_errors(name, document), locate, locate_key)
    finally:
        LOOKING_AT.reset(token)
    return sorted(found or _told(_errors(name, document), locate, locate_key))


def _told(errors: Iterator[ValidationError], locate: Locate | None, locate_key: Locate | None) -> set[Problem]:
    found: set[Problem] = set()
    for path, message, at_key in (finding for error in errors for finding in explain_error(error)):
        find = locate_key if at_key and locate_key else locate
        line, column = find(path) if find else (0, 0)
        found.add(Problem(line, column, path_text(path), message))
        if len(found) >= PROBLEMS_MAX:
            break
    return found


def is_valid(name: str, document: object) -> bool:
    """Whether the document satisfies the schema `name`, by the reference implementation."""
    return next(_errors(name, document), None) is None


def _errors(name: str, document: object) -> Iterator[ValidationError]:
    return iter(_validator(name).iter_errors(document))


def path_text(path: PathTuple) -> str:
    """A path as people write it: `devices[3].kind`, `slots["00:00-08:00"]`; empty for the whole document."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").replace("-", "a").isalnum():
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


@cache
def _schema(name: str) -> dict[str, Any]:
    if name not in names():
        raise KeyError(f"there is no schema {name!r}; the schemas are {', '.join(names())}")
    loaded: dict[str, Any] = json.loads((_FOLDER / f"{name}{_SUFFIX}").read_text(encoding="utf-8"))
    return loaded


def _is_integer(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_StrictValidator = validators.extend(
    Draft202012Validator,
    validators=narrowed(Draft202012Validator.VALIDATORS),
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


@cache
def _references() -> Registry[Any]:
    resources = [Resource.from_contents(_ecma_ends(_schema(name))) for name in names()]
    return Registry().with_resources((resource.id() or "", resource) for resource in resources)


@cache
def _fast_references() -> Any:
    return jsonschema_rs.Registry([(_schema(name)["$id"], _schema(name)) for name in names()])


@cache
def _fast(name: str) -> Any:
    return jsonschema_rs.validator_for(_schema(name), registry=_fast_references())


@cache
def _validator(name: str) -> Validator:
    document = _ecma_ends(_schema(name))
    _StrictValidator.check_schema(document)
    compiled: Validator = _StrictValidator(document, registry=_references())
    return compiled


def _ecma_ends(node: Any) -> Any:
    """The same schema with `$` at the end of each pattern written as Python's `\\Z`."""
    if isinstance(node, list):
        return [_ecma_ends(item) for item in node]
    if not isinstance(node, dict):
        return node
    copied: dict[str, Any] = {}
    for key, value in node.items():
        if key == "pattern" and isinstance(value, str):
            copied[key] = _python_pattern(value)
        elif key == "patternProperties":
            copied[key] = {_python_pattern(pattern): _ecma_ends(item) for pattern, item in value.items()}
        elif key in ("examples", "enum", "const", "default"):
            copied[key] = value
        else:
            copied[key] = _ecma_ends(value)
    return copied


def _python_pattern(pattern: str) -> str:
    return pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern

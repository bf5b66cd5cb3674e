"""Schema errors as sentences: where, what was found, and what would be right.

A schema's `title` on a scalar is a noun phrase ("a price as a quoted decimal with at most 6 decimals") and its first
`examples` entry a right value; the sentences are made from these, so that a better wording is an edit of the schema.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from jsonschema.exceptions import ValidationError, best_match

Finding = tuple[tuple[str | int, ...], str, bool]
"""Path, sentence, and whether the fault is the key rather than the value."""

_TYPE_WORDS: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_LENGTH_WORDS: Final = {
    "minItems": ("entries", "at least", "needed"),
    "maxItems": ("entries", "at most", "allowed"),
    "minProperties": ("fields", "at least", "needed"),
    "maxProperties": ("fields", "at most", "allowed"),
    "minLength": ("characters", "at least", "needed"),
    "maxLength": ("characters", "at most", "allowed"),
}


def explain_error(error: ValidationError) -> Iterator[Finding]:
    """The findings in one error of jsonschema: one for each unknown or missing field, one for anything else."""
    if error.validator in ("oneOf", "anyOf"):
        yield from _explain_choice(error)
        return
    path = tuple(error.absolute_path)
    if _is_about_a_name(error):
        yield (*path, error.instance), _sentence_about_a_name(error), True
    elif error.validator == "additionalProperties":
        yield from _explain_unknown_fields(error, path)
    else:
        yield path, _sentence(error), False


def _sentence(error: ValidationError) -> str:
    kind, limit, value = str(error.validator), error.validator_value, error.instance
    if kind == "required":
        missing = [name for name in limit if name not in value]
        return f"the field {_names(_missing_here(error, missing))} is missing"
    if kind == "dependentRequired":
        return "; ".join(f"{key!r} needs {_names(needs)} beside it" for key, needs in limit.items() if key in value)
    if kind in ("enum", "const"):
        return _explain_enum(value, [limit] if kind == "const" else limit)
    if kind in ("minimum", "maximum"):
        return f"{_found(value)} is too {'small' if kind == 'minimum' else 'large'}; {_range(error.schema)}"
    if kind in _LENGTH_WORDS:
        noun, bound, verb = _LENGTH_WORDS[kind]
        return f"has {len(value)} {noun}, {bound} {limit} {'are' if limit != 1 else 'is'} {verb}"
    if kind == "uniqueItems":
        return f"the entry {_found(_first_repeated(value))} is there twice"
    return f"{_found(value)} is not {_expected(error.schema)}{_hint(value, error.schema)}"


def _missing_here(error: ValidationError, missing: list[str]) -> list[str]:
    """jsonschema makes one error a missing field; its message begins with the name in question."""
    named = [name for name in missing if error.message.startswith(repr(name))]
    return named or missing


def _explain_choice(error: ValidationError) -> Iterator[Finding]:
    branches = error.validator_value
    if all(set(branch) == {"required"} for branch in branches):
        bound = "exactly one" if error.validator == "oneOf" else "at least one"
        fields = [name for branch in branches for name in branch["required"]]
        present = [name for name in fields if isinstance(error.instance, dict) and name in error.instance]
        found = f"has {_names(present)}" if present else "has none of them"
        yield tuple(error.absolute_path), f"needs {bound} of the fields {_names(fields)}, {found}", False
        return
    relevant = best_match([error])
    if relevant is error or relevant is None:
        yield tuple(error.absolute_path), f"{_found(error.instance)} is not {_expected(error.schema)}", False
    else:
        yield from explain_error(relevant)


def _explain_unknown_fields(error: ValidationError, path: tuple[str | int, ...]) -> Iterator[Finding]:
    known = list(error.schema.get("properties", {}))
    patterns = list(error.schema.get("patternProperties", {}))
    for name in error.instance:
        if name not in known and not any(re.search(pattern, name) for pattern in patterns):
            advice = _closest(name, known) or f"; the fields here are {', '.join(known)}"
            yield (*path, name), f"there is no field {name!r}{advice}", True


def _explain_enum(value: object, choices: list[object]) -> str:
    texts = [choice for choice in choices if isinstance(choice, str)]
    advice = _closest(value, texts) if isinstance(value, str) else ""
    options = ", ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
    wanted = options if len(choices) == 1 else f"one of {options}"
    return f"{_found(value)} is not {wanted}{advice}"


def _closest(name: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _range(schema: dict[str, Any]) -> str:
    least, greatest = schema.get("minimum"), schema.get("maximum")
    return f"it must be between {least} and {greatest}" if None not in (least, greatest) else f"{least}..{greatest}"


def _expected(schema: Any) -> str:
    title = str(schema.get("title", ""))
    if title[:1].islower():
        return title
    kinds = schema.get("type", "of the right kind")
    return " or ".join(_TYPE_WORDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _hint(value: object, schema: dict[str, Any]) -> str:
    if schema.get("type") == "string" and isinstance(value, int) and not isinstance(value, bool):
        return f'; write it as a quoted string: "{value}"'
    if "integer" in schema.get("type", ()) and isinstance(value, float):
        return "; a float is refused, write a whole number without a decimal point or exponent"
    if schema.get("type") == "integer" and isinstance(value, str):
        return "; write it without quotes"
    example = next(iter(schema.get("examples", ())), None)
    return f", such as {json.dumps(example, ensure_ascii=False)}" if isinstance(example, str | int) else ""


def _found(value: object) -> str:
    if isinstance(value, str):
        shown = json.dumps(value, ensure_ascii=False)
        return shown if len(shown) <= 80 else f'{shown[:76]}..."'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return (
        f"the number {value!r}"[:80] if isinstance(value, int | float) and not isinstance(value, bool) else _word(value)
    )


def _word(value: object) -> str:
    return {None: "null", True: "true", False: "false"}.get(value, repr(value))  # type: ignore[call-overload,no-any-return]


def _names(fields: list[str]) -> str:
    return ", ".join(repr(name) for name in fields)


def _first_repeated(items: list[object]) -> object:
    return next(item for index, item in enumerate(items) if item in items[:index])


def _sentence_about_a_name(error: ValidationError) -> str:
    if error.validator == "not":
        return f"the field {error.instance!r} does not belong here; it is for another kind"
    return f"the field name {_found(error.instance)} is not {_expected(error.schema)}"


def _is_about_a_name(error: ValidationError) -> bool:
    """Whether the error is about the name of a field: jsonschema gives such errors the path of the object."""
    steps = [step for step in error.absolute_schema_path if step != "$ref"]
    return len(steps) >= 2 and steps[-2] == "propertyNames" and isinstance(error.instance, str)

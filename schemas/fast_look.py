"""Where a document is wrong, found fast, so that the slow and well-spoken validator looks nowhere else.

Theory of operation. `wrong_places` asks jsonschema-rs for the places of its complaints. Every list and object on
the way to one of them is worth looking at; everything else is right, and the reference implementation passes it over
(`narrowed`). Passing over is only sound where a keyword holds by all of its parts: inside `oneOf`, `anyOf`, `not` and
`if` a part that is right by one branch may be wrong by another, so there everything is looked at.

The two implementations differ about floats (`1.0` is an integer for the fast one) and about numbers beyond 64 bits:
such values, and what stands around them, are always looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final

import msgspec
from jsonschema.exceptions import ValidationError

Keyword = Callable[[Any, Any, Any, dict[str, Any]], Iterator[ValidationError] | None]

_INT_MAX: Final = 2**63
_SHORT: Final = 40
"""Members of a list that are looked at first: where many are wrong, enough are wrong among these."""
_LONG: Final = 1_001
"""One more than any schema of ours allows in a list that it bounds."""
_WHOLE: Final = ("oneOf", "anyOf", "not", "if", "contains", "dependentSchemas", "unevaluatedProperties")


class Wrong(msgspec.Struct, frozen=True):
    """Where to look: the identities of values that are wrong, or that hold one that is. `everything`: look anywhere."""

    where: frozenset[int]
    everything: bool = False


LOOKING_AT: ContextVar[Wrong | None] = ContextVar("LOOKING_AT", default=None)
"""What the reference implementation looks at; None for everything."""


def wrong_places(validator: Any, document: Any, most: int) -> Wrong:
    """Where a document is wrong by a validator of jsonschema-rs, `most` places at the most; empty where it is right."""
    where: set[int] = set()
    for path in _doubtful(document):
        _add(document, path, where)
    try:
        if validator.is_valid(document):
            return Wrong(frozenset(where))
        for place in islice(_complaints(validator, document, most), most):
            _add(document, place.split("/")[1:], where)
    except (ValueError, TypeError, OverflowError, RecursionError):  # not JSON at all: a lone surrogate, a set, a cycle
        return Wrong(frozenset({id(document)}), everything=True)
    where.add(id(document))
    return Wrong(frozenset(where))


def _complaints(validator: Any, document: Any, enough: int) -> Iterator[str]:
    """Places of complaints, as JSON pointers. Long lists are looked at from their beginning first, and only so far as
    it takes to find enough that is wrong: nobody reads ten thousand complaints, and finding them takes its time."""
    places: dict[str, None] = {}
    for length, at_least in ((_SHORT, enough), (_LONG, 1)):
        found = validator.evaluate(_beginning(document, length)).errors()
        places = dict.fromkeys(error["instanceLocation"] for error in found)
        if len(places) >= at_least:
            return iter(places)
    return iter(dict.fromkeys(error["instanceLocation"] for error in validator.evaluate(document).errors()))


def _beginning(value: Any, length: int) -> Any:
    """The value without what stands behind the first members of its lists and objects."""
    if isinstance(value, dict):
        return {name: _beginning(member, length) for name, member in islice(value.items(), length)}
    return [_beginning(member, length) for member in value[:length]] if isinstance(value, list) else value


def _add(document: Any, path: Iterable[str | int], where: set[int]) -> None:
    value = document
    where.add(id(value))
    for step in path:
        if isinstance(value, list):
            value = value[int(step)]
        else:
            value = value[step if step in value else str(step).replace("~1", "/").replace("~0", "~")]
        where.add(id(value))


def _doubtful(document: Any) -> Iterator[tuple[str | int, ...]]:
    """Paths of numbers about which the implementations differ."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(document, ())]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, dict):
            members: Any = value.items()
        elif isinstance(value, list):
            members = enumerate(value)
        else:
            members = ((None, value),)
        for step, member in members:
            kind = member.__class__
            if kind is dict or kind is list:
                if step is not None:
                    waiting.append((member, (*path, step)))
            elif kind is float or (kind is int and not -_INT_MAX <= member < _INT_MAX):
                yield path if step is None else (*path, step)


def narrowed(keywords: Mapping[str, Keyword]) -> dict[str, Keyword]:
    """The keywords of a validator class that look where `LOOKING_AT` says."""
    whole = {name: _whole(keywords[name]) for name in _WHOLE if name in keywords}
    return whole | {
        "items": _items,
        "properties": _properties,
        "additionalProperties": _narrow_extras(keywords["additionalProperties"]),
    }


def _whole(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
        token = LOOKING_AT.set(None)
        try:
            found = list(keyword(validator, value, instance, schema) or ())
        finally:
            LOOKING_AT.reset(token)
        yield from found

    return check


def _passed_over(value: Any) -> bool:
    wrong = LOOKING_AT.get()
    return wrong is not None and not wrong.everything and id(value) not in wrong.where


def _items(validator: Any, items: Any, instance: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "array"):
        return
    for index in range(len(schema.get("prefixItems", ())), len(instance)):
        if not _passed_over(instance[index]):
            yield from validator.descend(instance[index], items, path=index)


def _properties(validator: Any, properties: Any, instance: Any, _schema: dict[str, Any]) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for name, subschema in properties.items():
        if name in instance and not _passed_over(instance[name]):
            yield from validator.descend(instance[name], subschema, path=name, schema_path=name)


def _narrow_extras(keyword: Keyword) -> Keyword:
    def check(validator: Any, extras: Any, instance: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
        """`additionalProperties` with a schema is asked of the members to look at alone."""
        if validator.is_type(instance, "object") and isinstance(extras, dict):
            instance = {name: value for name, value in instance.items() if not _passed_over(value)}
        yield from keyword(validator, extras, instance, schema) or ()

    return check

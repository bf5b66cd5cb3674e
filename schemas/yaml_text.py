"""YAML 1.2 as plain data with places, built from parse events.

Only what the core schema knows: objects, lists, texts, integers, true, false and null. Dates stay text; floats are
faults, because a price written `0.8523` would already have lost its meaning; tags are refused; merge keys are plain
keys. An alias is expanded as a copy and counted, so a document cannot grow beyond its bound ("billion laughs").
"""

from __future__ import annotations

import copy
import re
from typing import Any, Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from schemas.places import NODES_MAX, Fault, PathTuple, Places, UnreadableError, float_advice

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT_MAX: Final = 2**63 - 1


class _Open(msgspec.Struct):
    """A list or object whose end has not come yet."""

    value: list[Any] | dict[str, Any]
    path: PathTuple
    anchor: str | None
    nodes_before: int
    key: str | None = None
    skip: bool = False
    """The value of the current key is dropped, because the key is a repeat or not a text."""


class _Builder:
    """Turns events into data; one object a document."""

    def __init__(self) -> None:
        self.places = Places()
        self.root: Any = None
        self.documents = 0
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def take(self, event: Any) -> None:
        """Handle one event. Raises UnreadableError when reading cannot go on."""
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._close()
        elif isinstance(event, DocumentStartEvent):
            self._start_document(line, column)
        elif isinstance(event, ScalarEvent | AliasEvent | MappingStartEvent | SequenceStartEvent):
            self._take_node(event, line, column)

    def _start_document(self, line: int, column: int) -> None:
        self.documents += 1
        if self.documents > 1:
            raise UnreadableError(Fault((), line, column, "the file holds more than one document; put each in its own"))

    def _take_node(self, event: Any, line: int, column: int) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._take_key(top, event, line, column)
            return
        path = self._path_of_next(top)
        self.places.add_value(path, line, column)
        if isinstance(event, AliasEvent):
            self._put(top, self._expand(event.anchor, path, line, column))
            return
        self._refuse_tag(event, path, line, column)
        if isinstance(event, ScalarEvent):
            value = self._scalar(event, path, line, column)
            if event.anchor:
                self._anchors[event.anchor] = (value, 1)
            self._put(top, value)
        else:
            opened: list[Any] | dict[str, Any] = {} if isinstance(event, MappingStartEvent) else []
            self._put(top, opened)
            self._stack.append(_Open(opened, path, event.anchor, self.places.nodes - 1))

    def _path_of_next(self, top: _Open | None) -> PathTuple:
        if top is None:
            return ()
        return (*top.path, len(top.value) if isinstance(top.value, list) else top.key or "")

    def _take_key(self, top: _Open, event: Any, line: int, column: int) -> None:
        if not isinstance(event, ScalarEvent):
            raise UnreadableError(Fault(top.path, line, column, "a field name must be a plain text"))
        self._refuse_tag(event, top.path, line, column)
        key = event.value
        if event.style is None and not isinstance(_plain(key), str):
            self.places.fault(top.path, line, column, f'the field name {key!r} is not a text; quote it: "{key}"')
        top.key = key
        top.skip = not self.places.add_key((*top.path, key), line, column)

    def _put(self, top: _Open | None, value: Any) -> None:
        if top is None:
            self.root = value
        elif isinstance(top.value, list):
            top.value.append(value)
        else:
            if not top.skip and top.key is not None:
                top.value[top.key] = value
            top.key = None

    def _close(self) -> None:
        ended = self._stack.pop()
        if ended.anchor:
            self._anchors[ended.anchor] = (ended.value, self.places.nodes - ended.nodes_before)

    def _expand(self, anchor: str, path: PathTuple, line: int, column: int) -> Any:
        if anchor not in self._anchors:
            raise UnreadableError(Fault(path, line, column, f"the alias *{anchor} stands before or inside its anchor"))
        value, nodes = self._anchors[anchor]
        self.places.nodes += nodes
        if self.places.nodes > NODES_MAX:
            message = f"the aliases expand to more than {NODES_MAX} values"
            raise UnreadableError(Fault(path, line, column, message))
        return copy.deepcopy(value)

    def _refuse_tag(self, event: Any, path: PathTuple, line: int, column: int) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "", "!"):
            raise UnreadableError(Fault(path, line, column, f"tags are not allowed here; leave out {tag}"))

    def _scalar(self, event: ScalarEvent, path: PathTuple, line: int, column: int) -> Any:
        if event.style is not None:
            return event.value
        value = _plain(event.value)
        if isinstance(value, float):
            self.places.fault(path, line, column, float_advice(event.value))
            return event.value
        if isinstance(value, int) and abs(value) > _INT_MAX:
            self.places.fault(path, line, column, f"{event.value[:40]} is beyond 64 bits; quote it if it is a text")
            return event.value
        return value


def _plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar by the YAML 1.2 core schema; a float comes back as 0.0, nobody may use it."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > 40:
            return _INT_MAX + 1
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    return 0.0 if _FLOAT.fullmatch(text) else text


def read_yaml(text: str) -> tuple[Any, Places]:
    """Data and places of a YAML text. Raises UnreadableError when it cannot be read; other faults are in the places."""
    builder = _Builder()
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as error:
        raise UnreadableError(_syntax_fault(error)) from None
    except YAMLError as error:
        raise UnreadableError(Fault((), 1, 1, f"this is not YAML: {error}")) from None
    except RecursionError:
        raise UnreadableError(Fault((), 1, 1, "the document is nested too deeply")) from None
    return builder.root, builder.places


def _syntax_fault(error: MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    reason = " ".join(part for part in (error.context, error.problem) if part)
    return Fault((), line, column, f"this is not YAML: {reason}")

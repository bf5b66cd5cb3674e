"""YAML 1.2 as plain data with places, built from the parse events of libyaml.

Only what the core schema knows: objects, lists, texts, integers, true, false and null. Dates stay text; floats are
faults, because a price written `0.8523` would already have lost its meaning; tags are refused; merge keys are plain
keys. An alias is expanded as a copy and counted, so a document cannot grow beyond its bound ("billion laughs").

libyaml only cuts the text into events; what an unquoted word means is decided here, by YAML 1.2. The line separators
of YAML 1.1 (U+0085, U+2028, U+2029) are refused: 1.2 takes them for text, and a file must not have two readings.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Final

from yaml._yaml import (
    AliasEvent,
    CParser,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from yaml.error import MarkedYAMLError, YAMLError
from yaml.reader import ReaderError

from schemas.places import (
    DEPTH_MAX,
    NODES_MAX,
    Branch,
    EnoughError,
    Fault,
    PathTuple,
    Place,
    Places,
    UnreadableError,
    float_advice,
    too_much,
)

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NO_TEXT_BEGINS: Final = frozenset("0123456789+-.~ntfNTF")
"""A word that begins otherwise is a text; most do."""
_INT_MAX: Final = 2**63 - 1
_MARKED = re.compile(r"\?\S")
_UNWANTED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


class _Open(Branch):
    """A list or object whose end has not come yet. `depth` is the length of its path, `step` the last of it."""

    value: Any = None
    is_object: bool = False
    depth: int = 0
    step: str | int = 0
    anchor: str | None = None
    nodes_before: int = 0
    key: str | None = None
    skip: bool = False
    """The value of the current key is dropped, because the key is a repeat or not a text."""


class _Builder:
    """Turns events into data; one object a document."""

    def __init__(self, text: str, nodes_max: int) -> None:
        self.places = Places(_place_of_mark)
        self._marked = text if _MARKED.search(text) else ""
        self.nodes = 0
        self.root: Any = None
        self._nodes_max = nodes_max
        self._documents = 0
        self._top: _Open | None = None
        self._stack: list[_Open | None] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def read(self, parser: CParser) -> None:
        """Take all events of a parser. Raises UnreadableError when reading cannot go on."""
        next_event = parser.get_event
        while (event := next_event()) is not None:
            kind = event.__class__
            if kind is ScalarEvent:
                self._take_scalar(event)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                self._close()
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._open(event, kind is MappingStartEvent)
            elif kind is AliasEvent:
                self._take_alias(event)
            elif kind is DocumentStartEvent:
                self._start_document(event)
        self.places.nodes = self.nodes

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            line, column = _place(event)
            raise UnreadableError(Fault((), line, column, "the file holds more than one document; put each in its own"))

    def _path(self) -> PathTuple:
        """The path of the list or object that is open."""
        opened = [*self._stack, self._top]
        return tuple(around.step for around in opened[2:] if around is not None)

    def _path_of_value(self) -> PathTuple:
        """The path of the value that is being read: its key is not yet used up, its place in a list not yet taken."""
        top = self._top
        if top is None:
            return ()
        return (*self._path(), (top.key or "") if top.is_object else len(top.value))

    def _take_scalar(self, event: Any) -> None:
        """A value or a key. Most events of a file come by here, so what is done for most of them is done in place."""
        top = self._top
        if top is None or event.tag is not None or event.anchor:
            self._take_special(top, event)
            return
        text: str = event.value
        plain = not event.style and (not text or text[0] in _NO_TEXT_BEGINS)
        key = top.key
        if key is None and top.is_object:
            self._take_key(top, event, plain)
            return
        self.nodes = nodes = self.nodes + 1
        if nodes > self._nodes_max or top.depth >= DEPTH_MAX:
            raise too_much(self._path_of_value(), _place(event), self._nodes_max)
        value = self._plain_value(text, event) if plain else text
        if key is None:
            top.members.append(event.start_mark)  # type: ignore[union-attr]
            top.value.append(value)
        else:
            if not top.skip:
                top.members[key] = event.start_mark  # type: ignore[call-overload]
                top.value[key] = value
            top.key = None

    def _take_special(self, top: _Open | None, event: Any) -> None:
        """A scalar with a tag or an anchor, or one that is the whole document."""
        plain = not event.style
        if top is not None and top.key is None and top.is_object:
            self._refuse_tag(event, is_key=True)
            self._take_key(top, event, plain)
            return
        self._count_value(event)
        self._refuse_tag(event)
        value = self._plain_value(event.value, event) if plain else event.value
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(top, value, event)

    def _count_value(self, event: Any) -> None:
        """One value more: the bounds are held."""
        self.nodes += 1
        depth = 0 if self._top is None else self._top.depth + 1
        if self.nodes > self._nodes_max or depth > DEPTH_MAX:
            raise too_much(self._path_of_value(), _place(event), self._nodes_max)

    def _take_key(self, top: _Open, event: Any, plain: bool) -> None:
        key: str = event.value
        mark = event.start_mark
        if plain and not isinstance(_plain(key), str):
            message = f'the field name {key!r} is not a text; quote it: "{key}"'
            self.places.fault(self._path(), *_place_of_mark(mark), message)
        if self._marked and self._marked[mark.index - 1 : mark.index] == "?":
            # libyaml takes `{?a: 1}` for the key `a`, as YAML 1.1 does; by 1.2 it is `?a`
            place = mark.line + 1, mark.column
            raise UnreadableError(Fault(self._path(), *place, "quote a text that begins with a question mark"))
        top.key = key
        top.skip = key in top.keys
        if top.skip:
            message = f"the field {key!r} is written twice, first in line {top.keys[key].line + 1}"
            self.places.fault((*self._path(), key), *_place_of_mark(mark), message)
        else:
            top.keys[key] = mark

    def _open(self, event: Any, is_object: bool) -> None:
        top = self._top
        if top is not None and top.key is None and top.is_object:
            raise UnreadableError(Fault(self._path(), *_place(event), "a field name must be a plain text"))
        self._count_value(event)
        self._refuse_tag(event)
        opened = _Open({} if is_object else [], value={} if is_object else [], is_object=is_object)
        opened.anchor = event.anchor
        opened.nodes_before = self.nodes - 1
        if top is None:
            self.places.branch = opened
        else:
            opened.depth = top.depth + 1
            opened.step = (top.key or "") if top.is_object else len(top.value)
            top.inner[opened.step] = opened
        self._put(top, opened.value, event)
        self._stack.append(top)
        self._top = opened

    def _put(self, top: _Open | None, value: Any, event: Any) -> None:
        if top is None:
            self.root = value
            self.places.root = event.start_mark
        elif top.is_object:
            if not top.skip:
                top.members[top.key] = event.start_mark  # type: ignore[call-overload, index]
                top.value[top.key] = value
            top.key = None
        else:
            top.members.append(event.start_mark)  # type: ignore[union-attr]
            top.value.append(value)

    def _close(self) -> None:
        ended = self._top
        assert ended is not None
        if ended.anchor:
            self._anchors[ended.anchor] = (ended.value, self.nodes - ended.nodes_before)
        self._top = self._stack.pop()

    def _take_alias(self, event: Any) -> None:
        top = self._top
        if top is not None and top.key is None and top.is_object:
            raise UnreadableError(Fault(self._path(), *_place(event), "a field name must be a plain text"))
        self._count_value(event)
        if event.anchor not in self._anchors:
            message = f"the alias *{event.anchor} stands before or inside its anchor"
            raise UnreadableError(Fault(self._path_of_value(), *_place(event), message))
        value, nodes = self._anchors[event.anchor]
        self.nodes += nodes
        if self.nodes > self._nodes_max:
            message = f"the aliases expand to more than {self._nodes_max} values"
            raise UnreadableError(Fault(self._path_of_value(), *_place(event), message))
        self._put(top, copy.deepcopy(value), event)

    def _plain_value(self, text: str, event: Any) -> Any:
        value = _plain(text)
        if isinstance(value, float):
            self.places.fault(self._path_of_value(), *_place(event), float_advice(text))
            return text
        if isinstance(value, int) and abs(value) > _INT_MAX:
            message = f"{text[:40]} is beyond 64 bits; quote it if it is a text"
            self.places.fault(self._path_of_value(), *_place(event), message)
            return text
        return value

    def _refuse_tag(self, event: Any, *, is_key: bool = False) -> None:
        if event.tag not in (None, "", "!"):
            path = self._path() if is_key else self._path_of_value()
            raise UnreadableError(Fault(path, *_place(event), f"tags are not allowed here; leave out {event.tag}"))


def _place(event: Any) -> Place:
    return _place_of_mark(event.start_mark)


def _place_of_mark(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar by the YAML 1.2 core schema; a float comes back as 0.0, nobody may use it."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0].isalpha():
        return text
    if len(text) < 19 and text.isascii() and text.isdigit():
        return int(text)
    if _INT.fullmatch(text):
        if len(text) > 40:
            return _INT_MAX + 1
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    return 0.0 if _FLOAT.fullmatch(text) else text


def read_yaml(text: str, nodes_max: int = NODES_MAX) -> tuple[Any, Places]:
    """Data and places of a YAML text. Raises UnreadableError when it cannot be read; other faults are in the places.

    `nodes_max` bounds the values, those brought in by aliases included: reading stops there.
    """
    unwanted = _UNWANTED.search(text)
    if unwanted is not None:
        code = ord(unwanted[0])
        reason = "half of a character" if code >= 0xD800 and code < 0xE000 else 'a line separator; write it "\\u%04X"'
        message = f"this is not YAML: the character U+{code:04X} is {reason % code if '%' in reason else reason}"
        raise UnreadableError(Fault((), *_line_and_column(text, unwanted.start()), message))
    builder = _Builder(text, nodes_max)
    try:
        builder.read(CParser(text))
    except EnoughError:
        pass
    except MarkedYAMLError as error:
        raise UnreadableError(_syntax_fault(error)) from None
    except ReaderError as error:
        raise UnreadableError(_reader_fault(text, error)) from None
    except YAMLError as error:
        raise UnreadableError(Fault((), 1, 1, f"this is not YAML: {error}")) from None
    return builder.root, builder.places


def _syntax_fault(error: MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    reason = " ".join(part for part in (error.context, error.problem) if part)
    return Fault((), line, column, f"this is not YAML: {reason}")


def _reader_fault(text: str, error: ReaderError) -> Fault:
    """A character that no YAML may hold; libyaml tells its offset in bytes."""
    before = text.encode()[: error.position].decode("utf-8", "ignore")
    line, column = _line_and_column(text, len(before))
    shown = f"U+{ord(error.character):04X}" if isinstance(error.character, str) else f"U+{error.character:04X}"
    return Fault((), line, column, f"this is not YAML: the character {shown} is not allowed: {error.reason}")


def _line_and_column(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1

"""JSON as plain data with places. Floats and repeated fields are faults, as in the YAML that people write."""

from __future__ import annotations

import re
from bisect import bisect_right
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from typing import Any, Final

from schemas.places import (
    DEPTH_MAX,
    NODES_MAX,
    Branch,
    EnoughError,
    Fault,
    Place,
    Places,
    UnreadableError,
    float_advice,
    too_much,
)

_SPACE = re.compile(r"[ \t\r\n]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_SIGN = re.compile(r"[ \t\r\n]*([,\]}])[ \t\r\n]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, tuple[str, bool | None]]] = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_INT_MAX: Final = 2**63 - 1


class _Scanner:
    """A recursive reader over one text. A mark of a place is the offset in the text."""

    def __init__(self, text: str, nodes_max: int) -> None:
        self.text = text
        self.places = Places(self.place)
        self._nodes_max = nodes_max
        self._line_starts: list[int] = []
        self._steps: list[str | int] = []
        """The path of the list or object that is open."""

    def read(self) -> Any:
        """The whole document. Raises UnreadableError."""
        at = self._skip(0)
        self.places.root = at
        value, end, self.places.branch = self._value(at, None)
        at = self._skip(end)
        if at != len(self.text):
            raise self._unreadable(at, "there is more text after the end of the document")
        return value

    def place(self, at: int) -> Place:
        """Line and column of an offset."""
        if not self._line_starts:
            self._line_starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._line_starts, at)
        return line, at - self._line_starts[line - 1] + 1

    def _unreadable(self, at: int, message: str) -> UnreadableError:
        return UnreadableError(Fault((), *self.place(min(at, len(self.text))), f"this is not JSON: {message}"))

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def _value(self, at: int, step: str | int | None) -> tuple[Any, int, Branch | None]:
        """The value at an offset, where it ends, and where its members stand."""
        self.places.nodes += 1
        head = self.text[at : at + 1]
        if head == '"' and self.places.nodes <= self._nodes_max and len(self._steps) < DEPTH_MAX:
            return *self._string(at), None
        if step is not None:
            self._steps.append(step)
        if self.places.nodes > self._nodes_max or len(self._steps) > DEPTH_MAX:
            raise too_much(tuple(self._steps), self.place(at), self._nodes_max)
        found: tuple[Any, int, Branch | None]
        if head == "{":
            found = self._object(at + 1)
        elif head == "[":
            found = self._list(at + 1)
        elif head == '"':
            found = *self._string(at), None
        else:
            found = *self._word_or_number(at), None
        if step is not None:
            self._steps.pop()
        return found

    def _object(self, at: int) -> tuple[dict[str, Any], int, Branch]:
        text, members, marks = self.text, {}, {}  # type: ignore[var-annotated]
        branch = Branch(marks)
        sign = ","
        at = self._skip(at)
        if text[at : at + 1] == "}":
            return members, at + 1, branch
        while sign == ",":
            if text[at : at + 1] != '"':
                raise self._unreadable(at, "a field name in double quotes is expected here")
            key, end = self._string(at)
            is_new = self._note_key(branch, key, at)
            colon = _COLON.match(text, end)
            if colon is None:
                raise self._unreadable(self._skip(end), "':' is expected here")
            at = colon.end()
            value, end, inner = self._value(at, key)
            if is_new:
                members[key] = value
                marks[key] = at
                if inner is not None:
                    branch.inner[key] = inner
            sign, at = self._sign(end, "}")
        return members, at, branch

    def _note_key(self, branch: Branch, key: str, at: int) -> bool:
        """Note where a key stands; a repeated one is a fault and gives False."""
        first = branch.keys.setdefault(key, at)
        if first == at:
            return True
        message = f"the field {key!r} is written twice, first in line {self.place(first)[0]}"
        self.places.fault((*self._steps, key), *self.place(at), message)
        return False

    def _list(self, at: int) -> tuple[list[Any], int, Branch]:
        items: list[Any] = []
        marks: list[int] = []
        branch = Branch(marks)
        sign = ","
        at = self._skip(at)
        if self.text[at : at + 1] == "]":
            return items, at + 1, branch
        while sign == ",":
            marks.append(at)
            value, end, inner = self._value(at, len(items))
            if inner is not None:
                branch.inner[len(items)] = inner
            items.append(value)
            sign, at = self._sign(end, "]")
        return items, at, branch

    def _sign(self, at: int, end: str) -> tuple[str, int]:
        """The comma or the closing bracket that follows a member, and where the text goes on after it."""
        found = _SIGN.match(self.text, at)
        if found is None or found[1] not in (",", end):
            raise self._unreadable(self._skip(at), "',' is expected here")
        return found[1], (found.end() if found[1] == "," else found.end(1))

    def _string(self, at: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self.text, at + 1, True)
        except JSONDecodeError as error:
            raise self._unreadable(error.pos, error.msg) from None
        return value, end

    def _word_or_number(self, at: int) -> tuple[Any, int]:
        word, value = _WORDS.get(self.text[at : at + 1], ("", None))
        if word and self.text.startswith(word, at):
            return value, at + len(word)
        match = _NUMBER.match(self.text, at)
        if match is None:
            raise self._unreadable(at, "a value is expected here")
        return self._number(match, at), match.end()

    def _number(self, match: re.Match[str], at: int) -> int | str:
        digits = match[0]
        if match[2] or match[3]:
            self.places.fault(tuple(self._steps), *self.place(at), float_advice(digits))
        elif len(digits) > 18 and (len(digits) > 20 or abs(int(digits)) > _INT_MAX):
            message = f"{digits[:40]} is beyond 64 bits; quote it if it is a text"
            self.places.fault(tuple(self._steps), *self.place(at), message)
        else:
            return int(digits)
        return digits


def read_json(text: str, nodes_max: int = NODES_MAX) -> tuple[Any, Places]:
    """Data and places of a JSON text. Raises UnreadableError when it cannot be read; other faults are in the places.

    `nodes_max` bounds the values: reading stops there.
    """
    scanner = _Scanner(text, nodes_max)
    try:
        return scanner.read(), scanner.places
    except EnoughError:
        return None, scanner.places

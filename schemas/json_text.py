"""JSON as plain data with places. Floats and repeated fields are faults, as in the YAML that people write."""

from __future__ import annotations

import re
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from typing import Any, Final

from schemas.places import NODES_MAX, Fault, PathTuple, Places, UnreadableError, float_advice

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, tuple[str, bool | None]]] = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_INT_MAX: Final = 2**63 - 1


class _Scanner:
    """A recursive reader over one text; `Places` bounds how deep and how much it reads."""

    def __init__(self, text: str, nodes_max: int) -> None:
        self.text = text
        self.places = Places(nodes_max=nodes_max)
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._line = 0

    def read(self) -> Any:
        """The whole document. Raises UnreadableError."""
        value, at = self._value(self._skip(0), ())
        if at != len(self.text):
            raise self._unreadable(at, "there is more text after the end of the document")
        return value

    def place(self, at: int) -> tuple[int, int]:
        """Line and column of an offset. Offsets come nearly in order, so the search starts where it last ended."""
        while self._line + 1 < len(self._line_starts) and self._line_starts[self._line + 1] <= at:
            self._line += 1
        while self._line_starts[self._line] > at:
            self._line -= 1
        return self._line + 1, at - self._line_starts[self._line] + 1

    def _unreadable(self, at: int, message: str) -> UnreadableError:
        return UnreadableError(Fault((), *self.place(min(at, len(self.text))), f"this is not JSON: {message}"))

    def _skip(self, at: int) -> int:
        if self.text[at : at + 1] > " ":
            return at
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def _value(self, at: int, path: PathTuple) -> tuple[Any, int]:
        self.places.add_value(path, *self.place(at))
        head = self.text[at : at + 1]
        value: Any
        if head == '"':
            value, end = self._string(at)
        elif head == "{":
            value, end = self._object(at + 1, path)
        elif head == "[":
            value, end = self._list(at + 1, path)
        else:
            value, end = self._word_or_number(at, path)
        return value, self._skip(end)

    def _object(self, at: int, path: PathTuple) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        at, is_first = self._skip(at), True
        while self.text[at : at + 1] != "}":
            if not is_first:
                at = self._skip(self._expect(",", at))
            is_first = False
            if self.text[at : at + 1] != '"':
                raise self._unreadable(at, "a field name in double quotes is expected here")
            key, end = self._string(at)
            inner = (*path, key)
            is_new = self.places.add_key(inner, *self.place(at))
            value, at = self._value(self._skip(self._expect(":", self._skip(end))), inner)
            if is_new:
                members[key] = value
        return members, at + 1

    def _list(self, at: int, path: PathTuple) -> tuple[list[Any], int]:
        items: list[Any] = []
        at = self._skip(at)
        while self.text[at : at + 1] != "]":
            if items:
                at = self._skip(self._expect(",", at))
            value, at = self._value(at, (*path, len(items)))
            items.append(value)
        return items, at + 1

    def _expect(self, sign: str, at: int) -> int:
        if self.text[at : at + 1] != sign:
            raise self._unreadable(at, f"{sign!r} is expected here")
        return at + 1

    def _string(self, at: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self.text, at + 1, True)
        except JSONDecodeError as error:
            raise self._unreadable(error.pos, error.msg) from None
        return value, end

    def _word_or_number(self, at: int, path: PathTuple) -> tuple[Any, int]:
        word, value = _WORDS.get(self.text[at : at + 1], ("", None))
        if word and self.text.startswith(word, at):
            return value, at + len(word)
        match = _NUMBER.match(self.text, at)
        if match is None:
            raise self._unreadable(at, "a value is expected here")
        return self._number(match, at, path), match.end()

    def _number(self, match: re.Match[str], at: int, path: PathTuple) -> int | str:
        digits = match[0]
        if match[2] or match[3]:
            self.places.fault(path, *self.place(at), float_advice(digits))
        elif len(digits) > 18 and (len(digits) > 20 or abs(int(digits)) > _INT_MAX):
            self.places.fault(path, *self.place(at), f"{digits[:40]} is beyond 64 bits; quote it if it is a text")
        else:
            return int(digits)
        return digits


def read_json(text: str, nodes_max: int = NODES_MAX) -> tuple[Any, Places]:
    """Data and places of a JSON text. Raises UnreadableError when it cannot be read; other faults are in the places.

    `nodes_max` bounds the values: reading stops there.
    """
    scanner = _Scanner(text, nodes_max)
    return scanner.read(), scanner.places

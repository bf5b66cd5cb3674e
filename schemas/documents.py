"""Files that people write: YAML 1.2 or JSON, read safely, with every error at its line.

Reading is bounded (size, number of values, nesting, alias expansion) and strict where a silent reading would cost
money: a field written twice, a float, a tag or a number beyond 64 bits is an error, and dates stay the text they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.json_text import read_json
from schemas.places import NODES_MAX, Fault, Places, UnreadableError
from schemas.registry import PathTuple, Problem, path_text, problems
from schemas.yaml_text import read_yaml

DOCUMENT_BYTES_MAX: Final = 4 * 1024 * 1024
VALUES_MAX: Final = {"ruleset": 8_000}
"""Most values in a document of a kind, where that is less than in any other: rule files come from many hands, and one
is read whenever somebody looks at it."""


class Document(msgspec.Struct, frozen=True):
    """Plain data of one file, where it came from, and where each value of it stands."""

    data: Any
    source: str
    places: Places

    def locate(self, path: PathTuple) -> tuple[int, int]:
        """Line and column of the value at a path; of the nearest value around it when there is none."""
        place = self.places.of_value(path)
        while place is None and path:
            path = path[:-1]
            place = self.places.of_value(path)
        return place or (1, 1)

    def locate_key(self, path: PathTuple) -> tuple[int, int]:
        """Line and column of the key at a path; of the value when it has no key."""
        return self.places.of_key(path) or self.locate(path)


class DocumentError(Exception):
    """A file that is not right. `str()` gives one line a problem: `file:line:col: path: message`."""

    def __init__(self, source: str, found: Sequence[Problem]) -> None:
        """Keep the problems and the name of the file they are in."""
        self.source = source
        self.problems = list(found)
        super().__init__("\n".join(f"{source}:{problem}" for problem in self.problems))


def read_document(document: Path | str, source: str | None = None, kind: str = "") -> Document:
    """Read a file (a Path) or a text (a str); JSON when the source ends with `.json`, otherwise YAML.

    `source` is the name used in errors, `kind` the schema that is meant: it bounds the values. Raises DocumentError for
    everything that is wrong with the text itself, a missing or unreadable file included.
    """
    name = source or (str(document) if isinstance(document, Path) else "document")
    text = _file_text(document, name) if isinstance(document, Path) else document
    if len(text.encode("utf-8", "surrogatepass")) > DOCUMENT_BYTES_MAX:
        raise DocumentError(name, [_whole(f"larger than {DOCUMENT_BYTES_MAX} bytes, the most a document may have")])
    try:
        read = read_json if name.endswith(".json") else read_yaml
        data, places = read(text, VALUES_MAX.get(kind, NODES_MAX))
    except UnreadableError as error:
        raise DocumentError(name, [_problem(error.fault)]) from None
    if places.faults:
        raise DocumentError(name, sorted(_problem(fault) for fault in places.faults))
    return Document(data, name, places)


def check_document(document: Document, name: str) -> Document:
    """The document itself when it satisfies the schema `name`; raises DocumentError with every problem otherwise."""
    found = problems(name, document.data, document.locate, document.locate_key)
    if found:
        raise DocumentError(document.source, found)
    return document


def load_checked(path: Path | str, name: str) -> Document:
    """Read a file and check it against the schema `name`. Raises DocumentError."""
    return check_document(read_document(Path(path), kind=name), name)


def _file_text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise DocumentError(name, [_whole(f"cannot be read: {error.strerror or error}")]) from None
    if len(content) > DOCUMENT_BYTES_MAX:
        raise DocumentError(name, [_whole(f"larger than {DOCUMENT_BYTES_MAX} bytes, the most a document may have")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise DocumentError(name, [Problem(line, column, "", "the file is not UTF-8 text")]) from None


def _whole(message: str) -> Problem:
    return Problem(0, 0, "", message)


def _problem(fault: Fault) -> Problem:
    return Problem(fault.line, fault.column, path_text(fault.path), fault.message)

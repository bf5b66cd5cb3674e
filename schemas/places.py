"""Where each value of a document stands in its text, for errors that name line and column (both count from 1)."""

from __future__ import annotations

from typing import Final

import msgspec

PathTuple = tuple[str | int, ...]

NODES_MAX: Final = 500_000
"""Most values in one document, those brought in by aliases included."""
FAULTS_MAX: Final = 25
"""So many faults of one text are told; more would not be read."""
DEPTH_MAX: Final = 64
"""Deepest nesting of lists and objects."""


class Fault(msgspec.Struct, frozen=True):
    """Something wrong with the text itself, at a place."""

    path: PathTuple
    line: int
    column: int
    message: str


class UnreadableError(Exception):
    """The text cannot be read on from here; carries the one fault that says why."""

    def __init__(self, fault: Fault) -> None:
        """Keep the fault for the caller, who knows the file."""
        super().__init__(fault.message)
        self.fault = fault


class Places(msgspec.Struct):
    """Places of values and of keys, by path, and the faults found while reading. `nodes_max` bounds the values."""

    values: dict[PathTuple, tuple[int, int]] = {}
    keys: dict[PathTuple, tuple[int, int]] = {}
    faults: list[Fault] = []
    nodes: int = 0
    nodes_max: int = NODES_MAX

    def add_value(self, path: PathTuple, line: int, column: int) -> None:
        """Note where a value begins; raises UnreadableError when there are too many or they are too deep."""
        self.values[path] = (line, column)
        self.nodes += 1
        if self.nodes > self.nodes_max:
            raise UnreadableError(Fault(path, line, column, f"the document has more than {self.nodes_max} values"))
        if len(path) > DEPTH_MAX:
            raise UnreadableError(Fault(path, line, column, f"the document is nested deeper than {DEPTH_MAX} levels"))

    def add_key(self, path: PathTuple, line: int, column: int) -> bool:
        """Note where a key stands; a repeated one is a fault and gives False."""
        first = self.keys.get(path)
        if first is not None:
            self.fault(path, line, column, f"the field {path[-1]!r} is written twice, first in line {first[0]}")
            return False
        self.keys[path] = (line, column)
        return True

    def fault(self, path: PathTuple, line: int, column: int, message: str) -> None:
        """Note a fault after which reading can go on; of very many the first are enough."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(path, line, column, message))


def float_advice(text: str) -> str:
    """What to do about a number with a decimal point or exponent in a file that people write."""
    return f'{text} is a floating-point number, which cannot hold money exactly; write it as a quoted string: "{text}"'

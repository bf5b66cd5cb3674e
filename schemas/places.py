"""Where each value of a document stands in its text, for errors that name line and column (both count from 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

PathTuple = tuple[str | int, ...]
Place = tuple[int, int]

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


class EnoughError(Exception):
    """So many faults were found that reading ends."""


class Branch(msgspec.Struct, gc=False):
    """Where the members of one list or object stand.

    `members` has a mark for each value, by name or by position; `keys` one for each name; `inner` the branches of those
    members that are lists or objects. A mark is what the reader has at hand; `Places.place` makes line and column of
    it, when somebody asks: most documents are right.
    """

    members: dict[str, Any] | list[Any]
    keys: dict[str, Any] = {}
    inner: dict[str | int, Branch] = {}


class Places:
    """Where the values and keys of a text stand, and the faults found while reading it. `nodes` counts the values."""

    def __init__(self, place: Callable[[Any], Place]) -> None:
        """`place` makes line and column of a mark."""
        self.faults: list[Fault] = []
        self.nodes = 0
        self.root: Any = None
        self.branch: Branch | None = None
        self.place = place

    def of_value(self, path: PathTuple) -> Place | None:
        """Line and column of the value at a path, if there is one."""
        if not path:
            return None if self.root is None else self.place(self.root)
        branch, step = self._around(path), path[-1]
        if branch is None:
            return None
        members = branch.members
        if isinstance(members, list):
            return self.place(members[step]) if isinstance(step, int) and 0 <= step < len(members) else None
        return self.place(members[step]) if isinstance(step, str) and step in members else None

    def of_key(self, path: PathTuple) -> Place | None:
        """Line and column of the name of the value at a path, if it has one."""
        branch = self._around(path) if path else None
        mark = branch.keys.get(str(path[-1])) if branch is not None else None
        return None if mark is None else self.place(mark)

    def _around(self, path: PathTuple) -> Branch | None:
        branch = self.branch
        for step in path[:-1]:
            if branch is None:
                return None
            branch = branch.inner.get(step)
        return branch

    def paths(self) -> Iterator[PathTuple]:
        """The paths of all values that have a place, in the order of the text."""
        if self.root is not None:
            yield ()
        if self.branch is not None:
            yield from _paths_below(self.branch, ())

    def fault(self, path: PathTuple, line: int, column: int, message: str) -> None:
        """Note a fault after which reading can go on. Raises EnoughError when nobody would read more of them."""
        self.faults.append(Fault(path, line, column, message))
        if len(self.faults) >= FAULTS_MAX:
            raise EnoughError


def _paths_below(branch: Branch, path: PathTuple) -> Iterator[PathTuple]:
    for step in range(len(branch.members)) if isinstance(branch.members, list) else branch.members:
        yield (*path, step)
        if step in branch.inner:
            yield from _paths_below(branch.inner[step], (*path, step))


def too_much(path: PathTuple, place: Place, nodes_max: int) -> UnreadableError:
    """Why reading ends at a value: it lies too deep, or there are too many of them."""
    deep = f"is nested deeper than {DEPTH_MAX} levels"
    message = f"the document {deep if len(path) > DEPTH_MAX else f'has more than {nodes_max} values'}"
    return UnreadableError(Fault(path, *place, message))


def float_advice(text: str) -> str:
    """What to do about a number with a decimal point or exponent in a file that people write."""
    return f'{text} is a floating-point number, which cannot hold money exactly; write it as a quoted string: "{text}"'

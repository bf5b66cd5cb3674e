"""What happened, in order: kept as text when somebody wants to read it, always folded into a hash."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = 400
"""So many of the newest lines are kept for the report of a violation."""


class Trace:
    """Lines of one run; `hash` is the same for the same seed, whatever machine or process runs it."""

    def __init__(self, tell: Callable[[str], object] | None = None) -> None:
        self._hash = blake2b(digest_size=12)
        self._tell = tell
        self.lines: list[str] = []
        self.count = 0

    def note(self, now_ms: int, who: str, what: str) -> None:
        """One thing that happened."""
        line = f"{now_ms} {who}: {what}"
        self._hash.update(line.encode())
        self.count += 1
        if self._tell is not None:
            self._tell(line)
        self.lines.append(line)
        if len(self.lines) > 2 * KEPT:
            del self.lines[:-KEPT]

    @property
    def hash(self) -> str:
        """Of every line so far."""
        return self._hash.hexdigest()

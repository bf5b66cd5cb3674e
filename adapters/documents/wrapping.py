"""Breaking text into lines: Latin words stay whole, Chinese breaks anywhere but before closing punctuation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = re.compile(r"[!-~\u00a1-\u02ff]+ *| +|.", re.DOTALL)
"""A run of Latin characters with the blanks behind it, or one character of any other script."""
_NOT_FIRST = frozenset("，。、；：？！）】》」』”’%‰")
_MOST_LINES = 40
CUT = "..."


def wrapped(text: str, limit: float, width: Callable[[str], float]) -> list[str]:
    """The lines of a text, none wider than `limit`; at least one, at most 40, the last then ends in `...`."""
    if width(text) <= limit:
        return [text.rstrip()]
    lines: list[str] = []
    line = ""
    for piece in _pieces(text, limit, width):
        if line and width((line + piece).rstrip()) > limit and piece[0] not in _NOT_FIRST:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    lines.append(line.rstrip())
    if len(lines) > _MOST_LINES:
        return [*lines[: _MOST_LINES - 1], CUT]
    return lines


def _pieces(text: str, limit: float, width: Callable[[str], float]) -> list[str]:
    """What may not be broken; a word wider than a line is cut into parts that are not."""
    pieces: list[str] = []
    for piece in _PIECE.findall(text):
        if width(piece.rstrip()) <= limit:
            pieces.append(piece)
            continue
        part = ""
        for character in piece:
            if part and width(part + character) > limit:
                pieces.append(part)
                part = ""
            part += character
        pieces.append(part)
    return pieces

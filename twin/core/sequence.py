"""Duplicate and gap detection by (session id, sequence number), as a sliding window of 64 numbers.

This window only spares work and counts faults. Money does not depend on it: a repeated register value is a no-op
however much later it comes.
"""

from __future__ import annotations

from typing import Literal

from twin.core.model import Sequence

WINDOW = 64
_ALL = (1 << WINDOW) - 1

Arrival = Literal["next", "late", "duplicate", "ancient"]


def admit(window: Sequence, sid: str, seq: int) -> tuple[Sequence, Arrival]:
    """The window after one more message, and what that message is.

    `late` fills a gap inside the window; `ancient` is older than the window, so nobody can tell whether it is a repeat.
    """
    if sid != window.sid:
        return Sequence(sid, seq, 1, window.missed, window.duplicates), "next"
    ahead = seq - window.last
    if ahead > 0:
        mask = ((window.mask << ahead) | 1) & _ALL if ahead < WINDOW else 1
        return Sequence(sid, seq, mask, window.missed + ahead - 1, window.duplicates), "next"
    if -ahead >= WINDOW:
        return window, "ancient"
    bit = 1 << -ahead
    if window.mask & bit:
        return Sequence(sid, window.last, window.mask, window.missed, window.duplicates + 1), "duplicate"
    return Sequence(sid, window.last, window.mask | bit, max(0, window.missed - 1), window.duplicates), "late"

"""Durations as people write them: an integer and one unit, such as `500ms`, `90s`, `15m`, `24h` or `5d`.

A day here is 24 hours of elapsed time; calendar days belong to calendars. Inside the program a duration is an
integer of milliseconds.
"""

from __future__ import annotations

import re
from typing import Final

_MS_PER_UNIT: Final[dict[str, int]] = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")

DURATION_MS_MAX: Final = 36_500 * 86_400_000
"""The longest duration that is accepted: a hundred years. Longer ones are typing errors."""


class DurationError(ValueError):
    """A text that is not a duration; the message says what was found and what would be right."""


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as `90s`.

    Raises DurationError for anything that is not a non-negative integer with one of the units ms, s, m, h, d,
    and for a duration beyond `DURATION_MS_MAX`.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise DurationError(
            f"{text!r} is not a duration: write an integer and a unit, such as 500ms, 90s, 15m, 24h or 5d"
        )
    duration_ms = int(match[1]) * _MS_PER_UNIT[match[2]]
    if duration_ms > DURATION_MS_MAX:
        raise DurationError(f"{text!r} is longer than the longest duration, {format_duration(DURATION_MS_MAX)}")
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """The shortest exact text of a duration in milliseconds: 900000 -> `15m`. The inverse of `parse_duration`."""
    if not 0 <= duration_ms <= DURATION_MS_MAX:
        raise DurationError(f"{duration_ms} ms is not between 0 and {DURATION_MS_MAX} ms")
    for unit in ("d", "h", "m", "s"):
        if duration_ms and duration_ms % _MS_PER_UNIT[unit] == 0:
            return f"{duration_ms // _MS_PER_UNIT[unit]}{unit}"
    return f"{duration_ms}ms" if duration_ms else "0s"

"""Spells of a plan as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

WEEKDAYS = ("周一 Mon", "周二 Tue", "周三 Wed", "周四 Thu", "周五 Fri", "周六 Sat", "周日 Sun")


def spell_words(from_ts: int, until_ts: int, zone: ZoneInfo) -> str:
    """`2026-01-09 周五 Fri 23:00 - 2026-01-10 06:00` in local time; the second date only where it is another."""
    begin, end = (datetime.fromtimestamp(ts // 1000, zone) for ts in (from_ts, until_ts))
    last = end.strftime("%H:%M") if begin.date() == end.date() else end.strftime("%Y-%m-%d %H:%M")
    return f"{begin:%Y-%m-%d} {WEEKDAYS[begin.weekday()]} {begin:%H:%M} - {last}"

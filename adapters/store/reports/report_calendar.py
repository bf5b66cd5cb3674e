"""Local months and days that reports go by: yyyymm and yyyymmdd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.reports.report_models import Span
from billing.local_time import (
    DAY_MS,
    day_of_local_ms,
    first_instant,
    local_ms_of_day,
    month_number,
    month_start,
    offset_ms,
)

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def months_between(from_month: int, to_month: int) -> list[int]:
    """All months from one to another, both included."""
    return [month_number(index) for index in range(month_index(from_month), month_index(to_month) + 1)]


def day_number(day: int) -> int:
    """A day since 1970-01-01 as yyyymmdd."""
    date = day_of_local_ms(day * DAY_MS)
    return date.year * 10_000 + date.month * 100 + date.day


def local_days(zone: ZoneInfo, span: Span) -> list[tuple[int, Span]]:
    """The local days that a span touches, each as yyyymmdd with its part of the span."""
    days = []
    date = day_of_local_ms(span.from_ts + offset_ms(zone, span.from_ts))
    start = span.from_ts
    while start < span.to_ts:
        following = first_instant(zone, local_ms_of_day(date) + DAY_MS)
        end = min(following, span.to_ts)
        if end > start:
            days.append((date.year * 10_000 + date.month * 100 + date.day, Span(start, end)))
        start = max(start, following)
        date = date.fromordinal(date.toordinal() + 1)
    return days


def month_index(month: int) -> int:
    """A month written as yyyymm, as the index that `billing.local_time` counts by."""
    return month // 100 * 12 + month % 100 - 1


def span_of_months(zone: ZoneInfo, from_month: int, to_month: int) -> Span:
    """The real time of some local months, both included."""
    return Span(month_start(zone, month_index(from_month)), month_start(zone, month_index(to_month) + 1))

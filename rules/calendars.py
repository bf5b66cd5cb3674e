"""Calendars of rule files: weekly windows, dates and public holidays on the local wall clock.

A calendar is a list of entries and holds an instant when any entry does. An entry has days (`weekdays`, `dates`, or
both: then both must fit; none: every day) and `times` on those days (none: the whole day). Spans are half-open
`[from, to)` on the local wall clock; one that ends at or before its start runs into the next day and belongs to the
day on which it starts. An entry with `from` or `until` (local dates, the second excluded) is valid only between them.

Daylight saving: what counts is what the clock on the wall shows. A time that the clock shows twice is inside twice;
one that it skips does not exist, and a span that starts there starts when the clock jumps over it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import holidays
import msgspec

from rules.errors import did_you_mean
from rules.literals import EPOCH

DAY_MINUTES = 24 * 60
HORIZON_DAYS = 400
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ENTRY_FIELDS = ("weekdays", "dates", "times", "from", "until")

_SPAN = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_HOLIDAYS = re.compile(r"holidays/([A-Z]{2})(?:[-/]([A-Z0-9]{1,3}))?")
_ONE_DAY = timedelta(days=1)


class CalendarError(ValueError):
    """A calendar entry that cannot be read; `field` says which part of the entry."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class Span(msgspec.Struct, frozen=True):
    """Minutes of the local day, `[start, end)`; an end past 1440 lies on the next day."""

    start: int
    end: int


class Dates(msgspec.Struct, frozen=True):
    """A set of local dates: ranges `[first, last]` and the public holidays of countries or their parts."""

    ranges: tuple[tuple[date, date], ...]
    holidays: tuple[tuple[str, str | None], ...]

    def contains(self, day: date) -> bool:
        """Whether the local date is one of them."""
        if any(first <= day <= last for first, last in self.ranges):
            return True
        return any(day in _public_holidays(country, part, day.year) for country, part in self.holidays)


class Entry(msgspec.Struct, frozen=True):
    """One line of a calendar. `weekdays` counts from Monday = 0; `dates` of None is any date."""

    weekdays: frozenset[int]
    dates: Dates | None
    spans: tuple[Span, ...]
    first: date | None = None
    until: date | None = None

    def starts_on(self, day: date) -> bool:
        """Whether spans of this entry start on the local date."""
        if (self.first is not None and day < self.first) or (self.until is not None and day >= self.until):
            return False
        return day.weekday() in self.weekdays and (self.dates is None or self.dates.contains(day))


class Calendar(msgspec.Struct, frozen=True):
    """A named set of instants, given by local wall clock. On a date that an entry of `special` names, the spans of the
    other entries do not start."""

    name: str
    entries: tuple[Entry, ...]
    special: tuple[Entry, ...] = ()

    def contains(self, ts_ms: int, zone: tzinfo) -> bool:
        """Whether the instant (Unix ms) lies in the calendar, in that zone."""
        local = (EPOCH + timedelta(milliseconds=ts_ms)).astimezone(zone)
        minute = local.hour * 60 + local.minute
        today = local.date()
        return self._covers(today, minute) or self._covers(today - _ONE_DAY, minute + DAY_MINUTES)

    def _covers(self, day: date, minute: int) -> bool:
        special = [entry for entry in self.special if entry.starts_on(day)]
        return any(
            span.start <= minute < span.end and entry.starts_on(day)
            for entry in special or self.entries
            for span in entry.spans
        )

    def next_change(self, ts_ms: int, zone: tzinfo) -> int:
        """The first instant after `ts_ms` at which `contains` changes.

        A calendar that does not change within 400 days gives the end of those days, so that it is looked at again.
        """
        inside = self.contains(ts_ms, zone)
        first = (EPOCH + timedelta(milliseconds=ts_ms)).astimezone(zone).date() - _ONE_DAY
        for ahead in range(HORIZON_DAYS):
            for instant in sorted(self._edges(first + timedelta(days=ahead), zone)):
                if instant > ts_ms and self.contains(instant, zone) != inside:
                    return instant
        return ts_ms + HORIZON_DAYS * 86_400_000

    def _edges(self, day: date, zone: tzinfo) -> set[int]:
        """Every instant of the local day at which something can change: span ends, midnight, jumps of the clock."""
        minutes = {0, DAY_MINUTES}
        entries = (*self.entries, *self.special)
        minutes.update(edge % DAY_MINUTES for entry in entries for span in entry.spans for edge in _ends(span))
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a wall clock, placed in its zone below
        return {
            *clock_jumps(midnight, zone),
            *(at for minute in minutes for at in instants_of(midnight + timedelta(minutes=minute), zone)),
        }


def _ends(span: Span) -> tuple[int, int]:
    return span.start, span.end


def instants_of(wall: datetime, zone: tzinfo) -> Iterable[int]:
    """The instants at which the wall clock shows this time: one, or two in a repeated hour."""
    return {_unix_ms(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1)}


def _unix_ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)


def clock_jumps(midnight: datetime, zone: tzinfo) -> list[int]:
    """The instant inside this local day at which the zone's offset changes, if it does; found by halving."""
    low = _unix_ms(midnight.replace(tzinfo=zone))
    high = _unix_ms((midnight + _ONE_DAY).replace(tzinfo=zone))
    offset = _offset(low, zone)
    if offset == _offset(high, zone):
        return []
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == offset:
            low = middle
        else:
            high = middle
    return [high]


def _offset(ts_ms: int, zone: tzinfo) -> timedelta | None:
    return (EPOCH + timedelta(milliseconds=ts_ms)).astimezone(zone).utcoffset()


@lru_cache(maxsize=512)
def _public_holidays(country: str, part: str | None, year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, subdiv=part, years=year))


def read_calendar(name: str, entries: Sequence[Mapping[str, Any]]) -> Calendar:
    """A calendar from its entries in a rule file. Raises `CalendarError`."""
    return Calendar(name, tuple(read_entry(entry) for entry in entries))


def read_entry(entry: Mapping[str, Any]) -> Entry:
    """One entry of a calendar. Raises `CalendarError` naming the field."""
    for field in entry:
        if field not in ENTRY_FIELDS:
            hint = did_you_mean(field, ENTRY_FIELDS) or "known: " + ", ".join(ENTRY_FIELDS)
            raise CalendarError(f"unknown field {field!r} ({hint})", "")
    return Entry(
        weekdays=_read_weekdays(entry["weekdays"]) if "weekdays" in entry else frozenset(range(7)),
        dates=_read_dates(entry["dates"]) if "dates" in entry else None,
        spans=tuple(_read_span(text) for text in entry.get("times", ["00:00-24:00"])),
        first=_read_date(entry["from"], "from") if "from" in entry else None,
        until=_read_date(entry["until"], "until") if "until" in entry else None,
    )


def _read_weekdays(names: Sequence[str]) -> frozenset[int]:
    days: set[int] = set()
    for text in names:
        first, _, last = text.partition(":")
        start, end = _weekday(first), _weekday(last or first)
        days.update((start + ahead) % 7 for ahead in range((end - start) % 7 + 1))
    return frozenset(days)


def _weekday(name: str) -> int:
    if name not in WEEKDAYS:
        hint = did_you_mean(name, WEEKDAYS) or "write monday or monday:thursday"
        raise CalendarError(f"unknown weekday {name!r} ({hint})", "weekdays")
    return WEEKDAYS.index(name)


def _read_span(text: str) -> Span:
    match = _SPAN.fullmatch(text)
    if match is not None:
        hours = [int(part) for part in match.groups()]
        start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if start < DAY_MINUTES and end <= DAY_MINUTES and max(hours[1], hours[3]) < 60 and start != end:
            return Span(start, end if end > start else end + DAY_MINUTES)
    raise CalendarError(f'{text!r} is not a span of the day: write "16:00-24:00"', "times")


def _read_dates(value: str | Sequence[str]) -> Dates:
    ranges: list[tuple[date, date]] = []
    public: list[tuple[str, str | None]] = []
    for text in [value] if isinstance(value, str) else value:
        match = _HOLIDAYS.fullmatch(text)
        if match is not None:
            public.append(_read_holidays(text, match[1], match[2]))
        else:
            first, _, last = text.partition(":")
            ranges.append((_read_date(first, "dates"), _read_date(last or first, "dates")))
    return Dates(tuple(ranges), tuple(public))


def _read_holidays(text: str, country: str, part: str | None) -> tuple[str, str | None]:
    parts = holidays.list_supported_countries().get(country)
    if parts is None:
        raise CalendarError(f"no holidays are known for {text!r}: write holidays/ and a two-letter country", "dates")
    if part is not None and part not in parts:
        raise CalendarError(f"{text!r} names an unknown part of {country}: known are {', '.join(parts)}", "dates")
    return country, part


def _read_date(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text)
    except (ValueError, TypeError):
        hint = "write 2026-02-17, 2026-02-10:2026-02-20 or holidays/CN" if field == "dates" else "write 2026-02-17"
        raise CalendarError(f"{text!r} is not a date: {hint}", field) from None

"""The calendar of a time-of-use tariff: which price period the wall clock is in.

Theory of operation. A calendar is a list of entries; for a day the first entry whose months and days match decides,
and its slots tile the 24 hours of that day. So every local instant has exactly one period if (a) each entry's slots
tile the day without gap or overlap and (b) every month and weekday is matched by an entry that is not for
holidays only. Both are checked when the file is compiled, and the first instant that breaks them is named.

`weekday` is Monday to Friday and `weekend` Saturday and Sunday by the calendar; public holidays, and working
weekends that make up for them, do not move between the two. Put `holiday:CN` first to give holidays their own slots.
Holidays come from the `holidays` library (`holiday:CN`, or with a subdivision `holiday:DE-BY`): static data, which for
future years holds what the country has announced.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

import holidays
import msgspec

from billing import tariff_fields as fields
from billing.local_time import MINUTE_MS
from billing.tariff_fields import TariffError, join

_DAY_MINUTES = 24 * 60
_WEEKDAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_WORDS = {"all": frozenset(range(7)), "weekday": frozenset(range(5)), "weekend": frozenset((5, 6))}
_HOLIDAY = re.compile(r"holiday:([A-Z]{2})(?:-([A-Z0-9]{1,4}))?")
_SLOT = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")

DaySlots = tuple[tuple[int, str], ...]
"""(ms after local midnight, period) of each slot's beginning; the first is 0, each lasts until the next."""


class CalendarEntry(msgspec.Struct, frozen=True):
    """One line of the calendar: in these months, on these weekdays or holidays, these slots."""

    months: frozenset[int]
    weekdays: frozenset[int]
    holiday: tuple[str, str | None] | None
    slots: DaySlots

    def matches(self, day: date) -> bool:
        """Whether this entry is for the day."""
        if day.month not in self.months:
            return False
        if self.holiday is None:
            return day.weekday() in self.weekdays
        return day in _holidays(*self.holiday, day.year)


class DayCalendar(msgspec.Struct, frozen=True):
    """A compiled calendar that has a period for every local instant."""

    entries: tuple[CalendarEntry, ...]

    def slots_on(self, day: date) -> DaySlots:
        """The slots of a local calendar day."""
        for entry in self.entries:
            if entry.matches(day):
                return entry.slots
        raise AssertionError(f"compiled calendar has no entry for {day}")


def compile_calendar(value: Any, periods: Mapping[str, int], first_day: date, path: str) -> DayCalendar:
    """Compiles the `calendar` of a tariff version; `first_day` is where the search for an uncovered day begins.

    Raises TariffError naming the slot, or the first local instant, that is covered not at all or more than once.
    """
    entries = tuple(
        _entry(fields.mapping(item, join(path, index)), periods, join(path, index))
        for index, item in enumerate(fields.sequence(value, path))
    )
    _check_all_days(entries, first_day, path)
    return DayCalendar(entries)


def _entry(item: Mapping[str, Any], periods: Mapping[str, int], path: str) -> CalendarEntry:
    weekdays, holiday = _days(item.get("days", "all"), join(path, "days"))
    slots_path = join(path, "slots")
    slots = fields.mapping(fields.required(item, "slots", path), slots_path)
    return CalendarEntry(
        months=_months(item.get("months", "all"), join(path, "months")),
        weekdays=weekdays,
        holiday=holiday,
        slots=_slots(slots, periods, slots_path),
    )


def _months(value: Any, path: str) -> frozenset[int]:
    if value == "all":
        return frozenset(range(1, 13))
    months = fields.sequence(value, path)
    for index, month in enumerate(months):
        if type(month) is not int or not 1 <= month <= 12:
            raise TariffError(join(path, index), f"must be a month from 1 to 12, found {month!r}")
    return frozenset(months)


def _days(value: Any, path: str) -> tuple[frozenset[int], tuple[str, str | None] | None]:
    if isinstance(value, str):
        if value in _DAY_WORDS:
            return _DAY_WORDS[value], None
        return frozenset(), _holiday(value, path)
    names = fields.sequence(value, path)
    for index, name in enumerate(names):
        fields.one_of(name, _WEEKDAY_NAMES, join(path, index))
    return frozenset(_WEEKDAY_NAMES.index(name) for name in names), None


def _holiday(value: str, path: str) -> tuple[str, str | None]:
    match = _HOLIDAY.fullmatch(value)
    if match is None:
        right = "all, weekday, weekend, holiday:CN or a list such as [monday, tuesday]"
        raise TariffError(path, f"must be {right}, found {value!r}")
    country, subdivision = match[1], match[2]
    try:
        _holidays(country, subdivision, 2024)
    except NotImplementedError:
        raise TariffError(path, f"holidays of {value.removeprefix('holiday:')} are not known") from None
    return country, subdivision


@lru_cache(maxsize=256)
def _holidays(country: str, subdivision: str | None, year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=year))


def _slots(table: Mapping[str, Any], periods: Mapping[str, int], path: str) -> DaySlots:
    spans = sorted(_slot(key, fields.text(period, f'{path}["{key}"]'), periods, path) for key, period in table.items())
    _check_tiling(spans, path)
    starts: list[tuple[int, str]] = []
    for start, _, period in spans:
        if not starts or starts[-1][1] != period:
            starts.append((start * MINUTE_MS, period))
    return tuple(starts)


def _slot(key: str, period: str, periods: Mapping[str, int], path: str) -> tuple[int, int, str]:
    place = f'{path}["{key}"]'
    match = _SLOT.fullmatch(key)
    if match is None:
        raise TariffError(place, 'must be a span of the day such as "08:00-12:00"')
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if end > _DAY_MINUTES:
        raise TariffError(place, "ends after 24:00")
    if start >= end:
        raise TariffError(place, 'does not end after it starts; cut a span over midnight at "24:00" and "00:00"')
    if period not in periods:
        raise TariffError(place, f"period {period!r} has no price; known are {', '.join(periods)}")
    return start, end, period


def _check_tiling(spans: Sequence[tuple[int, int, str]], path: str) -> None:
    edges = [(0, 0, ""), *spans, (_DAY_MINUTES, _DAY_MINUTES, "")]
    for (_, end, _), (start, next_end, _) in pairwise(edges):
        if start > end:
            raise TariffError(path, f"{_clock(end)} to {_clock(start)} is covered by no slot")
        if start < end:
            raise TariffError(path, f"{_clock(start)} to {_clock(min(end, next_end))} is covered by two slots")


def _check_all_days(entries: Sequence[CalendarEntry], first_day: date, path: str) -> None:
    for ahead in range(366):
        day = first_day + timedelta(days=ahead)
        # A holiday falls on other days in other years, so an entry for holidays covers nothing for certain.
        if not any(entry.holiday is None and entry.matches(day) for entry in entries):
            kind = _WEEKDAY_NAMES[day.weekday()]
            raise TariffError(path, f"{day}T00:00 is covered by no entry (a {kind} in month {day.month})")


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"

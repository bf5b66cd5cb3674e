"""A compiled tariff: what one unit costs at any instant.

Theory of operation. Real time is cut into segments: the longest spans in which the local month, the price version
and the time-of-use period are all constant. Inside a segment a price depends on nothing but cumulative use, so
rating needs to know only segments. They are laid out one local month at a time, kept in a bounded table, and the one
used last is remembered, because readings of a site arrive in nearly the same instant.

Wall-clock meaning is that of `billing.local_time`: a period holds whenever the clock shows it, a repeated hour
twice; a month and a version begin once, at the first instant the clock shows their start.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from billing import tariff_fields as fields
from billing.day_calendar import DayCalendar
from billing.local_time import (
    DAY_MS,
    FIRST_INSTANT_MS,
    LAST_INSTANT_MS,
    OffsetSpan,
    day_of_local_ms,
    local_text,
    month_index_at,
    month_number,
    month_spans,
)
from billing.price_version import PriceVersion, compile_version
from billing.tariff_fields import TariffError, join

__all__ = ["PriceVersion", "Segment", "Tariff", "TariffError", "TierPrice", "compile_tariff"]

_MONTHS_KEPT = 36
_METERED_KEPT = 200
_UTILITIES = ("electricity", "water")


class TierPrice(msgspec.Struct, frozen=True, gc=False):
    """The full price (period, tier and surcharges) of cumulative use up to `upto` Wh or litres; None: without end."""

    upto: int | None
    price_micro: int


class Segment(msgspec.Struct, frozen=True):
    """Real time [start_ms, end_ms) in which only cumulative use moves the price.

    `month` is the local month (202601), `version` the start of the price version (Unix ms), `period` the
    time-of-use period if the version has any. `price_micro` is the full price without tiers,
    `base_micro + surcharge_micro`; with tiers, `tiers` holds the full prices, on the use of the month or (`yearly`) of
    the local year. Use of the month up to `free_upto` costs nothing. `metered` says that the period is to be told by
    the meter's sub-registers.
    """

    start_ms: int
    end_ms: int
    month: int
    yearly: bool
    version: int
    period: str | None
    base_micro: int
    surcharge_micro: int
    price_micro: int
    tiers: tuple[TierPrice, ...]
    free_upto: int = 0
    metered: bool = False


_NO_SEGMENT = Segment(0, 0, 0, False, 0, None, 0, 0, 0, ())


class _MonthTable(msgspec.Struct, frozen=True):
    """The segments of one local month and, for bisection, their starts."""

    end_ms: int
    starts: list[int]
    segments: list[Segment]


class Tariff:
    """A compiled tariff of one utility in one time zone; immutable but for its bounded table of segments."""

    __slots__ = ("_last", "_metered", "_tables", "_version_starts", "name", "timezone", "utility", "versions", "zone")

    def __init__(self, name: str, utility: str, zone: ZoneInfo, versions: tuple[PriceVersion, ...]) -> None:
        self.name = name
        self.utility = utility
        self.zone = zone
        self.timezone = zone.key
        self.versions = versions
        self._version_starts = [version.start_ms for version in versions]
        self._last = _NO_SEGMENT
        self._metered: dict[tuple[int, int, str], Segment] = {}
        # One tuple replaced as a whole, so that threads sharing a tariff never see half an update.
        self._tables: tuple[list[int], list[_MonthTable]] = ([], [])

    def segment_at(self, ts_ms: int) -> Segment:
        """The segment that contains a real instant (Unix ms).

        Raises TariffError for an instant before the first version, or one no calendar reaches.
        """
        last = self._last
        if last.start_ms <= ts_ms < last.end_ms:
            return last
        table = self._table_at(ts_ms)
        segment = table.segments[bisect_right(table.starts, ts_ms) - 1]
        self._last = segment
        return segment

    def version_at(self, ts_ms: int) -> PriceVersion:
        """The price version valid at a real instant (Unix ms): fixed fees, demand and minimum are read from it.

        Raises TariffError for an instant before the first version.
        """
        if ts_ms < self._version_starts[0]:
            raise TariffError("versions[0].from", self._too_early(ts_ms))
        return self.versions[bisect_right(self._version_starts, ts_ms) - 1]

    def in_period(self, segment: Segment, period: str) -> Segment:
        """A segment as if its period were another one of its version: what the meter's sub-register says it is.

        Raises KeyError for a period that has no price.
        """
        key = (segment.month, segment.version, period)
        found = self._metered.get(key)
        if found is None:
            version = self.version_at(segment.version)
            found = _priced(version, segment, period)
            self._metered = {**self._metered, key: found} if len(self._metered) < _METERED_KEPT else {key: found}
        return found

    def _table_at(self, ts_ms: int) -> _MonthTable:
        starts, tables = self._tables
        index = bisect_right(starts, ts_ms) - 1
        if index >= 0 and ts_ms < tables[index].end_ms:
            return tables[index]
        if not FIRST_INSTANT_MS <= ts_ms < LAST_INSTANT_MS:
            raise TariffError("versions", f"instant {ts_ms} (Unix ms) lies outside the years 1970 to 9989")
        if ts_ms < self._version_starts[0]:
            raise TariffError("versions[0].from", self._too_early(ts_ms))
        table = self._lay_out(month_index_at(self.zone, ts_ms))
        kept = tables if len(tables) < _MONTHS_KEPT else []
        ordered = sorted([*kept, table], key=lambda kept_table: kept_table.starts[0])
        self._tables = ([kept_table.starts[0] for kept_table in ordered], ordered)
        return table

    def _too_early(self, ts_ms: int) -> str:
        instant = local_text(self.zone, ts_ms) if abs(ts_ms) < LAST_INSTANT_MS else f"{ts_ms} (Unix ms)"
        return f"{instant} is before the first version of tariff {self.name} ({self.versions[0].from_local} local)"

    def _lay_out(self, month_index: int) -> _MonthTable:
        spans = month_spans(self.zone, month_index)
        end_ms = spans[-1][1]
        segments: list[Segment] = []
        for index, version in enumerate(self.versions):
            until = self._version_starts[index + 1] if index + 1 < len(self.versions) else end_ms
            start, stop = max(version.start_ms, spans[0][0]), min(until, end_ms)
            if start < stop:
                segments.extend(_version_segments(version, month_index, spans, start, stop))
        return _MonthTable(end_ms, [segment.start_ms for segment in segments], segments)


def compile_tariff(document: Mapping[str, Any], timezone: str) -> Tariff:
    """Compiles a tariff file (a schema-checked mapping) for the time zone its local instants are meant in.

    Raises TariffError with the path of what cannot be meant: an unknown zone, a price that is not exact, a calendar
    with a hole or an overlap, tiers or versions that do not rise, a price the mode does not use.
    """
    zone = _zone(timezone)
    name = fields.text(fields.required(document, "tariff", ""), "tariff")
    utility = fields.one_of(fields.required(document, "utility", ""), _UTILITIES, "utility")
    versions: list[PriceVersion] = []
    for index, item in enumerate(fields.sequence(fields.required(document, "versions", ""), "versions")):
        path = join("versions", index)
        version = compile_version(fields.mapping(item, path), utility, zone, path)
        if versions and version.start_ms <= versions[-1].start_ms:
            raise TariffError(
                join(path, "from"), f"must be later than that of the version before it ({version.from_local})"
            )
        versions.append(version)
    return Tariff(name, utility, zone, tuple(versions))


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TariffError("timezone", f"{timezone!r} is not a time zone; write one such as Asia/Shanghai") from None


def _version_segments(
    version: PriceVersion, month_index: int, spans: tuple[OffsetSpan, ...], start_ms: int, end_ms: int
) -> Iterator[Segment]:
    month = month_number(month_index)
    changes = _period_changes(version.calendar, spans, start_ms, end_ms) if version.calendar else [(start_ms, None)]
    ends = [start for start, _ in changes[1:]] + [end_ms]
    blank = Segment(
        start_ms=start_ms,
        end_ms=end_ms,
        month=month,
        yearly=bool(version.tiers) and version.tier_period == "year",
        version=version.start_ms,
        period=None,
        base_micro=0,
        surcharge_micro=version.surcharge_micro,
        price_micro=0,
        tiers=(),
        free_upto=version.free_upto,
        metered=version.periods_from_meter,
    )
    for (start, period), end in zip(changes, ends, strict=True):
        yield _priced(version, msgspec.structs.replace(blank, start_ms=start, end_ms=end), period)


def _priced(version: PriceVersion, segment: Segment, period: str | None) -> Segment:
    """The segment with the prices of a period."""
    base = version.base_micro(period)
    return msgspec.structs.replace(
        segment,
        period=period,
        base_micro=base,
        price_micro=base + segment.surcharge_micro,
        tiers=tuple(TierPrice(tier.upto, version.tier_price_micro(tier, period)) for tier in version.tiers),
    )


def _period_changes(
    calendar: DayCalendar, spans: tuple[OffsetSpan, ...], start_ms: int, end_ms: int
) -> list[tuple[int, str | None]]:
    """(instant, period) of every change of the period the wall clock shows within [start, end), the first at start."""
    changes: list[tuple[int, str | None]] = []
    for span_start, span_end, offset in spans:
        start, end = max(span_start, start_ms), min(span_end, end_ms)
        if start >= end:
            continue
        for midnight in range((start + offset) // DAY_MS * DAY_MS, end + offset, DAY_MS):
            slots = calendar.slots_on(day_of_local_ms(midnight))
            slot_ends = [slot_start for slot_start, _ in slots[1:]] + [DAY_MS]
            for (slot_start, period), slot_end in zip(slots, slot_ends, strict=True):
                shown_from = max(midnight + slot_start - offset, start)
                shown_until = min(midnight + slot_end - offset, end)
                if shown_from < shown_until and (not changes or changes[-1][1] != period):
                    changes.append((shown_from, period))
    return changes

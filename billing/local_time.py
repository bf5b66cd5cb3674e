"""Local wall clock against real time.

Theory of operation. A time zone is a list of spans of real time with a constant offset from UTC. Within a span
the wall clock is `ts + offset`; at its edges the clock jumps (daylight saving). Everything that asks "when is
it 08:00 here" walks these spans, so skipped and repeated hours need no special case:

- a wall-clock *state* (a time-of-use slot) holds whenever the clock shows it: a repeated hour counts twice, a
  skipped hour not at all;
- a wall-clock *instant* (the start of a price version or of a month) is the first real instant at which the clock
  shows that time or a later one. It happens once and for all: turning the clock back does not undo it.

Real instants are Unix ms; wall-clock readings are "local ms": ms since 1970-01-01T00:00 on the wall clock.
A month is its index `year * 12 + month - 1`.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# Instants outside these years are refused: Python's calendar ends there, and no meter lives there.
FIRST_INSTANT_MS = 0
LAST_INSTANT_MS = int(datetime(9990, 1, 1, tzinfo=UTC).timestamp()) * 1000

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_MS = timedelta(milliseconds=1)
# Offsets lie within a day of UTC; half a day more covers the widest jump (Samoa skipped a whole day in 2011).
_OFFSET_REACH_MS = 36 * HOUR_MS

OffsetSpan = tuple[int, int, int]
"""(start_ms, end_ms, offset_ms): half-open real time with one offset."""


def offset_ms(zone: ZoneInfo, ts_ms: int) -> int:
    """The zone's offset from UTC in ms at a real instant."""
    offset = datetime.fromtimestamp(ts_ms // 1000, zone).utcoffset()
    assert offset is not None
    return offset // _MS


def local_ms_of_day(day: date) -> int:
    """Midnight of a calendar day in local ms."""
    return (day.toordinal() - _EPOCH_ORDINAL) * DAY_MS


def day_of_local_ms(local_ms: int) -> date:
    """The calendar day a local ms lies in."""
    return date.fromordinal(local_ms // DAY_MS + _EPOCH_ORDINAL)


def offset_spans(zone: ZoneInfo, start_ms: int, end_ms: int) -> list[OffsetSpan]:
    """Cuts the real time [start, end) at every change of the zone's offset.

    Offsets are probed hourly and a change is then found to the second by bisection; no zone has changed its
    offset twice within an hour.
    """
    spans: list[OffsetSpan] = []
    span_start, offset = start_ms, offset_ms(zone, start_ms)
    probe = start_ms
    while probe < end_ms:
        following = min(probe + HOUR_MS, end_ms)
        if offset_ms(zone, following) != offset:
            change = _change_between(zone, probe, following)
            if change >= end_ms:
                break
            spans.append((span_start, change, offset))
            span_start, offset = change, offset_ms(zone, following)
        probe = following
    spans.append((span_start, end_ms, offset))
    return spans


@lru_cache(maxsize=4096)
def first_instant(zone: ZoneInfo, local_ms: int) -> int:
    """The first real instant (Unix ms) at which the wall clock shows `local_ms` or later.

    A time skipped by a jump is the instant of the jump; of a repeated time it is the first showing.
    """
    for start, end, offset in offset_spans(zone, local_ms - _OFFSET_REACH_MS, local_ms + _OFFSET_REACH_MS):
        instant = max(start, local_ms - offset)
        if instant < end:
            return instant
    raise AssertionError(f"no instant of {zone.key} reaches local ms {local_ms}")


@lru_cache(maxsize=1024)
def month_start(zone: ZoneInfo, month_index: int) -> int:
    """The real instant (Unix ms) at which a local calendar month begins."""
    year, month = divmod(month_index, 12)
    return first_instant(zone, local_ms_of_day(date(year, month + 1, 1)))


@lru_cache(maxsize=256)
def month_spans(zone: ZoneInfo, month_index: int) -> tuple[OffsetSpan, ...]:
    """The offset spans of a local calendar month, shared by all tariffs of the zone."""
    return tuple(offset_spans(zone, month_start(zone, month_index), month_start(zone, month_index + 1)))


def month_index_at(zone: ZoneInfo, ts_ms: int) -> int:
    """The index of the local calendar month that a real instant lies in.

    A clock that is set back over midnight on the first shows the old month again; the new month, once begun, stays.
    """
    shown = day_of_local_ms(ts_ms + offset_ms(zone, ts_ms))
    index = shown.year * 12 + shown.month - 1
    return index + 1 if ts_ms >= month_start(zone, index + 1) else index


def month_number(month_index: int) -> int:
    """A month as people read it: `202601`."""
    return month_index // 12 * 100 + month_index % 12 + 1


def local_text(zone: ZoneInfo, ts_ms: int) -> str:
    """A real instant as ISO 8601 with the zone's offset, for messages to people."""
    return datetime.fromtimestamp(ts_ms // 1000, zone).isoformat()


def _change_between(zone: ZoneInfo, low_ms: int, high_ms: int) -> int:
    low, high = low_ms // 1000, -(-high_ms // 1000)
    before = offset_ms(zone, low * 1000)
    while high - low > 1:
        middle = (low + high) // 2
        if offset_ms(zone, middle * 1000) == before:
            low = middle
        else:
            high = middle
    return high * 1000

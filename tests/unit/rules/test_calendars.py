"""Calendars: windows across midnight, weekday ranges, holidays, and days on which the clock jumps."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.calendars import CalendarError, read_calendar

SHANGHAI, BERLIN, LORD_HOWE = (ZoneInfo(name) for name in ("Asia/Shanghai", "Europe/Berlin", "Australia/Lord_Howe"))
FRIENDLY = [
    {"weekdays": ["monday:thursday"], "times": ["16:00-24:00", "00:00-09:00"]},
    {"weekdays": ["friday:sunday"]},
    {"dates": "holidays/CN"},
]


def ms(text, zone, fold=0):
    return round(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp() * 1000)


def local(instant, zone):
    return datetime.fromtimestamp(instant / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("moment", "inside", "until"),
    [
        ("2026-03-02T08:59:59", True, "2026-03-02 09:00:00"),
        ("2026-03-02T09:00:00", False, "2026-03-02 16:00:00"),
        ("2026-03-02T15:59:59", False, "2026-03-02 16:00:00"),
        ("2026-03-02T16:00:00", True, "2026-03-03 09:00:00"),
        ("2026-03-05T16:00:00", True, "2026-03-09 09:00:00"),
        ("2026-03-06T12:00:00", True, "2026-03-09 09:00:00"),
        ("2026-02-12T10:00:00", False, "2026-02-12 16:00:00"),
        ("2026-02-17T12:00:00", True, "2026-02-24 09:00:00"),
    ],
)
def test_the_friendly_hours_of_the_example(moment, inside, until):
    calendar = read_calendar("friendly", FRIENDLY)
    at = ms(moment, SHANGHAI)
    assert calendar.contains(at, SHANGHAI) is inside
    assert local(calendar.next_change(at, SHANGHAI), SHANGHAI) == until


def test_a_span_across_midnight_belongs_to_the_day_on_which_it_starts():
    calendar = read_calendar("night", [{"weekdays": ["friday"], "times": ["22:00-06:00"]}])
    inside = {"2026-03-06T22:00": True, "2026-03-07T05:59": True, "2026-03-07T06:00": False, "2026-03-06T05:00": False}
    assert {text: calendar.contains(ms(text, BERLIN), BERLIN) for text in inside} == inside


def test_a_weekday_range_may_run_over_the_weekend():
    calendar = read_calendar("c", [{"weekdays": ["saturday:monday"]}])
    found = [calendar.contains(ms(f"2026-03-{day:02d}T12:00", BERLIN), BERLIN) for day in range(2, 9)]
    assert found == [True, False, False, False, False, True, True]


def test_spring_forward_skips_the_start_and_autumn_repeats_the_hour():
    calendar = read_calendar("c", [{"times": ["02:30-03:30"]}])
    jump = ms("2026-03-29T03:00", BERLIN)
    assert not calendar.contains(jump - 1, BERLIN)
    assert calendar.contains(jump, BERLIN)
    assert calendar.next_change(jump - 1, BERLIN) == jump
    assert calendar.next_change(jump, BERLIN) == jump + 30 * 60_000
    first, second = ms("2026-10-25T02:30", BERLIN, 0), ms("2026-10-25T02:30", BERLIN, 1)
    assert second - first == 3_600_000
    assert calendar.contains(first, BERLIN)
    assert calendar.next_change(first, BERLIN) == first + 30 * 60_000  # the clock falls back to 02:00
    assert calendar.next_change(first + 30 * 60_000, BERLIN) == second
    assert calendar.next_change(second, BERLIN) == second + 60 * 60_000


def test_validity_dates_and_ranges():
    calendar = read_calendar("c", [{"from": "2026-05-01", "until": "2026-06-01", "dates": ["2026-05-30:2026-06-02"]}])
    found = [calendar.contains(ms(text, SHANGHAI), SHANGHAI) for text in ("2026-05-29", "2026-05-31", "2026-06-01")]
    assert found == [False, True, False]


def test_a_calendar_that_never_changes_is_looked_at_again_later():
    calendar = read_calendar("always", [{"times": ["00:00-24:00"]}])
    at = ms("2026-01-01", SHANGHAI)
    assert calendar.contains(at, SHANGHAI)
    assert calendar.next_change(at, SHANGHAI) == at + 400 * 86_400_000


spans = st.tuples(st.integers(0, 23), st.integers(0, 3), st.integers(0, 23), st.integers(0, 3)).filter(
    lambda p: p[:2] != p[2:]
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([BERLIN, LORD_HOWE]),
    st.sampled_from(["2026-03-28", "2026-10-24", "2026-04-04", "2026-10-03"]),
    st.lists(spans, min_size=1, max_size=2),
    st.integers(0, 47),
)
def test_next_change_is_the_first_change(zone, day, times, half_hours):
    """Against a walk in quarter hours, the grain of every span and jump used here."""
    texts = [f"{a:02d}:{b * 15:02d}-{c:02d}:{d * 15:02d}" for a, b, c, d in times]
    calendar = read_calendar("c", [{"times": texts, "weekdays": ["saturday:monday"]}])
    start = ms(day, zone) + half_hours * 1_800_000
    quarter = 900_000
    state = calendar.contains(start, zone)
    expected = next(at for at in range(start + quarter, start + 10**9, quarter) if calendar.contains(at, zone) != state)
    assert calendar.next_change(start, zone) == expected


@pytest.mark.parametrize(
    ("entry", "field", "words"),
    [
        ({"weekdays": ["mondy"]}, "weekdays", "did you mean monday?"),
        ({"times": ["9:00-10:00"]}, "times", "16:00-24:00"),
        ({"times": ["09:00-25:00"]}, "times", "not a span"),
        ({"dates": "holidays/XX"}, "dates", "no holidays are known"),
        ({"dates": ["2026-02-30"]}, "dates", "not a date"),
        ({"wekdays": []}, "", "did you mean weekdays?"),
    ],
)
def test_bad_entries_say_what_would_be_right(entry, field, words):
    with pytest.raises(CalendarError) as caught:
        read_calendar("c", [entry])
    assert caught.value.field == field
    assert words in str(caught.value)

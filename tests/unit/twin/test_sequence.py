"""Duplicates and gaps by session and sequence number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twin.core.model import Sequence
from twin.core.sequence import WINDOW, admit


def play(numbers, sid="a"):
    window, arrivals = Sequence(), []
    for number in numbers:
        window, arrival = admit(window, sid, number)
        arrivals.append(arrival)
    return window, arrivals


def test_in_order():
    window, arrivals = play([5, 6, 7])
    assert arrivals == ["next"] * 3
    assert (window.missed, window.duplicates) == (0, 0)


def test_gap_is_counted_and_filled_by_the_late_one():
    window, _arrivals = play([1, 4])
    assert window.missed == 2
    window, arrival = admit(window, "a", 3)
    assert (arrival, window.missed) == ("late", 1)


def test_repeat_is_a_duplicate():
    window, arrivals = play([1, 2, 3, 2, 3])
    assert arrivals[-2:] == ["duplicate", "duplicate"]
    assert window.duplicates == 2


def test_older_than_the_window_nobody_can_tell():
    _, arrivals = play([1, 1 + WINDOW, 1])
    assert arrivals[-1] == "ancient"


def test_new_session_starts_anew():
    window, _ = play([100])
    window, arrival = admit(window, "b", 1)
    assert (arrival, window.sid, window.last) == ("next", "b", 1)


@given(st.lists(st.integers(0, 50), max_size=60))
def test_each_number_is_admitted_once_within_the_window(numbers):
    _, arrivals = play(numbers)
    admitted = [number for number, arrival in zip(numbers, arrivals, strict=True) if arrival != "duplicate"]
    assert sorted(admitted) == sorted(set(numbers))

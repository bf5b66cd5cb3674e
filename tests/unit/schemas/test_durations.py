"""Durations: the units of the contract, exact, with errors that say what would be right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.durations import DURATION_MS_MAX, DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("24h", 86_400_000), ("5d", 432_000_000), ("0s", 0)],
)
def test_units(text: str, duration_ms: int) -> None:
    assert parse_duration(text) == duration_ms


@pytest.mark.parametrize(
    "text", ["", "15", "m", "1.5h", "-5m", "5 m", "5M", "5w", "1h30m", "٣s", "15m\n", "36501d", "9" * 40 + "s"]
)
def test_other_texts_are_refused_and_named(text: str) -> None:
    with pytest.raises(DurationError) as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


def test_a_number_is_refused_too() -> None:
    with pytest.raises(DurationError, match="write an integer and a unit"):
        parse_duration(15)  # type: ignore[arg-type]


@given(st.integers(min_value=0, max_value=DURATION_MS_MAX))
def test_formatting_is_the_inverse(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms)) == duration_ms


@pytest.mark.parametrize(
    ("duration_ms", "text"), [(900_000, "15m"), (90_000, "90s"), (0, "0s"), (1, "1ms"), (86_400_000, "1d")]
)
def test_the_largest_exact_unit_is_used(duration_ms: int, text: str) -> None:
    assert format_duration(duration_ms) == text


@pytest.mark.parametrize("duration_ms", [-1, DURATION_MS_MAX + 1])
def test_out_of_range_is_not_formatted(duration_ms: int) -> None:
    with pytest.raises(DurationError):
        format_duration(duration_ms)

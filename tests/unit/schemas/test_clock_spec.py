"""The clock setting: what each text means, and that bad ones are refused with the place named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clock_spec import (
    ClockSpec,
    ClockSpecError,
    anchored,
    format_clock_spec,
    parse_clock_spec,
    scaled_now,
    scaled_sleep,
)

NEW_YEAR_CST_MS = 1_767_196_800_000


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("real", ClockSpec("real")),
        ("", ClockSpec("real")),
        ("telemetry", ClockSpec("telemetry")),
        ("scaled:2026-01-01T00:00:00+08:00,60", ClockSpec("scaled", NEW_YEAR_CST_MS, 60.0, None)),
        ("scaled:2025-12-31T16:00:00Z,0.5,1763778000000", ClockSpec("scaled", NEW_YEAR_CST_MS, 0.5, 1_763_778_000_000)),
    ],
)
def test_texts_and_what_they_mean(text: str, spec: ClockSpec) -> None:
    assert parse_clock_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("fast", "'fast'"),
        ("real:5", "'real:5'"),
        ("scaled", "1 parts"),
        ("scaled:2026-01-01T00:00:00+08:00", "1 parts"),
        ("scaled:yesterday,60", "'yesterday'"),
        ("scaled:2026-01-01T00:00:00,60", "no offset"),
        ("scaled:2026-01-01T00:00:00+08:00,fast", "'fast'"),
        ("scaled:2026-01-01T00:00:00+08:00,0", "'0'"),
        ("scaled:2026-01-01T00:00:00+08:00,-1", "'-1'"),
        ("scaled:2026-01-01T00:00:00+08:00,nan", "'nan'"),
        ("scaled:2026-01-01T00:00:00+08:00,60,now", "'now'"),
    ],
)
def test_bad_texts_are_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ClockSpecError) as caught:
        parse_clock_spec(text)
    assert named in str(caught.value)


def test_a_scaled_clock_runs_from_its_anchor() -> None:
    spec = anchored(parse_clock_spec("scaled:2026-01-01T00:00:00+08:00,60"), 1_000_000)
    assert scaled_now(spec, 1_000_000) == NEW_YEAR_CST_MS
    assert scaled_now(spec, 1_001_000) == NEW_YEAR_CST_MS + 60_000
    assert scaled_sleep(spec, 60.0) == 1.0
    assert anchored(spec, 5) is spec


def test_real_and_telemetry_clocks() -> None:
    assert scaled_now(ClockSpec("real"), 42) == 42
    assert scaled_sleep(ClockSpec("real"), 3.0) == 3.0
    assert scaled_sleep(ClockSpec("telemetry"), 3.0) == 0.0
    with pytest.raises(ValueError, match="samples"):
        scaled_now(ClockSpec("telemetry"), 42)
    with pytest.raises(ValueError, match="anchored"):
        scaled_now(ClockSpec("scaled", 0, 2.0), 42)


SCALED = st.builds(
    ClockSpec,
    st.just("scaled"),
    st.integers(0, 4_000_000_000_000),
    st.floats(0.001, 1_000_000.0),
    st.none() | st.integers(0, 10**15 - 1),
)


@given(SCALED)
def test_formatting_is_the_inverse(spec: ClockSpec) -> None:
    assert parse_clock_spec(format_clock_spec(spec)) == spec


@given(SCALED, st.integers(0, 4 * 10**12), st.integers(0, 10**9))
def test_a_scaled_clock_never_runs_backwards(spec: ClockSpec, real_now_ms: int, later_ms: int) -> None:
    running = anchored(spec, 0)
    assert scaled_now(running, real_now_ms) <= scaled_now(running, real_now_ms + later_ms)

"""Demand: the highest mean power, on samples, between samples, over a replaced meter."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.demand import PeakDemand, chained, peak_demand

MINUTE = 60_000
QUARTER = 15 * MINUTE


def peak(
    samples: list[tuple[int, int]], slip: int = QUARTER, to_ts: int = 10**9, from_ts: int = 0
) -> PeakDemand | None:
    return peak_demand(samples, window_ms=QUARTER, slip_ms=slip, grid_ms=0, from_ts=from_ts, to_ts=to_ts)


def test_samples_on_the_borders() -> None:
    samples = [(0, 0), (QUARTER, 1_000), (2 * QUARTER, 3_000), (3 * QUARTER, 3_500)]
    assert peak(samples) == PeakDemand(QUARTER, 2 * QUARTER, 8_000, False)


def test_first_of_equal_windows() -> None:
    samples = [(0, 0), (QUARTER, 1_000), (2 * QUARTER, 2_000)]
    found = peak(samples)
    assert found is not None
    assert found.from_ts == 0


def test_between_samples_is_flagged() -> None:
    """1 kWh in 20 minutes: two thirds of it in the first quarter, rounded down to the Wh."""
    assert peak([(0, 0), (20 * MINUTE, 1_000)]) == PeakDemand(0, QUARTER, 3_000, True)
    assert peak([(0, 0), (40 * MINUTE, 1_000)]) == PeakDemand(0, QUARTER, 1_500, True)


def test_sliding_finds_more() -> None:
    samples = [
        (minute * MINUTE, 0 if minute <= 10 else (minute - 10) * 100 if minute < 20 else 1_000) for minute in range(40)
    ]
    standing, sliding = peak(samples), peak(samples, slip=5 * MINUTE)
    assert standing is not None
    assert sliding is not None
    assert (standing.power_w, sliding.power_w) == (2_000, 4_000)


def test_only_whole_windows_of_the_tenancy() -> None:
    samples = [(number * QUARTER, number * number * 100) for number in range(6)]
    found = peak(samples, from_ts=QUARTER + 1, to_ts=4 * QUARTER - 1)
    assert found == PeakDemand(2 * QUARTER, 3 * QUARTER, 2_000, False)
    assert peak(samples[:1]) is None
    assert peak(samples, from_ts=QUARTER, to_ts=2 * QUARTER - 1) is None


def test_a_replaced_meter_goes_on() -> None:
    chain = chained([[(0, 500), (10 * MINUTE, 900)], [(12 * MINUTE, 0), (QUARTER, 100)], []])
    assert chain == [(0, 0), (10 * MINUTE, 400), (12 * MINUTE, 400), (QUARTER, 500)]
    assert peak(chain) == PeakDemand(0, QUARTER, 2_000, False)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 4_000)), min_size=2, max_size=60),
    st.sampled_from([1, 3, 5, 15]),
)
def test_equals_the_definition(steps: list[tuple[int, int]], slip_minutes: int) -> None:
    samples, minute, register = [(0, 0)], 0, 0
    for gap, rise in steps:
        minute, register = minute + gap, register + rise
        samples.append((minute * MINUTE, register))

    def shown(ts: int) -> int:
        for (start, low), (end, high) in pairwise(samples):
            if start <= ts <= end:
                return low + (high - low) * (ts - start) // (end - start)
        raise AssertionError

    best = None
    for start in range(0, samples[-1][0] - QUARTER + 1, slip_minutes * MINUTE):
        mean = Fraction(shown(start + QUARTER) - shown(start)) * 4
        if best is None or mean > best[0]:
            best = (mean, start)
    found = peak(samples, slip=slip_minutes * MINUTE)
    assert (found is None) == (best is None)
    if found is not None and best is not None:
        assert (Fraction(found.power_w), found.from_ts) == best

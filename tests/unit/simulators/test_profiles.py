"""Load profiles: exact energy, no drift, no holes."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.profiles import (
    QUARTER_MS,
    UNITS_PER_WH,
    Load,
    load_profiles,
    power_factor_milli,
    reactive_var,
    year_begin_ms,
)

DAY_MS = 86_400_000
QUARTERS = 91 * 96


def test_every_profile_covers_the_quarter_without_holes() -> None:
    profiles = load_profiles()
    recorded = [profile for name, profile in profiles.items() if name not in ("water", "constant")]
    assert len(recorded) == 27
    assert {len(profile.levels) for profile in recorded} == {QUARTERS}
    assert all(0 <= level <= 100_000 for profile in recorded for level in profile.levels)


def test_the_hour_lost_to_daylight_saving_repeats_the_value_before_it() -> None:
    levels = load_profiles()["G0-A"].levels
    lost = 86 * 96 + 8  # 27 March 2016, 02:00
    assert len(set(levels[lost - 1 : lost + 4])) == 1


def test_a_quarter_hour_is_a_quarter_of_its_power() -> None:
    profile = load_profiles()["G0-A"]
    load = Load(profile, 10_000, 0)
    assert profile.levels[0] == 14_388  # 0.14388 in the recording
    assert load.units_between(0, QUARTER_MS) * 4 == 14_388 * 10_000 * 3_600_000
    assert load.units_between(0, QUARTER_MS) / UNITS_PER_WH == 359.7


@settings(max_examples=60)
@given(
    name=st.sampled_from(["G0-A", "H0-L", "water", "constant"]),
    peak=st.integers(1, 50_000),
    cuts=st.lists(st.integers(0, 200 * DAY_MS), min_size=2, max_size=12),
    step=st.tuples(st.integers(0, 100 * DAY_MS), st.integers(0, 100 * DAY_MS), st.integers(0, 20_000)),
)
def test_energy_is_additive_however_a_span_is_cut(
    name: str, peak: int, cuts: list[int], step: tuple[int, int, int]
) -> None:
    load = Load(load_profiles()[name], peak, 0)
    load.add_step(*step)
    cuts = sorted(cuts)
    pieces = sum(load.units_between(a, b) for a, b in pairwise(cuts))
    assert pieces == load.units_between(cuts[0], cuts[-1])
    assert pieces >= 0


def test_the_profile_repeats_after_the_quarter() -> None:
    load = Load(load_profiles()["G4-A"], 7_000, 0)
    assert load.power_at(3 * DAY_MS) == load.power_at((3 + 91) * DAY_MS)
    assert load.units_between(0, DAY_MS) == load.units_between(91 * DAY_MS, 92 * DAY_MS)


def test_the_profile_lies_on_the_local_wall_clock_and_can_be_shifted() -> None:
    start = datetime(2026, 2, 1, 9, 30, tzinfo=ZoneInfo("Asia/Shanghai"))
    start_ms = int(start.timestamp()) * 1000
    profile = load_profiles()["G4-A"]
    begin_ms = year_begin_ms(start_ms, "Asia/Shanghai")
    index = 31 * 96 + 38
    assert Load(profile, 100_000, begin_ms).power_at(start_ms)[0] == profile.levels[index]
    assert Load(profile, 100_000, begin_ms, shift_ms=2 * QUARTER_MS).power_at(start_ms)[0] == profile.levels[index - 2]


@given(st.integers(1, 100_000), st.integers(1, 1000))
def test_power_factor_and_reactive_power_agree(power_w: int, pf_milli: int) -> None:
    var = reactive_var(power_w * 1000, pf_milli)
    assert abs(power_factor_milli(power_w * 1000, var) - pf_milli) <= 1

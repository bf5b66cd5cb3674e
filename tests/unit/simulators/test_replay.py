"""Replayed series: exact registers, ends that are known, mistreatment by seed."""

from __future__ import annotations

import pytest

from schemas.registry import problems
from simulators.profiles import UNITS_PER_WH, Load, load_profiles, year_begin_ms
from simulators.replay import TWO_HOURS_MS, MeterSeries, Reading, build_day, mistreat, spread_meters

START_MS = 1_768_147_200_000  # 2026-01-12T00:00+08:00


def _day(count: int = 6, hours: int = 6) -> list[Reading]:
    return build_day(load_profiles(), spread_meters(count, 4), START_MS, hours, 300)


def test_a_series_is_complete_in_order_and_valid() -> None:
    readings = _day()
    assert len(readings) == 6 * (6 * 12 + 1)
    assert [reading.ts for reading in readings] == sorted(reading.ts for reading in readings)
    assert not any(problems("tele", reading.body) for reading in readings[:100])


def test_registers_are_the_energy_of_the_profile() -> None:
    meter = MeterSeries("em-9", "G4-A", 8_000, opening=999_999_990)
    readings = build_day(load_profiles(), [meter], START_MS, 24, 900)
    load = Load(load_profiles()["G4-A"], 8_000, year_begin_ms(START_MS, "Asia/Shanghai"))
    energy_wh = load.units_between(START_MS, START_MS + 86_400_000) // UNITS_PER_WH
    first, last = readings[0].body["d"]["import_wh"], readings[-1].body["d"]["import_wh"]
    assert first == 999_999_990
    assert last == (999_999_990 + energy_wh) % 1_000_000_000 < first


@pytest.mark.parametrize(("copies", "drop", "shuffle_ms"), [(3, 0.3, TWO_HOURS_MS), (1, 0.3, 0), (2, 0.0, 900_000)])
def test_mistreatment_keeps_the_ends_and_repeats_by_seed(copies: int, drop: float, shuffle_ms: int) -> None:
    readings = _day()
    treated = mistreat(readings, seed=1, copies=copies, drop=drop, shuffle_ms=shuffle_ms)
    assert treated == mistreat(readings, seed=1, copies=copies, drop=drop, shuffle_ms=shuffle_ms)
    kept = len(treated) / copies / len(readings)
    assert abs(kept - (1 - drop)) < 0.06
    last = {reading.device: reading.ts for reading in treated}
    assert set(last.values()) == {readings[-1].ts}
    assert {reading.ts for reading in treated[:copies]} == {START_MS}
    moved = [reading.ts for reading in treated]
    worst = max((max(moved[: n + 1]) - at for n, at in enumerate(moved)), default=0)
    assert worst <= shuffle_ms
    assert (moved != sorted(moved)) == (shuffle_ms > 0)


def test_another_seed_treats_differently() -> None:
    readings = _day()
    assert mistreat(readings, seed=1, drop=0.3) != mistreat(readings, seed=2, drop=0.3)

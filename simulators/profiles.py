"""Load profiles: how much a simulated customer draws at any instant, exactly.

Theory of operation
-------------------
A profile is a sequence of quarter-hour mean powers, each a whole number of 1e-5 of the customer's peak. Power is
constant inside a quarter-hour, so energy is a sum of `level * peak_w * milliseconds`. That product, in units of
1e-5 W*ms, is a Python integer and therefore exact; `UNITS_PER_WH` of them make one Wh. Registers keep the integer and
divide once when they are read, so rounding never accumulates and a day read every second ends on the same Wh as a day
read once.

The recording covers 1 January to 31 March of one year. It is laid over the park's calendar by day of the year and local
wall clock (using the park's UTC offset at its start) and repeats from the beginning when it is used up. A `Load` can be
shifted, so that two meters on the same recorded customer do not move in step.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

QUARTER_MS = 900_000
QUARTERS_A_DAY = 96
LEVEL_SCALE = 100_000
UNITS_PER_WH = LEVEL_SCALE * 3_600_000
DATA_FILE = Path(__file__).parent / "data" / "simbench-load-2016q1.csv.gz"


class LoadProfile:
    """Quarter-hour levels of active and reactive power, in 1e-5 of the peak."""

    __slots__ = ("_prefix", "levels", "name", "reactive")

    def __init__(self, name: str, levels: Sequence[int], reactive: Sequence[int]) -> None:
        if not levels or len(levels) != len(reactive):
            raise ValueError(f"profile {name}: needs as many active as reactive values, and at least one")
        self.name = name
        self.levels = tuple(levels)
        self.reactive = tuple(reactive)
        self._prefix = (0, *accumulate(self.levels))

    def cumulative(self, local_ms: int) -> int:
        """Level x milliseconds from the profile's beginning to `local_ms` after it (any size; the profile repeats)."""
        quarter, within_ms = divmod(local_ms, QUARTER_MS)
        cycles, index = divmod(quarter, len(self.levels))
        whole = cycles * self._prefix[-1] + self._prefix[index]
        return whole * QUARTER_MS + self.levels[index] * within_ms

    def level_at(self, local_ms: int) -> tuple[int, int]:
        """Active and reactive level, in 1e-5 of the peak, at `local_ms` after the profile's beginning."""
        index = (local_ms // QUARTER_MS) % len(self.levels)
        return self.levels[index], self.reactive[index]


class Draw(Protocol):
    """Something plugged in beside the profile, such as a run of an appliance."""

    def power_at(self, now_ms: int) -> tuple[int, int]:
        """Active power in W and reactive power in var at an instant."""

    def units_between(self, from_ms: int, to_ms: int) -> int:
        """Energy of `[from_ms, to_ms)` in `UNITS_PER_WH`-ths of a Wh."""


class Load:
    """One customer's draw over time: a profile scaled to `peak_w`, shifted, plus steps that come and go.

    For water the same arithmetic holds with litres: `peak_w` is then the peak flow in l/h and Wh are litres.
    """

    __slots__ = ("_begin_ms", "draws", "peak_w", "pf_milli", "profile", "steps")

    def __init__(
        self, profile: LoadProfile, peak_w: int, begin_ms: int, shift_ms: int = 0, pf_milli: int | None = None
    ) -> None:
        self.profile = profile
        self.peak_w = peak_w
        self.pf_milli = pf_milli
        self._begin_ms = begin_ms + shift_ms
        self.steps: list[tuple[int, int, int, int]] = []
        self.draws: list[Draw] = []

    def add_step(self, from_ms: int, to_ms: int, power_w: int, pf_milli: int = 1000) -> None:
        """Add a load of `power_w` during `[from_ms, to_ms)`, as a heater that is plugged in would."""
        self.steps.append((from_ms, to_ms, power_w, reactive_var(power_w, pf_milli)))

    def units_between(self, from_ms: int, to_ms: int) -> int:
        """Energy of `[from_ms, to_ms)` in `UNITS_PER_WH`-ths of a Wh. Exact and additive over adjoining spans."""
        profile = self.profile
        units = self.peak_w * (
            profile.cumulative(to_ms - self._begin_ms) - profile.cumulative(from_ms - self._begin_ms)
        )
        for step_from, step_to, power_w, _ in self.steps:
            overlap_ms = min(to_ms, step_to) - max(from_ms, step_from)
            if overlap_ms > 0:
                units += LEVEL_SCALE * power_w * overlap_ms
        return units + sum(draw.units_between(from_ms, to_ms) for draw in self.draws)

    def power_at(self, now_ms: int) -> tuple[int, int]:
        """Active power in W and reactive power in var at an instant."""
        level, reactive = self.profile.level_at(now_ms - self._begin_ms)
        power_w = self.peak_w * level // LEVEL_SCALE
        recorded_var = self.peak_w * reactive // LEVEL_SCALE
        var = recorded_var if self.pf_milli is None else reactive_var(power_w, self.pf_milli)
        for step_from, step_to, step_w, step_var in self.steps:
            if step_from <= now_ms < step_to:
                power_w += step_w
                var += step_var
        for draw in self.draws:
            drawn_w, drawn_var = draw.power_at(now_ms)
            power_w += drawn_w
            var += drawn_var
        return power_w, var


@lru_cache(maxsize=1)
def load_profiles() -> Mapping[str, LoadProfile]:
    """All recorded profiles by column name without suffix (`G0-A`), plus `water` and `constant`."""
    with gzip.open(DATA_FILE, "rt", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        grid = _fill_gaps([row for row in rows if row])
    profiles: dict[str, LoadProfile] = {"water": _water_profile(), "constant": _constant_profile()}
    for column, title in enumerate(header):
        if not title.endswith(".p"):
            continue
        name = title[:-2]
        levels = [_level(row[column]) for row in grid]
        reactive = [_level(row[column + 1]) for row in grid]
        profiles[name] = LoadProfile(name, levels, reactive)
    return profiles


def year_begin_ms(start_ms: int, zone_name: str) -> int:
    """The instant the profile's first quarter-hour is laid on: 1 January, 00:00, of the local year of `start_ms`.

    The UTC offset is the one in force at `start_ms`; a later change of daylight saving shifts the profile against the
    wall clock instead of tearing a hole into consumption.
    """
    zone = ZoneInfo(zone_name)
    local = datetime.fromtimestamp(start_ms / 1000, tz=zone)
    offset = local.utcoffset() or timedelta(0)
    midnight_utc = datetime(local.year, 1, 1, tzinfo=UTC) - offset
    return int(midnight_utc.timestamp()) * 1000


def power_factor_milli(power_w: int, var: int) -> int:
    """Power factor P / sqrt(P^2 + Q^2) in thousandths; 1000 for no load."""
    if power_w == 0 and var == 0:
        return 1000
    return 1000 * power_w // max(1, math.isqrt(power_w * power_w + var * var))


def reactive_var(power_w: int, pf_milli: int) -> int:
    """Reactive power in var of a load with a power factor in thousandths: Q = P * sqrt(1 - pf^2) / pf."""
    return power_w * math.isqrt(1_000_000 - pf_milli * pf_milli) // pf_milli if pf_milli else 0


def _level(text: str) -> int:
    """A recorded value of at most five decimals as an integer number of 1e-5, exactly."""
    sign = -1 if text.startswith("-") else 1
    whole, _, decimals = text.lstrip("-").partition(".")
    if len(decimals) > 5:
        raise ValueError(f"{DATA_FILE.name}: {text!r} has more than five decimals")
    return sign * (int(whole) * LEVEL_SCALE + int(decimals.ljust(5, "0")))


def _fill_gaps(rows: list[list[str]]) -> list[list[str]]:
    """Rows on an unbroken quarter-hour grid: a missing quarter-hour repeats the one before it."""
    first = datetime.fromisoformat(rows[0][0])
    grid: list[list[str]] = []
    for row in rows:
        position = int((datetime.fromisoformat(row[0]) - first) / timedelta(minutes=15))
        if position < len(grid):
            raise ValueError(f"{DATA_FILE.name}: {row[0]} is out of order")
        while len(grid) < position:
            grid.append(grid[-1])
        grid.append(row)
    return grid


def _constant_profile() -> LoadProfile:
    return LoadProfile("constant", [LEVEL_SCALE], [0])


def _water_profile() -> LoadProfile:
    """A restaurant's day of water by hour, in percent of the peak flow: morning cleaning, lunch, dinner, closing."""
    percent = (2, 1, 1, 1, 2, 8, 22, 45, 38, 42, 60, 95, 100, 70, 35, 30, 45, 80, 95, 85, 55, 35, 20, 6)
    levels = [hour * 1000 for hour in percent for _ in range(4)]
    return LoadProfile("water", levels, [0] * len(levels))

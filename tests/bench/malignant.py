"""How well malignant loads are found in simulated rooms: recall by appliance, false alarms a meter-month.

A room is a recorded household profile (`simulators/data`), drawn between its quarter-hours and made noisy, plus the
appliances its people switch on: each room-day some allowed ones and some forbidden ones, at random instants, often in
the same minute and sometimes in the same second. The meter samples it once a second as cheap meters do: a second is
the mean of a window that begins anywhere, the power factor has three digits, one sample in 200 is lost. The samples go
through `twin.core.malignant` exactly as a stream does, with the parameters of the dormitory pack.

A forbidden switch-on is *found* when a malignant step is located within two seconds of it; recall is over switch-ons, a
thermostat coming on again counting as none. An alarm that lies on no switch-on of a forbidden appliance is false. The
parameters were chosen on the tuning seeds; what is printed is of seeds that were never looked at for that.

`python -m tests.bench.malignant [--days N] [--tuning] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

from rules.literals import read_duration
from simulators.appliances import KINDS, ApplianceRun, switch_on
from simulators.profiles import QUARTER_MS, LoadProfile, load_profiles, power_factor_milli
from twin.core.malignant import (
    GAP_MS,
    MALIGNANT,
    PARAMS,
    Sample,
    Settings,
    advance,
    classify,
    sample_of,
    settings_of,
)

PACK = Path(__file__).parents[2] / "rules" / "packs" / "dormitory.yaml"
ROOMS = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-H", "H0-L")
TUNING, HELD_OUT = "tuning", "held-out"
DAY_S = 86_400
DAYS = 30
"""Room-days of a measurement: some half a minute."""
MONTH_DAYS = 30
FOUND_WITHIN_MS = 2_000
ALLOWED_USES = (
    ("pc", 2), ("gaming_pc", 1), ("laptop", 3), ("phone_charger", 4), ("lamp", 3), ("fan", 2), ("fridge", 1),
    ("air_conditioner", 1), ("inverter_air_conditioner", 1), ("motor", 2), ("washing_machine", 1),
    ("vacuum_cleaner", 1), ("microwave_oven", 2), ("water_heater", 1),
)  # fmt: skip
"""What people may use, and how often a room-day at most."""
FORBIDDEN = tuple(kind.name for kind in KINDS.values() if kind.forbidden)
SAME_SECOND = 10
"""One forbidden switch-on in so many falls into the very second of an allowed one."""


class Room:
    """One simulated room on one day."""

    def __init__(self, seed: str) -> None:
        self.rng = Random(seed)
        profiles = load_profiles()
        self.profile: LoadProfile = profiles[self.rng.choice(ROOMS)]
        self.peak_w = self.rng.randint(300, 1_500)
        self.noise_milli = self.rng.randint(10, 60)
        self.from_ms = self.rng.randrange(80) * DAY_S * 1_000
        self.allowed = [
            self._switched_on(name) for name, most in ALLOWED_USES for _ in range(self.rng.randint(0, most))
        ]
        self.forbidden: list[ApplianceRun] = []
        for name in FORBIDDEN:
            if self.rng.random() < 0.5:
                self.forbidden.append(self._forbidden(name))
        self.window = self.rng.randrange(1_000)
        """Where a second of the meter begins within a second of the appliances, ms."""

    def _switched_on(self, name: str) -> ApplianceRun:
        return switch_on(name, self.rng, self.from_ms + self.rng.randrange(60, DAY_S - 600) * 1_000)

    def _forbidden(self, name: str) -> ApplianceRun:
        run = self._switched_on(name)
        if self.allowed and self.rng.randrange(SAME_SECOND) == 0:
            run = switch_on(name, self.rng, self.rng.choice(self.allowed).from_ms)
        return run

    def samples(self) -> list[Sample]:
        """A day of the meter's stream."""
        rng, found = self.rng, []
        runs = sorted((*self.allowed, *self.forbidden), key=lambda run: run.from_ms)
        live: list[ApplianceRun] = []
        before = (0, 0)
        noise = self._base_noise()
        for second in range(DAY_S):
            now_ms = self.from_ms + second * 1_000
            while runs and runs[0].from_ms <= now_ms:
                live.append(runs.pop(0))
            power_w, idle_var = self._base(now_ms, noise[second & 8191])
            for run in live:
                drawn_w, drawn_var = run.power_at(now_ms)
                power_w += drawn_w
                idle_var += drawn_var
            if not second & 63:
                live = [run for run in live if run.to_ms > now_ms]
            shown_w = (before[0] * self.window + power_w * (1_000 - self.window)) // 1_000
            shown_var = (before[1] * self.window + idle_var * (1_000 - self.window)) // 1_000
            before = (power_w, idle_var)
            if rng.random() >= 0.005:
                channels = {"power_w": shown_w, "pf_milli": power_factor_milli(shown_w, shown_var)}
                taken = sample_of(channels, now_ms)
                assert taken is not None
                found.append(taken)
        return found

    def _base_noise(self) -> list[int]:
        """Noise of what runs all the time: every sample a little, and now and then a small thing goes on or off."""
        small, found = 0, []
        for _ in range(8_192):
            if self.rng.random() < 0.004:
                small = self.rng.randint(-40, 60)
            found.append(small + round(self.rng.gauss(0, self.noise_milli)))
        return found

    def _base(self, now_ms: int, noise_milli: int) -> tuple[int, int]:
        level, reactive = self.profile.level_at(now_ms)
        after, reactive_after = self.profile.level_at(now_ms + QUARTER_MS)
        share = now_ms % QUARTER_MS
        power = self.peak_w * (level * (QUARTER_MS - share) + after * share) // QUARTER_MS // 100_000
        idle = self.peak_w * (reactive * (QUARTER_MS - share) + reactive_after * share) // QUARTER_MS // 100_000
        return max(0, power * (1_000 + noise_milli) // 1_000), idle


def alarms_of(samples: list[Sample], settings: Settings) -> list[int]:
    """Instants at which malignant steps begin, found as the stream comes."""
    kept: tuple[Sample, ...] = ()
    looked_ts, last_ts = 0, 0
    found: list[int] = []
    for sample in samples:
        if sample.ts - last_ts > GAP_MS:
            kept, looked_ts = (), sample.ts
        last_ts = sample.ts
        kept, looked_ts, steps = advance(kept, looked_ts, sample, settings)
        found += [
            step.at
            for step in steps
            if classify(settings, step.step_w, step.share_milli, inrush_w=step.inrush_w) == MALIGNANT
        ]
    return found


class Tally:
    """What was switched on, found and wrongly alarmed, over many room-days."""

    def __init__(self) -> None:
        self.days = 0
        self.used: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()
        """Missed because so high a step is an allowed appliance's."""
        self.false: Counter[str] = Counter()

    def add(self, room: Room, settings: Settings) -> None:
        """One room-day."""
        alarms = alarms_of(room.samples(), settings)
        self.days += 1
        explained: set[int] = set()
        for run in room.forbidden:
            near = {at for at in alarms if abs(at - run.from_ms) <= FOUND_WITHIN_MS}
            self.used[run.kind] += 1
            self.found[run.kind] += bool(near)
            self.excused[run.kind] += not near and any(band.holds(run.rated_w, 1000) for band in settings.allow)
            explained |= {at for at in alarms if _turns_on(run, at)}
        for at in alarms:
            if at not in explained:
                causes = [run.kind for run in room.allowed if _turns_on(run, at)]
                self.false["+".join(sorted(causes)) or "base load"] += 1

    def result(self, settings: Settings) -> dict[str, Any]:
        """The figures as plain data."""
        used, found, false = sum(self.used.values()), sum(self.found.values()), sum(self.false.values())
        return {
            "room_days": self.days,
            "switched_on": used,
            "recall": round(found / max(1, used), 4),
            "recall_of_heights_not_allowed": round(found / max(1, used - sum(self.excused.values())), 4),
            "recall_by_appliance": {
                name: {
                    "switched_on": self.used[name],
                    "found": self.found[name],
                    "of_an_allowed_height": self.excused[name],
                }
                for name in FORBIDDEN
            },
            "false_alarms": false,
            "false_alarms_a_meter_month": round(false * MONTH_DAYS / max(1, self.days), 2),
            "false_alarms_by_cause": dict(self.false.most_common()),
            "latency_s": settings.hold_ms // 1_000,
        }


def _turns_on(run: ApplianceRun, at: int) -> bool:
    """Whether an appliance, or its thermostat, came on within two seconds of an instant."""
    if not run.from_ms - FOUND_WITHIN_MS <= at <= run.to_ms:
        return False
    if not run.on_s:
        return abs(at - run.from_ms) <= FOUND_WITHIN_MS
    turn_ms = (run.on_s + run.off_s) * 1_000
    return min((at - run.from_ms) % turn_ms, -(at - run.from_ms) % turn_ms) <= FOUND_WITHIN_MS


def pack_params() -> dict[str, Any]:
    """The parameters of the dormitory pack, as the detector has them."""
    declared = YAML(typ="safe").load(PACK.read_text(encoding="utf-8"))["params"]
    params = {name: declared[name]["default"] for name in PARAMS}
    return {**params, "malignant_hold": read_duration(params["malignant_hold"])}


def measure(days: int, seeds: str = HELD_OUT, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """The figures of so many room-days, with the parameter set they belong to."""
    chosen = params if params is not None else pack_params()
    settings, tally = settings_of(chosen), Tally()
    for day in range(days):
        tally.add(Room(f"{seeds}:{day}"), settings)
    return {"seeds": seeds, "params": chosen, **tally.result(settings)}


def table(result: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    told = ", ".join(f"{name}={value}" for name, value in result["params"].items())
    lines = [f"malignant load, {result['room_days']} room-days of {result['seeds']} seeds; {told}"]
    lines.append("appliance          switched on  found  recall  missed as of an allowed height")
    for name, row in result["recall_by_appliance"].items():
        share = row["found"] / max(1, row["switched_on"])
        lines.append(
            f"{name:18} {row['switched_on']:11d}  {row['found']:5d}  {share:6.1%}  {row['of_an_allowed_height']:30d}"
        )
    rest = f"{result['recall_of_heights_not_allowed']:.1%} of those of no allowed height"
    lines.append(f"{'all':18} {result['switched_on']:11d}  {'':5}  {result['recall']:6.1%}  {rest}")
    lines.append(
        f"false alarms: {result['false_alarms']}, {result['false_alarms_a_meter_month']} a meter-month; by what came "
        f"on: {result['false_alarms_by_cause'] or 'nothing'}"
    )
    lines.append(f"told {result['latency_s']} s after the step")
    return lines


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.malignant", description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS, help="room-days")
    parser.add_argument("--tuning", action="store_true", help="the seeds that the parameters were chosen on")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    options = parser.parse_args()
    began = time.monotonic()
    result = measure(options.days, TUNING if options.tuning else HELD_OUT)
    print("\n".join(table(result)))
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

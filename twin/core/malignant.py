"""Malignant load (恶性负载): an appliance that is not allowed, found by the step of power when it is switched on.

Theory of operation. A step leads from one steady level of power to another (Hart, "Nonintrusive appliance load
monitoring", Proc. IEEE 80, 1992). Its height is dP; its *increment factor* is lambda = dP / dS, where dS is the change
of the complex apparent power, |dS| = sqrt(dP^2 + dN^2), and N the power that is not active: N = sqrt(S^2 - P^2) where
the meter tells S (so that distortion by switched-mode supplies counts), else its reactive power. A heater has lambda
near 1 whatever already runs beside it; motors, lamps and computers have less. The difference of the magnitudes,
S2 - S1, is not used: it is never greater than |dS|, so a computer beside a running heater would look like a heater.

A window of the newest samples is looked through once they are `hold` old, so that each instant is judged with what
came before and after it: `find_step`. What is too slow, too short or not flat before is no step. What begins with a
peak far above the level on which it settles is a motor: its inrush is no malignant load. `classify` then holds a step,
of whichever source, against the bands that are forbidden and those that are allowed.

Powers in W, times in Unix ms, shares in thousandths. No float; rounding is towards zero.
"""

from __future__ import annotations

from itertools import combinations
from math import isqrt
from typing import TYPE_CHECKING, Any

import msgspec

from rules.power_bands import Band, read_bands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GAP_MS = 3_000
"""Samples further apart than this are no stream: nothing is concluded across the gap."""
BEFORE_MS = 5_000
"""How far back the level before a step is looked for."""
MOST_BEFORE = 4
LEAST_SAMPLES = 2
RISE_MS = 1_000
"""After so long a step has reached its level; what takes longer is a drift."""
PEAK_MS = 2_500
"""Within so long of its beginning an inrush has its peak."""
MOST_HOLD_MS = 15_000
REAL_MILLI = 990
"""No motor has so much real power; where a heater and a motor start together, the heater is what settles."""
DEAD_W = 5
"""A supply that draws no more than this is dark."""
MALIGNANT, ALLOWED, MOTOR, REACTIVE, OUTSIDE, UNKNOWN = (
    "malignant",
    "allowed",
    "motor",
    "reactive",
    "outside",
    "unknown",
)
CLASSES = (MALIGNANT, ALLOWED, MOTOR, REACTIVE, OUTSIDE, UNKNOWN)
"""What a step can be: forbidden; of an allowed appliance; of a motor; with too little real power for its height; of a
height that nobody minds; of a height that is minded, but nobody told how much of it is real power."""
PARAMS = ("malignant_bands", "malignant_allow", "malignant_hold", "malignant_inrush_milli")
"""Parameters that a rule file declares and the platform reads."""


class Sample(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One second of a stream: active power, and the power that is not active (None: nobody told)."""

    ts: int
    power_w: int
    idle_va: int | None = None


class Settings(msgspec.Struct, frozen=True):
    """What counts as malignant. `hold_ms` is how long a step must stand, `inrush_milli` the peak in thousandths of the
    level from which on a beginning is that of a motor (0: never)."""

    bands: tuple[Band, ...] = ()
    allow: tuple[Band, ...] = ()
    hold_ms: int = 5_000
    inrush_milli: int = 1_400

    @property
    def least_w(self) -> int:
        """The lowest step that is looked for."""
        return min((band.from_w for band in self.bands), default=0)


class Step(msgspec.Struct, frozen=True):
    """A step up of power, its increment factor, its peak above the level before it, and the samples that show it."""

    at: int
    step_w: int
    share_milli: int | None
    inrush_w: int
    level_w: int
    before: tuple[Sample, ...]
    after: tuple[Sample, ...]


def settings_of(params: Mapping[str, Any]) -> Settings:
    """The settings that a ruleset's parameters in force hold; what it does not declare has its default."""
    default = Settings()
    return Settings(
        read_bands(params.get("malignant_bands", "")),
        read_bands(params.get("malignant_allow", "")),
        max(LEAST_SAMPLES * 1_000, min(params.get("malignant_hold", default.hold_ms), MOST_HOLD_MS)),
        params.get("malignant_inrush_milli", default.inrush_milli),
    )


def sample_of(channels: Mapping[str, Any], ts: int) -> Sample | None:
    """What the detector keeps of a reading; None for one without active power.

    S is taken from `apparent_va`, else from P / `pf_milli`, else from the sum of U * I over the phases; the sign of N,
    and N itself where S is not told, from `reactive_var`.
    """
    power_w = channels.get("power_w")
    if not isinstance(power_w, int):
        return None
    apparent_va = _apparent_va(channels, abs(power_w))
    reactive: Any = channels.get("reactive_var")
    if apparent_va is None:
        return Sample(ts, power_w, reactive if isinstance(reactive, int) else None)
    idle_va = isqrt(max(0, apparent_va * apparent_va - power_w * power_w))
    if isinstance(reactive, int):
        idle_va = max(idle_va, abs(reactive)) * (-1 if reactive < 0 else 1)
    return Sample(ts, power_w, idle_va)


def _apparent_va(channels: Mapping[str, Any], power_w: int) -> int | None:
    told: Any = channels.get("apparent_va")
    if isinstance(told, int):
        return told
    factor = channels.get("pf_milli")
    if isinstance(factor, int) and factor != 0:
        return power_w * 1000 // abs(factor)
    volts, amperes = channels.get("voltage_mv"), channels.get("current_ma")
    if isinstance(volts, list) and isinstance(amperes, list) and len(volts) == len(amperes) and volts:
        return int(sum(one * other for one, other in zip(volts, amperes, strict=True))) // 1_000_000
    return None


def increment_factor(step_w: int, idle_step_va: int) -> int:
    """lambda = dP / sqrt(dP^2 + dN^2) in thousandths, of a step up; 0 for none."""
    return 1000 * step_w // max(1, isqrt(step_w * step_w + idle_step_va * idle_step_va)) if step_w > 0 else 0


def advance(
    samples: tuple[Sample, ...], looked_ts: int, taken: Sample, settings: Settings
) -> tuple[tuple[Sample, ...], int, list[Step]]:
    """A stream with one more sample: what is kept of it, up to which instant steps have been looked for, and the steps
    that are sure by now. `samples` are those kept before, none further than `GAP_MS` from the next."""
    samples = (*samples, taken)
    sure_by = taken.ts - settings.hold_ms
    found: list[Step] = []
    before: Sample | None = None
    for place, one in enumerate(samples):
        if one.ts > sure_by:
            break
        if one.ts > looked_ts:
            looked_ts = one.ts
            # Most seconds are level: they end here.
            if before is not None and 4 * (one.power_w - before.power_w) >= settings.least_w:
                step = find_step(samples, place, settings)
                if step is not None:
                    found.append(step)
        before = one
    keep_from = sure_by - BEFORE_MS
    while samples[0].ts < keep_from:
        samples = samples[1:]
    return samples, looked_ts, found


def find_step(window: Sequence[Sample], begin: int, settings: Settings) -> Step | None:
    """The step up that begins with `window[begin]`, if one does. The window must reach `hold_ms` beyond it."""
    first = window[begin]
    before = [one for one in window[:begin] if one.ts >= first.ts - BEFORE_MS][-MOST_BEFORE:]
    after = [one for one in window[begin + 1 :] if first.ts + RISE_MS // 2 < one.ts <= first.ts + settings.hold_ms]
    if len(before) < LEAST_SAMPLES or len(after) < max(LEAST_SAMPLES, settings.hold_ms // 2_000):
        return None
    base_w = _middle([one.power_w for one in before])
    level, level_w = _settled(after, base_w)
    step_w = level_w - base_w
    if step_w < max(1, settings.least_w) or not _is_clean(before, first, after, base_w, step_w):
        return None
    start = [one for one in (first, *after) if one.ts <= first.ts + PEAK_MS]
    inrush_w = max(one.power_w for one in start) - base_w
    share = _share(before, level, step_w)
    return Step(first.ts, step_w, share, inrush_w, base_w, tuple(before), (first, *after))


def _settled(after: Sequence[Sample], base_w: int) -> tuple[Sequence[Sample], int]:
    """The samples that stand for the level after a step, and that level: the middle one, or the lower of two where
    something else came on while this was waited for."""
    middle_w = _middle([one.power_w for one in after])
    low = sorted(after, key=lambda one: one.power_w)[: (len(after) + 1) // 2]
    low_w = low[len(low) // 2].power_w
    return (low, low_w) if 8 * (middle_w - low_w) > middle_w - base_w else (after, middle_w)


def _middle(values: Sequence[int]) -> int:
    """The median; of an even number the mean of the two in the middle."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


def _is_clean(before: Sequence[Sample], first: Sample, after: Sequence[Sample], base_w: int, step_w: int) -> bool:
    """Whether a level was left at once, at this very sample, for another one that stands."""
    if 4 * (first.power_w - base_w) < step_w or 4 * (before[-1].power_w - base_w) >= step_w:
        return False
    if any(3 * (one.power_w - base_w) > step_w for one in before):
        return False
    if 10 * (after[0].power_w - base_w) < 7 * step_w:
        return False
    return sum(10 * (one.power_w - base_w) < 6 * step_w for one in after) <= len(after) // 5


def _share(before: Sequence[Sample], level: Sequence[Sample], step_w: int) -> int | None:
    """The increment factor between two levels; None where one of them is not told whole."""
    idle_before = [one.idle_va for one in before if one.idle_va is not None]
    idle_after = [one.idle_va for one in level if one.idle_va is not None]
    if not idle_before or not idle_after:
        return None
    return increment_factor(step_w, _middle(idle_after) - _middle(idle_before))


def classify(
    settings: Settings, step_w: int, share_milli: int | None, *, inrush_w: int = 0, restored: bool = False
) -> str:
    """What a step is, one of `CLASSES`.

    `restored` says that the supply has just come back: then everything that was left switched on starts at once, and
    allowed appliances count together with up to the lowest forbidden height of other things.
    """
    minded = [band for band in settings.bands if band.from_w <= step_w <= band.to_w]
    if not minded:
        return OUTSIDE
    if any(band.holds(step_w, share_milli) for band in settings.allow):
        return ALLOWED
    if not any(band.holds(step_w, share_milli) for band in minded):
        return UNKNOWN if share_milli is None else REACTIVE
    is_real = share_milli is not None and share_milli >= REAL_MILLI
    if settings.inrush_milli and not is_real and 1000 * inrush_w >= settings.inrush_milli * step_w:
        return MOTOR
    return ALLOWED if restored and _allowed_together(settings, step_w) else MALIGNANT


def _allowed_together(settings: Settings, step_w: int) -> bool:
    """Whether allowed appliances, each once, make up a step but for less than what is looked for."""
    return any(
        sum(band.from_w for band in some) <= step_w < sum(band.to_w for band in some) + settings.least_w
        for count in range(1, len(settings.allow) + 1)
        for some in combinations(settings.allow, count)
    )

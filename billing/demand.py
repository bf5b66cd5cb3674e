"""Demand: the highest mean power of a month, from register samples.

Theory of operation. Windows of `window_ms` lie on a grid of `slip_ms` that begins with the month. The mean power of a
window is the register's rise over it; a border that no sample lies on is interpolated between its neighbours, rounded
down to whole Wh, and the window is flagged. Mean power is rounded half up to whole W; windows that divide an hour need
no rounding. The maximum is the first of the highest windows that lie wholly within the tenancy, the month and the
samples.

Samples of several register epochs (a replaced meter) are chained: between the end of one and the beginning of the next
nothing flowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from billing.local_time import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Sample = tuple[int, int]
"""(Unix ms, cumulative Wh)"""


class PeakDemand(msgspec.Struct, frozen=True):
    """The window of the highest mean power: [from_ts, to_ts), mean W; `interpolated`: a border was guessed."""

    from_ts: int
    to_ts: int
    power_w: int
    interpolated: bool


def chained(epochs: Iterable[Sequence[Sample]]) -> list[Sample]:
    """Samples of consecutive register epochs as one register that starts at 0; of samples at one instant the last."""
    chain: dict[int, int] = {}
    base = 0
    for samples in epochs:
        if not samples:
            continue
        first = samples[0][1]
        for ts, qty in samples:
            chain[ts] = base + qty - first
        base += samples[-1][1] - first
    return sorted(chain.items())


def peak_demand(
    samples: Sequence[Sample], *, window_ms: int, slip_ms: int, grid_ms: int, from_ts: int, to_ts: int
) -> PeakDemand | None:
    """The highest mean power in [from_ts, to_ts); None where the samples cover no whole window.

    `samples` are in ascending order of time and register (see `chained`); `slip_ms` divides `window_ms`; `grid_ms`
    (the month's beginning) is an instant that windows start at.
    """
    if len(samples) < 2:
        return None
    low, high = max(from_ts, samples[0][0]), min(to_ts, samples[-1][0])
    first = grid_ms - (grid_ms - low) // slip_ms * slip_ms
    borders = list(_at(samples, range(first, high + 1, slip_ms)))
    steps = window_ms // slip_ms
    best: PeakDemand | None = None
    for (start, before, known), (end, after, known_after) in zip(borders, borders[steps:], strict=False):
        power_w = (2 * (after - before) * HOUR_MS + window_ms) // (2 * window_ms)
        if best is None or power_w > best.power_w:
            best = PeakDemand(start, end, power_w, not (known and known_after))
    return best


def _at(samples: Sequence[Sample], instants: Iterable[int]) -> Iterator[tuple[int, int, bool]]:
    """(instant, register, whether a sample lies there) for ascending instants within the samples."""
    index = 0
    for instant in instants:
        while samples[index + 1][0] < instant:
            index += 1
        (ts, qty), (next_ts, next_qty) = samples[index], samples[index + 1]
        if instant in (ts, next_ts):
            yield instant, qty if instant == ts else next_qty, True
        else:
            yield instant, qty + (next_qty - qty) * (instant - ts) // (next_ts - ts), False

"""The three clocks of the contract: real, scaled, and the one that follows telemetry.

A scaled clock is anchored once and the anchor is kept in the data folder, so that after a restart it goes on and
does not start again. The telemetry clock stands at the greatest sample time it was told of; it never runs by itself
and never goes back.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from schemas.clock_spec import ClockSpec, anchored, format_clock_spec, parse_clock_spec, scaled_now, scaled_sleep

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_JUMP_MS = 40 * 24 * 3_600_000
"""A sample further ahead than this is a broken device clock and does not move ours."""
ANCHOR_FILE = "clock.txt"
TELEMETRY_FILE = "clock-telemetry.txt"
KEEP_EVERY_MS = 60_000


def real_now_ms() -> int:
    """Unix ms of this machine."""
    return time.time_ns() // 1_000_000


class RealClock:
    """Now is now."""

    kind = "real"

    def now(self) -> int:
        """Unix ms."""
        return real_now_ms()

    def observe(self, ts: int) -> None:
        """Samples do not move this clock."""

    async def sleep(self, seconds: float) -> None:
        """Sleep real seconds."""
        await asyncio.sleep(seconds)


class ScaledClock:
    """Time that started at a chosen instant and runs faster (or slower) than ours."""

    kind = "scaled"

    def __init__(self, spec: ClockSpec) -> None:
        self.spec = spec

    def now(self) -> int:
        """Unix ms on this clock."""
        return scaled_now(self.spec, real_now_ms())

    def observe(self, ts: int) -> None:
        """Samples do not move this clock."""

    async def sleep(self, seconds: float) -> None:
        """Sleep so many seconds of this clock."""
        await asyncio.sleep(scaled_sleep(self.spec, seconds))


class TelemetryClock:
    """Time that stands at the greatest accepted sample; kept in a file so that a restart does not forget it."""

    kind = "telemetry"

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._now = int(file.read_text()) if file is not None and file.exists() else 0
        self._kept = self._now

    def now(self) -> int:
        """Unix ms of the newest sample."""
        return self._now

    def observe(self, ts: int) -> None:
        """A sample was taken at `ts`."""
        if self._now < ts and (self._now == 0 or ts - self._now <= LONGEST_JUMP_MS):
            self._now = ts
            if self._file is not None and ts - self._kept >= KEEP_EVERY_MS:
                self._keep(ts)

    async def sleep(self, seconds: float) -> None:
        """This clock does not run by itself: real seconds."""
        await asyncio.sleep(seconds)

    def _keep(self, ts: int) -> None:
        assert self._file is not None
        fresh = self._file.with_suffix(f".{os.getpid()}.new")  # processes may share the folder
        fresh.write_text(str(ts))
        fresh.replace(self._file)
        self._kept = ts


def open_clock(text: str, data_dir: Path | None) -> RealClock | ScaledClock | TelemetryClock:
    """The clock that a `TWINMETER_CLOCK` setting means. Raises ClockSpecError for one that cannot be read.

    A scaled clock without an anchor is anchored now; the same setting finds its anchor again in `data_dir`.
    """
    spec = parse_clock_spec(text)
    if spec.kind == "real":
        return RealClock()
    if spec.kind == "telemetry":
        return TelemetryClock(None if data_dir is None else data_dir / TELEMETRY_FILE)
    if spec.anchor_ms is None and data_dir is not None:
        file = data_dir / ANCHOR_FILE
        wanted = format_clock_spec(spec)
        if file.exists() and file.read_text().startswith(wanted + ","):
            return ScaledClock(parse_clock_spec(file.read_text().strip()))
        spec = anchored(spec, real_now_ms())
        file.write_text(format_clock_spec(spec))
    return ScaledClock(anchored(spec, real_now_ms()))

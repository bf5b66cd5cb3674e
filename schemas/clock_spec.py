"""What *now* means: the setting `TWINMETER_CLOCK`, shared by the platform and the simulators.

- `real`: now is the wall clock.
- `scaled:START,RATE[,ANCHOR]`: at the real instant ANCHOR (Unix ms) it was START (ISO 8601 with an offset), and
  since then time has run RATE times as fast. Without ANCHOR the process that reads the setting fixes it with
  `anchored` and hands the full text (`format_clock_spec`) to everyone who must agree with it.
- `telemetry`: now is the greatest accepted sample time; recorded data replays as fast as the machine can.

Nothing here reads a clock: the real time is an argument.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

ClockKind = Literal["real", "scaled", "telemetry"]

_RATE_MIN: Final = 0.001
_RATE_MAX: Final = 1_000_000.0
_USAGE: Final = (
    "write real, telemetry, or scaled:START,RATE[,ANCHOR_UNIX_MS], such as scaled:2026-01-01T00:00:00+08:00,60"
)


class ClockSpec(msgspec.Struct, frozen=True):
    """A parsed clock setting. `start_ms`, `rate` and `anchor_ms` mean something for `scaled` alone."""

    kind: ClockKind
    start_ms: int = 0
    rate: float = 1.0
    anchor_ms: int | None = None


class ClockSpecError(ValueError):
    """A clock setting that cannot be read; the message says what was found and what would be right."""


def parse_clock_spec(text: str) -> ClockSpec:
    """Read a clock setting. Raises ClockSpecError; an empty text means `real`."""
    kind, _, rest = text.strip().partition(":")
    if kind in ("", "real") and not rest:
        return ClockSpec("real")
    if kind == "telemetry" and not rest:
        return ClockSpec("telemetry")
    if kind != "scaled":
        raise ClockSpecError(f"TWINMETER_CLOCK {text!r} is not a clock: {_USAGE}")
    return _parse_scaled(text, rest.split(","))


def _parse_scaled(text: str, parts: list[str]) -> ClockSpec:
    if len(parts) not in (2, 3):
        raise ClockSpecError(f"TWINMETER_CLOCK {text!r} has {len(parts)} parts after 'scaled:', not 2 or 3: {_USAGE}")
    anchor_ms = _parse_anchor(parts[2]) if len(parts) == 3 else None
    return ClockSpec("scaled", _parse_start(parts[0]), _parse_rate(parts[1]), anchor_ms)


def _parse_start(text: str) -> int:
    try:
        start = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ClockSpecError(f"clock start {text!r} is not an ISO 8601 instant: {_USAGE}") from None
    if start.tzinfo is None:
        raise ClockSpecError(f"clock start {text!r} has no offset; add one, such as {text.strip()}+08:00")
    elapsed = start - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1000 + elapsed.microseconds // 1000


def _parse_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = float("nan")
    if not _RATE_MIN <= rate <= _RATE_MAX:
        raise ClockSpecError(f"clock rate {text!r} is not a number between {_RATE_MIN:g} and {_RATE_MAX:g}: {_USAGE}")
    return rate


def _parse_anchor(text: str) -> int:
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit() and len(stripped) <= 15):
        raise ClockSpecError(f"clock anchor {text!r} is not a Unix time in milliseconds: {_USAGE}")
    return int(stripped)


def format_clock_spec(spec: ClockSpec) -> str:
    """The text of a clock setting, for a child process. The inverse of `parse_clock_spec`."""
    if spec.kind != "scaled":
        return spec.kind
    start = datetime.fromtimestamp(spec.start_ms // 1000, tz=UTC).replace(microsecond=spec.start_ms % 1000 * 1000)
    anchor = "" if spec.anchor_ms is None else f",{spec.anchor_ms}"
    return f"scaled:{start.isoformat(timespec='milliseconds')},{spec.rate!r}{anchor}"


def anchored(spec: ClockSpec, real_now_ms: int) -> ClockSpec:
    """The same clock, running from `real_now_ms` on if it had no anchor yet."""
    if spec.kind != "scaled" or spec.anchor_ms is not None:
        return spec
    return msgspec.structs.replace(spec, anchor_ms=real_now_ms)


def scaled_now(spec: ClockSpec, real_now_ms: int) -> int:
    """Unix ms that this clock shows at the real time `real_now_ms`.

    Raises ValueError for `telemetry`, whose now comes from samples, and for a scaled clock that was never anchored.
    """
    if spec.kind == "real":
        return real_now_ms
    if spec.kind == "telemetry":
        raise ValueError("a telemetry clock follows accepted samples and cannot be read off the wall clock")
    if spec.anchor_ms is None:
        raise ValueError("a scaled clock without an anchor does not run; call anchored() first")
    return spec.start_ms + int((real_now_ms - spec.anchor_ms) * spec.rate)


def scaled_sleep(spec: ClockSpec, seconds: float) -> float:
    """Real seconds to wait until `seconds` have passed on this clock; 0 for `telemetry`, which never waits."""
    if spec.kind == "telemetry":
        return 0.0
    return seconds / spec.rate

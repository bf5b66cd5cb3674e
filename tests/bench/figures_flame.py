"""What the profiler saw, in words: microseconds a reading by stage, and what of them no platform could go without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.figures import Line, count_text
from tests.bench.flame_picture import picture

PICTURE = "flame-ingest.svg"
MOST_FUNCTIONS = 15
UNAVOIDABLE = ("broker client", "decode", "validate", "route", "Redis client", "event loop and the rest")
"""What has to be done for a reading that is written to Redis and acknowledged, whatever is decided about it."""


def flame_lines(data: dict[str, Any]) -> list[Line]:
    """A line a stage."""
    each = stages_us(data)
    whole = sum(each.values())
    found = [Line(name, f"{value:.1f}", "", f"{value / whole:.0%}") for name, value in each.items()]
    return [*found, Line("all of the platform's process", f"{whole:.1f}", "", "")]


def stages_us(data: dict[str, Any]) -> dict[str, float]:
    """CPU us a reading by stage: shares of the samples, of the CPU time of the runs that nobody looked at."""
    whole = median(run["cpu_with_ledger_us"]["platform"] for run in data["plain"])
    return {name: whole * count / max(data["samples"], 1) for name, count in data["stages"].items()}


def write_picture(data: dict[str, Any], folder: Path) -> None:
    """The flame graph beside the page."""
    (folder / PICTURE).write_text(picture(data), encoding="utf-8")


def flame_page(data: dict[str, Any]) -> Iterator[str]:
    """The section without its heading."""
    rates = {kind: median(run["rate"] for run in data[kind]) for kind in ("plain", "seen")}
    yield f"![Flame graph of the platform's process]({PICTURE})"
    yield ""
    yield (
        f"py-spy looked at the platform's process {data['rate_hz']} times a second while {count_text(data['meters'])}"
        f" meters were read ({count_text(rates['plain'])} readings/s, {count_text(rates['seen'])} while it was looked"
        f" at): {count_text(data['samples'])} samples of threads at work. A sample belongs to the stage that asked for"
        " it: encoding by msgspec for a commit is `encode`. The picture tells a function's share where the mouse rests."
    )
    yield from ["", "| stage | CPU us a reading | share |", "|---|---:|---:|"]
    for one in flame_lines(data):
        yield f"| {one.what} | {one.value} | {one.ratio} |"
    each = stages_us(data)
    least = sum(each[name] for name in UNAVOIDABLE)
    yield ""
    yield (
        f"Were nothing decided, encoded or posted at all, {', '.join(UNAVOIDABLE[:-1])} and the event loop would"
        f" remain: {least:.0f} us, so one process would end at {count_text(1e6 / least)} readings/s. Deciding alone"
        f" takes {sum(value for name, value in each.items() if name.startswith('decide')):.0f} us."
    )
    yield from ["", "| function, itself alone | share |", "|---|---:|"]
    for name, count in data["own"][:MOST_FUNCTIONS]:
        yield f"| `{name}` | {count / data['samples']:.1%} |"
    yield ""

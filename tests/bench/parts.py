"""The parts of a measurement in their order, and what keeps them apart: each has a date of its own in the results, and
they are written after every part; one that fails keeps its last figures and does not take the others with it."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.bench import machine, malignant, rule_cost, settling
from tests.bench.api_load import measure_api
from tests.bench.backlog import run_storm
from tests.bench.layouts import measure_layouts
from tests.bench.losses import measure_losses
from tests.bench.million import measure_million
from tests.bench.replaying import measure_replay
from tests.bench.runs import Plan, Say
from tests.bench.sites import measure_sites

Measure = Callable[[Path, Say], dict[str, Any]]
MONTH_SLOTS = 31 * 96
FULL = Plan(1_000, 10_000, 100_000, readings=30_000, runs=5, latency_slots=80, latency_runs=5, rebuilds=2)
QUICK = Plan(500, 2_000, 5_000, readings=5_000, runs=3, latency_slots=40, latency_runs=1, rebuilds=1)


class Part(msgspec.Struct, frozen=True):
    """One part. `about_s` is what it takes on two idle cores, with something to spare."""

    name: str
    about_s: int
    measure: Measure


def full_parts() -> list[Part]:
    """`make bench`."""
    return [
        Part("sites", 620, lambda folder, say: measure_sites(FULL, folder, say)),
        Part("layouts", 110, lambda folder, say: measure_layouts(5_000, 30_000, 5, folder, say)),
        Part("losses", 60, lambda folder, say: measure_losses(1_000, 20, folder, say)),
        Part("api", 40, lambda folder, say: measure_api(5_000, (0, 500, 1_000), 8.0, folder, say)),
        Part("backlog", 100, lambda folder, say: _backlog(1_000, folder, say)),
        Part("settling", 60, lambda folder, say: _settling(200, MONTH_SLOTS, say)),
        Part("rules", 15, lambda folder, say: rule_cost.measure(runs=25)),
        Part("replay", 40, lambda folder, say: asyncio.run(measure_replay(folder, 220, 30))),
        Part("malignant", 40, lambda folder, say: malignant.measure(malignant.DAYS)),
        Part("million", 900, lambda folder, say: measure_million(1_000_000, 30_000, 5, folder, say)),
    ]


def quick_parts() -> list[Part]:
    """`--quick`: every part at a size that shows whether it works, and roughly what it finds."""
    return [
        Part("sites", 70, lambda folder, say: measure_sites(QUICK, folder, say)),
        Part("layouts", 60, lambda folder, say: measure_layouts(500, 5_000, 2, folder, say)),
        Part("losses", 30, lambda folder, say: measure_losses(500, 20, folder, say)),
        Part("api", 15, lambda folder, say: measure_api(500, (0, 500), 3.0, folder, say)),
        Part("backlog", 30, lambda folder, say: _backlog(50, folder, say)),
        Part("settling", 15, lambda folder, say: _settling(10, MONTH_SLOTS, say)),
        Part("rules", 5, lambda folder, say: rule_cost.measure(runs=5)),
        Part("replay", 10, lambda folder, say: asyncio.run(measure_replay(folder, 60, 6))),
        Part("malignant", 15, lambda folder, say: malignant.measure(8)),
        Part("million", 20, lambda folder, say: measure_million(10_000, 5_000, 2, folder, say)),
    ]


def run_parts(parts: Iterable[Part], folder: Path, results: Path, say: Say, within_s: float) -> list[str]:
    """Run parts, write their figures to `results` after each; returns the names of those that failed.

    Figures of parts that are not run stay in the file with their dates.
    """
    kept: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {"parts": {}}
    if "parts" not in kept:
        raise ValueError(f"{results} holds something else than figures of make bench; name another file")
    began, failed = time.monotonic(), []
    for part in parts:
        left_s = within_s - (time.monotonic() - began)
        if part.about_s > left_s:
            say(
                f"{part.name}: left out, {left_s:.0f} s are left and it takes some {part.about_s} s; --only {part.name}"
            )
            continue
        since, loads = time.monotonic(), machine.describe()
        say(f"{part.name}: begins, some {part.about_s} s")
        (folder / part.name).mkdir()
        try:
            data = part.measure(folder / part.name, say)
        except Exception:
            say(f"{part.name}: failed\n{traceback.format_exc()}")
            failed.append(part.name)
            continue
        took_s = round(time.monotonic() - since, 1)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        kept["parts"][part.name] = {"at": now, "took_s": took_s, "machine": loads, "data": data}
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        say(f"{part.name}: took {took_s:.0f} s")
    return failed


def _backlog(meters: int, folder: Path, say: Say) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    figures = run_storm(folder, meters)
    say(figures.render())
    found: dict[str, Any] = msgspec.to_builtins(figures)
    return found


def _settling(tenants: int, slots: int, say: Say) -> dict[str, Any]:
    found = settling.measure(tenants, slots, verified=False)
    say(f"settlement of {tenants} tenants: {found['settled']['seconds']:.1f} s, plain {found['plain_s']:.2f} s")
    return found

"""The parts of a measurement in their order, and what keeps them apart: each has a process, a limit of time and a date
of its own. Results are written after every part; one that fails or does not finish takes no other's figures with it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.bench import bulk, machine, malignant, rule_cost, settling
from tests.bench.apart import FULL, Keep, Outcome, run_apart
from tests.bench.api_load import measure_api
from tests.bench.backlog import run_storm
from tests.bench.flame import measure_flame
from tests.bench.layouts import measure_layouts
from tests.bench.losses import measure_losses
from tests.bench.million import measure_million
from tests.bench.replaying import measure_replay
from tests.bench.runs import Plan, Say
from tests.bench.sites import measure_sites

Measure = Callable[["Desk"], Any]
"""Figures as plain data: what goes into the results."""
MONTH_SLOTS = 31 * 96
FULL_SITES = Plan(1_000, 10_000, 100_000, readings=20_000, runs=5, latency_slots=50, latency_runs=5)
QUICK_SITES = Plan(500, 2_000, 5_000, readings=5_000, runs=3, latency_slots=40, latency_runs=1)
SETTLED = ((580, 2_000), (270, 1_000), (150, 500), (0, 200))
RETURNED = ((260, 10_000), (110, 3_000), (0, 1_000))
"""Sizes by the seconds that are left for them: tenants of a settlement, meters of a backlog."""
ASIDE_S = 45.0
"""What an installation takes to begin and to end, beside what is measured."""


class Desk(msgspec.Struct, frozen=True):
    """What a part works with: a folder, a voice, a place for what it has so far, and the seconds it may take."""

    folder: Path
    say: Say
    keep: Keep
    limit_s: float


class Part(msgspec.Struct, frozen=True):
    """One part. `about_s` is what it takes at least on two idle cores, with something to spare."""

    name: str
    about_s: int
    measure: Measure


def parts_of(size: str) -> list[Part]:
    """All parts of `make bench`, those that the targets ask for first; quick ones show whether they work, and roughly
    what they find."""
    return _full_parts() if size == FULL else _quick_parts()


def _full_parts() -> list[Part]:
    return [
        Part("sites", 450, lambda desk: measure_sites(FULL_SITES, desk.folder, desk.say, desk.keep)),
        Part("flame", 60, lambda desk: measure_flame(10_000, 20_000, 3, desk.folder, desk.say, desk.keep)),
        Part("million", 400, lambda desk: measure_million(1_000_000, 20_000, 5, desk.folder, desk.say, desk.keep)),
        Part("settling", 290, lambda desk: _settling(_fitting(SETTLED, desk.limit_s), desk)),
        Part("losses", 40, lambda desk: measure_losses(1_000, 20, desk.folder, desk.say, desk.keep)),
        Part("layouts", 80, lambda desk: measure_layouts(5_000, 20_000, 5, desk.folder, desk.say, desk.keep)),
        Part("api", 30, lambda desk: measure_api(5_000, (0, 500, 1_000), 5.0, desk.folder, desk.say, desk.keep)),
        Part("rules", 5, lambda _: rule_cost.measure(runs=15)),
        Part("replay", 20, lambda desk: asyncio.run(measure_replay(desk.folder, 220, 10))),
        Part("malignant", 25, lambda _: malignant.measure(malignant.DAYS)),
        Part("bulk", 60, lambda desk: _bulk(bulk.BREAKERS, bulk.WAVE, desk)),
        Part("backlog", 70, lambda desk: _backlog(_fitting(RETURNED, desk.limit_s), desk)),
    ]


def _quick_parts() -> list[Part]:
    return [
        Part("sites", 90, lambda desk: measure_sites(QUICK_SITES, desk.folder, desk.say, desk.keep)),
        Part("flame", 30, lambda desk: measure_flame(1_000, 5_000, 2, desk.folder, desk.say, desk.keep)),
        Part("million", 50, lambda desk: measure_million(10_000, 3_000, 2, desk.folder, desk.say, desk.keep)),
        Part("losses", 40, lambda desk: measure_losses(500, 20, desk.folder, desk.say, desk.keep)),
        Part("layouts", 90, lambda desk: measure_layouts(500, 5_000, 2, desk.folder, desk.say, desk.keep)),
        Part("api", 20, lambda desk: measure_api(500, (0, 500), 3.0, desk.folder, desk.say, desk.keep)),
        Part("rules", 5, lambda _: rule_cost.measure(runs=5)),
        Part("replay", 10, lambda desk: asyncio.run(measure_replay(desk.folder, 60, 6))),
        Part("malignant", 15, lambda _: malignant.measure(8)),
        Part("backlog", 40, lambda desk: _backlog(50, desk)),
        Part("bulk", 30, lambda desk: _bulk(50, 25, desk)),
        Part("settling", 15, lambda desk: _settling(10, desk)),
    ]


def _fitting(sizes: Sequence[tuple[int, int]], limit_s: float) -> int:
    """The largest size that fits; the last one is taken in any case."""
    return next(size for seconds, size in sizes if seconds <= limit_s or (seconds, size) == sizes[-1])


def run_parts(parts: Sequence[Part], size: str, folder: Path, results: Path, say: Say, within_s: float) -> list[str]:
    """Run parts, write their figures to `results` after each; returns the names of those that did not succeed.

    Figures of parts that are not run stay in the file with their dates. A part may take what is left when the parts
    after it have had what they usually need, so all together end in time.
    """
    kept = _kept(results)
    began, failed = time.monotonic(), []
    for number, part in enumerate(parts):
        left_s = within_s - (time.monotonic() - began)
        limit_s = max(part.about_s, left_s - sum(one.about_s for one in parts[number + 1 :]))
        limit_s = min(limit_s, left_s)
        loads = machine.describe()
        if limit_s < 1:
            outcome = Outcome(None, "left out: no time was left", 0.0)
        else:
            say(f"{part.name}: begins, some {part.about_s} s on idle cores, at most {limit_s:.0f} s")
            outcome = run_apart(part.name, size, folder / part.name, limit_s)
            shutil.rmtree(folder / part.name, ignore_errors=True)
        say(f"{part.name}: {outcome.trouble or 'done'} after {outcome.took_s:.0f} s")
        failed += [part.name] if outcome.trouble else []
        _keep(kept, part.name, outcome, loads)
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return failed


def _kept(results: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {"parts": {}}
    if "parts" not in kept:
        raise ValueError(f"{results} holds something else than figures of make bench; name another file")
    return kept


def _keep(kept: dict[str, Any], name: str, outcome: Outcome, loads: dict[str, object]) -> None:
    """Figures of a part; what it has in part is better than what it had once, and that is better than nothing."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    troubles = kept.setdefault("troubles", {})
    troubles.pop(name, None)
    if outcome.trouble:
        troubles[name] = f"{outcome.trouble}, {now} UTC"
    if outcome.data:
        took_s = round(outcome.took_s, 1)
        kept["parts"][name] = {"at": now, "took_s": took_s, "machine": loads, "data": outcome.data}


def _backlog(meters: int, desk: Desk) -> dict[str, Any]:
    figures = run_storm(desk.folder, meters, within_s=max(desk.limit_s - ASIDE_S, ASIDE_S))
    desk.say(figures.render())
    found: dict[str, Any] = msgspec.to_builtins(figures)
    return found


def _bulk(breakers: int, wave: int, desk: Desk) -> dict[str, Any]:
    figures = bulk.run_bulk(desk.folder, breakers, wave, max(desk.limit_s - ASIDE_S, ASIDE_S))
    desk.say(figures.render())
    found: dict[str, Any] = msgspec.to_builtins(figures)
    return found


def _settling(tenants: int, desk: Desk) -> dict[str, Any]:
    found = settling.measure(tenants, MONTH_SLOTS, desk.keep, verified=False)
    told = f"filled in {found['filled_s']:.0f} s, settled in {found['settled']['seconds']:.1f} s"
    desk.say(f"settlement of {tenants} tenants: {told}, plain {found['plain_s']:.2f} s")
    return found

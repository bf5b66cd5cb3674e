"""`make bench`: what a reading costs, how fast a breach becomes a command, what a meter weighs, how long a rebuild is.

Nothing is asserted. Every figure is the median of repeated runs, with the lowest and highest beside it, and stands
next to something simpler that was run in the same minute, because machines differ and are busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.bench import malignant
from tests.bench.measure import Plan, measure
from tests.bench.replaying import measure_replay
from tests.bench.report import show, write_docs

WIDTH = 160
DOCS = Path(__file__).parents[2] / "docs" / "benchmarks.md"
FULL = Plan(small=1_000, large=100_000, runs=5, large_runs=3, small_rounds=30, latency_slots=200, latency_runs=3)
QUICK = Plan(small=1_000, large=5_000, runs=3, large_runs=3, small_rounds=8, latency_slots=50, latency_runs=3)
QUICK_ROOM_DAYS = 8
FULL_REPLAY, QUICK_REPLAY = (220, 30), (60, 6)
"""Tenants and days of the history that rules are replayed over."""


def main() -> int:
    """Parse options, measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under two minutes: 5 000 twins instead of 100 000")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every run, not only the medians")
    parser.add_argument("--update-docs", action="store_true", help=f"write {DOCS.relative_to(DOCS.parents[1])}")
    options = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twinmeter-bench-") as folder:
        results = measure(QUICK if options.quick else FULL, Path(folder), lambda text: console.log(text))
        console.log("rules: a month recorded and replayed")
        results["replay"] = asyncio.run(measure_replay(Path(folder), *(QUICK_REPLAY if options.quick else FULL_REPLAY)))
    console.log("malignant load: simulated rooms")
    results["malignant"] = malignant.measure(QUICK_ROOM_DAYS if options.quick else malignant.DAYS)
    results["took_s"] = round(time.monotonic() - began)
    show(results, console)
    for name, value in results["replay"].items():
        console.print(f"rules, {name:40} {value:>14,.2f}")
    for line in malignant.table(results["malignant"]):
        console.print(line, highlight=False)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if options.update_docs:
        write_docs(results, DOCS)
        console.print(f"wrote {DOCS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: what a reading costs, how fast a breach becomes a command, what a meter weighs, what a crash loses.

Nothing is asserted. Figures are medians of repeated runs with the lowest and highest, and stand next to something
simpler that was run in the same minute, because machines differ and are busy. Parts are independent of each other:
`--only layouts` measures one anew and leaves the others' figures with their dates.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.bench.apart import FULL, QUICK, say
from tests.bench.parts import parts_of, run_parts
from tests.bench.report import RESULTS, show, write_docs

WIDTH = 160
ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "benchmarks.md"
MINUTES = 29.0


def main() -> int:
    """Parse options, measure, print, and write what was asked for. Exit code 1 when a part is not whole."""
    names = [part.name for part in parts_of(FULL)]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every part at a small size; never for the docs")
    parser.add_argument("--only", metavar="PART", nargs="+", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--without", metavar="PART", nargs="+", choices=names, default=[], help="leave parts out")
    parser.add_argument("--million", action="store_true", help="the million meters alone: --only million")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="limit of all parts together")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="where every run is kept; default: var/benchmarks.json"
    )
    parser.add_argument("--update-docs", action="store_true", help=f"write {DOCS.relative_to(ROOT)} and its JSON")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from its JSON")
    options = parser.parse_args()
    if options.quick and options.update_docs:
        parser.error("the docs show full sizes: leave --quick out")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    docs = options.update_docs or options.page
    results = options.json or (DOCS.with_name(RESULTS) if docs else ROOT / "var" / RESULTS)
    only = ["million"] if options.million else options.only or names
    size = QUICK if options.quick else FULL
    wanted = set() if options.page else set(only) - set(options.without)
    parts = [part for part in parts_of(size) if part.name in wanted]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twinmeter-bench-") as folder:
        failed = run_parts(parts, size, Path(folder), results, say, options.minutes * 60)
    if not results.exists():
        parser.error(f"nothing has been measured yet: {results} is not there")
    found = json.loads(results.read_text(encoding="utf-8"))
    show(found, console)
    console.print(f"took {time.monotonic() - began:.0f} s; every run: {results}")
    if docs:
        write_docs(found, DOCS)
        subprocess.run([sys.executable, "-m", "docs.generate"], cwd=ROOT, check=True)  # the page of scale reads it, too
        console.print(f"wrote {DOCS}")
    if failed:
        console.print(f"not whole: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

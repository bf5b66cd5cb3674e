"""What was measured as tables for people, and as docs/benchmarks.md: made from the JSON of the results alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import malignant, rule_cost
from tests.bench.figures import Line, count_text, site_lines
from tests.bench.figures_beside import LINES
from tests.bench.figures_flame import flame_lines, flame_page, write_picture
from tests.bench.targets import layout_rates, targets

NOTES_MARK = "<!-- notes: kept by make bench -->"
RESULTS = "benchmarks.json"


def show(results: dict[str, Any], console: Console) -> None:
    """Print everything that has figures, and what did not finish."""
    parts = results["parts"]
    if "sites" in parts:
        _print("Three sizes of a site", site_lines(parts["sites"]["data"]), console)
    if "flame" in parts:
        _print("Where the time goes, CPU us a reading", flame_lines(parts["flame"]["data"]), console)
    for name, (title, made) in LINES.items():
        if name in parts:
            _print(title, made(parts[name]["data"]), console)
    for name, table in (("rules", rule_cost.table), ("malignant", malignant.table)):
        for text in table(parts[name]["data"]) if name in parts else ():
            console.print(text, highlight=False)
    for target in targets(parts):
        console.print(f"{_verdict(target.met):12} {target.what}: {target.wanted}; {target.measured}", highlight=False)
    for name, part in parts.items():
        console.print(f"{name}: {part['at']} UTC, took {part['took_s']:.0f} s")
    for name, trouble in results.get("troubles", {}).items():
        console.print(f"{name}: {trouble}", style="bold")


def _print(title: str, lines: Sequence[Line], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for name, side in (("figure", "left"), ("median", "right"), ("low to high", "right"), ("beside it", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for one in lines:
        table.add_row(one.what, one.value, one.spread, one.ratio)
    console.print(table)


def write_docs(results: dict[str, Any], path: Path) -> None:
    """Write the page and its picture; what stands below the mark of the notes is kept as it is."""
    if "flame" in results["parts"]:
        write_picture(results["parts"]["flame"]["data"], path.parent)
    kept = ""
    if path.exists():
        _, mark, rest = path.read_text(encoding="utf-8").partition(NOTES_MARK)
        kept = rest if mark else ""
    path.write_text("\n".join(page(results)) + f"\n{NOTES_MARK}{kept or chr(10)}", encoding="utf-8")


def page(results: dict[str, Any]) -> Iterable[str]:
    """The lines above the notes."""
    parts = results["parts"]
    yield "# Benchmarks"
    yield ""
    yield f"Written by `make bench BENCH_ARGS=--update-docs` from [{RESULTS}]({RESULTS}), which holds every run;"
    yield "the notes at the end are kept."
    yield ""
    if "sites" in parts:
        yield from _circumstances(parts["sites"])
    yield from _targets(parts)
    yield from _troubles(results.get("troubles", {}), parts)
    if "flame" in parts:
        yield from ["## Where the time goes", "", _when(parts["flame"]), "", *flame_page(parts["flame"]["data"])]
    if "sites" in parts:
        yield from _section("Three sizes of a site", parts["sites"], site_lines(parts["sites"]["data"]))
    for name, (title, made) in LINES.items():
        if name in parts:
            yield from _section(title, parts[name], made(parts[name]["data"]))
        if name == "layouts" and "one process" in layout_rates({"layouts": parts.get("layouts", {}).get("data", {})}):
            yield from _best_layout(parts)
    for name, title, table in (
        ("rules", "Rules loaded and touched", rule_cost.table),
        ("malignant", "Malignant loads found", malignant.table),
    ):
        if name in parts:
            yield from [f"## {title}", "", _when(parts[name]), "", "```text", *table(parts[name]["data"]), "```", ""]


def _circumstances(part: dict[str, Any]) -> Iterator[str]:
    told, data = part["machine"], part["data"]
    plan = data["plan"]
    libraries = ", ".join(f"{name} {version}" for name, version in told["libraries"].items())
    servers = ", ".join(f"{name} {version}" for name, version in data["servers"].items())
    yield f"- Machine: {told['cores']} cores of {told['cpu']}, {told['memory_gb']} GB, Linux {told['kernel']};"
    yield "  everything on these cores, publishers and probes included."
    yield f"- Servers: {servers}; Python {told['python']}; {libraries}."
    yield "- Durability: Redis append-only file with `appendfsync everysec`; SQLite write-ahead log with"
    yield "  `synchronous=FULL`; PostgreSQL with `fsync` and `synchronous_commit` on; Mosquitto saves once a second."
    yield "  A reading is acknowledged after its commit in Redis; Node-RED keeps its state in memory."
    yield f"- Load: {LOAD.format(sizes=', '.join(count_text(plan[site]) for site in ('small', 'middle', 'large')))}"
    yield f"- {plan['runs']} runs of {count_text(plan['readings'])} readings a size, each with its rivals right behind"
    yield "  it on the same readings; ratios are of one run and its rivals. Low and high are of all runs; percentiles"
    yield f"  are medians of {plan['latency_runs']} runs' own, {plan['latency_slots']} slots of 0.1 s each."
    yield ""


def _targets(parts: dict[str, Any]) -> Iterator[str]:
    yield from ["## Targets", "", "On two cores with everything on them.", ""]
    yield from ["| target | wanted | measured | |", "|---|---|---|---|"]
    found = targets(parts)
    for target in found:
        yield f"| {target.what} | {target.wanted} | {target.measured} | {_verdict(target.met)} |"
    yield ""
    for target in found:
        if target.why:
            yield f"- *{target.what}*: {target.why}."
    yield ""


def _troubles(troubles: dict[str, str], parts: dict[str, Any]) -> Iterator[str]:
    """Parts that did not succeed when they were last tried, and what their figures are then."""
    for name, trouble in troubles.items():
        kept = f"its figures are of {parts[name]['at']} UTC" if name in parts else "it has no figures"
        yield f"- **{name}**: {trouble}; {kept}."
    if troubles:
        yield ""


def _best_layout(parts: dict[str, Any]) -> Iterator[str]:
    rates = layout_rates({"layouts": parts["layouts"]["data"]})
    best = max(rates, key=lambda name: rates[name])
    times = rates[best] / rates["one process"]
    yield f"The best on this machine: **{best}**, {times:.2f} times one process."
    yield ""


def _section(title: str, part: dict[str, Any], lines: Sequence[Line]) -> Iterator[str]:
    yield from [f"## {title}", "", _when(part), ""]
    yield from ["| figure | median | low to high | beside it |", "|---|---:|---:|---|"]
    for one in lines:
        yield f"| {one.what} | {one.value} | {one.spread} | {one.ratio} |"
    yield ""


def _when(part: dict[str, Any]) -> str:
    loads = " / ".join(f"{value:g}" for value in part["machine"]["load_before"])
    return f"Measured {part['at']} UTC in {part['took_s']:.0f} s; load average before (1, 5, 15 min): {loads}."


def _verdict(met: bool | None) -> str:
    return {True: "met", False: "not met", None: "not measured"}[met]


LOAD = (
    "{sizes} tenants with a meter and relay each, a third each on flat, time-of-use and tiered prices,\n"
    "  the contract's seven rules, one reading of some 190 bytes a message, QoS 1 over four gateways, one posting in\n"
    "  fifteen readings; time is the greatest sample time (`TWINMETER_CLOCK=telemetry`). At the large site\n"
    "  the scheduler is left out (it would wake every twin once). All services but recorder\n"
    "  and HTTP API run in one process, as under `twinmeter up`."
)

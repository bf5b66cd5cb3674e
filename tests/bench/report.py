"""What was measured as a table for people, and as docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench import rule_cost
from tests.bench.machine import Spread, percentile
from tests.bench.stages import STAGES

NOTES_MARK = "<!-- notes: kept by make bench -->"


class Line(msgspec.Struct, frozen=True):
    """One figure: what, how much with its spread, how it compares, and the first target where there is one."""

    what: str
    value: str
    spread: str
    ratio: str = ""
    target: str = ""


def lines(results: dict[str, Any]) -> list[Line]:
    """All figures, in the order in which they are read."""
    plan = results["plan"]
    found: list[Line] = []
    for site, target in (("small", "8 000"), ("large", "")):
        found += _throughput_lines(results["throughput"][site], plan[site], target)
    found += _stage_lines(results)
    found += _latency_lines(results["latency"])
    found += _memory_lines(results)
    rebuilds = results["rebuild"]
    meters = plan["large"] + plan["latency_runs"] * plan["latency_slots"]
    ratio = _spread([run["seconds"] / run["plain_s"] for run in rebuilds])
    found.append(
        _line(f"rebuild of {_count(meters)} twins from SQL, s", [run["seconds"] for run in rebuilds], "{:.1f}",
              f"{ratio.median:.1f} x as many pipelined HSET")
    )  # fmt: skip
    return found


def _throughput_lines(runs: Sequence[dict[str, Any]], twins: int, target: str) -> list[Line]:
    bare = _spread([run["rate"] / run["bare_rate"] for run in runs])
    plain = _spread([run["rate"] / run["hset_rate"] for run in runs])
    head = f"{_count(twins)} twins: "
    busy = [1e6 / run["cpu_us"]["platform"] for run in runs]
    found = [
        _line(f"{head}readings/s, published to committed", [run["rate"] for run in runs], "{:,.0f}",
              f"{bare.median:.2f} of a bare subscriber, {plain.median:.2f} of pipelined HSET", target),
        _line(f"{head}readings/s until the ledger has them", [run["with_ledger_rate"] for run in runs], "{:,.0f}"),
        _line(f"{head}readings per CPU second of the platform", busy, "{:,.0f}"),
    ]  # fmt: skip
    for name, label in (("platform", "platform process"), ("redis", "Redis"), ("broker", "broker")):
        values = [run["cpu_with_ledger_us"][name] for run in runs]
        ratio = ""
        if name == "platform":
            share = _spread([run["cpu_with_ledger_us"][name] / run["bare_cpu_us"] for run in runs])
            ratio = f"{share.median:.1f} x a bare subscriber"
        found.append(_line(f"{head}CPU us a reading, {label}", values, "{:.1f}", ratio))
    found.append(_line(f"{head}  of it the thread of SQLite", [run["sqlite_us"] for run in runs], "{:.1f}"))
    return found


def _stage_lines(results: dict[str, Any]) -> list[Line]:
    runs = results["stages"]
    whole = [sum(run[stage] for stage in STAGES) for run in runs]
    found = []
    for stage in (*STAGES, "redis"):
        share = _spread([run[stage] / total for run, total in zip(runs, whole, strict=True)])
        label = "Redis meanwhile" if stage == "redis" else stage
        ratio = "" if stage == "redis" else f"{share.median:.0%} of the stages"
        found.append(_line(f"taken apart, CPU us a reading: {label}", [run[stage] for run in runs], "{:.1f}", ratio))
    found.append(_line("taken apart, CPU us a reading: all stages", whole, "{:.1f}"))
    return found


def _latency_lines(runs: Sequence[dict[str, Any]]) -> list[Line]:
    found = []
    for share, label, target in ((0.5, "p50", ""), (0.99, "p99", "100")):
        values = [percentile(run["command_ms"], share) for run in runs if run["command_ms"]]
        raw = [percentile(run["echo_ms"], share) for run in runs if run["command_ms"]]
        if not values:
            continue
        times = _spread([value / echo for value, echo in zip(values, raw, strict=True)])
        found.append(
            _line(f"breaching reading to cmd, {label}, ms", values, "{:.1f}", f"{times.median:.1f} x raw", target)
        )
        found.append(_line(f"raw MQTT passage in the same run, {label}, ms", raw, "{:.2f}"))
    missing, sent = sum(run["missing"] for run in runs), sum(len(run["command_ms"]) + run["missing"] for run in runs)
    found.append(Line("commands that did not come within 3 s", f"{missing} of {sent}", ""))
    return found


def _memory_lines(results: dict[str, Any]) -> list[Line]:
    plan, memory = results["plan"], results["memory"]
    meters = plan["large"] + plan["latency_runs"] * plan["latency_slots"]
    each = (memory["after"] - memory["before"]) / meters
    return [
        Line("Redis, bytes a meter (tenant, breaker, indexes)", f"{each:,.0f}", "",
             f"{each / memory['plain_bytes']:.1f} x its last payload as a plain hash", "1 200"),
        Line("  of it the tenant's group", f"{memory['group_bytes']:,.0f}", ""),
        Line("platform process in RAM, MB", f"{memory['platform_resident'] / 1e6:,.0f}", ""),
    ]  # fmt: skip


def show(results: dict[str, Any], console: Console) -> None:
    """Print the table."""
    told = results["machine"]
    table = Table(title=f"twinmeter on {told['cores']} x {told['cpu']}, load before {told['load_before'][0]}")
    for name, side in (("figure", "left"), ("median", "right"), ("low to high", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    table.add_column("beside it, in the same minute")
    table.add_column("first target", justify="right")
    for line in lines(results):
        table.add_row(line.what, line.value, line.spread, line.ratio, line.target)
    console.print(table)
    for site, counters in results["counters"].items():
        console.print(
            f"{site} site: {counters['readings']:,} readings, {counters['failed']} failed, "
            f"{counters['dead']} dead letters, {results['postings'][site]:,} postings"
        )
    for line in rule_cost.table(results["rules"]):
        console.print(line, highlight=False)
    console.print(f"took {results['took_s']} s")


def write_docs(results: dict[str, Any], path: Path) -> None:
    """Write the page; what stands below the mark of the notes is kept as it is."""
    kept = ""
    if path.exists():
        _, mark, rest = path.read_text(encoding="utf-8").partition(NOTES_MARK)
        kept = rest if mark else ""
    path.write_text("\n".join(_page(results)) + f"\n{NOTES_MARK}{kept or chr(10)}", encoding="utf-8")


def _page(results: dict[str, Any]) -> Iterable[str]:
    told, plan = results["machine"], results["plan"]
    libraries = ", ".join(f"{name} {version}" for name, version in told["libraries"].items())
    loads = " / ".join(str(value) for value in told["load_before"])
    yield "# Benchmarks"
    yield ""
    yield "Written by `make bench BENCH_ARGS=--update-docs`; the notes below the table are kept."
    yield ""
    yield f"- Machine: {told['cores']} cores of {told['cpu']}, {told['memory_gb']} GB, Linux {told['kernel']};"
    yield f"  everything on these cores. Load average when it began (1, 5, 15 min): {loads}."
    yield f"- Servers: {', '.join(sorted(set(results['servers'].values())))}; Python {told['python']}; {libraries}."
    yield "- Durability: Redis append-only file with `appendfsync everysec`; SQLite write-ahead log with"
    yield "  `synchronous=FULL`; Mosquitto saves once a second. A reading is acknowledged after its commit in Redis."
    yield f"- Load: {CONTRACT_LOAD.format(small=_count(plan['small']), large=_count(plan['large']))}"
    yield "- Low and high are of all runs; p50 and p99 are medians of the runs' own percentiles."
    yield ""
    yield "| figure | median | low to high | beside it, in the same minute | first target |"
    yield "|---|---:|---:|---|---:|"
    for line in lines(results):
        yield f"| {line.what.strip()} | {line.value} | {line.spread} | {line.ratio} | {line.target} |"
    yield ""
    imported = results["import"]
    yield (
        f"Importing {_count(plan['small'])} meters as `twinmeter site import` does took "
        f"{imported['small']['total_s']:.1f} s. The large site was written by the registry in "
        f"{imported['large_registry_s']:.1f} s and its twins were built from SQL, which holds every act already."
    )
    yield ""
    yield "## Where the time goes"
    yield ""
    yield f"Share of the platform's CPU time by function, itself alone, during a run at {_count(plan['small'])} twins"
    yield "under cProfile, which makes small functions look dearer than they are (the table above is without it)."
    yield ""
    yield "| function | share | calls a reading |"
    yield "|---|---:|---:|"
    readings = results["throughput"]["small"][0]["readings"]
    for name, share, calls in results["profile"]["small"][:15]:
        yield f"| `{name}` | {share:.1%} | {calls / readings:.2f} |"
    yield ""


CONTRACT_LOAD = (
    "{small} and {large} tenants with a meter and relay each, a third each on flat, time-of-use and tiered\n"
    "  prices, the contract's seven rules, one reading of some 190 bytes a message, QoS 1 over four gateways,\n"
    "  one posting in fifteen readings; time is the greatest sample time (`TWINMETER_CLOCK=telemetry`). All services\n"
    "  but the HTTP API run in one process, as under `twinmeter up`."
)


def _spread(values: Sequence[float]) -> Spread:
    return Spread.of(values)


def _line(what: str, values: Sequence[float], form: str, ratio: str = "", target: str = "") -> Line:
    spread = _spread(values)
    text: Callable[[float], str] = lambda value: form.format(value).replace(",", " ")  # noqa: E731
    return Line(what, text(spread.median), f"{text(spread.low)} to {text(spread.high)}", ratio, target)


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")

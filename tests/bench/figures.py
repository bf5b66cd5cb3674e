"""Figures of the sites as lines of a table: throughput, stages, cutoffs, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import msgspec

from tests.bench.machine import Spread
from tests.bench.stages import STAGES

SIZES = ("small", "middle", "large")


class Line(msgspec.Struct, frozen=True):
    """One figure: what, how much with its spread and how it compares."""

    what: str
    value: str
    spread: str
    ratio: str = ""


def site_lines(results: dict[str, Any]) -> list[Line]:
    """All figures of the sites, in the order in which they are read; some are missing where it did not finish."""
    plan = results["plan"]
    found: list[Line] = []
    for site in SIZES:
        if runs := results["throughput"].get(site):
            found += _throughput_lines(runs, plan[site])
    if results.get("stages"):
        found += _stage_lines(results["stages"])
    for load, told in results.get("latency", {}).items():
        name = "Node-RED's cutoff" if load == "node_red" else f"cutoff under {load} load"
        found += _latency_lines(f"{name} ({count_text(told['rate'])} readings/s)", told["runs"])
    if "after" in results["memory"]:
        found += _memory_lines(results["memory"])
    return found


def _throughput_lines(runs: Sequence[dict[str, Any]], twins: int) -> list[Line]:
    head = f"{count_text(twins)} twins: "
    of = {name: median(run["rate"] / run[f"{name}_rate"] for run in runs) for name in ("bare", "node_red")}
    busy = [1e6 / run["cpu_us"]["platform"] for run in runs]
    found = [
        line(f"{head}readings/s, published to committed", [run["rate"] for run in runs], "{:,.0f}",
             f"{of['bare']:.2f} of the bare subscriber, {of['node_red']:.2f} of Node-RED"),
        line(f"{head}readings/s until the ledger has them", [run["with_ledger_rate"] for run in runs], "{:,.0f}"),
        line(f"{head}readings per CPU second of the platform", busy, "{:,.0f}"),
    ]  # fmt: skip
    for name, label in (("platform", "platform process"), ("redis", "Redis"), ("broker", "broker")):
        values = [run["cpu_with_ledger_us"][name] for run in runs]
        ratio = ""
        if name == "platform":
            share = median(run["cpu_with_ledger_us"][name] / run["bare_cpu_us"] for run in runs)
            ratio = f"{share:.1f} x the bare subscriber"
        found.append(line(f"{head}CPU us a reading, {label}", values, "{:.1f}", ratio))
    found.append(line(f"{head}of it the thread of SQLite", [run["sqlite_us"] for run in runs], "{:.1f}"))
    for name, label in (("bare", "the bare subscriber"), ("node_red", "Node-RED")):
        used = median(run[f"{name}_cpu_us"] for run in runs)
        rates = [run[f"{name}_rate"] for run in runs]
        found.append(line(f"{head}{label}, readings/s", rates, "{:,.0f}", f"{used:.1f} us of CPU a reading"))
    for name, label in (("hset", "pipelined HSET"), ("insert", "PostgreSQL, batches of 1 000")):
        found.append(line(f"{head}{label}, payloads/s", [run[f"{name}_rate"] for run in runs], "{:,.0f}"))
    return found


def _stage_lines(runs: Sequence[dict[str, Any]]) -> list[Line]:
    whole = [sum(run[stage] for stage in STAGES) for run in runs]
    found = []
    for stage in (*STAGES, "redis"):
        share = Spread.of([run[stage] / total for run, total in zip(runs, whole, strict=True)])
        label = "Redis meanwhile" if stage == "redis" else stage
        ratio = "" if stage == "redis" else f"{share.median:.0%} of the stages"
        found.append(line(f"taken apart, CPU us a reading: {label}", [run[stage] for run in runs], "{:.1f}", ratio))
    found.append(line("taken apart, CPU us a reading: all stages", whole, "{:.1f}"))
    return found


def _latency_lines(name: str, runs: Sequence[dict[str, Any]]) -> list[Line]:
    heard = [run for run in runs if run["command"] and run["raw"]]
    found = []
    for share in ("p50", "p99", "max"):
        if not heard:
            break
        values, raw = [run["command"][share] for run in heard], [run["raw"][share] for run in heard]
        times = median(value / echo for value, echo in zip(values, raw, strict=True))
        beside = f"{times:.1f} x the raw passage of {median(raw):.2f} ms"
        found.append(line(f"{name}, {share}, ms", values, "{:.1f}", beside))
    missing, sent = sum(run["missing"] for run in runs), sum(run["commands"] + run["missing"] for run in runs)
    return [*found, Line(f"{name}: commands that did not come within 3 s", f"{missing} of {sent}", "")]


def _memory_lines(memory: dict[str, Any]) -> list[Line]:
    each = redis_bytes(memory)
    return [
        Line("Redis, bytes a meter (tenant, breaker, indexes)", f"{each:,.0f}", "",
             f"{each / memory['plain_bytes']:.1f} x its last payload as a plain hash"),
        Line("of it the tenant's group", f"{memory['group_bytes']:,.0f}", ""),
        Line(f"platform process with {count_text(memory['meters'])} twins, MB in RAM",
             f"{memory['platform_resident'] / 1e6:,.0f}", ""),
    ]  # fmt: skip


def redis_bytes(memory: dict[str, Any]) -> float:
    """Bytes of Redis a meter, the effect streams apart."""
    return float((memory["after"] - memory["before"]) / memory["meters"])


def line(what: str, values: Sequence[float], form: str, ratio: str = "") -> Line:
    """A figure of repeated runs."""
    spread = Spread.of(values)
    text: Callable[[float], str] = lambda value: form.format(value).replace(",", " ")  # noqa: E731
    return Line(what, text(spread.median), f"{text(spread.low)} to {text(spread.high)}", ratio)


def count_text(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,.0f}".replace(",", " ")

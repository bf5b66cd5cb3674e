"""Figures of the other parts as lines of a table: layouts, losses, a million, the API, a backlog, bulk switching, and
a month's end."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from tests.bench.figures import Line, count_text, line


def layout_lines(data: dict[str, Any]) -> list[Line]:
    """Readings/s of the process layouts."""
    meters = count_text(data["meters"])
    found = []
    for name, runs in data["layouts"].items():
        used = sorted(run["cpu_us"] for run in runs)[len(runs) // 2]
        beside = f"{used:.0f} us of CPU a reading, all its processes"
        found.append(line(f"{name}, {meters} twins: readings/s", [run["rate"] for run in runs], "{:,.0f}", beside))
        found.append(line(f"{name}: until the ledger has them", [run["with_ledger_rate"] for run in runs], "{:,.0f}"))
    return found


def loss_lines(data: dict[str, Any]) -> list[Line]:
    """What each knows after a kill -9."""
    found = []
    for name, key in (("twinmeter", "platform"), ("Node-RED", "node_red")):
        if (told := data.get(key)) is None:
            continue
        share = told["energy_wh"] / data["energy_wh"]
        lost = "nothing lost" if share == 1 else f"{1 - share:.1%} lost"
        kwh = f"{told['energy_wh'] / 1000:,.1f} of {data['energy_wh'] / 1000:,.1f}"
        found += [
            Line(f"kill -9, {name}: meters known after the restart, before the next reading",
                 f"{told['meters_after_restart']} of {data['meters']}", ""),
            Line(f"kill -9, {name}: energy accounted for at the end, kWh", kwh, "", lost),
            Line(f"kill -9, {name}: until it is subscribed again, s", f"{told['restart_s']:.1f}", ""),
        ]  # fmt: skip
    return found


def million_lines(data: dict[str, Any]) -> list[Line]:
    """A million twins; some figures are missing where it did not finish."""
    meters = count_text(data["meters"])
    found = []
    if "rebuild_s" in data:
        found.append(Line(f"rebuild of {meters} twins from SQL, s", f"{data['rebuild_s']:.0f}", ""))
    elif far := data.get("rebuilding"):
        name = f"rebuild of {meters} twins from SQL, cut off: twins, s"
        found.append(Line(name, f"{count_text(far['twins'])} in {far['seconds']:.0f}", ""))
    if data["first"]:
        rates, used = [run["rate"] for run in data["first"]], [run["cpu_us"]["platform"] for run in data["first"]]
        name = f"{meters} twins, first readings after the rebuild: readings/s"
        found.append(line(name, rates, "{:,.0f}", f"{median(used):.0f} us of CPU a reading, platform process"))
    if data["runs"]:
        found += _million_runs(data, meters)
    if "redis_bytes" in data:
        resident = count_text(data["platform_resident"] / 1e6)
        found.append(Line(f"{meters} twins: Redis, bytes a meter", count_text(data["redis_bytes"]), ""))
        found.append(Line(f"{meters} twins: platform process, MB in RAM", resident, ""))
    if "restart_s" in data:
        found.append(Line(f"restart on {meters} twins, s", f"{data['restart_s']:.1f}", ""))
    return found


def _million_runs(data: dict[str, Any], meters: str) -> list[Line]:
    return [
        line(f"{meters} twins, none remembered: readings/s", [run["rate"] for run in data["runs"]], "{:,.0f}"),
        line(f"{meters} twins: until the ledger has them",
             [run["with_ledger_rate"] for run in data["runs"]], "{:,.0f}"),
        line(f"{meters} twins: CPU us a reading, platform process",
             [run["cpu_with_ledger_us"]["platform"] for run in data["runs"]], "{:.1f}"),
        line(f"{meters} twins: CPU us a reading, Redis",
             [run["cpu_with_ledger_us"]["redis"] for run in data["runs"]], "{:.1f}"),
    ]  # fmt: skip


def api_lines(data: dict[str, Any]) -> list[Line]:
    """Answers of the API, all kinds together."""
    found = []
    for rate, told in data["rates"].items():
        every = told["all"]
        slowest = max(told["kinds"], key=lambda kind: told["kinds"][kind]["p95"])
        beside = f"p50 {every['p50']:.1f}, p99 {every['p99']:.1f}; slowest: {slowest}"
        name = f"API, {data['clients']} clients, at {count_text(int(rate))} readings/s: p95, ms"
        found.append(Line(name, f"{every['p95']:.1f}", f"{count_text(told['answers'])} answers", beside))
    return found


def backlog_lines(data: dict[str, Any]) -> list[Line]:
    """A storm of returning gateways."""
    lags = sorted(data["cutoff_lags_s"])
    meters = count_text(data["meters"])
    used = f", {data['cpu_us']:.0f} us of CPU a reading" if "cpu_us" in data else ""
    found = [
        Line(f"{meters} meters return with a day each: readings/s drained", count_text(data["readings_per_s"]), "",
             f"{count_text(data['readings'])} readings in {data['drained_s']:.0f} s{used}"),
        Line("meanwhile: age of live twins, median, s", f"{data['live_age_p50_s']:.1f}",
             f"at most {data['live_age_max_s']:.1f}", f"{data['live_age_before_s']:.1f} before; a reading a second"),
        Line("meanwhile: most memory of the platform, MiB", count_text(data["peak_mib"]), "",
             f"{count_text(data['peak_mib_before'])} before"),
        Line("meters not charged for all they told", str(data["uncharged"]), "",
             f"{data['left']} were not done when the time was up" if data.get("left") else ""),
    ]  # fmt: skip
    if lags:
        told = f"{lags[0]:.1f} to {lags[-1]:.1f}"
        found.append(Line("meanwhile: due reading to cutoff, s", f"{lags[len(lags) // 2]:.1f}", told, "1 s is grace"))
    return found


def bulk_lines(data: dict[str, Any]) -> list[Line]:
    """Many breakers opened by one order, a fifth of them silent."""
    waits = f"{data['waves']} waves, {data['waiting_for_silent_s']:.0f} s of it for silent breakers"
    proved = f"{data['silent']} silent and told so, {data['failed']} failed"
    name = f"{count_text(data['breakers'])} breakers opened by one order"
    return [
        Line(f"{name}: seconds", f"{data['seconds']:.1f}", "", waits),
        Line(f"{name}: proved open", count_text(data["verified"]), "", proved),
        Line("from the order of a breaker to its proof, s", f"{data['verified_p50_s']:.1f}",
             f"at most {data['verified_max_s']:.1f}"),
    ]  # fmt: skip


def settling_lines(data: dict[str, Any]) -> list[Line]:
    """The end of a month; it may not have got as far as the settlement."""
    name = f"settlement of {count_text(data['tenants'])} tenants, {count_text(data['rows'])} rows, s"
    if "settled" not in data:
        told = f"a plain aggregate: {data['plain_s']:.2f} s" if "plain_s" in data else ""
        return [Line(name, "not finished", "", f"filled in {data['filled_s']:.0f} s; {told}".rstrip("; "))]
    seconds, plain = data["settled"]["seconds"], data["plain_s"]
    beside = f"{seconds / plain:.1f} x a plain aggregate of {plain:.2f} s; {data['settled']['peak_mib']:.0f} MiB"
    return [Line(name, f"{seconds:.1f}", "", beside)]


def replay_lines(data: dict[str, Any]) -> list[Line]:
    """Rules replayed over recorded history."""
    return [Line(f"rules replayed: {name}", f"{value:,.2f}".replace(",", " "), "") for name, value in data.items()]


LINES: dict[str, tuple[str, Callable[[dict[str, Any]], list[Line]]]] = {
    "layouts": ("Processes on the same cores", layout_lines),
    "million": ("A million meters", million_lines),
    "losses": ("A kill -9 half-way", loss_lines),
    "backlog": ("Gateways that return", backlog_lines),
    "api": ("The HTTP API", api_lines),
    "bulk": ("Many breakers at once", bulk_lines),
    "settling": ("The end of a month", settling_lines),
    "replay": ("Rules replayed", replay_lines),
}

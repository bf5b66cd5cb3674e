"""How long a cutoff takes, at rest and under load, beside a raw passage through the broker at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench.child import Child
from tests.bench.machine import percentile
from tests.bench.nodered_server import NodeRed
from tests.bench.probe import SLOT_S, ProbeRole
from tests.bench.runs import CONNECTIONS, Plan, Stand, child

NODE_RED_RUNS = 2
LOADS = (("idle", 0.0), ("50 %", 0.5), ("90 %", 0.9))


def latency_under_loads(
    plan: Plan, here: Stand, platform: Child, site: str, meters: int, highest: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each load with its runs so far, after every run; `highest` is the rate that was measured here, readings/s.

    All meters of the site report in turn: with 100 000 of them at 1 000 readings/s sample time runs about as fast as
    real time; faster than that under more load, so timers come more often than in real life.
    """
    used = meters
    with child("probe", ProbeRole, here.servers["broker"].url, CONNECTIONS) as probe:
        probe.call("open", site)
        for load, share in LOADS:
            rate = round(share * highest)
            runs: list[dict[str, Any]] = []
            for _ in range(plan.latency_runs):
                rounds = here.take_rounds(2 + round(rate * plan.latency_slots * SLOT_S) // meters)
                platform.call("advance", site, rounds[0])
                woken = platform.call("counters")["woken"]
                seen = probe.call("measure", site, meters, used, rate, rounds[0], plan.latency_slots)
                used += plan.latency_slots
                told = summary(seen)
                runs.append(told | {"woken": platform.call("counters")["woken"] - woken})
                here.say(_line(f"cutoff under {load} ({rate:,} readings/s)", told))
                yield load, {"rate": rate, "runs": runs}


def latency_of_node_red(plan: Plan, here: Stand, node: NodeRed, meters: int, rate: float) -> dict[str, Any]:
    """The same with Node-RED at its broker, under the load that is half of what the platform can do."""
    runs = []
    assert node.pid
    with child("probe", ProbeRole, here.servers["node-red broker"].url, CONNECTIONS) as probe:
        probe.call("open", "plain")
        for number in range(min(plan.latency_runs, NODE_RED_RUNS)):
            first = meters + number * plan.latency_slots
            rounds = here.take_rounds(2 + round(rate * plan.latency_slots * SLOT_S) // meters)
            seen = probe.call("measure", "plain", meters, first, round(rate), rounds[0], plan.latency_slots)
            runs.append(summary(seen))
            here.say(_line(f"Node-RED, cutoff at {rate:,.0f} readings/s", runs[-1]))
    return {"rate": round(rate), "runs": runs}


def summary(seen: dict[str, Any]) -> dict[str, Any]:
    """Percentiles of a run instead of every instant, ms."""
    return {
        "commands": len(seen["command_ms"]),
        "missing": seen["missing"],
        "late_ms": seen["late_ms"],
        "command": _percentiles(seen["command_ms"]),
        "raw": _percentiles(seen["echo_ms"]),
    }


def _percentiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}


def _line(what: str, told: dict[str, Any]) -> str:
    command, raw = told["command"], told["raw"]
    if command is None or raw is None:
        return f"{what}: no command came ({told['missing']} missing)"
    return (
        f"{what}: p50 {command['p50']:.1f} p99 {command['p99']:.1f} ms, raw {raw['p50']:.2f} {raw['p99']:.2f} ms,"
        f" {told['missing']} missing"
    )

"""The part that the others are read against: the same readings at three sizes of a site, with rivals beside each run,
the stages taken apart, what a meter weighs, and how long a cutoff takes under load."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from tests.bench import machine, rivals
from tests.bench.apart import Keep
from tests.bench.child import Child, counter
from tests.bench.latency import latency_of_node_red, latency_under_loads
from tests.bench.nodered_server import NodeRed, versions
from tests.bench.roles import SERVICES, PublisherRole
from tests.bench.runs import CONNECTIONS, Ours, Plan, Rivals, Say, Stand, beside, child, platform_child, stand
from tests.bench.stages import StagesRole

SMALL, MIDDLE, LARGE = "small", "middle", "large"

UNWOKEN = tuple(name for name in SERVICES if name != "scheduler")
"""At the large site nobody wakes the twins: a rebuild makes every one of them due once, and the fees of the day follow,
minutes of work that no reading waits for and that the smaller sites have behind them when they are measured."""


def measure_sites(plan: Plan, folder: Path, say: Say, keep: Keep) -> dict[str, Any]:
    """Run everything; returns what was seen as plain data, and keeps it after every run."""
    results: dict[str, Any] = {"plan": msgspec.to_builtins(plan), "import": {}, "memory": {}, "throughput": {}}
    results |= {"counters": {}, "postings": {}}
    with stand(folder / "sites", say) as here, beside(here, folder / "sites") as (node, postgres):
        told = {server.program: server.version for server in here.servers.values()}
        results["servers"] = {**told, "PostgreSQL": postgres.sql("SHOW server_version"), **versions()}
        with Rivals(here, node, postgres.url) as others:
            for site in (SMALL, MIDDLE, LARGE):
                _site(plan, here, others, site, node, results, keep)
    return results


def _site(
    plan: Plan, here: Stand, others: Rivals, site: str, node: NodeRed, results: dict[str, Any], keep: Keep
) -> None:
    """One size: a platform of its own, its runs, and what is measured at this size alone."""
    acked, meters = counter(), getattr(plan, site)
    with platform_child(here, acked, UNWOKEN if site == LARGE else SERVICES) as platform:
        platform.call("open")
        _import(plan, here, platform, site, results)
        ours = Ours(here, site, meters, platform, acked)
        _runs(plan, ours, others, results, keep)
        if site == LARGE:
            results["memory"] |= _memory(plan, here, platform)
            keep(results)
            rate = median(run["rate"] for run in results["throughput"][LARGE])
            results["latency"] = {}
            for load, told in latency_under_loads(plan, here, platform, LARGE, meters, rate):
                results["latency"][load] = told
                keep(results)
            results["latency"]["node_red"] = latency_of_node_red(plan, here, node, meters, rate / 2)
        results["counters"][site] = platform.call("counters")
        results["postings"][site] = platform.call("postings", site)
        platform.call("stop")
    if site == SMALL:
        _taken_apart(plan, here, results)
    keep(results)


def _import(plan: Plan, here: Stand, platform: Child, site: str, results: dict[str, Any]) -> None:
    meters = getattr(plan, site) + (plan.reserve if site == LARGE else 0)
    if site == SMALL:
        here.say(f"importing {meters:,} meters as the command line does")
        results["import"][site] = platform.call("import_site", site, meters)
        return
    here.say(f"importing {meters:,} meters: SQL by the registry, twins from SQL")
    if site == LARGE:
        streams = sum(rivals.stream_bytes(here.redis_url, name) for name in (SMALL, MIDDLE))
        results["memory"]["before"] = rivals.used_memory(here.redis_url) - streams
    results["import"][site] = {"registry_s": platform.call("import_directly", site, meters)}


def _runs(plan: Plan, ours: Ours, others: Rivals, results: dict[str, Any], keep: Keep) -> None:
    """Throughput runs, each with its rivals right behind it."""
    runs: list[dict[str, Any]] = []
    results["throughput"][ours.site] = runs
    platform = ours.platform
    platform.call("start")
    url = ours.here.servers["broker"].url
    with child("publisher", PublisherRole, url, CONNECTIONS, ours.acked) as publisher:
        ours.warm_up(publisher, fees=ours.site != LARGE)
        for number in range(plan.runs):
            run = ours.run(publisher, plan.readings) | others.run(ours.site, ours.meters, plan.readings)
            runs.append(run)
            keep(results)
            ours.here.say(
                f"{ours.meters:,} twins, run {number + 1}: {run['rate']:,.0f} readings/s, bare {run['bare_rate']:,.0f},"
                f" Node-RED {run['node_red_rate']:,.0f}, HSET {run['hset_rate']:,.0f},"
                f" INSERT {run['insert_rate']:,.0f}"
            )


def _memory(plan: Plan, here: Stand, platform: Child) -> dict[str, Any]:
    """Bytes of Redis a meter after every meter has reported, effect streams apart."""
    url = here.redis_url
    streams = {site: rivals.stream_bytes(url, site) for site in (SMALL, MIDDLE, LARGE)}
    return {
        "meters": plan.large + plan.reserve,
        "after": rivals.used_memory(url) - sum(streams.values()),
        "streams": streams,
        "group_bytes": rivals.group_bytes(url, LARGE, plan.large),
        "plain_bytes": rivals.hset_bytes(url, min(plan.large, 20_000)),
        "platform_resident": machine.resident_bytes(platform.pid),
    }


def _taken_apart(plan: Plan, here: Stand, results: dict[str, Any]) -> None:
    """The stages one by one, at the small site, with the platform stopped."""
    with child("stages", StagesRole, here.settings, here.servers["redis"].pid) as stages:
        results["stages"] = []
        for number in range(plan.runs):
            began = time.monotonic()
            rounds = here.take_rounds(max(2, plan.readings // plan.small // 2))
            results["stages"].append(stages.call("run", SMALL, plan.small, rounds))
            here.say(f"taken apart, run {number + 1}: {time.monotonic() - began:.1f} s")

"""The order of a measurement: servers, sites, runs with their rivals beside them, and everything that was seen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from adapters.embedded.broker import start_broker
from adapters.embedded.processes import RunningServer
from adapters.embedded.redis_server import start_redis
from api.settings import Settings
from tests.bench import machine, rivals, rule_cost
from tests.bench.child import Child, Counter, counter
from tests.bench.probe import ProbeRole
from tests.bench.roles import BareRole, PlatformRole, PublisherRole
from tests.bench.stages import StagesRole

Say = Callable[[str], None]
CONNECTIONS = 4
WINDOW = 8_000
"""Readings at most between the publisher and the platform's commits: enough to keep every queue full."""
BACKGROUND_RATE = 1_000
PROFILED = 25
SMALL, LARGE = "small", "large"


class Plan(msgspec.Struct, frozen=True):
    """How much is measured. A throughput run is `small_rounds` rounds of the small site, or one of the large one."""

    small: int
    large: int
    runs: int
    large_runs: int
    small_rounds: int
    latency_slots: int
    latency_runs: int

    @property
    def reserve(self) -> int:
        """Meters of the large site that only break the overload rule, once each."""
        return self.latency_runs * self.latency_slots


class Bench:
    """Servers and processes of one measurement, and where the rounds stand."""

    def __init__(self, plan: Plan, servers: dict[str, RunningServer], folder: Path, say: Say) -> None:
        self.plan = plan
        self.servers = servers
        self.say = say
        self.settings = Settings(
            redis_url=servers["redis"].url,
            mqtt_url=servers["broker"].url,
            database_url=f"sqlite:///{folder}/twinmeter.sqlite3",
            clock="telemetry",
            data=str(folder / "platform"),
            http="127.0.0.1:0",
        )
        self.rounds = {SMALL: 0, LARGE: 0}
        self.committed = 0
        self.bare_acked = 0

    @property
    def redis_url(self) -> str:
        """Where the platform's Redis is."""
        return self.servers["redis"].url

    def take_rounds(self, site: str, count: int) -> list[int]:
        """The next rounds of a site; time goes on for both, because there is one clock."""
        first = max(self.rounds.values())
        self.rounds[site] = first + count
        return list(range(first, first + count))


def measure(plan: Plan, folder: Path, say: Say) -> dict[str, Any]:
    """Run everything; returns what was seen as plain data."""
    results: dict[str, Any] = {"plan": msgspec.to_builtins(plan), "machine": machine.describe()}
    say("rules: 1 to 1,000 loaded, seven of them touched")
    results["rules"] = rule_cost.measure(runs=plan.runs * 5)
    with contextlib.ExitStack() as stack:
        servers = {
            "redis": stack.enter_context(start_redis(folder / "redis")),
            "broker": stack.enter_context(start_broker(folder / "broker", kind="mosquitto")),
            "bare broker": stack.enter_context(start_broker(folder / "bare", kind="mosquitto")),
        }
        results["servers"] = {name: f"{server.program} {server.version}" for name, server in servers.items()}
        results |= {"import": {}, "memory": {}, "throughput": {}, "counters": {}, "postings": {}, "profile": {}}
        bench = Bench(plan, servers, folder, say)
        for site, run in ((SMALL, _small), (LARGE, _large)):
            acked = counter()
            bench.committed = 0
            with _child("platform", PlatformRole, bench.settings, acked) as platform:
                platform.call("open")
                run(bench, platform, acked, results)
                results["counters"][site] = platform.call("counters")
                results["postings"][site] = platform.call("postings", site)
                platform.call("stop")
            if site == SMALL:
                _taken_apart(bench, results)
    return results


@contextlib.contextmanager
def _child(name: str, make: Callable[..., Any], *arguments: Any) -> Iterator[Child]:
    child = Child(name, make, *arguments)
    try:
        yield child
    finally:
        child.stop()


def _small(bench: Bench, platform: Child, acked: Counter, results: dict[str, Any]) -> None:
    """The small site: import, throughput, and where a live platform's time goes."""
    plan = bench.plan
    bench.say(f"importing {plan.small:,} meters as the command line does")
    results["import"]["small"] = platform.call("import_site", SMALL, plan.small)
    _runs(bench, SMALL, plan.runs, platform, acked, results)


def _large(bench: Bench, platform: Child, acked: Counter, results: dict[str, Any]) -> None:
    """The large site: rebuild, throughput, memory, and latency among many twins."""
    plan = bench.plan
    results["memory"]["before"] = rivals.used_memory(bench.redis_url) - rivals.stream_bytes(bench.redis_url, SMALL)
    meters = plan.large + plan.reserve
    bench.say(f"importing {meters:,} meters: SQL by the registry, twins from SQL")
    results["import"]["large_registry_s"] = platform.call("import_directly", LARGE, meters)
    _measure_rebuild(bench, platform, results)
    _runs(bench, LARGE, plan.large_runs, platform, acked, results)
    results["memory"] |= _memory(bench, platform)
    _latency(bench, platform, results)


def _runs(bench: Bench, site: str, runs: int, platform: Child, acked: Counter, results: dict[str, Any]) -> None:
    """Throughput runs, each with its rivals right behind it; at the small site one more that is profiled."""
    servers, bare_acked = bench.servers, counter()
    bench.bare_acked = 0
    results["throughput"][site] = []
    platform.call("start")
    with (
        _child("bare", BareRole, servers["bare broker"].url, bare_acked) as bare,
        _child("publisher", PublisherRole, servers["broker"].url, CONNECTIONS, acked) as publisher,
        _child("bare publisher", PublisherRole, servers["bare broker"].url, CONNECTIONS, bare_acked) as other,
    ):
        bare.call("start")
        _warm_up(bench, site, platform, publisher)
        for number in range(runs):
            run = _throughput(bench, site, platform, publisher) | _bare_throughput(bench, site, bare, other)
            results["throughput"][site].append(run)
            bench.say(
                f"{_meters(bench.plan, site):,} twins, run {number + 1}: {run['rate']:,.0f} readings/s,"
                f" bare {run['bare_rate']:,.0f}, HSET {run['hset_rate']:,.0f}"
            )
        if site == SMALL:
            platform.call("profile")
            _throughput(bench, site, platform, publisher)
            results["profile"][site] = platform.call("profiled", PROFILED)


def _meters(plan: Plan, site: str) -> int:
    return plan.small if site == SMALL else plan.large


def _measure_rebuild(bench: Bench, platform: Child, results: dict[str, Any]) -> None:
    """Twins from SQL, beside as many plain hashes."""
    meters = bench.plan.large + bench.plan.reserve
    runs = []
    for number in range(3):
        taken_s = platform.call("rebuild", LARGE)
        plain_s = meters / rivals.hset_rate(bench.redis_url, meters, meters)
        runs.append({"seconds": taken_s, "plain_s": plain_s})
        bench.say(f"rebuild of {meters:,} twins, run {number + 1}: {taken_s:.1f} s, plain hashes {plain_s:.1f} s")
    results["rebuild"] = runs


def _warm_up(bench: Bench, site: str, platform: Child, publisher: Child) -> None:
    """One round that is not measured: it fills the process's memory of twins and closes what the import left open."""
    bench.committed += publisher.call("prepare", site, _meters(bench.plan, site), bench.take_rounds(site, 1))
    platform.call("wait_idle", site)
    publisher.call("go", WINDOW)
    platform.call("wait_acked", bench.committed)
    platform.call("wait_idle", site)


def _throughput(bench: Bench, site: str, platform: Child, publisher: Child) -> dict[str, Any]:
    """From the first byte published to the last reading committed; CPU of every process over the same time."""
    plan = bench.plan
    rounds = bench.take_rounds(site, plan.small_rounds if site == SMALL else 1)
    count = publisher.call("prepare", site, _meters(plan, site), rounds)
    processes = [
        ("broker", bench.servers["broker"].pid),
        ("redis", bench.servers["redis"].pid),
        ("platform", platform.pid),
        ("publisher", publisher.pid),
    ]
    bench.committed += count
    before, threads_before = machine.cpu_of(processes), machine.threads_us(platform.pid)
    publisher.send("go", WINDOW)
    committed_ns = platform.call("wait_acked", bench.committed)
    began_ns, _ = publisher.result()
    after = machine.cpu_of(processes)
    drained_ns = platform.call("wait_drained", site)
    threads_after, drained_us = machine.threads_us(platform.pid), machine.cpu_of(processes)
    return {
        "readings": count,
        "rate": count / ((committed_ns - began_ns) / 1e9),
        "with_ledger_rate": count / ((drained_ns - began_ns) / 1e9),
        "cpu_us": {name: (after[name] - before[name]) / count for name in after},
        "cpu_with_ledger_us": {name: (drained_us[name] - before[name]) / count for name in after},
        "sqlite_us": (threads_after[1] - threads_before[1]) / count,
        "hset_rate": rivals.hset_rate(bench.redis_url, _meters(plan, site), count),
    }


def _bare_throughput(bench: Bench, site: str, bare: Child, publisher: Child) -> dict[str, float]:
    """The same packets to a subscriber that only acknowledges, at a broker of its own."""
    plan = bench.plan
    rounds = list(range(plan.small_rounds if site == SMALL else 1))
    count = publisher.call("prepare", site, _meters(plan, site), rounds)
    bench.bare_acked += count
    before = machine.cpu_us(bare.pid)
    publisher.send("go", WINDOW)
    ended_ns = bare.call("wait_acked", bench.bare_acked)
    began_ns, _ = publisher.result()
    return {
        "bare_rate": count / ((ended_ns - began_ns) / 1e9),
        "bare_cpu_us": (machine.cpu_us(bare.pid) - before) / count,
    }


def _memory(bench: Bench, platform: Child) -> dict[str, Any]:
    """Bytes of Redis a meter after every meter has reported, effect streams apart."""
    meters = bench.plan.large + bench.plan.reserve
    url = bench.redis_url
    streams = {site: rivals.stream_bytes(url, site) for site in (SMALL, LARGE)}
    return {
        "after": rivals.used_memory(url) - sum(streams.values()),
        "streams": streams,
        "group_bytes": rivals.group_bytes(url, LARGE, bench.plan.large),
        "plain_bytes": rivals.hset_bytes(url, min(meters, 20_000)),
        "platform_resident": machine.resident_bytes(platform.pid),
    }


def _latency(bench: Bench, platform: Child, results: dict[str, Any]) -> None:
    """Commands under load. All meters of the large site report in turn; with 100 000 of them at 1 000 readings/s sample
    time runs about as fast as real time, so timers come about as often as they do in real life."""
    plan = bench.plan
    with _child("probe", ProbeRole, bench.servers["broker"].url, CONNECTIONS) as probe:
        probe.call("open", LARGE)
        results["latency"] = []
        for number in range(plan.latency_runs):
            slots = plan.latency_slots
            rounds = bench.take_rounds(LARGE, 2 + BACKGROUND_RATE * slots // 10 // plan.large)
            platform.call("advance", LARGE, rounds[0])
            first_breach = plan.large + number * slots
            woken = platform.call("counters")["woken"]
            run = probe.call("measure", LARGE, plan.large, first_breach, BACKGROUND_RATE, rounds[0], slots)
            run["woken"] = platform.call("counters")["woken"] - woken
            results["latency"].append(run)
            told = machine.percentile(run["command_ms"], 0.5) if run["command_ms"] else float("nan")
            bench.say(
                f"latency, run {number + 1}: median {told:.1f} ms, {run['missing']} commands missing,"
                f" {run['woken']:,} twins woken by timers"
            )


def _taken_apart(bench: Bench, results: dict[str, Any]) -> None:
    """The stages one by one, at the small site, with the platform stopped."""
    with _child("stages", StagesRole, bench.settings, bench.servers["redis"].pid) as stages:
        results["stages"] = []
        for number in range(bench.plan.runs):
            began = time.monotonic()
            run = stages.call("run", SMALL, bench.plan.small, bench.take_rounds(SMALL, 16))
            results["stages"].append(run)
            bench.say(f"taken apart, run {number + 1}: {time.monotonic() - began:.1f} s")

"""Processes on the same cores: everything in one, ingest apart from the rest, two ingests by shard leases.

One site is divided over the shards by tenant (`TWINMETER_SHARD_SPREAD` below its size), as a large site is; the
processes find their shares by leases, as `twinmeter ingest` and its neighbours do.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.bench import machine
from tests.bench.apart import Keep
from tests.bench.child import Child, Counter, counter
from tests.bench.roles import SERVICES, PlatformRole, PublisherRole
from tests.bench.runs import CONNECTIONS, WINDOW, Say, Stand, child, stand

SITE = "divided"
SHARDS = 8
REST = ("ledger", "commands", "scheduler")
LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "one process": (SERVICES,),
    "one ingest, the rest apart": (("ingest",), REST),
    "two ingests, the rest apart": (("ingest",), ("ingest",), REST),
}
SETTLE_S = 90.0


def measure_layouts(meters: int, readings: int, runs: int, folder: Path, say: Say, keep: Keep) -> dict[str, Any]:
    """Readings/s of every layout, committed and drained apart, and CPU a reading of all its processes together; kept
    after every run."""
    found: dict[str, Any] = {"meters": meters, "layouts": {}}
    with stand(folder / "layouts", say, ("broker",)) as here:
        with child("importer", PlatformRole, here.settings, counter()) as importer:
            importer.call("open")
            importer.call("import_directly", SITE, meters)
            importer.call("stop")
        for name, processes in LAYOUTS.items():
            seen: list[dict[str, Any]] = []
            for run in _layout(here, meters, readings, runs, processes):
                seen.append(run)
                found["layouts"][name] = seen
                keep(found)
            rates = ", ".join(f"{run['rate']:,.0f}" for run in seen)
            say(f"{name}: {rates} readings/s, {seen[-1]['cpu_us']:.0f} us a reading")
    return found


def _layout(
    here: Stand, meters: int, readings: int, runs: int, processes: tuple[tuple[str, ...], ...]
) -> Iterator[dict[str, Any]]:
    divided = len(processes) > 1
    with contextlib.ExitStack() as stack:
        total, shares = counter(), [counter() for _ in processes]
        children = [
            stack.enter_context(
                child(f"part {number}", PlatformRole, _settings(here, number, divided), shares[number], services)
            )
            for number, services in enumerate(processes)
        ]
        for one in children:
            one.call("open")
            one.call("start")
        ingests = [one for one, services in zip(children, processes, strict=True) if "ingest" in services]
        _settled(ingests, divided)
        stack.enter_context(_summed(total, shares))
        url = here.servers["broker"].url
        publisher = stack.enter_context(child("publisher", PublisherRole, url, CONNECTIONS, total))
        _run(here, children, publisher, total, meters, meters)
        for _ in range(runs):
            yield _run(here, children, publisher, total, meters, readings)
        for one in children:
            one.call("stop")


def _settings(here: Stand, number: int, divided: bool) -> Any:
    shards, host = (SHARDS, f"part-{number}") if divided else (0, "twinmeter")
    return msgspec.structs.replace(here.settings, ingest_shards=shards, shard_spread=10, host=host, lease_s=3.0)


def _settled(ingests: list[Child], divided: bool) -> None:
    """Wait until every shard has its session, evenly over the processes."""
    deadline = time.monotonic() + SETTLE_S
    wanted = SHARDS // len(ingests) if divided else 1
    while any(one.call("sessions") != wanted for one in ingests):
        if time.monotonic() > deadline:
            raise TimeoutError("the shards were not divided evenly in time")
        time.sleep(0.2)


@contextlib.contextmanager
def _summed(total: Counter, shares: list[Counter]) -> Any:
    """Keep the sum of what the processes have acknowledged where the publisher looks."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.002):
            total.value = sum(share.value for share in shares)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _run(
    here: Stand, children: list[Child], publisher: Child, total: Counter, meters: int, readings: int
) -> dict[str, Any]:
    first = here.take(SITE, meters, readings)
    count = publisher.call("prepare", SITE, meters, first, readings)
    children[-1].call("wait_idle", SITE)
    wanted = total.value + count
    processes = [(str(number), one.pid) for number, one in enumerate(children)]
    before, before_s = machine.cpu_of(processes), time.monotonic()
    publisher.send("go", WINDOW)
    while total.value < wanted:
        if time.monotonic() - before_s > 20 * SETTLE_S:
            raise TimeoutError(f"{wanted - total.value} readings were not committed")
        time.sleep(0.002)
    ended_ns = time.monotonic_ns()
    began_ns, _ = publisher.result()
    drained_ns = children[-1].call("wait_drained", SITE)
    after = machine.cpu_of(processes)
    return {
        "readings": count,
        "rate": count / ((ended_ns - began_ns) / 1e9),
        "with_ledger_rate": count / ((drained_ns - began_ns) / 1e9),
        "cpu_us": sum(after[name] - before[name] for name in after) / count,
    }

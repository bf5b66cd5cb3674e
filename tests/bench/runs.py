"""One throughput run: the platform, and behind it its rivals on the same readings, each at a broker of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from adapters.embedded.broker import start_broker
from adapters.embedded.processes import RunningServer
from adapters.embedded.redis_server import start_redis
from api.settings import Settings
from tests.bench import machine, rivals
from tests.bench.child import Child, Counter, counter
from tests.bench.nodered_role import NodeRedRole
from tests.bench.nodered_server import NodeRed
from tests.bench.roles import SERVICES, BareRole, PlatformRole, PublisherRole
from tests.integration.servers import PostgresServer

Say = Callable[[str], None]
CONNECTIONS = 4
WINDOW = 8_000
"""Readings at most between the publisher and the platform's commits: enough to keep every queue full."""
BROKERS = ("broker", "bare broker", "node-red broker")


class Plan(msgspec.Struct, frozen=True):
    """How much is measured: meters of the sites, readings a throughput run, runs, slots of 0.1 s a latency run."""

    small: int
    middle: int
    large: int
    readings: int
    runs: int
    latency_slots: int
    latency_runs: int

    @property
    def reserve(self) -> int:
        """Meters of the large site that only break the overload rule, once each, under three loads."""
        return 3 * self.latency_runs * self.latency_slots


class Stand:
    """Servers of one measurement, and where the load stands: time goes on for all sites, because there is one clock."""

    def __init__(self, servers: dict[str, RunningServer], folder: Path, say: Say) -> None:
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
        self.round = 0
        self._site = ""
        self._place = 0

    @property
    def redis_url(self) -> str:
        """Where the platform's Redis is."""
        return self.servers["redis"].url

    def take(self, site: str, meters: int, count: int) -> int:
        """The next readings of a site; returns their first place."""
        first = self._place if site == self._site else self.round * meters
        self._site, self._place = site, first + count
        self.round = max(self.round, -(-self._place // meters))
        return first

    def begin_round(self, site: str, meters: int, number: int) -> None:
        """Go on at the beginning of a round of a site, though the one before it may not have ended."""
        self._site, self._place = site, number * meters
        self.round = max(self.round, number)

    def take_rounds(self, count: int) -> list[int]:
        """So many whole rounds, for whatever site."""
        first, self._site = self.round, ""
        self.round += count
        return list(range(first, first + count))


@contextlib.contextmanager
def stand(folder: Path, say: Say, brokers: tuple[str, ...] = BROKERS) -> Iterator[Stand]:
    """A Redis and brokers for one part of the measurement."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        servers = {"redis": stack.enter_context(start_redis(folder / "redis"))}
        for name in brokers:
            servers[name] = stack.enter_context(start_broker(folder / name.replace(" ", "-"), kind="mosquitto"))
        yield Stand(servers, folder, say)


@contextlib.contextmanager
def child(name: str, make: Callable[..., Any], *arguments: Any) -> Iterator[Child]:
    """A child process that is stopped at the end."""
    started = Child(name, make, *arguments)
    try:
        yield started
    finally:
        started.stop()


class Ours:
    """The platform and its publisher at one site."""

    def __init__(self, here: Stand, site: str, meters: int, platform: Child, acked: Counter) -> None:
        self.here, self.site, self.meters, self.platform, self.acked = here, site, meters, platform, acked
        self._sent = 0

    def warm_up(self, publisher: Child, *, fees: bool = True) -> None:
        """One round that is not measured: it fills the process's memory of twins and closes what the import left.
        `fees`: those of the day are waited for, which a scheduler charges."""
        first = self.here.take(self.site, self.meters, self.meters)
        self._sent += publisher.call("prepare", self.site, self.meters, first, self.meters)
        if fees:
            self.platform.call("wait_fees", self.site)
        self.platform.call("wait_idle", self.site)
        publisher.call("go", WINDOW)
        self.platform.call("wait_acked", self._sent)
        self.platform.call("wait_idle", self.site)

    def run(self, publisher: Child, readings: int) -> dict[str, Any]:
        """From the first byte published to the last reading committed; CPU of every process over the same time."""
        platform, servers = self.platform, self.here.servers
        first = self.here.take(self.site, self.meters, readings)
        count = publisher.call("prepare", self.site, self.meters, first, readings)
        processes = [("broker", servers["broker"].pid), ("redis", servers["redis"].pid)]
        processes += [("platform", platform.pid), ("publisher", publisher.pid)]
        self._sent += count
        before, threads_before = machine.cpu_of(processes), machine.threads_us(platform.pid)
        publisher.send("go", WINDOW)
        committed_ns = platform.call("wait_acked", self._sent)
        began_ns, _ = publisher.result()
        after = machine.cpu_of(processes)
        drained_ns = platform.call("wait_drained", self.site)
        threads_after, drained_us = machine.threads_us(platform.pid), machine.cpu_of(processes)
        return {
            "readings": count,
            "rate": count / ((committed_ns - began_ns) / 1e9),
            "with_ledger_rate": count / ((drained_ns - began_ns) / 1e9),
            "cpu_us": {name: (after[name] - before[name]) / count for name in after},
            "cpu_with_ledger_us": {name: (drained_us[name] - before[name]) / count for name in after},
            "sqlite_us": (threads_after[1] - threads_before[1]) / count,
        }


class Rivals:
    """What runs beside: the bare subscriber, Node-RED, pipelined HSET, batched INSERT. `with` starts them."""

    def __init__(self, here: Stand, node: NodeRed, postgres_url: str) -> None:
        self._here, self._node, self._postgres_url = here, node, postgres_url
        self._sent = {"bare": 0, "node_red": 0}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Rivals:
        servers, enter = self._here.servers, self._stack.enter_context
        bare_acked, node_acked = counter(), counter()
        bare_url, node_url = servers["bare broker"].url, servers["node-red broker"].url
        self._bare = enter(child("bare", BareRole, bare_url, bare_acked))
        self._bare_publisher = enter(child("bare publisher", PublisherRole, bare_url, CONNECTIONS, bare_acked))
        self._ear = enter(child("node-red ear", NodeRedRole, node_url, node_acked))
        self._node_publisher = enter(child("node-red publisher", PublisherRole, node_url, CONNECTIONS, node_acked))
        self._bare.call("start")
        self._ear.call("start")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, site: str, meters: int, readings: int) -> dict[str, float]:
        """All of them, one after the other, on as many readings; they are encoded before each clock starts."""
        bare_rate, bare_us = self._receive("bare", self._bare, self._bare_publisher, self._bare.pid, meters, readings)
        node = self._receive("node_red", self._ear, self._node_publisher, self._node.pid, meters, readings)
        return {
            "bare_rate": bare_rate,
            "bare_cpu_us": bare_us,
            "node_red_rate": node[0],
            "node_red_cpu_us": node[1],
            "hset_rate": rivals.hset_rate(self._here.redis_url, meters, readings),
            "insert_rate": asyncio.run(rivals.insert_rate(self._postgres_url, meters, readings)),
        }

    def _receive(
        self, name: str, waiter: Child, publisher: Child, pid: int, meters: int, readings: int
    ) -> tuple[float, float]:
        """Readings/s and CPU us a reading of one that receives."""
        count = publisher.call("prepare", "plain", meters, self._sent[name], readings)
        self._sent[name] += count
        before = machine.cpu_us(pid)
        publisher.send("go", WINDOW)
        ended_ns = waiter.call("wait_acked", self._sent[name])
        began_ns, _ = publisher.result()
        return count / ((ended_ns - began_ns) / 1e9), (machine.cpu_us(pid) - before) / count


@contextlib.contextmanager
def beside(here: Stand, folder: Path) -> Iterator[tuple[NodeRed, PostgresServer]]:
    """Node-RED on its broker, and PostgreSQL with fsync on."""
    with NodeRed(folder / "node-red", here.servers["node-red broker"].url) as node, PostgresServer() as postgres:
        yield node, postgres


def platform_child(
    here: Stand, acked: Counter, services: tuple[str, ...] = SERVICES
) -> contextlib.AbstractContextManager[Child]:
    """A platform of its own process, not opened yet."""
    return child("platform", PlatformRole, here.settings, acked, services)

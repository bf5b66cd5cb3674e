"""A Redis Cluster of real servers on loopback, without replicas, with the product's own configuration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from adapters.embedded import RunningServer
from adapters.embedded.ports import free_port, is_free
from adapters.embedded.processes import DEPLOY, Launch, start_server
from adapters.embedded.redis_server import find_redis

SLOTS = 16_384
QUICK_MS, PATIENT_MS = 1_000, 60_000
"""How long nodes wait for each other: at a start, so that they are soon agreed, and afterwards, so that no pause of the
machine makes them think that one has died."""


class Node:
    """One server of the cluster; the same port and data after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.port = _port_with_its_bus()
        self.server = self._start()
        self.client = Redis(port=self.port, decode_responses=True, socket_timeout=60)
        self.id = str(self.client.execute_command("CLUSTER", "MYID"))

    def _start(self) -> RunningServer:
        program = find_redis()
        config = str(DEPLOY / "redis" / "redis.conf")

        def command(port: int) -> list[str]:
            own = ["--dir", str(self.folder), "--port", str(port), "--bind", "127.0.0.1"]
            cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(QUICK_MS)]
            cluster += ["--cluster-require-full-coverage", "no"]
            return [str(program), config, *own, *cluster]

        launch = Launch(
            name="redis", program="redis-server", url=lambda port: f"redis://127.0.0.1:{port}/0", command=command,
            ready=_answers,
        )  # fmt: skip
        return start_server(launch, self.folder, port=self.port, within_s=60, progress=None)

    def start_again(self) -> None:
        """After a kill: the same node on the same data."""
        self.server = self._start()


def _port_with_its_bus() -> int:
    """A free port whose bus, 10 000 above it, is a port, too, and free."""
    return next(port for port in iter(free_port, None) if port <= 55_535 and is_free(port + 10_000))


def _answers(port: int) -> str | None:
    with contextlib.suppress(Exception), Redis(port=port, socket_timeout=1) as client:
        return "cluster" if client.ping() else None
    return None


class Cluster:
    """Three nodes with a third of the slots each."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(folder / f"node-{number}") for number in range(3)]
        for number, node in enumerate(self.nodes):
            slots = range(SLOTS * number // 3, SLOTS * (number + 1) // 3)
            node.client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            for other in self.nodes[:number]:
                node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
        self.wait_whole()

    @property
    def url(self) -> str:
        """Two of the nodes: the third is found through them."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def wait_whole(self, within_s: float = 90.0) -> None:
        """Wait until every node knows that every slot is served."""
        deadline = time.monotonic() + within_s
        while True:
            with contextlib.suppress(Exception):
                infos = [node.client.execute_command("CLUSTER", "INFO") for node in self.nodes]
                if all("cluster_state:ok" in str(info) or _is_ok(info) for info in infos):
                    for node in self.nodes:
                        node.client.config_set("cluster-node-timeout", PATIENT_MS)
                    return
            if time.monotonic() > deadline:
                pytest.fail("the cluster did not become whole")
            time.sleep(0.05)

    def slot_of(self, site: str) -> int:
        """Slot of all keys of a site."""
        return int(self.nodes[0].client.execute_command("CLUSTER", "KEYSLOT", f"{{{site}}}:gen"))

    def home_of(self, site: str) -> int:
        """Number of the node that has a site."""
        return next(n for n in range(3) if SLOTS * n // 3 <= self.slot_of(site) < SLOTS * (n + 1) // 3)

    def begin_move(self, site: str, to: int) -> None:
        """From now on the site's keys are moving: ASK for what has gone, TRYAGAIN for what is half there."""
        source, target, slot = self.nodes[self.home_of(site)], self.nodes[to], self.slot_of(site)
        target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, site: str, to: int, most: int = 100_000) -> int:
        """Move so many of the site's keys; returns how many."""
        source, slot = self.nodes[self.home_of(site)], self.slot_of(site)
        keys = source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            place = ("127.0.0.1", self.nodes[to].port, "", 0, 60_000)
            source.client.execute_command("MIGRATE", *place, "KEYS", *keys)
        return len(keys)

    def end_move(self, site: str, to: int) -> None:
        """From now on the site is the other node's: MOVED for whoever asks the old one."""
        for node in [self.nodes[to], *self.nodes]:
            node.client.execute_command("CLUSTER", "SETSLOT", self.slot_of(site), "NODE", self.nodes[to].id)

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            node.client.close()
            node.server.stop()


def _is_ok(info: object) -> bool:
    return isinstance(info, dict) and info.get("cluster_state") == "ok"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for a module's tests."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()

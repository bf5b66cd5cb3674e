"""Real processes of the platform that share servers and work, for tests that kill, freeze and join them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.twins import RedisLeases, connect
from tests.integration.installation import TWINMETER
from twin.leases import LeaseView


class Worker:
    """One process of one service."""

    def __init__(self, service: str, host: str, environment: dict[str, str], folder: Path) -> None:
        self.host = host
        self._log = folder / f"{host}.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINMETER_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [TWINMETER, service], env=kept | environment | {"TWINMETER_HOST": host}, stdout=log, stderr=log
            )

    def kill9(self) -> None:
        """Kill it without any warning."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(60)

    def freeze(self) -> None:
        """SIGSTOP: it stands still where it is, its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        if self._process.poll() is None:
            self.thaw()
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(90)

    @property
    def log(self) -> str:
        """What it wrote, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self._log.read_text(errors="replace"))


class Workers:
    """Processes on one set of servers; leave the context to stop all."""

    def __init__(self, folder: Path, *, redis_url: str, mqtt_url: str, database_url: str, **settings: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._environment = {
            "TWINMETER_REDIS_URL": redis_url,
            "TWINMETER_MQTT_URL": mqtt_url,
            "TWINMETER_DATABASE_URL": database_url,
            "TWINMETER_DATA": str(folder / "data"),
            "TWINMETER_CLOCK": "telemetry",
            **{f"TWINMETER_{name.upper()}": value for name, value in settings.items()},
        }
        self._stack = ExitStack()
        self.all: dict[str, Worker] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, service: str, host: str) -> Worker:
        """Start a process of a service under a name of its own."""
        worker = self.all[host] = Worker(service, host, self._environment, self._folder)
        self._stack.callback(worker.stop)
        return worker

    async def view(self, kind: str) -> LeaseView:
        """Leases of one kind of work as they are now."""
        client = connect(self._redis_url)
        try:
            return await RedisLeases(client).view(kind)
        finally:
            await client.aclose()

    async def owned(self, kind: str) -> dict[str, str]:
        """Host that holds each piece of a kind of work."""
        view = await self.view(kind)
        hosts = {member.owner: member.host for member in view.members}
        return {name: hosts.get(owner, owner.rpartition("-")[0]) for name, owner in view.holders().items()}

    def fail(self, reason: str) -> None:
        """Fail the test with the ends of all logs."""
        logs = "\n".join(f"--- {host}\n{worker.log[-1500:]}" for host, worker in self.all.items())
        pytest.fail(f"{reason}\n{logs}")


class Watch:
    """A stopwatch that tells what it measured when the test runs with `-s`."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, what: str) -> float:
        """Seconds since it was started."""
        seconds = time.monotonic() - self._began
        print(f"\n{what}: {seconds:.2f} s")
        return seconds

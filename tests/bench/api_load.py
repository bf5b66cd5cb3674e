"""Answers of the HTTP API while readings come in: a real server in the platform's process, real sockets, mixed reads.

Eight clients ask one after the other for what the screens of property staff ask for: pages of tenants and devices, one
tenant, one account, one device, alarms, why a breaker is open. The client is a process of its own and as plain as
possible, so what it measures is the server and its database.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tests.bench.apart import Keep
from tests.bench.child import Child, counter
from tests.bench.load import device_id
from tests.bench.machine import percentile
from tests.bench.probe import SLOT_S, ProbeRole
from tests.bench.roles import SERVICES, PlatformRole
from tests.bench.runs import CONNECTIONS, Say, Stand, child, stand

SITE = "asked"
TOKEN = "bench-administrator-token"
CLIENTS = 8
READS = ("tenants", "devices", "tenant", "account", "device", "alarms", "sites")


class AskerRole:
    """Clients on keep-alive connections."""

    def __init__(self, url: str, site: str, meters: int) -> None:
        self._place = urlsplit(url)
        self._site, self._meters = site, meters

    async def ask(self, seconds: float) -> dict[str, list[float]]:
        """Milliseconds of every answer by kind. Raises RuntimeError for an answer that is not 200."""
        times: dict[str, list[float]] = {kind: [] for kind in READS}
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(Random(number), until, times))
        return times

    async def _client(self, rng: Random, until: float, times: dict[str, list[float]]) -> None:
        reader, writer = await asyncio.open_connection(self._place.hostname, self._place.port)
        while time.monotonic() < until:
            kind = rng.choice(READS)
            path = self._path(kind, rng.randrange(self._meters))
            began = time.monotonic()
            writer.write(f"GET /api/v1{path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            status, length = int(head.split(b" ", 2)[1]), _length(head)
            body = await reader.readexactly(length)
            times[kind].append((time.monotonic() - began) * 1000)
            if status != 200:
                raise RuntimeError(f"{path} answered {status}: {body[:300]!r}")
        writer.close()

    def _path(self, kind: str, number: int) -> str:
        home = f"/sites/{self._site}"
        tenant, device = f"{home}/tenants/t-{number:06d}", f"{home}/devices/{device_id(number)}"
        paths = {
            "tenants": f"{home}/tenants?limit=50",
            "devices": f"{home}/devices?limit=50",
            "tenant": tenant,
            "account": f"{tenant}/account",
            "device": device,
            "alarms": f"{home}/alarms",
            "sites": "/sites",
        }
        return paths[kind]

    async def close(self) -> None:
        """Nothing is left open."""


def measure_api(
    meters: int, rates: tuple[int, ...], seconds: float, folder: Path, say: Say, keep: Keep
) -> dict[str, Any]:
    """p50, p95, p99 of all answers and by kind, in ms, at several rates of readings meanwhile, each kept."""
    found: dict[str, Any] = {"meters": meters, "clients": CLIENTS, "rates": {}}
    with stand(folder / "api", say, ("broker",)) as here:
        here.settings = msgspec.structs.replace(here.settings, admin_token=TOKEN)
        with child("platform", PlatformRole, here.settings, counter(), (*SERVICES, "api")) as platform:
            platform.call("open")
            platform.call("import_directly", SITE, meters)
            platform.call("start")
            url = platform.call("http_url")
            platform.call("wait_idle", SITE)
            with child("asker", AskerRole, url, SITE, meters) as asker:
                for rate in rates:
                    found["rates"][str(rate)] = _asked(here, asker, meters, rate, seconds, say)
                    keep(found)
            platform.call("stop")
    return found


def _asked(here: Stand, asker: Child, meters: int, rate: int, seconds: float, say: Say) -> dict[str, Any]:
    with child("load", ProbeRole, here.servers["broker"].url, CONNECTIONS) as load:
        load.call("open", SITE)
        slots = round(seconds / SLOT_S)
        rounds = here.take_rounds(2 + rate * round(seconds) // meters)
        asker.send("ask", seconds)
        load.send("load", SITE, meters, rate, rounds[0], slots)
        times = asker.result()
        load.result()
    whole = sorted(value for values in times.values() for value in values)
    told = {"answers": len(whole), "all": _told(whole), "kinds": {kind: _told(times[kind]) for kind in READS}}
    say(f"API at {rate:,} readings/s: {len(whole)} answers, p95 {told['all']['p95']:.1f} ms")
    return told


def _told(values: list[float]) -> dict[str, float]:
    return {f"p{share}": percentile(values, share / 100) for share in (50, 95, 99)}


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise RuntimeError(f"an answer without a length: {head!r}")

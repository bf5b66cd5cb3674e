"""A whole installation of real processes for one story: servers, links between them, services, a simulated fleet.

```
with Stage(folder, meters, through=("mqtt",)) as stage:
    stage.links["mqtt"].partition()
```

Time runs `RATE` times as fast for platform and fleet alike. The fleet starts when the platform is ready, so instants
of a scenario count from then, however slow the machine is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any

from adapters.embedded import RunningServer, start_redis
from adapters.embedded.ports import free_port
from schemas.clock_spec import parse_clock_spec, scaled_now
from simulators.replay import MeterSeries
from tests.e2e.http_client import Client
from tests.e2e.installation import TWINMETER, Installation
from tests.faults.link import Link
from tests.faults.wiretap import Wiretap
from tests.integration.park import SITE, ZONE, site_document
from tests.integration.servers import PostgresServer, broker_at
from twin.ports import SiteDocument

RATE = 60
STARTS_WITHIN_S = 180.0
"""Five processes that start at once on a busy machine need their time."""
START = "2026-01-12T10:00:00"
PRICE_NANO = 852_300
"""Nano-units a Wh of the flat tariff."""
SERVICES = ("ingest", "ledger", "commands", "scheduler", "api")


def at_local(text: str) -> int:
    """Unix ms of a local time of the site."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


def shops(count: int, watt: int = 6_000) -> list[MeterSeries]:
    """Meters `em-001`... with a constant load and a relay of their own."""
    return [MeterSeries(f"em-{number:03d}", "constant", watt, 1_000) for number in range(1, count + 1)]


def park(
    meters: list[MeterSeries],
    start: str = START,
    *,
    credit_of: dict[str, str] | None = None,
    expires: str = "15m",
    verify_within: str = "10m",
    **params: str,
) -> SiteDocument:
    """One tenant a meter, `0.30` of credit unless told otherwise; rules at the pace of a fast clock.

    A command that is executed and not proved in time is given once more, and another time it is left to a person. The
    proof takes up to two intervals, seconds of the wall, and a machine that does other things takes some more.
    """
    document = site_document(meters, dict.fromkeys((one.device for one in meters), "flat"), at_local(start))
    for device in document.site["devices"]:
        device["interval"] = "1m"
    for tenant in document.site["tenants"]:
        tenant["opening_credit"] = (credit_of or {}).get(tenant["id"], "0.30")
        tenant["params"] = {"grace": "1m", "low1": "0.20", "low2": "0.10"} | params
    for ruleset in document.rulesets.values():
        for rule in ruleset["rules"]:
            for action in rule["then"]:
                for name in ("breaker.lock", "breaker.unlock"):
                    if name in action:
                        action[name] |= {"expires": expires, "verify_within": verify_within}
    return document


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Stage:
    """Servers, links, processes. `through` names the links that are proxied: `mqtt`, `redis`, `database`."""

    def __init__(
        self, folder: Path, document: SiteDocument, *, start: str = START, rate: float = RATE,
        through: Iterable[str] = (), postgres: bool = False, seed: int = 1,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.document = document
        self.start_text, self.rate, self.seed = start, rate, seed
        self.links: dict[str, Link] = {}
        self.direct: dict[str, str] = {}
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        self.fleet: subprocess.Popen[bytes] | None = None
        self._through = tuple(through)
        self._postgres = postgres
        self._stack = contextlib.ExitStack()
        self.api_port = 0
        self._count = 0

    def __enter__(self) -> Stage:
        with self._stack as stack:
            self.redis: RunningServer = stack.enter_context(start_redis(self.disk("redis")))
            self.broker: RunningServer = stack.enter_context(broker_at(self.disk("broker")))
            database = f"sqlite:///{self.folder / 'ledger.sqlite3'}"
            if self._postgres:
                self.postgres = stack.enter_context(self.new_postgres())
                database = self.postgres.fresh_database()
            self.direct = {"redis": self.redis.url, "mqtt": self.broker.url, "database": database}
            for name in self._through:
                self.links[name] = stack.enter_context(Link.to(self.direct[name], seed=self.seed))
            urls = self.direct | {name: link.url for name, link in self.links.items()}
            self.place = Installation(self.folder / "installation", **urls)
            self.clock_text = f"scaled:{self.start_text}+08:00,{self.rate:g},{time.time_ns() // 1_000_000}"
            self.place.set(TWINMETER_CLOCK=self.clock_text, TWINMETER_HISTORY_DAYS="0", TWINMETER_LEASE_S="2")
            imported = self.place.import_site(self.document)
            assert imported.returncode == 0, imported.stderr
            stack.callback(self._end_processes)
            self.tap = stack.enter_context(Wiretap(self.broker.url, "cmd", "ack", "state", "tele"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def disk(self, name: str) -> Path:
        """Where a server keeps its files."""
        return self.folder / name

    def new_postgres(self) -> PostgresServer:
        """The PostgreSQL of the stage, not started yet."""
        return PostgresServer(durable=False)

    def now_ms(self) -> int:
        """What everybody takes the time to be."""
        return scaled_now(parse_clock_spec(self.clock_text), time.time_ns() // 1_000_000)

    def wait_minutes(self, minutes: float) -> None:
        """Let so much of the common time pass."""
        time.sleep(minutes * 60 / self.rate)

    def up(self) -> None:
        """All services in one process, and a client of the API."""
        self.place.start()

    def serve(
        self, name: str, as_name: str | None = None, *, wait: bool = True, **links: str
    ) -> subprocess.Popen[bytes]:
        """One service as a process of its own, called `as_name` here; `links` replaces URLs of its servers."""
        label = as_name or name
        environment = dict(self.place.environment)
        names = {"redis": "TWINMETER_REDIS_URL", "mqtt": "TWINMETER_MQTT_URL", "database": "TWINMETER_DATABASE_URL"}
        environment |= {names[link]: url for link, url in links.items()}
        environment["TWINMETER_DATA"] = str(self.folder / f"data-{name}")
        log = self.folder / f"{label}.log"
        seen = log.stat().st_size if log.exists() else 0
        ready = f"{name}: running".encode()
        if name == "api":
            self.api_port = free_port()
            environment["TWINMETER_HTTP"] = f"127.0.0.1:{self.api_port}"
        with log.open("ab") as sink:
            process = subprocess.Popen([TWINMETER, name], env=environment, stdout=sink, stderr=sink)
        self.services[label] = process
        if wait:
            self.until_running(label, ready, seen)
        return process

    def until_running(self, label: str, ready: bytes = b": running", seen: int = 0) -> None:
        """Wait until a service says that it runs."""
        log, process = self.folder / f"{label}.log", self.services[label]
        deadline = time.monotonic() + STARTS_WITHIN_S
        while ready not in log.read_bytes()[seen:]:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)
        while b"api: running" in log.read_bytes()[seen:] and not _listens(self.api_port):  # said just before
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)

    def serve_all(self) -> None:
        """Every service as a process of its own, under its own name."""
        for name in SERVICES:
            self.serve(name, wait=False)
        for name in SERVICES:
            self.until_running(name)

    def kill(self, label: str) -> None:
        """kill -9 of a service."""
        process = self.services.pop(label)
        process.kill()
        process.wait(10)

    def freeze(self, label: str) -> None:
        """SIGSTOP: alive, and does nothing."""
        os.kill(self.services[label].pid, signal.SIGSTOP)

    def thaw(self, label: str) -> None:
        """SIGCONT: a zombie comes back and believes that no time has passed."""
        os.kill(self.services[label].pid, signal.SIGCONT)

    def start_fleet(self, meters: list[MeterSeries], **more: Any) -> int:
        """The devices as a process of their own; returns the instant (ms) from which their scenario counts."""
        begin = datetime.fromtimestamp(self.now_ms() // 1000, ZONE)
        shop: dict[str, Any] = {"name": "shops", "kind": "electricity_meter", "ids": [one.device for one in meters]}
        shop |= {"gateways": ["gw-01"], "profile": "constant", "peak_w": meters[0].peak, "opening_wh": 1_000}
        shop |= {"relay": True, "travel": "1s", "jitter": "20s"}
        fleet: dict[str, Any] = {
            "apiVersion": "twinmeter.fleet/v1", "site": SITE, "seed": self.seed, "timezone": "Asia/Shanghai",
            "start": begin.strftime("%Y-%m-%dT%H:%M:%S"), "interval": "1m",
            "groups": [{"name": "gateways", "kind": "gateway", "ids": ["gw-01"]}, shop],
        }  # fmt: skip
        self._count += 1
        file = self.folder / f"fleet-{self._count}.json"
        file.write_text(json.dumps(fleet | more))
        command = [sys.executable, "-m", "simulators.run", str(file), "--mqtt-url", self.broker.url]
        command += ["--clock", self.clock_text, "--state", str(self.folder / "fleet.state")]
        with (self.folder / "fleet.log").open("ab") as sink:
            self.fleet = subprocess.Popen(command, stdout=sink, stderr=sink)
        return int(begin.timestamp()) * 1000

    def api(self) -> Client:
        """A client with the owner's token; `up` or `api` must be running."""
        url = self.place.http_url if self.place.up is not None else f"http://127.0.0.1:{self.api_port}"
        return Client(url, self.place.environment["TWINMETER_ADMIN_TOKEN"])

    def top_up(self, tenant: str, amount: str, key: str) -> None:
        """A payment at the desk."""
        body = {"amount": amount, "channel": "cash", "reference": key}
        status, answer = self.api().call("POST", f"/sites/{SITE}/tenants/{tenant}/topups", body, Idempotency_Key=key)
        assert status in (200, 201), answer

    def uncharged(self, device: str, credit_nano: int, opening: int = 1_000) -> str:
        """What is wrong with a device's money: empty when all it told is charged, once, at the flat price."""
        told = max((body["d"]["import_wh"] for body in self.samples(device)), default=opening)
        found = self.api().get(f"/sites/{SITE}/devices/{device}")
        tenant = self.api().get(f"/sites/{SITE}/tenants/{found['tenant']}")
        charges_nano = int(Decimal(tenant["charges"]).scaleb(9))
        expected = (told - opening) * PRICE_NANO
        credits_nano = int(Decimal(tenant["credits"]).scaleb(9))
        if (charges_nano, credits_nano) == (expected, credit_nano):
            return ""
        return f"{device}: told {told} Wh, charged {charges_nano} of {expected}, credits {credits_nano}"

    def samples(self, device: str) -> list[Any]:
        """Every sample a device has told, out of arrays too."""
        bodies = self.tap.of(device, "tele")
        return [sample for body in bodies for sample in (body if isinstance(body, list) else [body])]

    def stop_fleet(self) -> None:
        """Let the devices say goodbye and go."""
        assert self.fleet is not None
        self.fleet.send_signal(signal.SIGINT)
        self.fleet.wait(60)

    def incidents(self, device: str) -> list[str]:
        """Kinds of the incidents that stand on a device now."""
        return sorted(one["kind"] for one in self.api().get(f"/sites/{SITE}/devices/{device}")["incidents"])

    def log(self, label: str = "up") -> str:
        """What a process has written."""
        return (self.place.log if label == "up" else self.folder / f"{label}.log").read_text()

    def _end_processes(self) -> None:
        """Everything has been proved by now, and nobody needs a farewell: other tests show that."""
        running = [*self.services.values(), *([self.fleet] if self.fleet else [])]
        if self.place.up is not None:
            running.append(self.place.up)
        for process in running:
            process.kill()
        for process in running:
            process.wait(60)

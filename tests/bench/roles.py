"""The two sides of a throughput run: the platform with all its services, and the publisher; and the bare subscriber
that the platform is compared with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from adapters.mqtt.subscriber import MqttSubscriber
from api.bootstrap import open_platform
from api.http.serve import serve_http
from api.services import Services
from api.settings import Settings
from tests.bench.child import Counter
from tests.bench.gateway import Gateway, connect
from tests.bench.load import MINUTE_MS, START_MS, portion, site_document
from twin.flows.import_site import import_site
from twin.flows.rebuild_twins import rebuild

SERVICES = ("ingest", "ledger", "commands", "scheduler")
TELL_EVERY_S = 0.002
READY_WITHIN_S = 120.0
FEES_WITHIN_S = 300.0


class PlatformRole:
    """A platform in its process: by default as `twinmeter up` runs it, without recorder and HTTP API."""

    def __init__(self, settings: Settings, acked: Counter, services: tuple[str, ...] = SERVICES) -> None:
        self._settings = settings
        self._acked = acked
        self._names = services
        self._platform: Any = None
        self._services: Services | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Open the database and the connections; nothing is subscribed yet. Time starts before the first reading."""
        self._platform = await open_platform(self._settings)
        self._platform.clock.observe(START_MS - 1_800_000)

    async def import_site(self, site: str, meters: int) -> dict[str, float]:
        """Import a site as the command line does; returns seconds of the registry and of the whole."""
        document = site_document(site, meters)
        began = time.monotonic()
        marks: dict[str, float] = {}

        def progress(what: str, done: int, total: int) -> None:
            marks.setdefault(f"{what} {'done' if done == total else 'begun'}", time.monotonic() - began)

        imported = await import_site(self._platform, document, who="bench", progress=progress)
        return {
            "registry_s": marks.get("registry done", 0.0),
            "total_s": time.monotonic() - began,
            "built": imported.built,
            "delivered": imported.delivered,
        }

    async def import_directly(self, site: str, meters: int) -> float:
        """Import a large site without telling each twin of its acts one by one; returns seconds.

        The registry writes SQL as always. The twins are then built from SQL, which holds every act already, so the acts
        are marked as delivered in one statement instead of one transaction a group.
        """
        began = time.monotonic()
        platform = self._platform
        await platform.registry.apply(site_document(site, meters), who="bench", now=platform.clock.now())
        async with platform.database.write() as tx:
            await tx.execute("UPDATE act SET delivered = TRUE WHERE site = ?", site)
        await platform.policies.refresh(site)
        taken_s = time.monotonic() - began
        await self.rebuild(site)
        return taken_s

    async def postings(self, site: str) -> int:
        """Charges that SQL has of a site."""
        rows = await self._platform.database.fetch("SELECT count(*) FROM rating WHERE site = ?", site)
        return int(rows[0][0])

    async def known(self, site: str) -> dict[str, int]:
        """Meters whose twin has seen a reading, and the sum of all registers seen, Wh."""
        groups = [group async for group in await self._platform.store.groups(site)]
        meters = [meter for group in groups for meter in group.meters.values()]
        read = sum(1 for meter in meters if meter.at is not None)
        return {"meters": read, "registers_wh": sum(meter.register.seen for meter in meters if meter.register)}

    async def forget(self, site: str) -> None:
        """Forget what this process remembers of the twins; where their devices are, too."""
        self._platform.store._memory.drop_site(site)

    async def rebuild(self, site: str) -> float:
        """Make all twins of a site anew from SQL; returns seconds. Meanwhile the counter that is shared tells how many
        there are; nothing is acknowledged before the services run."""
        began = time.monotonic()
        platform = self._platform
        await rebuild(_Counted(platform.registry, self._acked), platform.store, platform.clock, site)
        self._acked.value = 0
        return time.monotonic() - began

    async def start(self) -> None:
        """Start the services and wait until the session at the broker is up, where this process keeps one."""
        self._services = Services(self._platform, self._names)
        self._tasks.append(asyncio.create_task(self._services.run(serve_http if "api" in self._names else None)))
        alone = "ingest" in self._names and not self._settings.ingest_shards
        async with asyncio.timeout(READY_WITHIN_S):
            await self._services.ready.wait()
            while alone and not await self.sessions():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        self._tasks.append(asyncio.create_task(self._tell()))

    async def sessions(self) -> int:
        """How many sessions at the broker are up: one, or one a shard that this process owns."""
        return sum(1 for one in self._subscribers() if one.counters.connected)

    async def http_url(self) -> str:
        """Where the API listens."""
        async with asyncio.timeout(READY_WITHIN_S):
            while not self._platform.http_url:  # noqa: ASYNC110 - seen from outside only
                await asyncio.sleep(0.02)
        url: str = self._platform.http_url
        return url

    async def wait_acked(self, total: int) -> int:
        """Wait until so many messages are committed and acknowledged since the start; the instant, monotonic ns."""
        while self._acked_so_far() < total:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(TELL_EVERY_S)
        return time.monotonic_ns()

    async def wait_drained(self, site: str) -> int:
        """Wait until SQL has every effect of a site; the instant, monotonic ns."""
        while await self._platform.stream.lag(site, "ledger"):  # noqa: ASYNC110 - another process may be the writer
            await asyncio.sleep(0.01)
        return time.monotonic_ns()

    async def wait_idle(self, site: str) -> float:
        """Wait until no timer of a site is due, where this process is the one that looks at them, and SQL has every
        effect; returns seconds."""
        began = time.monotonic()
        platform = self._platform
        while "scheduler" in self._names and await platform.store.due(  # noqa: ASYNC110
            site, now=platform.clock.now(), limit=1
        ):
            await asyncio.sleep(0.02)
        await self.wait_drained(site)
        return time.monotonic() - began

    async def wait_fees(self, site: str) -> float:
        """Wait until the fees of the days have been looked through, as each process does once a day; seconds.

        On a large site that takes its time, and what is measured meanwhile would be two things at once.
        """
        began = time.monotonic()
        charged = self._platform.settlement.timer._charged
        while site not in charged and time.monotonic() - began < FEES_WITHIN_S:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def advance(self, site: str, round_number: int) -> None:
        """Let time come to a round, and wait until what became due by that is done."""
        self._platform.clock.observe(START_MS + round_number * MINUTE_MS)
        await self.wait_idle(site)

    async def counters(self) -> dict[str, int]:
        """Messages, readings, dead letters and failures so far, and how many twins were woken by a timer."""
        counters = self._platform.ingest.counters
        found = {name: getattr(counters, name) for name in ("messages", "readings", "dead", "unknown", "failed")}
        return {**found, "woken": self._platform.pump.woken}

    async def stop(self) -> None:
        """Stop the services and close everything."""
        if self._services is not None:
            self._services.stop.set()
            await asyncio.wait_for(self._tasks[0], 60)
            for task in self._tasks[1:]:
                task.cancel()
            self._services = None
        elif self._platform is not None:
            await self._platform.close()
        self._platform = None

    async def close(self) -> None:
        """Stop what still runs."""
        with contextlib.suppress(Exception):
            await self.stop()

    async def _tell(self) -> None:
        while True:
            self._acked.value = self._acked_so_far()
            await asyncio.sleep(TELL_EVERY_S)

    def _subscribers(self) -> list[MqttSubscriber]:
        if self._settings.ingest_shards:
            return list(self._platform.shard_sessions.values())
        return [self._platform.subscriber] if self._platform.subscriber is not None else []

    def _acked_so_far(self) -> int:
        return sum(one.counters.acked for one in self._subscribers())


class _Counted:
    """A registry that counts the twins it makes."""

    def __init__(self, registry: Any, made: Counter) -> None:
        self._registry, self._made = registry, made
        self.generation, self.next_generation = registry.generation, registry.next_generation

    async def rebuilt_groups(self, site: str) -> AsyncIterator[Any]:
        async for group in self._registry.rebuilt_groups(site):
            self._made.value += 1
            yield group


class BareRole:
    """The platform's own subscriber with a handler that does nothing: what receiving and acknowledging costs."""

    def __init__(self, url: str, acked: Counter) -> None:
        self._url = url
        self._acked = acked
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriber: MqttSubscriber | None = None

    async def start(self) -> None:
        """Subscribe."""
        self._subscriber = MqttSubscriber(self._url, "bare-subscriber", ["twinmeter/v1/+/+/tele"])
        self._tasks = [
            asyncio.create_task(self._subscriber.run(_ignore, self._stop)),
            asyncio.create_task(self._tell()),
        ]
        async with asyncio.timeout(READY_WITHIN_S):
            while not self._subscriber.counters.connected:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.01)

    async def wait_acked(self, total: int) -> int:
        """Wait until so many messages are acknowledged since the start; the instant, monotonic ns."""
        assert self._subscriber is not None
        while self._subscriber.counters.acked < total:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(TELL_EVERY_S)
        return time.monotonic_ns()

    async def close(self) -> None:
        """End the subscription."""
        self._stop.set()
        if self._tasks:
            await self._tasks[0]
            self._tasks[1].cancel()

    async def _tell(self) -> None:
        while True:
            assert self._subscriber is not None
            self._acked.value = self._subscriber.counters.acked
            await asyncio.sleep(TELL_EVERY_S)


class PublisherRole:
    """Several gateways in one process, with readings encoded before the clock starts."""

    def __init__(self, url: str, connections: int, acked: Counter) -> None:
        self._url = url
        self._connections = connections
        self._acked = acked
        self._gateways: list[Gateway] = []
        self._packets: list[list[bytes]] = []

    async def prepare(self, site: str, meters: int, first: int, count: int) -> int:
        """Connect and encode so many readings from the place `first` of the site's load; returns how many wait."""
        if not self._gateways:
            self._gateways = [await connect(self._url, f"bench-gw-{number}") for number in range(self._connections)]
        self._packets = portion(site, meters, first, count, self._connections)
        return sum(map(len, self._packets))

    async def go(self, window: int) -> tuple[int, int]:
        """Publish all, with at most `window` readings between us and the platform's commits.

        Returns the instants of the first byte and of the last PUBACK, monotonic ns.
        """
        acked_before = self._acked.value
        sent_before = sum(gateway.sent for gateway in self._gateways)

        def room() -> int:
            sent = sum(gateway.sent for gateway in self._gateways) - sent_before
            return window - sent + self._acked.value - acked_before

        began = time.monotonic_ns()
        in_flight = window // self._connections
        async with asyncio.TaskGroup() as group:
            for gateway, packets in zip(self._gateways, self._packets, strict=True):
                group.create_task(gateway.publish_all(packets, in_flight, room))
        return began, time.monotonic_ns()

    async def close(self) -> None:
        """Say goodbye to the broker."""
        for gateway in self._gateways:
            gateway.close()


async def _ignore(_batch: object) -> None:
    """The handler of a subscriber that only acknowledges."""

"""The park of a demonstration while it runs: services in this process, the fleet in a child, a watch on both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from api.cli.demo_stop import ended, until_nothing_left
from api.cli.errors import CommandError
from api.cli.language import tell
from api.cli.park_watch import ParkWatch
from api.cli.simulate import ROOT, dies_with_us, fleet_command
from api.cli.up import clock_text, http_url, run_services

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from api.bootstrap import Platform
    from api.services import Services
    from twin.core.model import Group

PARK = ROOT / "simulators" / "parks" / "example"
RATE_WINDOW_S = 5.0
READY_WITHIN_S = 90.0
FLEET_STOP_S = 15.0
QUIET_S = 1.0
QUIET_WITHIN_S = 60.0
POSTED_WITHIN_S = 60.0
WATCH_STOP_S = 5.0
SERVICES_STOP_S = 60.0
"""More than requests in hand, webhooks and the batch being posted take on a machine that does much else."""
POLL_S = 0.1


class Snapshot(msgspec.Struct, frozen=True):
    """How the park stands at one instant. Money in nano-units."""

    now: int = 0
    messages_per_s: float = 0.0
    messages: int = 0
    readings: int = 0
    dead: int = 0
    ledger_lag: int = 0
    tenants: int = 0
    in_debt: int = 0
    charges_nano: int = 0
    balance_nano: int = 0
    connected: int = 0


class DemoPark:
    """Starts, watches and stops everything that a demonstration needs beside its servers."""

    def __init__(self, platform: Platform, services: Services, site: str, names: dict[str, dict[str, str]]) -> None:
        self.platform = platform
        self.services = services
        self.site = site
        self.watch = ParkWatch(names)
        self.api_url = ""
        self.fleet: dict[str, Any] = {}
        self._fleet: Process | None = None
        self._running: asyncio.Task[None] | None = None
        self._watching: list[asyncio.Task[None]] = []
        self._rates: list[tuple[float, int]] = []
        self._began: tuple[float, int] | None = None
        self._ended: tuple[float, int] | None = None

    async def start(self, stop: asyncio.Event) -> None:
        """Services, then the watch on them. Raises CommandError when they do not come up, or are to stop before."""
        after = await self._newest_effect()
        self._running = asyncio.create_task(run_services(self.services))
        waiting = asyncio.create_task(self._wait_until_ready())
        stopping = asyncio.create_task(stop.wait())
        first = {self._running, waiting, stopping}
        await asyncio.wait(first, timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting.done():
            waiting.cancel()
            raise CommandError(self._why_not_ready(stop))
        self._watching = [asyncio.create_task(self._follow(after)), asyncio.create_task(self._count_payments())]

    async def start_fleet(self, token_file: Path, log: Path) -> None:
        """Start the devices and their tenants as a child process."""
        command = fleet_command([
            str(PARK / "fleet.yaml"), "--mqtt-url", self.platform.settings.mqtt_url,
            "--clock", clock_text(self.platform), "--api-url", self.api_url,
            "--api-token-file", str(token_file), "--progress",
        ])  # fmt: skip
        with log.open("ab") as sink:
            self._fleet = await asyncio.create_subprocess_exec(
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                cwd=ROOT,
                start_new_session=True,
                preexec_fn=dies_with_us,
            )
        self._watching.append(asyncio.create_task(self._hear_fleet(self._fleet)))
        self._began = (time.monotonic(), self.platform.ingest.counters.messages)

    @property
    def failure(self) -> str:
        """Why the park cannot go on; empty while it can."""
        if self._running is not None and self._running.done():
            error = None if self._running.cancelled() else self._running.exception()
            return f"the services ended: {error!r}"
        if self._fleet is not None and self._fleet.returncode is not None:
            return f"the fleet ended with code {self._fleet.returncode}"
        return ""

    async def snapshot(self) -> Snapshot:
        """How everything stands now."""
        counters = self.platform.ingest.counters
        groups = [group for group in (await self._groups()).values() if group.tenant is not None]
        balances = [group.tenant.balance_nano for group in groups if group.tenant]
        return Snapshot(
            now=self.platform.clock.now(),
            messages_per_s=self._rate(counters.messages),
            messages=counters.messages,
            readings=counters.readings,
            dead=counters.dead,
            ledger_lag=await self.platform.stream.lag(self.site, "ledger"),
            tenants=len(groups),
            in_debt=sum(balance < 0 for balance in balances),
            charges_nano=sum(group.tenant.charges_nano for group in groups if group.tenant),
            balance_nano=sum(balances),
            connected=self.fleet.get("connected", 0),
        )

    def mean_rate(self) -> float:
        """Messages a second from the start of the fleet to its end (or now)."""
        if self._began is None:
            return 0.0
        until = self._ended or (time.monotonic(), self.platform.ingest.counters.messages)
        return (until[1] - self._began[1]) / max(0.001, until[0] - self._began[0])

    async def stop_fleet(self) -> None:
        """Stop the devices, then wait until everything they said is decided. Raises CommandError where it is not."""
        await self._end_fleet()
        self._ended = (time.monotonic(), self.platform.ingest.counters.messages)
        await self._until_quiet()

    async def _end_fleet(self) -> None:
        fleet, self._fleet = self._fleet, None
        if fleet is None or fleet.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            fleet.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLEET_STOP_S):
                await fleet.wait()
        if fleet.returncode is None:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                fleet.kill()
                async with asyncio.timeout(FLEET_STOP_S):
                    await fleet.wait()

    async def until_posted(self, within_s: float = POSTED_WITHIN_S) -> None:
        """Wait until the ledger has every effect there is. Raises CommandError with how many it lacks."""
        from api.stream.feed import order

        newest = order(await self._newest_effect())  # what timers add meanwhile is not waited for

        async def left() -> str:
            if order(await self.platform.ledger.position(self.site)) >= newest:
                return ""
            lag = await self.platform.stream.lag(self.site, "ledger")
            return tell(f"账本还差 {lag} 条", f"the ledger, {lag} effects behind")

        await until_nothing_left(left, within_s=within_s)

    async def stop(self) -> str:
        """Stop whatever still runs; safe to call at any time. Returns what did not end; empty where all did."""
        await self._end_fleet()
        watching = await ended(self._watching, within_s=WATCH_STOP_S)
        self.services.stop.set()
        running = [self._running] if self._running is not None and not self._running.done() else []
        if running:
            await asyncio.wait(running, timeout=SERVICES_STOP_S)
        late = sorted(self.services.under_way) if running and not running[0].done() else []
        left = [*late, *(repr(task.get_coro()) for task in (*watching, *await ended(running, within_s=WATCH_STOP_S)))]
        return ", ".join(left)

    def _why_not_ready(self, stop: asyncio.Event) -> str:
        if stop.is_set():
            return "stopped before the park was running"
        subscriber = self.platform.subscriber
        reason = subscriber.counters.last_failure if subscriber is not None else ""
        return self.failure or f"the services were not ready within {READY_WITHIN_S:g} s: {reason or 'see the log'}"

    async def _wait_until_ready(self) -> None:
        await self.services.ready.wait()
        self.api_url = await http_url(self.platform)
        platform = self.platform
        while platform.subscriber is None or not platform.subscriber.counters.connected:  # noqa: ASYNC110 - no event
            await asyncio.sleep(POLL_S)

    async def _newest_effect(self) -> str:
        known = await self.platform.store.generation(self.site)
        return known[1] if known is not None else "0-0"

    async def _follow(self, after: str) -> None:
        async for entry in self.platform.stream.follow(self.site, after):
            self.watch.take(entry.effects)

    async def _count_payments(self) -> None:
        while True:
            await self.count_payments()
            await asyncio.sleep(QUIET_S)

    async def count_payments(self) -> None:
        """Take note of payments that came in since the last look."""
        cursor: str | None = None
        fresh = []
        while True:
            page = await self.platform.queries.payments(self.site, cursor=cursor, limit=100)
            fresh += page.items
            cursor = page.next
            if cursor is None or any(self.watch.knows(item.payment) for item in page.items):
                break
        for item in reversed(fresh):
            self.watch.paid(item.payment, item.tenant, item.amount_nano, item.ts)

    async def _hear_fleet(self, fleet: Process) -> None:
        assert fleet.stdout is not None
        async for line in fleet.stdout:
            with contextlib.suppress(msgspec.DecodeError):
                self.fleet = msgspec.json.decode(line)

    async def _groups(self) -> dict[str, Group]:
        return await self.platform.store.load(self.site, list(self.watch.names))

    def _rate(self, messages: int) -> float:
        now = time.monotonic()
        recent = [entry for entry in self._rates[:-1] if now - entry[0] <= RATE_WINDOW_S]
        self._rates = [*recent, *self._rates[-1:], (now, messages)]
        (first_at, first), (last_at, last) = self._rates[0], self._rates[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0

    async def _until_quiet(self) -> None:
        """Until nothing has come in for a while and nothing waits."""
        counters, subscriber = self.platform.ingest.counters, self.platform.subscriber
        seen, since = counters.messages, time.monotonic()

        async def left() -> str:
            nonlocal seen, since
            waiting = subscriber.unacknowledged if subscriber is not None else 0
            if counters.messages != seen or waiting:
                seen, since = counters.messages, time.monotonic()
            elif time.monotonic() - since >= QUIET_S:
                return ""
            return tell(f"{waiting} 条报文未处理", f"{waiting} messages of devices that are not decided on")

        await until_nothing_left(left, within_s=QUIET_WITHIN_S)


def new_secret_file(folder: Path, name: str, secret: str) -> Path:
    """Keep a secret in a file that only its owner can read."""
    path = folder / name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
    return path

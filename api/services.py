"""Services: what runs inside a process. `twinmeter up` runs all of them in one; in production each has a process
of its own."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from api.shards import Shards
from twin.leases import LeaseLostError
from twin.ports import StoreFullError, StoreLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from api.bootstrap import Platform
    from twin.flows.consume_effects import ConsumerLoop

log = structlog.get_logger(__name__)

ALL = ("ingest", "ledger", "commands", "scheduler", "recorder", "api")
NEW_SITES_EVERY_S = 2.0
REFRESH_EVERY_S = 5.0
LOOK_EVERY_S = 0.5
"""So often every process looks whether rules, tariffs or settings have changed: one small question a site."""
RESTART_PAUSE_S = 1.0
SERVERS_WITHIN_S = 30.0
"""So long a starting process waits for servers that do not serve it; then it ends, for its supervisor to see."""
ENDS_WITHIN_S = 10.0
"""So long services may go on after the stop with what they have in hand. A supervisor waits longer before it kills."""


class Services:
    """Runs services of a platform until told to stop; a service that fails is started again, with the reason in
    the log."""

    def __init__(self, platform: Platform, names: tuple[str, ...] = ALL) -> None:
        self.platform = platform
        self.names = names
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.failures: dict[str, str] = {}
        self.under_way: set[str] = set()
        """Names of the services that have begun and not ended, those between two attempts included."""
        self.loops: dict[str, ConsumerLoop] = {}
        self.shards = Shards(platform, self._keep_until) if platform.settings.ingest_shards else None
        """Divides work with other processes, where that is set."""

    async def run(
        self, serve_http: Callable[[Platform, asyncio.Event], Coroutine[None, None, None]] | None = None
    ) -> None:
        """Run until `stop` is set."""
        platform = self.platform
        platform.vitals.services = self.names
        if "api" in self.names:
            _ = platform.payments.channels  # a channel without its secret is told now and not when somebody pays
        await self._recover()
        if self.stop.is_set():
            await platform.close()
            return
        self.loops = platform.consumers()
        tasks: list[Coroutine[None, None, None]] = []
        if "commands" in self.names:
            await platform.publisher.start()
        if "ledger" in self.names:
            tasks.append(self._consume("ledger"))
        if "commands" in self.names:
            tasks += [self._consume("commands"), self._consume("notices")]
            tasks.append(self._alone("webhooks", platform.webhooks.run))
        if "scheduler" in self.names:
            tasks += [
                self._timers(),
                self._alone("acts", platform.delivery.run),
                self._alone("held", platform.held.run),
                self._alone("tenancies", platform.tenancies.run),
                self._alone("books", platform.book_keeper.run),
                self._alone("settlement", platform.settle_until),
                self._alone("rerate", platform.rerater.run),
                self._alone("switching", platform.switching.run),
                self._alone("guards", platform.guards.run),
            ]
        if "recorder" in self.names:
            tasks += self._records()
        tasks.append(self._keep("policies", self._refresh_policies))
        if "api" in self.names and serve_http is not None:
            tasks.append(self._keep("api", lambda: serve_http(platform, self.stop)))
        if "ingest" in self.names:
            await platform.presence.start()
            ingest = platform.ingest_until if self.shards is None else self.shards.ingest_until
            tasks.append(self._keep("ingest", lambda: ingest(self.stop)))
        self.ready.set()
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(task) for task in tasks]
                group.create_task(self._end_in_time(running))
        finally:
            await platform.close()

    async def _end_in_time(self, running: Sequence[asyncio.Task[None]]) -> None:
        """After the stop, cancel what does not end by itself: the fees of a large site, a rebuild. Every step of these
        may be killed at any instant, so whatever is broken off goes on at the next start."""
        await self.stop.wait()
        _, late = await asyncio.wait(running, timeout=ENDS_WITHIN_S)
        if late:
            log.warning(
                "broken off in the middle of work, which goes on at the next start", services=sorted(self.under_way)
            )
        await _cancel(late)

    async def _recover(self) -> None:
        """Recover, unless told to stop meanwhile: on a large site that takes minutes."""
        recovering = asyncio.create_task(self._recover_from_trouble())
        stopping = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait((recovering, stopping), return_when=asyncio.FIRST_COMPLETED)
            if recovering.done():
                recovering.result()
        finally:
            await _cancel({one for one in (recovering, stopping) if not one.done()})

    async def _recover_from_trouble(self) -> None:
        """Bring twins and SQL in line before anything else. A server that is away or full for the moment is waited for:
        whoever restarts a process does so just when something else is in trouble, too. Raises what is the matter after
        `SERVERS_WITHIN_S`, and where it is not of that kind."""
        deadline = asyncio.get_running_loop().time() + SERVERS_WITHIN_S
        while True:
            try:
                await self.platform.recover()
                return
            except (OSError, StoreFullError, StoreLostError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                log.warning("not started yet: a server is in trouble, trying again", reason=str(error)[:300])
            await asyncio.sleep(RESTART_PAUSE_S)

    def _records(self) -> list[Coroutine[None, None, None]]:
        """The one session that hears everything: it records, and finds what no shard hears."""
        platform = self.platform
        strays = None if self.shards is None else self.shards.strays()
        if not platform.settings.history_days:
            return [] if strays is None else [self._alone("strays", partial(platform.hear_until, strays.hear))]
        if strays is not None:
            platform.overhear = strays.hear
        return [
            self._alone("recorder", platform.record_until),
            self._alone("history", platform.recorder.care),
            self._alone("shadow", platform.shadow_runner.run),
        ]

    async def _alone(self, name: str, run: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
        """Work that is done once for the whole installation: here, or wherever its lease is."""
        shards = self.shards
        if shards is None:
            await self._keep(name, lambda: run(self.stop))
            return

        async def leased(stop: asyncio.Event) -> None:
            await self._keep_until(name, lambda: run(stop), stop)

        await self._keep(name, lambda: shards.alone(name, leased, self.stop))

    async def _timers(self) -> None:
        pump, shards = self.platform.pump, self.shards
        if shards is None:
            await self._keep("timers", lambda: pump.run(self.stop))
        else:
            await self._keep("timers", lambda: shards.per_site("timers", pump.run_site, self.stop))

    async def _consume(self, name: str) -> None:
        """One loop a site, and one more whenever a site is added."""
        running: dict[str, asyncio.Task[None]] = {}
        self.platform.loops[name] = self.loops[name]
        shards = self.shards
        if shards is not None:
            await self._keep(name, lambda: shards.per_site(name, self.loops[name].run, self.stop))
            return
        try:
            await self._keep(name, partial(self._follow_sites, name, running))
        finally:
            if not self.stop.is_set():  # we are cancelled: nobody else tells the loops to end
                for task in running.values():
                    task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def _follow_sites(self, name: str, running: dict[str, asyncio.Task[None]]) -> None:
        while not self.stop.is_set():
            for site in await self.platform.registry.sites():
                if site not in running:
                    start = partial(self.loops[name].run, site, self.stop)
                    running[site] = asyncio.create_task(self._keep(f"{name}:{site}", start))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), NEW_SITES_EVERY_S)

    async def _refresh_policies(self) -> None:
        """Follow what people decide: at once where the site's mark moves, and from the ground up every few seconds."""
        whole_at = 0.0
        while not self.stop.is_set():
            now = asyncio.get_running_loop().time()
            if now >= whole_at:
                whole_at = now + REFRESH_EVERY_S
                await self.platform.policies.refresh_all()
            else:
                await self.platform.policies.refresh_moved()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), LOOK_EVERY_S)

    async def _keep(self, name: str, start: Callable[[], Coroutine[None, None, None]]) -> None:
        await self._keep_until(name, start, self.stop)

    async def _keep_until(
        self, name: str, start: Callable[[], Coroutine[None, None, None]], stop: asyncio.Event
    ) -> None:
        """Run a service; start it again when it fails. Twins that no longer fit SQL are rebuilt first. Raises
        LeaseLostError: what belongs to another process is not started again here."""
        self.under_way.add(name)
        try:
            await self._keep_going(name, start, stop)
        finally:
            self.under_way.discard(name)

    async def _keep_going(
        self, name: str, start: Callable[[], Coroutine[None, None, None]], stop: asyncio.Event
    ) -> None:
        while not stop.is_set():
            try:
                await start()
                return
            except LeaseLostError:
                raise
            except StoreLostError as error:
                log.warning("the store no longer fits SQL, rebuilding", service=name, reason=str(error))
                with contextlib.suppress(Exception):
                    await self.platform.prepare()
            except Exception as error:
                self.failures[name] = repr(error)[:500]
                self.platform.service_failures[name] += 1
                log.exception("service failed, starting it again", service=name)
            await asyncio.sleep(RESTART_PAUSE_S)


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: a cancellation that a library swallowed is said again."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=RESTART_PAUSE_S)

"""Work divided among processes: ingest by shards, everything else by sites, each piece under a lease.

A shard's session at the broker belongs to the shard and not to a process (`twinmeter-ingest-07`): what one owner left
unacknowledged comes to the next. An owner raises its fence at every site before it connects, so from its first message
on nobody commits under an older token. Filters that the session no longer needs are taken away only when every shard
of this layout is subscribed and a while has passed, so that a device is heard twice for some seconds rather than not
at all; sessions beyond the layout are emptied and closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Protocol

import structlog

from api.bootstrap import MqttError
from schemas.topics import ROOT, VERBS_DOWN
from twin.flows.apply_messages import Applier
from twin.flows.hear_strays import Strays
from twin.flows.ingest_batch import Ingest
from twin.flows.keep_leases import LeaseKeeper
from twin.flows.spread_shards import EVERYTHING, Layout, SiteDevices, filters_of, shard_name
from twin.leases import LeaseLostError
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from api.bootstrap import Platform
    from twin.flows.keep_leases import Held
    from twin.ports import Delivery

log = structlog.get_logger(__name__)

INGEST = "ingest"
SESSIONS, LAYOUTS = "sessions", "layouts"
OUR_OWN = tuple(f"/{verb}" for verb in VERBS_DOWN)
"""What a filter of a device brings back of our own words to it."""
HELPERS_END_S = 1.0
LOOK_EVERY_S = 2.0
READ_AGAIN_S = 300.0
"""A device that moves to another group is heard by its old shard until then; the twins do not mind."""


class Keep(Protocol):
    """Runs a service and starts it again when it fails, until told to stop."""

    async def __call__(self, name: str, start: Callable[[], Coroutine[None, None, None]], stop: asyncio.Event) -> None:
        """Run it."""
        ...


class Census:
    """Devices of all sites that are spread over shards, read again only where something changed."""

    def __init__(self, platform: Platform, layout: Layout) -> None:
        self._platform = platform
        self._layout = layout
        self._known: dict[str, tuple[str, float, SiteDevices]] = {}

    async def sites(self) -> list[SiteDevices]:
        """All sites of the registry."""
        return [await self._of(site) for site in await self._platform.registry.sites()]

    async def _of(self, site: str) -> SiteDevices:
        mark = await self._platform.store.directory_mark(site)
        now = asyncio.get_running_loop().time()
        known = self._known.get(site)
        if known is not None and known[0] == mark and now < known[1]:
            return known[2]
        groups: dict[str, str] = {}
        if int(mark.partition(" ")[0]) > self._layout.spread_above:
            groups = await self._platform.store.directory(site)
            for alias, point in (await self._platform.policies.policy(site)).aliases.items():
                if point in groups:
                    groups.setdefault(alias, groups[point])
        devices = SiteDevices(site, groups)
        self._known[site] = (mark, now + READ_AGAIN_S, devices)
        return devices


class Shards:
    """The leased work of this process."""

    def __init__(self, platform: Platform, keep: Keep) -> None:
        settings = platform.settings
        self._platform = platform
        self._keep = keep
        self._leases = platform.leases
        self._layout = Layout(settings.ingest_shards, settings.shard_spread)
        self._census = Census(platform, self._layout)
        self._linger_s = max(3 * LOOK_EVERY_S, settings.lease_s)
        self.owner = f"{settings.host}-{secrets.token_hex(3)}"
        """Another one at every start: a process that was frozen is not the one that a supervisor started for it."""

    async def per_site(
        self, kind: str, work: Callable[[str, asyncio.Event], Coroutine[None, None, None]], stop: asyncio.Event
    ) -> None:
        """Work of every site, one owner a site at a time."""

        async def do(held: Held) -> None:
            await self._keep(f"{kind}:{held.name}", lambda: work(held.name, held.ending), held.ending)

        await self._keeper(kind).run(self._platform.registry.sites, do, stop)

    async def alone(
        self, kind: str, work: Callable[[asyncio.Event], Coroutine[None, None, None]], stop: asyncio.Event
    ) -> None:
        """Work of the whole installation, with one owner at a time."""

        async def names() -> list[str]:
            return ["all"]

        await self._keeper(kind).run(names, lambda held: work(held.ending), stop)

    async def ingest_until(self, stop: asyncio.Event) -> None:
        """This process's share of the shards, until told to stop."""
        await self._keeper(INGEST, str(self._layout)).run(self._shards, self._shard, stop)

    def _keeper(self, kind: str, layout: str = "") -> LeaseKeeper:
        settings = self._platform.settings
        keeper = LeaseKeeper(
            self._leases, kind, owner=self.owner, host=settings.host, ttl_s=settings.lease_s, layout=layout
        )
        self._platform.lease_counters[kind] = keeper.counters
        return keeper

    def strays(self) -> Strays | None:
        """Who hears what no shard does; None where the one shard hears everything."""
        platform = self._platform
        if self._layout.shards == 1:
            return None
        census = Census(platform, self._layout).sites
        return Strays(census, self._layout, platform.store, platform.applier, platform.ingest, platform.clock)

    async def _shards(self) -> list[str]:
        """Shards of the layout, and of an earlier one whose sessions are still to be emptied."""
        return sorted({*self._layout.names(), *await self._leases.notes(SESSIONS)})

    async def _shard(self, held: Held) -> None:
        await self._keep(f"ingest-{held.name}", lambda: self._ingest(held), held.ending)

    async def _ingest(self, held: Held) -> None:
        await _Session(held, self._platform, self._census, self._layout, self._linger_s).run()


class _Session:
    """The session of one shard at the broker, while this process owns it."""

    def __init__(self, held: Held, platform: Platform, census: Census, layout: Layout, linger_s: float) -> None:
        self._held = held
        self._platform = platform
        self._leases = platform.leases
        self._census = census
        self._layout = layout
        self._linger_s = linger_s
        self._retired = held.name not in layout.names()
        self._done = asyncio.Event()
        self._failed: list[Exception] = []
        self._store = platform.store.fenced(f"{INGEST}-{held.name}", held.token)
        applier = Applier(self._store, platform.policies, platform.clock, platform.journeys)
        self._ingest = Ingest(self._store, applier, platform.clock, platform.vitals, platform.journeys)
        self._ingest.counters, self._ingest.gate = platform.ingest.counters, platform.ingest.gate
        self._fenced: set[str] = set()
        self._stale_since: dict[str, float] = {}
        self._wanted: frozenset[str] = frozenset()
        self._seen, self._seen_at = -1, 0.0
        self._client_id = f"twinmeter-ingest-{held.name}"
        own = f"{ROOT}/$shard/{held.name}"  # nobody publishes there; a subscription may not be empty
        self._subscriber = platform.session(self._client_id, [own], may_connect=held.may_go_on)

    async def run(self) -> None:
        """Raise the fence, then ingest until the lease ends. Raises StoreLostError, LeaseLostError."""
        await self._look()
        await self._leases.note(SESSIONS, add=[self._held.name])
        await self._leases.note(self._client_id, add=self._wanted)
        subscriber = self._subscriber
        subscriber.change_filters(add=sorted(self._wanted))
        self._platform.shard_sessions[self._held.name] = subscriber
        helpers = [asyncio.create_task(self._relay_end()), asyncio.create_task(self._follow())]
        try:
            await subscriber.run(self._handle, self._done)
        except MqttError as error:
            if self._held.ending.is_set():
                return
            if not self._held.holds():
                raise LeaseLostError(str(error)) from error
            raise
        finally:
            self._platform.shard_sessions.pop(self._held.name, None)
            self._done.set()
            for helper in helpers:
                helper.cancel()
            # A question to Redis may be in the way; a shard must not wait for it with its lease held.
            await asyncio.wait(helpers, timeout=HELPERS_END_S)
        if self._failed:
            raise self._failed[0]

    async def _relay_end(self) -> None:
        await self._held.ending.wait()
        self._done.set()

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        try:
            if not self._held.holds():
                raise LeaseLostError(f"shard {self._held.name} was not renewed in time")
            await self._ingest.handle([one for one in deliveries if not one.topic.endswith(OUR_OWN)])
        except (StoreLostError, LeaseLostError) as error:
            self._failed.append(error)
            self._done.set()
            raise

    async def _look(self) -> None:
        sites = await self._census.sites()
        fresh = [devices.site for devices in sites if devices.site not in self._fenced]
        await self._store.raise_fence(fresh)
        self._fenced.update(fresh)
        self._wanted = frozenset() if self._retired else filters_of(self._layout, int(self._held.name), sites)

    async def _follow(self) -> None:
        """Follow what is imported and moved, and clear the session of what it no longer needs."""
        noted = False
        recorded = set(await self._leases.notes(self._client_id))
        if self._layout.shards > 1 and self._held.name == shard_name(0):
            recorded |= EVERYTHING  # from a time without shards
        while not self._done.is_set():
            with contextlib.suppress(ConnectionError):
                if self._subscriber.counters.connected and not noted and not self._retired:
                    await self._note_layout()
                    noted = True
                await self._add(recorded)
                await self._remove_stale(recorded)
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(ConnectionError):
                await self._look()

    async def _note_layout(self) -> None:
        word = f"{self._held.name}:{self._layout}"
        old = [note for note in await self._leases.notes(LAYOUTS) if note.startswith(f"{self._held.name}:")]
        await self._leases.note(LAYOUTS, add=[word], remove=[note for note in old if note != word])

    async def _add(self, recorded: set[str]) -> None:
        fresh = self._wanted - recorded
        if fresh:
            await self._leases.note(self._client_id, add=fresh)
            recorded |= fresh
            self._subscriber.change_filters(add=sorted(fresh))

    async def _remove_stale(self, recorded: set[str]) -> None:
        now = asyncio.get_running_loop().time()
        stale = recorded - self._wanted
        self._stale_since = {pattern: self._stale_since.get(pattern, now) for pattern in stale}
        due = [pattern for pattern, since in self._stale_since.items() if now - since >= self._linger_s]
        if not due and not (self._retired and not recorded):
            return
        noted = await self._leases.notes(LAYOUTS)
        if not all(f"{name}:{self._layout}" in noted for name in self._layout.names()):
            return
        if due:
            self._subscriber.change_filters(remove=due)
            await self._leases.note(self._client_id, remove=due)
            recorded -= set(due)
            log.info("session needs no longer", client_id=self._client_id, filters=len(due))
        elif self._quiet(now):
            self._subscriber.leave_for_good()
            await self._leases.note(SESSIONS, remove=[self._held.name])
            await self._leases.note(LAYOUTS, remove=[n for n in noted if n.startswith(f"{self._held.name}:")])
            self._held.ending.set()

    def _quiet(self, now: float) -> bool:
        """Whether nothing has come for a while, so the session is empty."""
        count = self._subscriber.counters.received
        if count != self._seen or not self._subscriber.counters.connected:
            self._seen, self._seen_at = count, now
        return now - self._seen_at >= self._linger_s and not self._subscriber.unacknowledged

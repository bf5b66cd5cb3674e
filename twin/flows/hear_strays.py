"""Strays: messages that no shard's session hears, where ingest is divided.

A shard subscribes to the sites and devices it knows, so a message of a device that was mounted and not imported reaches
none of them, and nobody would ever learn of it. One session of the installation hears everything: the recorder's, or
one of its own where nothing is recorded. Whatever arrives there and belongs to no shard leaves a dead letter, like the
one that an undivided ingest leaves, within the same bounds; what a shard hears is that shard's concern.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from schemas.topics import ROOT, VERBS_DOWN
from twin.flows.letter_gate import NO_SITE, letter_of
from twin.ports import StoreFullError, StoreLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twin.flows.apply_messages import Applier
    from twin.flows.ingest_batch import Ingest
    from twin.flows.spread_shards import Layout, SiteDevices
    from twin.ports import Clock, DeadLetter, Delivery, TwinStore

log = structlog.get_logger(__name__)

LOOK_AGAIN_S = 2.0


class Strays:
    """Leaves the dead letters of a divided layout. `census` reads all sites with the devices of the divided ones."""

    def __init__(
        self,
        census: Callable[[], Awaitable[list[SiteDevices]]],
        layout: Layout,
        store: TwinStore,
        applier: Applier,
        ingest: Ingest,
        clock: Clock,
    ) -> None:
        self._census = census
        self._layout = layout
        self._store = store
        self._applier = applier
        self._ingest = ingest
        self._clock = clock
        self._sites: dict[str, SiteDevices] = {}
        self._looked: float | None = None

    async def hear(self, deliveries: Sequence[Delivery]) -> None:
        """Look through a batch. Where the store takes nothing, letters are lost: they must not hold up recording."""
        try:
            await self._hear(deliveries)
        except (OSError, TimeoutError, StoreLostError, StoreFullError) as error:
            log.warning("dead letters of strays could not be kept", reason=repr(error)[:300])

    async def _hear(self, deliveries: Sequence[Delivery]) -> None:
        dead: defaultdict[str, list[DeadLetter]] = defaultdict(list)
        strays = [delivery for delivery in deliveries if self._is_stray(delivery.topic)]
        if strays and await self._look():
            strays = [delivery for delivery in strays if self._is_stray(delivery.topic)]
        for delivery in strays:
            await self._put_aside(delivery, dead)
        for site, letters in dead.items():
            await self._store.dead_letter(site, letters)

    def _is_stray(self, topic: str) -> bool:
        """Whether no filter of any shard brings this topic (`filters_of`)."""
        site, device, verb = _parts(topic)
        if verb in VERBS_DOWN:
            return False
        devices = self._sites.get(site)
        if devices is None:
            return True
        return len(devices.groups) > self._layout.spread_above and device not in devices.groups

    async def _look(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._looked is not None and now - self._looked < LOOK_AGAIN_S:
            return False
        self._sites = {devices.site: devices for devices in await self._census()}
        self._looked = now
        return True

    async def _put_aside(self, delivery: Delivery, dead: defaultdict[str, list[DeadLetter]]) -> None:
        site, device, _ = _parts(delivery.topic)
        if site not in self._sites:
            where, kind, reason = NO_SITE, "unknown_site", f"unknown site {site}"
        elif await self._is_known(site, device):
            return  # imported a moment ago: its shard subscribes to it within seconds
        else:
            where, kind, reason = site, "unknown_device", f"unknown device {device}"
            self._ingest.counters.unknown += 1
        self._ingest.put_aside(dead, where, kind, letter_of(delivery, reason, "", self._clock.now()))

    async def _is_known(self, site: str, device: str) -> bool:
        if await self._store.group_of(site, device) is not None:
            return True
        return await self._applier.point_of(site, device) is not None


def _parts(topic: str) -> tuple[str, str, str]:
    """Site, device and verb as they stand in the topic, well formed or not."""
    site, _, rest = topic.removeprefix(f"{ROOT}/").partition("/")
    device, _, verb = rest.partition("/")
    return site[:200], device[:200], verb

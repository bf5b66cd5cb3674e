"""Timers: wake every group whose due time has come. Due times live in the twins; the store's index only says
whom to ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twin.core.messages import Tick

if TYPE_CHECKING:
    from twin.flows.apply_messages import Applier
    from twin.ports import Clock, Registry, TwinStore

BATCH = 100
"""Small, because readings and commands of the site wait meanwhile, and at the end of an interval every twin is due."""
IDLE_S = 0.1


class TimerPump:
    """Wakes due groups of all sites."""

    def __init__(self, store: TwinStore, registry: Registry, applier: Applier, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._applier = applier
        self._clock = clock
        self.woken = 0
        self.late_ms = 0
        """How late the last batch of timers was looked at."""

    async def run(self, stop: asyncio.Event) -> None:
        """Pump until told to stop."""
        while not stop.is_set():
            busy = [await self.pump(site) for site in await self._registry.sites()]
            if not any(busy):
                await asyncio.sleep(IDLE_S)

    async def run_site(self, site: str, stop: asyncio.Event) -> None:
        """Pump one site until told to stop."""
        while not stop.is_set():
            if not await self.pump(site):
                await asyncio.sleep(IDLE_S)

    async def pump(self, site: str) -> int:
        """Wake one batch of due groups; returns how many."""
        now = self._clock.now()
        due = await self._store.due(site, now=now, limit=BATCH)
        if not due:
            return 0
        earliest = await self._store.next_due(site)
        self.late_ms = max(0, now - earliest) if earliest is not None else 0
        await self._applier.apply(site, {group: [Tick()] for group in due})
        self.woken += len(due)
        return len(due)

"""Alarms of used-up guards end when nothing waits behind them any more: people agreed, or the reasons are gone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twin.ports import Clock, Registry

LOOK_EVERY_S = 15.0


class GuardAlarms(Protocol):
    """Alarms of guards in SQL."""

    async def clear_settled(self, site: str, now: int) -> list[str]:
        """End the alarms of rules that nothing waits for; returns the rules."""
        ...


class GuardKeeper:
    """The loop; `look` is one round over all sites."""

    def __init__(self, registry: Registry, alarms: GuardAlarms, clock: Clock) -> None:
        self._registry = registry
        self._alarms = alarms
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)

    async def look(self) -> None:
        """One round; costs one small question a site where no guard is used up."""
        for site in await self._registry.sites():
            await self._alarms.clear_settled(site, self._clock.now())

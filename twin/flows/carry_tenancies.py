"""Tenancies: when the beginning or the end of a supply has come, its meter changes hands. Dates are in SQL, so nothing
is lost while nobody looks; what is overdue is done at the next look."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.ports import Clock, PendingAct

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0


class Tenancies(Protocol):
    """Supplies in SQL."""

    async def carry_out_due(self, now: int) -> list[PendingAct]:
        """Let supplies begin and end whose time has come; the acts for the twins."""
        ...


class Delivery(Protocol):
    """Carries acts to the twins."""

    async def deliver(self, acts: Sequence[PendingAct]) -> int:
        """How many were confirmed."""
        ...


class TenancyKeeper:
    """The loop; `look` is one round over all sites."""

    def __init__(self, tenancies: Tenancies, delivery: Delivery, clock: Clock) -> None:
        self._tenancies = tenancies
        self._delivery = delivery
        self._clock = clock

    async def look(self) -> int:
        """Carry out what is due; returns how many acts came of it."""
        acts = await self._tenancies.carry_out_due(self._clock.now())
        if acts:
            log.info("supplies began or ended", acts=len(acts))
            await self._delivery.deliver(acts)
        return len(acts)

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)

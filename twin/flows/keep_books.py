"""Care of the books: requests that nobody decided expire, and every local day that has ended is anchored.

Both are idempotent, and both look at what is due and not at how often they are asked: a scheduler that slept over
midnight, or two at once, do no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.ports import Clock, PendingAct, Registry

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 20.0


class Requests(Protocol):
    """Requests for a second person's agreement."""

    async def expire_requests(self, site: str, ts: int) -> Sequence[Any]:
        """Settle those that nobody decided in time; each decision has its `acts`."""
        ...


class Anchors(Protocol):
    """Anchors of the ledger."""

    async def take_anchor(self, site: str, now: int) -> Any:
        """The anchor of the last day that has ended, made where there is none."""
        ...


class Delivery(Protocol):
    """Carries acts to the twins."""

    async def deliver(self, acts: Sequence[PendingAct]) -> int:
        """How many were confirmed."""
        ...


class BookKeeper:
    """The loop; `look` is one round over all sites."""

    def __init__(
        self, registry: Registry, requests: Requests, anchors: Anchors, delivery: Delivery, clock: Clock
    ) -> None:
        self._registry = registry
        self._requests = requests
        self._anchors = anchors
        self._delivery = delivery
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)

    async def look(self) -> None:
        """One round: expire what is due, anchor what has ended."""
        now = self._clock.now()
        for site in await self._registry.sites():
            for decision in await self._requests.expire_requests(site, now):
                log.info("a request expired", site=site, request=decision.approval.id)
                await self._delivery.deliver(decision.acts)
            await self._anchors.take_anchor(site, now)

"""Rate again: meters whose samples, payers or prices changed are brought to what they say, by themselves.

Whoever changes such a thing marks the meter in the same transaction. Changes come in bursts (a gateway empties its
buffer, an import touches two hundred supplies), so a marked meter is left alone until it has been quiet for a while.
What is found is posted by the store in one transaction; the acts that it leads to are delivered at once, and by the
sweep where we die in between.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from twin.flows.deliver_acts import ActDelivery
    from twin.ports import Clock
    from twin.rerated import Rerated

log = structlog.get_logger(__name__)

QUIET_MS = 3_000
EVERY_S = 2.0
BATCH = 50
"""Meters at once: a month of one takes some hundredths of a second."""


class Reratings(Protocol):
    """The queue of marked meters, and what is done about one."""

    async def work(self, *, now: int, quiet_before: int, limit: int = BATCH) -> list[Rerated]:
        """Rate marked meters that have been quiet since an instant (Unix ms), oldest first; returns what came of it."""
        ...

    def rerate_site(
        self,
        site: str,
        *,
        now: int,
        meters: Sequence[str] | None = None,
        from_ts: int | None = None,
        actor: str = "platform",
        dry_run: bool = False,
    ) -> AsyncIterator[Rerated]:
        """Rate meters of one site: the marked ones, or with `from_ts` all that are named, or all."""
        ...


class Rerater:
    """Works off marked meters, as a service or when somebody asks for it."""

    def __init__(self, reratings: Reratings, delivery: ActDelivery, clock: Clock) -> None:
        self._reratings = reratings
        self._delivery = delivery
        self._clock = clock
        self.done = 0
        """Meters rated again so far."""
        self.adjusted = 0
        """Adjustments posted so far."""
        self.troubled = 0
        """Meters that could not be rated so far."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            if await self.work() < BATCH:
                await asyncio.sleep(EVERY_S)

    async def work(self) -> int:
        """Rate one batch of marked meters again; returns how many."""
        now = self._clock.now()
        outcomes = await self._reratings.work(now=now, quiet_before=now - QUIET_MS, limit=BATCH)
        for outcome in outcomes:
            await self._take(outcome)
        return len(outcomes)

    async def site(
        self,
        site: str,
        *,
        meters: Sequence[str] | None = None,
        from_ts: int | None = None,
        actor: str = "platform",
        dry_run: bool = False,
    ) -> AsyncIterator[Rerated]:
        """Rate meters of a site now: the marked ones, as settlement wants it before it closes a month; with `from_ts`
        (Unix ms) those that are named, or all. Raises LookupError for an unknown site."""
        outcomes = self._reratings.rerate_site(
            site, now=self._clock.now(), meters=meters, from_ts=from_ts, actor=actor, dry_run=dry_run
        )
        async for outcome in outcomes:
            await self._take(outcome)
            yield outcome

    async def _take(self, outcome: Rerated) -> None:
        self.done += 1
        self.adjusted += outcome.adjustments if outcome.batch else 0
        if outcome.trouble:
            self.troubled += 1
            log.warning("meter cannot be rated again", site=outcome.site, meter=outcome.meter, why=outcome.trouble)
        if outcome.batch:
            log.info(
                "meter rated again",
                site=outcome.site,
                meter=outcome.meter,
                adjustments=outcome.adjustments,
                moved=outcome.moved,
            )
        if outcome.acts:
            await self._delivery.deliver(outcome.acts)

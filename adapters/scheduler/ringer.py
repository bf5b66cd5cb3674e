"""Rings at an interval of real time, by APScheduler: one call at a time, calls that were missed are one call.

Told to stop in the middle of a call, it lets the call end. One that does not end in time is cancelled where it waits:
what it had in hand is rolled back, and done when the next process rings.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

ENDS_WITHIN_S = 5.0
"""So long a call may go on after the stop; whoever stops a process waits some ten seconds before it kills."""


class _Call:
    """The call in hand. APScheduler itself never cancels it, because it would tell of that as of a failure."""

    def __init__(self, work: Callable[[], Awaitable[object]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    async def run(self) -> None:
        if self._ended:
            return
        task = self._task = asyncio.create_task(self._do())
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _do(self) -> None:
        await self._work()

    async def end(self, name: str, within_s: float) -> None:
        """Let it end, or make it; no other begins."""
        self._ended = True
        task = self._task
        if task is None or task.done():
            return
        await asyncio.wait({task}, timeout=within_s)
        if task.cancel():
            log.info("stopped in the middle of its work, it goes on at the next start", job=name)
        with contextlib.suppress(asyncio.CancelledError, Exception):  # a failure was told by the scheduler
            await task


async def ring_until(
    stop: asyncio.Event,
    name: str,
    work: Callable[[], Awaitable[object]],
    *,
    every_s: float,
    ends_within_s: float = ENDS_WITHIN_S,
) -> None:
    """Call `work` at once and then every so many seconds, until told to stop. A call that takes longer is not
    overtaken; one that is under way at the stop has `ends_within_s` to end."""
    # Loaded by what runs for long: commands that end at once would start later for it.
    from apscheduler.schedulers.asyncio import AsyncIOScheduler
    from apscheduler.triggers.interval import IntervalTrigger

    scheduler = AsyncIOScheduler(timezone="UTC")
    call = _Call(work)
    scheduler.add_job(
        call.run,
        IntervalTrigger(seconds=max(1, round(every_s)), timezone="UTC"),
        id=name,
        name=name,
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
        next_run_time=datetime.now(UTC),
    )
    scheduler.start()
    try:
        await stop.wait()
    finally:
        scheduler.pause()
        await call.end(name, ends_within_s if stop.is_set() else 0.0)
        await asyncio.sleep(0)  # the scheduler's own future of this call is done as well
        scheduler.shutdown(wait=False)

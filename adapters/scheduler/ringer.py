"""Rings at an interval of real time, by APScheduler: one call at a time, calls that were missed are one call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def ring_until(stop: asyncio.Event, name: str, work: Callable[[], Awaitable[object]], *, every_s: float) -> None:
    """Call `work` at once and then every so many seconds, until told to stop. A call that takes longer is not
    overtaken."""
    scheduler = AsyncIOScheduler(timezone="UTC")
    scheduler.add_job(
        work,
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
        scheduler.shutdown(wait=False)

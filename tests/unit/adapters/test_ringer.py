"""The ringer: at once, then again and again, one call at a time, until told to stop."""

from __future__ import annotations

import asyncio

from adapters.scheduler.ringer import ring_until


async def test_it_rings_one_call_at_a_time_until_told_to_stop() -> None:
    stop, calls, running, most = asyncio.Event(), 0, 0, 0

    async def work() -> None:
        nonlocal calls, running, most
        calls, running = calls + 1, running + 1
        most = max(most, running)
        await asyncio.sleep(1.2 if calls == 1 else 0)
        running -= 1
        if calls == 3:
            stop.set()

    async with asyncio.timeout(60):
        await ring_until(stop, "test", work, every_s=1)
    assert calls == 3
    assert most == 1
    await asyncio.sleep(1.1)
    assert calls == 3

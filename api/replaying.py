"""Replays on all cores: groups are shared out to worker processes, and the parts put together.

A worker opens the database by itself and needs nothing else. Where a guard, which counts over the whole site, was
reached by all parts together, the replay is run once more in one process, so that its order is right.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import msgspec

from twin.flows.replay import ReplayPart
from twin.flows.replay_rules import ReplayPlan, ReplayResult, groups_of_span, guards_reached, put_together, shares
from twin.flows.replay_rules import run_part as run_part_here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twin.recorded import Past

MOST_WORKERS = 8
WORTH_A_PROCESS = 8
"""Fewer groups than this are replayed by one process: starting another takes longer."""


async def replay(
    past: Past,
    database_url: str,
    plan: ReplayPlan,
    *,
    workers: int | None = None,
    progress: Callable[[str], object] | None = None,
) -> ReplayResult:
    """Replay a plan over the groups of its span."""
    say = progress or (lambda _text: None)
    names = sorted(await groups_of_span(past, plan))
    wanted = workers or min(MOST_WORKERS, os.cpu_count() or 1)
    parts = shares(names, max(1, min(wanted, len(names) // WORTH_A_PROCESS)))
    say(f"{len(names)} groups in {len(parts)} processes")
    done = await _run(database_url, plan, parts)
    reached = guards_reached(plan, done)
    if reached and len(done) > 1:
        say(f"the guard of {', '.join(reached)} was reached: once more, in one process")
        done = await _run(database_url, plan, [names])
    return put_together(plan, done, reached)


async def _run(database_url: str, plan: ReplayPlan, parts: Sequence[Sequence[str]]) -> list[ReplayPart]:
    packed = msgspec.msgpack.encode(plan)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(max(1, len(parts)), mp_context=get_context("spawn")) as pool:
        work = [loop.run_in_executor(pool, run_part, database_url, packed, list(names)) for names in parts]
        return [msgspec.msgpack.decode(answer, type=ReplayPart) for answer in await asyncio.gather(*work)]


def run_part(database_url: str, packed: bytes, names: list[str]) -> bytes:
    """What a worker process does: replay some groups, and give the part back as bytes."""
    plan = msgspec.msgpack.decode(packed, type=ReplayPlan)
    return msgspec.msgpack.encode(asyncio.run(_part(database_url, plan, names)))


async def _part(database_url: str, plan: ReplayPlan, names: list[str]) -> ReplayPart:
    from api.bootstrap import open_recorded

    database, past, history = await open_recorded(database_url)
    try:
        return await run_part_here(past, history, plan, names)
    finally:
        await database.close()

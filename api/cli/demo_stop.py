"""How a demonstration stops: step by step, each within its time, telling what it still waits for and how much of it.

What does not come to its end is named in an error. Nothing here waits without a limit, and nothing is asked without
one: Redis or the database may be what has stopped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from api.cli.errors import CommandError
from api.cli.installation import say
from api.cli.language import tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

POLL_S = 0.1
SAY_EVERY_S = 5.0
CANCEL_EVERY_S = 1.0


async def until_nothing_left(
    left: Callable[[], Awaitable[str]],
    *,
    within_s: float,
    told: Callable[[str], object] = say,
    say_every_s: float = SAY_EVERY_S,
) -> None:
    """Wait until `left` has nothing more to name. What it names is told every `say_every_s`.

    Raises CommandError with what was left after `within_s`, or that nobody answered.
    """
    loop = asyncio.get_running_loop()
    text, tell_at = tell("没有回应", "no answer yet"), loop.time() + say_every_s
    try:
        async with asyncio.timeout(within_s):
            while text := await left():
                if loop.time() >= tell_at:
                    told(tell(f"仍在等待：{text}", f"still waiting for: {text}"))
                    tell_at = loop.time() + say_every_s
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise CommandError(
            tell(f"{within_s:g} 秒内没有停妥，还差：{text}", f"not at rest within {within_s:g} s; what is left: {text}")
        ) from None


async def in_time(
    work: Awaitable[object],
    stands: Callable[[], str],
    *,
    within_s: float,
    told: Callable[[str], object] = say,
    say_every_s: float = SAY_EVERY_S,
) -> None:
    """Let `work` come to its end, telling every `say_every_s` where it stands. Raises what it raises, and CommandError
    with where it stood after `within_s`."""
    task = asyncio.ensure_future(work)

    async def left() -> str:
        return "" if task.done() else stands() or "..."

    try:
        await until_nothing_left(left, within_s=within_s, told=told, say_every_s=say_every_s)
    finally:
        await ended([task], within_s=CANCEL_EVERY_S)
    await task


async def ended(tasks: Iterable[asyncio.Task[object]], *, within_s: float) -> list[asyncio.Task[object]]:
    """Cancel tasks until they have ended; returns those that have not within `within_s`.

    They are cancelled more than once: a library that loses a cancellation must not hold up the end of everything.
    """
    loop = asyncio.get_running_loop()
    running, deadline = [task for task in tasks if not task.done()], loop.time() + within_s
    while running and loop.time() < deadline:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=min(CANCEL_EVERY_S, max(0.0, deadline - loop.time())))
        running = [task for task in running if not task.done()]
    return running

"""An event loop in virtual time, with processes that can be killed and stopped at any await.

Theory of operation. Every callback carries a context, and the context names the process that it belongs to, so the loop
knows whose turn it is. Inside a process callbacks run in the order of asyncio; which process runs next is drawn from
the seed. When nobody can run, time jumps to the next timer. To kill a process is to never run a callback of its again:
no `finally`, no `except`, as SIGKILL does. To stop it (SIGSTOP) is to let its callbacks wait until it goes on; what it
then believes of the world is as old as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random


class Process:
    """One process of the platform, or the world around it."""

    __slots__ = ("alive", "name", "queue", "stopped")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.queue: deque[asyncio.Handle] = deque()

    def __repr__(self) -> str:
        return self.name


class ProcessDeadError(BaseException):
    """Raised out of whatever a killed process still tries when Python cleans it away."""


OUTSIDE = Process("world")
_CURRENT: ContextVar[Process] = ContextVar("process", default=OUTSIDE)


def current_process() -> Process:
    """The process that runs now; raises ProcessDeadError in one that was killed."""
    process = _CURRENT.get()
    if not process.alive:
        raise ProcessDeadError(process.name)
    return process


class StalledError(RuntimeError):
    """Too much happens without time passing: somebody spins."""


MOST_STEPS_AN_INSTANT = 200_000


class SimLoop(asyncio.AbstractEventLoop):
    """The least of an event loop that asyncio's tasks, locks, events and timeouts need."""

    def __init__(self, rng: Random, start_ms: int) -> None:
        self._rng = rng
        self._now = start_ms / 1000
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._runnable: list[Process] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.steps = 0
        self.broken: Exception | None = None
        """What ends the run here and now, whoever would catch it where it was found."""
        self.errors: list[str] = []

    # --- what asyncio asks for

    def time(self) -> float:
        """Virtual seconds; they are Unix seconds of the true time."""
        return self._now

    @property
    def now_ms(self) -> int:
        """True time, Unix ms."""
        return round(self._now * 1000)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Cancelled timers are passed over when their time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(str(context.get("exception") or context.get("message")))

    # --- processes

    def spawn(self, process: Process, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Start a coroutine as a task of a process."""
        context = copy_context()
        context.run(_CURRENT.set, process)
        return context.run(lambda: self.create_task(work(), context=context))

    def inside(self, process: Process, work: Callable[[], Any]) -> Any:
        """Do something at once as a process would."""
        context = copy_context()
        context.run(_CURRENT.set, process)
        return context.run(work)

    def kill(self, process: Process) -> None:
        """SIGKILL: nothing of it ever runs again."""
        process.alive = False
        process.queue.clear()
        with contextlib.suppress(ValueError):
            self._runnable.remove(process)

    def stop_process(self, process: Process) -> None:
        """SIGSTOP."""
        process.stopped = True
        with contextlib.suppress(ValueError):
            self._runnable.remove(process)

    def continue_process(self, process: Process) -> None:
        """SIGCONT."""
        process.stopped = False
        if process.queue and process.alive and process not in self._runnable:
            self._runnable.append(process)

    # --- running

    def _enqueue(self, handle: asyncio.Handle) -> None:
        process = handle._context.get(_CURRENT, OUTSIDE)  # type: ignore[attr-defined]
        if not process.alive:
            return
        if not process.queue and not process.stopped and process not in self._runnable:
            self._runnable.append(process)
        process.queue.append(handle)

    def run_until(self, until: float) -> None:
        """Run everything up to an instant of virtual time (Unix seconds)."""
        asyncio._set_running_loop(self)
        try:
            self._run(until)
        finally:
            asyncio._set_running_loop(None)

    def run_until_done(self, task: asyncio.Task[Any], within_s: float) -> Any:
        """Run until a task has ended. Raises TimeoutError when it takes longer (virtual seconds)."""
        asyncio._set_running_loop(self)
        try:
            self._run(self._now + within_s, task)
        finally:
            asyncio._set_running_loop(None)
        if not task.done():
            raise TimeoutError(f"{task.get_name()} has not ended within {within_s:g} s")
        return task.result()

    def _run(self, until: float, task: asyncio.Task[Any] | None = None) -> None:
        spinning = 0
        while task is None or not task.done():
            if self._runnable:
                self._one()
                if self.broken is not None:
                    raise self.broken
                spinning += 1
                if spinning > MOST_STEPS_AN_INSTANT:
                    raise StalledError(f"{spinning} steps without a moment passing")
                continue
            spinning = 0
            if not self._timers or self._timers[0][0] > until:
                self._now = max(self._now, until)
                return
            when, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._now = max(self._now, when)
                self._enqueue(handle)

    def _one(self) -> None:
        runnable = self._runnable
        place = self._rng.randrange(len(runnable)) if len(runnable) > 1 else 0
        process = runnable[place]
        handle = process.queue.popleft()
        if not process.queue:
            del runnable[place]
        if not handle.cancelled():
            self.steps += 1
            handle._run()

    def bury(self) -> None:
        """The run is over: end what is left of every task, without a word."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException):
                    task.get_coro().close()  # type: ignore[union-attr]
            elif not task.cancelled():
                task.exception()
        self._tasks.clear()
        self._timers.clear()
        OUTSIDE.queue.clear()  # the world outside is that of the next run, too, which must not begin with what is left

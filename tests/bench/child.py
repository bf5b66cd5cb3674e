"""Processes of a measurement: each runs one object on uvloop and answers calls of its parent over a pipe.

Every role (platform, publisher, probe) has a process of its own, so its CPU time can be read from /proc. A child ends
when its parent closes the pipe or dies.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import structlog
import uvloop

Counter = Any
"""An unsigned 64-bit number in shared memory; `.value` reads and writes it."""


class ChildError(RuntimeError):
    """A call failed inside a child; the text is its traceback."""


class Child:
    """A child process as its parent sees it. `make` builds the served object inside the child from the arguments."""

    def __init__(self, name: str, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_main, args=(theirs, make, arguments), name=name, daemon=True)
        self.process.start()
        theirs.close()
        self.name = name

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.process.pid is not None
        return self.process.pid

    def send(self, method: str, *arguments: Any) -> None:
        """Begin a call; `result` waits for its end. One call at a time."""
        self._pipe.send((method, arguments))

    def answers(self, within_s: float) -> bool:
        """Whether the call has ended, waiting for that so long."""
        return self._pipe.poll(within_s)

    def result(self, within_s: float = 900.0) -> Any:
        """What the call returned. Raises ChildError with its traceback when it failed, or took too long."""
        if not self._pipe.poll(within_s):
            raise ChildError(f"{self.name} gave no answer in {within_s:g} s")
        try:
            failed, value = self._pipe.recv()
        except EOFError:
            raise ChildError(f"{self.name} ended with code {self.process.exitcode}") from None
        if failed:
            raise ChildError(f"in {self.name}:\n{value}")
        return value

    def call(self, method: str, *arguments: Any, within_s: float = 900.0) -> Any:
        """Call a method of the child's object and wait for its result."""
        self.send(method, *arguments)
        return self.result(within_s)

    def stop(self) -> None:
        """End the child by closing the pipe; the object's `close` runs first."""
        self._pipe.close()
        self.process.join(30)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def counter() -> Counter:
    """A counter that children share."""
    return multiprocessing.get_context("spawn").RawValue("Q", 0)


def _main(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.disable(logging.INFO)
    uvloop.run(_serve(pipe, make, arguments))


async def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    served = make(*arguments)
    try:
        while True:
            try:
                method, values = await asyncio.to_thread(pipe.recv)
            except (EOFError, OSError):
                return
            try:
                pipe.send((False, await getattr(served, method)(*values)))
            except BrokenPipeError:
                return  # nobody wants to know any more
            except Exception:
                pipe.send((True, traceback.format_exc()))
    finally:
        await served.close()

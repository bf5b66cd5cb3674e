"""Every call of a process to a server goes through here: it takes time, may fail before or after its effect, and is
where processes are killed or stopped.

The name of a call starts with its server: `redis.`, `sql.`, `mqtt.`. A call that fails *before* had no effect; one that
fails *after* had it, and only the answer is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.simulation.chance import stream
from tests.simulation.loop import Process, ProcessDeadError
from tests.simulation.sql import AWAY, trouble

if TYPE_CHECKING:
    from tests.simulation.world import World

LOST_ANSWER_S = 5.0
REFUSED_S = 0.05


class Fuse(msgspec.Struct):
    """What happens to a process at one of its next calls, before or after the effect."""

    calls: int
    after: bool
    blow: Callable[[Process], object]
    op: str = ""
    """Only calls whose name has this in it are counted; empty: all."""


class Network:
    """The ways between processes and servers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = stream(world.seed, "network")
        self._cut: dict[tuple[str, str], int] = {}
        self._deaf: dict[tuple[str, str], int] = {}
        self._fuses: dict[Process, Fuse] = {}
        self.away: dict[str, int] = {}
        """Servers that do not answer anybody, by the true instant they do again."""
        self.loss = 0.0
        self.answer_loss = 0.0
        self.slow = 0.0
        self.calls = 0

    def cut(self, process: str, server: str, until: int, *, answers_only: bool) -> None:
        """Nothing passes between a process and a server until an instant, or no answer comes back."""
        (self._deaf if answers_only else self._cut)[process, server] = until

    def light(self, process: Process, fuse: Fuse) -> None:
        """Let something happen to a process at one of its next calls."""
        self._fuses[process] = fuse

    def heal(self) -> None:
        """Everything passes again."""
        self._cut.clear()
        self._deaf.clear()
        self._fuses.clear()
        self.away.clear()
        self.loss = self.answer_loss = self.slow = 0.0

    async def reach(self, process: Process, op: str, effect: Callable[[], Any]) -> Any:
        """One call. Raises what the driver of that server raises when it cannot be reached or is not heard."""
        if not process.alive:
            raise ProcessDeadError(process.name)
        world, rng, self.calls = self._world, self._rng, self.calls + 1
        server = op.partition(".")[0]
        await self._latency()
        await self._maybe_blow(process, op, after=False)
        key, now = (process.name.partition("#")[0], server), world.loop.now_ms
        if now < self.away.get(server, 0) or now < self._cut.get(key, 0) or (self.loss and rng.random() < self.loss):
            world.trace.note(now, process.name, f"{op} does not get through")
            await asyncio.sleep(REFUSED_S)
            raise unreachable(server)
        world.trace.note(now, process.name, op)
        answer = effect()
        await self._maybe_blow(process, op, after=True)
        if now < self._deaf.get(key, 0) or (self.answer_loss and rng.random() < self.answer_loss):
            world.trace.note(now, process.name, f"{op}: the answer is lost")
            await asyncio.sleep(LOST_ANSWER_S)
            raise unheard(server)
        return answer

    async def _latency(self) -> None:
        draw = self._rng.random()
        if self.slow and draw < self.slow:
            await asyncio.sleep(self._rng.uniform(0.1, 3.0))
        elif draw < 0.25:
            await asyncio.sleep(self._rng.randrange(1, 40) / 1000)
        elif draw < 0.5:
            await asyncio.sleep(0)

    async def _maybe_blow(self, process: Process, op: str, *, after: bool) -> None:
        fuse = self._fuses.get(process)
        if fuse is None or fuse.after is not after or fuse.op not in op:
            return
        fuse.calls -= 1
        if fuse.calls <= 0:
            del self._fuses[process]
            self._world.trace.note(self._world.loop.now_ms, process.name, f"fuse {'after' if after else 'before'} {op}")
            fuse.blow(process)
            await asyncio.sleep(0)


def unreachable(server: str) -> Exception:
    """The driver's error for a server that is not there; the call had no effect."""
    if server == "redis":
        return RedisConnectionError("simulated: connection refused")
    return trouble(AWAY, "simulated: the server is away") if server == "sql" else ConnectionResetError("simulated")


def unheard(server: str) -> Exception:
    """The driver's error for an answer that did not come."""
    if server == "redis":
        return RedisTimeoutError("simulated: no answer")
    return trouble(AWAY, "simulated: no answer") if server == "sql" else ConnectionResetError("simulated: no answer")

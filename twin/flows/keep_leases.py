"""Keep leases: one process takes its fair share of a kind of work, renews it, and stops at once what it has lost.

Theory of operation. A beat, several times within a lease's life, renews membership and leases in one call and returns
what everybody has; from that follows, the same for all, what to take and what to give up (`twin.leases.plan`). Each
piece is a task. A piece that is given up, at a rebalancing or at the end, finishes what it has in hand first and is
free only then. A lease that was not renewed in time by this process's own clock, which also counts while it is frozen,
is lost before anybody else may take it: its task is cancelled where it stands, nothing more is acknowledged. What a
frozen process does in the instant it wakes up is not this flow's concern: the token at the twins refuses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from twin.leases import LayoutError, LeaseLostError, plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from twin.leases import Leases

log = structlog.get_logger(__name__)

BEATS_A_LIFE = 5
"""A lease is renewed so often within its life; four beats may fail before it is lost."""


class LeaseCounters(msgspec.Struct):
    """What became of the leases of one kind in this process, for metrics."""

    held: int = 0
    taken: int = 0
    given: int = 0
    lost: int = 0
    fenced: int = 0
    """Commits that the store refused because the lease was somebody else's by then."""
    beats: int = 0
    beats_failed: int = 0


class Held:
    """A lease that this process holds, or has held."""

    def __init__(self, name: str, token: int, until: float, seconds: Callable[[], float]) -> None:
        self.name = name
        self.token = token
        self.until = until
        """When it is lost unless it is renewed, on this process's clock, s."""
        self.ending = asyncio.Event()
        """Set when the piece is to be given up: finish what is in hand, and return."""
        self._seconds = seconds

    def holds(self) -> bool:
        """Whether it is certainly still ours."""
        return self._seconds() < self.until

    async def may_go_on(self) -> bool:
        """`holds`, for whoever asks before connecting anew."""
        return self.holds() and not self.ending.is_set()


class LeaseKeeper:
    """Keeps the leases of one kind of work for this process. `owner` differs at every start of a process."""

    def __init__(
        self,
        leases: Leases,
        kind: str,
        *,
        owner: str,
        host: str,
        ttl_s: float,
        layout: str = "",
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._kind = kind
        self._owner = owner
        self._host = host
        self._ttl_s = ttl_s
        self._layout = layout
        self._seconds = seconds
        self._held: dict[str, tuple[Held, asyncio.Task[None]]] = {}
        self._names: frozenset[str] = frozenset()
        self.counters = LeaseCounters()

    async def run(
        self,
        names: Callable[[], Awaitable[Iterable[str]]],
        work: Callable[[Held], Coroutine[None, None, None]],
        stop: asyncio.Event,
    ) -> None:
        """Do the work of the pieces that fall to this process until told to stop; then give all of them up.

        `names` tells which pieces there are, `work` does one until its lease ends.
        """
        stopping = asyncio.create_task(stop.wait())
        try:
            while True:
                await self._step(names, work, stop)
                if stop.is_set() and not self._held:
                    break
                await self._pause(stopping)
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._leases.leave(self._kind, self._owner)
        finally:
            stopping.cancel()
            for held, task in self._held.values():
                held.until = 0.0
                task.cancel()
            await asyncio.gather(*(task for _, task in self._held.values()), return_exceptions=True)
            self._held.clear()
            self.counters.held = 0

    async def _step(
        self,
        names: Callable[[], Awaitable[Iterable[str]]],
        work: Callable[[Held], Coroutine[None, None, None]],
        stop: asyncio.Event,
    ) -> None:
        try:
            async with asyncio.timeout(max(self._ttl_s / 2, 0.1)):
                await self._beat(names, work, stop)
        except LayoutError as error:
            self.counters.beats_failed += 1
            log.error("waiting with this work", kind=self._kind, reason=str(error))
        except (OSError, TimeoutError) as error:
            self.counters.beats_failed += 1
            log.warning("leases could not be renewed", kind=self._kind, reason=repr(error)[:300])
        self._drop_expired()
        self.counters.held = len(self._held)

    async def _beat(
        self,
        names: Callable[[], Awaitable[Iterable[str]]],
        work: Callable[[Held], Coroutine[None, None, None]],
        stop: asyncio.Event,
    ) -> None:
        self._names = frozenset(await names())
        await self._give_finished()
        sent, ttl_ms = self._seconds(), int(self._ttl_s * 1000)
        tokens = {name: held.token for name, (held, _) in self._held.items()}
        view = await self._leases.beat(self._kind, self._owner, self._host, tokens, ttl_ms=ttl_ms, layout=self._layout)
        self.counters.beats += 1
        ours = {lease.name: lease.token for lease in view.leases if lease.owner == self._owner}
        for name, (held, _) in list(self._held.items()):
            if ours.get(name) == held.token:
                held.until = sent + self._ttl_s
            else:
                self._lose(name, "another process has it")
        if stop.is_set():
            for held, _ in self._held.values():
                held.ending.set()
            return
        wanted = plan(self._owner, self._names, view, settled_ms=ttl_ms)
        for name in wanted.give:
            if name in self._held:
                self._held[name][0].ending.set()
        for name in wanted.take:
            if name not in self._held:
                await self._take(name, work, ttl_ms)

    async def _take(self, name: str, work: Callable[[Held], Coroutine[None, None, None]], ttl_ms: int) -> None:
        sent = self._seconds()
        token = await self._leases.take(self._kind, name, self._owner, ttl_ms=ttl_ms)
        if not token:
            return
        held = Held(name, token, sent + self._ttl_s, self._seconds)
        self._held[name] = held, asyncio.create_task(self._work(held, work))
        self.counters.taken += 1
        log.info("lease taken", kind=self._kind, piece=name, token=token, owner=self._owner)

    async def _work(self, held: Held, work: Callable[[Held], Coroutine[None, None, None]]) -> None:
        try:
            await work(held)
        except LeaseLostError as error:
            self.counters.fenced += 1
            log.warning("stopped by its fence", kind=self._kind, piece=held.name, reason=str(error))
        except Exception:
            log.exception("leased work failed, its lease is given up", kind=self._kind, piece=held.name)

    async def _give_finished(self) -> None:
        for name, (held, task) in list(self._held.items()):
            if task.done():
                gone = name not in self._names
                await self._leases.give(self._kind, name, self._owner, held.token, forget=gone)
                del self._held[name]
                held.until = 0.0
                self.counters.given += 1
                log.info("lease given up", kind=self._kind, piece=name, token=held.token)

    def _drop_expired(self) -> None:
        for name, (held, _) in list(self._held.items()):
            if not held.holds():
                self._lose(name, "it was not renewed in time")

    def _lose(self, name: str, why: str) -> None:
        held, task = self._held.pop(name)
        held.until = 0.0
        task.cancel()
        self.counters.lost += 1
        log.warning("lease lost, its work stops at once", kind=self._kind, piece=name, token=held.token, reason=why)

    async def _pause(self, stopping: asyncio.Task[bool]) -> None:
        """Until the next beat, or until something has ended."""
        if stopping.done() and any(task.done() for _, task in self._held.values()):
            return
        ends: set[asyncio.Task[bool] | asyncio.Task[None]] = {
            task for _, task in self._held.values() if not task.done()
        }
        if not stopping.done():
            ends.add(stopping)
        beat_s = self._ttl_s / BEATS_A_LIFE
        if ends:
            await asyncio.wait(ends, timeout=beat_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(beat_s)

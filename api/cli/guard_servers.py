"""The servers that `up` started itself: watched, and started again where they were when they die.

Clients know them by their URLs, so a server comes back on its own port with its own data, and everybody reconnects by
himself. One that dies again and again is given up: `MOST_RESTARTS` within `WITHIN_S`, with a growing pause before each.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

POLL_S: Final = 0.5
FIRST_PAUSE_S: Final = 0.2
MOST_RESTARTS: Final = 5
WITHIN_S: Final = 300.0


class Server(Protocol):
    """A child server, as far as it is guarded."""

    @property
    def name(self) -> str: ...
    def respawn(self) -> None:
        """Start it anew, without waiting. Raises RuntimeError."""
        ...

    def wait_ready(self) -> None:
        """Returns once it serves. Raises RuntimeError."""
        ...

    def log_tail(self) -> str:
        """The end of its log."""
        ...


class ServerGuard:
    """Starts dead servers again. `recover` makes good what was lost with one; `seconds` is a monotonic clock."""

    def __init__(
        self,
        dead: Callable[[], Sequence[Server]],
        recover: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dead = dead
        self._recover = recover
        self._say = say
        self._seconds = seconds
        self._restarts: deque[float] = deque()
        self.given_up = ""
        """Which server did not come back, and why; an empty text while all live."""

    async def run(self) -> None:
        """Watch until a server is given up."""
        while not self.given_up:
            await asyncio.sleep(POLL_S)
            for server in self._dead():
                await self._restart(server)

    async def _restart(self, server: Server) -> None:
        self._say(f"an embedded server was lost: {server!r}. The end of its log:\n{server.log_tail()}")
        now = self._seconds()
        while self._restarts and now - self._restarts[0] > WITHIN_S:
            self._restarts.popleft()
        if len(self._restarts) >= MOST_RESTARTS:
            self.given_up = (
                f"{server!r} died although it was started again {len(self._restarts)} times within {WITHIN_S:.0f} s. "
                f"The end of its log:\n{server.log_tail()}"
            )
            return
        self._restarts.append(now)
        await asyncio.sleep(FIRST_PAUSE_S * 2 ** (len(self._restarts) - 1))
        try:
            server.respawn()  # in the main thread: the child lives as long as the thread that starts it
            await asyncio.to_thread(server.wait_ready)
        except RuntimeError as error:
            self._say(f"{server.name} did not come back: {error}")
            return  # it is still dead, so the next look tries again, until the bound
        self._say(f"an embedded server was started again: {server!r}")
        try:
            await self._recover()
        except Exception as error:
            # The services look themselves as soon as they touch the store.
            self._say(f"after the restart of {server.name}: {error!r}")

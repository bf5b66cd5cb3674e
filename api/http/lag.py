"""How far the ledger is behind the twins, and whether it still moves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from api.stream.feed import order

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.http.backend import Backend

LEDGER: Final = "ledger"
NOBODY: Final = "length"
"""A consumer group that nobody joins: to it, the whole stream is unread."""
STUCK_S: Final = 60.0
MOST_ENTRIES: Final = 100_000


class Lag(msgspec.Struct, frozen=True):
    """The lag of one site: entries not yet in SQL, their age on the site's clock, and what the stream holds."""

    entries: int
    seconds: float
    length: int
    stuck: bool = False


async def read_lag(backend: Backend, site: str) -> Lag:
    """The lag of one site now."""
    entries = await backend.stream.lag(site, LEDGER)
    length = await backend.stream.lag(site, NOBODY)
    known = await backend.store.generation(site)
    if not entries or known is None:
        return Lag(entries, 0.0, length)
    posted_ms, _ = order(await backend.ledger.position(site))
    newest_ms, _ = order(known[1])
    # Before the first posting there is no instant to count from.
    return Lag(entries, max(0, newest_ms - posted_ms) / 1000 if posted_ms else 0.0, length)


class LagWatch:
    """Remembers when each site's ledger was last seen moving; one that stands still with work to do is stuck."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._moved: dict[str, tuple[str, float]] = {}

    async def look(self, backend: Backend, site: str) -> Lag:
        """The lag of a site, with the verdict."""
        lag = await read_lag(backend, site)
        position = await backend.ledger.position(site)
        now = self._seconds()
        before = self._moved.get(site)
        if before is None or before[0] != position or not lag.entries:
            self._moved[site] = (position, now)
            stands_s = 0.0
        else:
            stands_s = now - before[1]
        return msgspec.structs.replace(lag, stuck=stands_s > STUCK_S or lag.entries > MOST_ENTRIES)

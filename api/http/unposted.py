"""Money that twins have posted and SQL does not have yet, counted from the effect stream.

Theory of operation. What SQL has is known by its position, so only what lies behind that is read: a handful of entries
while the ledger keeps up. When it does not, each look goes on where the last one ended and reads a bounded piece, so
that a long backlog is counted through over some scrapes instead of in one; until then the sum says that it is partial.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from api.stream.feed import order
from twin.core.effects import ChargePosted

if TYPE_CHECKING:
    from api.http.backend import Backend

PIECE: Final = 2_000
"""Entries read at a time."""
PIECES: Final = 10
"""Reads a look."""
Place = tuple[int, int]


class Unposted(msgspec.Struct, frozen=True):
    """The sum, the age of its oldest charge on the wall clock, and whether there is more."""

    money_nano: int
    oldest_ms: int | None
    """Instant of the oldest one (Unix ms of Redis); None where everything is posted."""
    partial: bool


class UnpostedWatch:
    """Remembers, site by site, the charges that are not in SQL."""

    def __init__(self) -> None:
        self._charges: dict[str, deque[tuple[Place, int]]] = {}
        self._seen: dict[str, str] = {}

    async def look(self, backend: Backend, site: str) -> Unposted:
        """The charges of a site that are not in SQL now."""
        position = await backend.ledger.position(site)
        generation = await backend.store.generation(site)
        posted, charges = order(position), self._charges.setdefault(site, deque())
        seen = self._seen.get(site, position)
        if generation is None or order(seen) > order(generation[1]):
            charges.clear()  # the stream is another one than we looked at
            seen = position
        while charges and charges[0][0] <= posted:
            charges.popleft()
        cursor = seen if order(seen) > posted else position
        whole = False
        for _ in range(PIECES):
            entries = await backend.stream.peek(site, cursor, PIECE)
            for entry in entries:
                money_nano = sum(effect.amount_nano for effect in entry.effects if isinstance(effect, ChargePosted))
                if money_nano:
                    charges.append((order(entry.id), money_nano))
            cursor = entries[-1].id if entries else cursor
            whole = len(entries) < PIECE
            if whole:
                break
        self._seen[site] = cursor
        oldest_ms = charges[0][0][0] if charges else None
        return Unposted(sum(money_nano for _, money_nano in charges), oldest_ms, not whole)

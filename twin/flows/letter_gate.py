"""Dead letters within bounds: which sites there are, and how many letters of one kind are kept.

Anybody who may publish can send what nobody understands, as fast as the network carries it. A letter costs a write, and
the store keeps the newest ten thousand of a site: a flood would push out the letters that somebody is waiting for. So
each kind of letter at each site has a bucket that fills slowly; what finds it empty is counted and not kept. Sites that
nobody knows share one place, because an attacker may invent as many names as there are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twin.ports import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable

    from twin.ports import Delivery, TwinStore

KEPT_PAYLOAD_BYTES = 2_048
NO_SITE = "_"
"""Dead letters of topics that name no known site."""
AT_ONCE = 500
"""Letters of one kind at one site that are kept one after another."""
A_SECOND = 1.0
"""Letters of one kind at one site that are kept in the long run."""
LOOK_EVERY_S = 0.05
"""So often the store is asked whether a site has come into being; in between nobody new is believed."""


class LetterGate:
    """Buckets of letters by site and kind, as deep as `at_once`. `seconds` is a monotonic clock."""

    def __init__(
        self, seconds: Callable[[], float] = time.monotonic, *, at_once: int = AT_ONCE, a_second: float = A_SECOND
    ) -> None:
        self._seconds = seconds
        self._at_once = float(at_once)
        self._a_second = a_second
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def allows(self, site: str, kind: str) -> bool:
        """Whether one more letter is kept; takes its place where it is. Ask only for sites that exist, or `NO_SITE`."""
        now = self._seconds()
        left, since = self._left.get((site, kind), (self._at_once, now))
        left = min(self._at_once, left + (now - since) * self._a_second)
        self._left[site, kind] = (left - 1 if left >= 1 else left, now)
        return left >= 1


class KnownSites:
    """Sites that have twins, or had them since this process has been looking; SQL is never asked."""

    def __init__(self, store: TwinStore, seconds: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._known: frozenset[str] = frozenset()
        self._looked: float | None = None

    async def has(self, site: str) -> bool:
        """Whether a site exists. Raises ConnectionError where the store does not answer."""
        if site in self._known:
            return True
        now = self._seconds()
        if self._looked is not None and now - self._looked < LOOK_EVERY_S:
            return False
        self._known |= frozenset(await self._store.sites())
        self._looked = now
        return site in self._known


def letter_of(delivery: Delivery, reason: str, path: str, now: int) -> DeadLetter:
    """A message put aside, with the beginning of what it said. `now` in Unix ms."""
    return DeadLetter(delivery.topic[:512], delivery.payload[:KEPT_PAYLOAD_BYTES], reason, path, now)

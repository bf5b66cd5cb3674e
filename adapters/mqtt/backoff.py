"""How long to wait before trying the broker again.

Theory of operation: the wait doubles with every failure up to a limit, and each wait is drawn between half and all of
that, so that many clients of one broker do not return in step. A connection counts as good only once it has lasted
`settled_s`: a connection that is accepted and dropped at once (two processes with one client id, a broker that falls
over under our session) keeps the wait growing instead of starting a storm.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_jitter = random.SystemRandom().random


class Backoff:
    """Waits in seconds: `first_s`, doubled up to `limit_s`, with half of each drawn at random."""

    def __init__(
        self,
        first_s: float = 0.2,
        limit_s: float = 30.0,
        settled_s: float = 10.0,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        if not 0 < first_s <= limit_s:
            raise ValueError(f"back-off needs 0 < first_s <= limit_s, got {first_s} and {limit_s}")
        self._first_s = first_s
        self._limit_s = limit_s
        self._settled_s = settled_s
        self._jitter = jitter
        self.failures = 0
        """Failures since the last connection that lasted."""

    def next_s(self) -> float:
        """The wait after one more failure."""
        ceiling = min(self._limit_s, self._first_s * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return ceiling / 2 + self._jitter() * ceiling / 2

    def lasted(self, seconds: float) -> None:
        """Tell how long the last connection lived; one that lived long enough forgets the failures before it."""
        if seconds >= self._settled_s:
            self.failures = 0

"""What a process counts of its own work, for metrics: lags by stage, samples of the past, rebuilds.

Counting is on the way of every reading, so it is a list, an index and an addition: no lock, no label, no clock of its
own. Instants and spans are whole milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDS_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000)
"""Upper bounds of the buckets: from a healthy commit to an hour, beyond which nobody needs to tell apart."""


class LagHistogram:
    """Spans of one stage, counted by bucket."""

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.total_ms = 0

    def observe(self, span_ms: int, times: int = 1) -> None:
        """Count a span, so many times over; a negative one (two clocks that differ) counts as none at all."""
        if span_ms < 0:
            span_ms = 0
        self.counts[bisect_left(BOUNDS_MS, span_ms)] += times
        self.total_ms += span_ms * times

    def buckets(self) -> Iterator[tuple[str, int]]:
        """(upper bound in seconds, spans at or below it), the last one for all: as Prometheus wants them."""
        reached = 0
        for bound_ms, count in zip(BOUNDS_MS, self.counts, strict=False):
            reached += count
            yield f"{bound_ms / 1000:g}", reached
        yield "+Inf", reached + self.counts[-1]


class Vitals:
    """The counts of one process."""

    def __init__(self) -> None:
        self.receipt = LagHistogram()
        """Device to receipt: the sample's own time until ingest had it. Samples of the past (`hist`) are left out."""
        self.commit = LagHistogram()
        """Receipt to commit: until twins, timers and effects were written, a batch counting for each reading in it."""
        self.posted = LagHistogram()
        """Commit to posted: the effect's instant in the stream until SQL had it."""
        self.late_samples = 0
        """Samples of the past, as gateways send them that had buffered."""
        self.services: tuple[str, ...] = ()
        """The services that run in this process."""
        self.rebuilds: Counter[str] = Counter()
        """Rebuilds of twins by site."""

"""Metrics for Prometheus: read from the parts of the platform when they are asked for, in a registry of our own.

What lives elsewhere (Redis, SQL) is gathered first, because a collector cannot wait; then collectors tell it all.
What each metric means stands in `api/http/metric_catalogue.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.registry import Collector

from api.http.metric_catalogue import CATALOGUE, one
from api.http.process_metrics import ProcessCollector
from api.http.site_metrics import SiteCollector, SiteGatherer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from api.http.backend import Backend
    from api.stream.feed import LiveFeed

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
GATHER_WITHIN_S: Final = 5.0
BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUESTS: Final = "twinmeter_http_request_seconds"


def process_registry(backend: Backend) -> CollectorRegistry:
    """What every process tells: its own counts, and what the system knows of it (CPU, memory, files)."""
    registry = CollectorRegistry()
    registry.register(ProcessCollector(backend))
    prometheus_client.ProcessCollector(registry=registry)
    return registry


class FeedCollector(Collector):
    """Tells of the live feeds of a process that serves the API."""

    def __init__(self, feed: LiveFeed) -> None:
        self._feed = feed

    def collect(self) -> Iterator[Metric]:
        """All families of one scrape."""
        yield one("twinmeter_live_feeds", self._feed.followers)
        yield one("twinmeter_live_feeds_let_go", self._feed.counters.let_go)


class Metrics:
    """The registry of one platform, and the times of its HTTP requests."""

    def __init__(self, backend: Backend, feed: LiveFeed) -> None:
        settings = getattr(backend, "settings", None)
        self._gatherer = SiteGatherer(backend)
        self.sites = SiteCollector(records=bool(settings and settings.history_days))
        self.registry = process_registry(backend)
        self.registry.register(FeedCollector(feed))
        self.registry.register(self.sites)
        self.requests = Histogram(
            REQUESTS,
            CATALOGUE[REQUESTS].meaning,
            CATALOGUE[REQUESTS].labels,
            buckets=BUCKETS_S,
            registry=self.registry,
        )

    async def text(self) -> bytes:
        """One scrape. What does not answer in time is left out of it, and the rest is told."""
        try:
            async with asyncio.timeout(GATHER_WITHIN_S):
                self.sites.sites = await self._gatherer.gather()
        except Exception as error:
            log.warning("metrics without those of the sites", error=repr(error)[:500])
            self.sites.sites = {}
        return generate_latest(self.registry)

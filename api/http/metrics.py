"""Metrics for Prometheus: read from the parts of the platform when they are asked for, in a registry of our own.

What lives elsewhere (Redis, SQL) is gathered first, because a collector cannot wait; then one collector tells it all.
Names follow the conventions of Prometheus: `twinmeter_`, base units, `_total` for what only grows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from api.http.lag import Lag, read_lag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from api.http.backend import Backend, SiteCounts
    from api.stream.feed import LiveFeed

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
GATHER_WITHIN_S: Final = 5.0
BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class SiteNumbers(msgspec.Struct, frozen=True):
    """What one site adds."""

    lag: Lag
    counts: Any


class ProcessCollector(Collector):
    """Tells what the objects of this process count by themselves."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        """All families of one scrape."""
        backend = self._backend
        ingest = backend.ingest.counters
        yield _counter("messages", "Messages taken from the broker.", ingest.messages)
        yield _counter("readings", "Readings decided on.", ingest.readings)
        yield _counter("dead_letters", "Messages that were not understood.", ingest.dead)
        yield _counter("unknown_devices", "Messages of devices that nobody knows.", ingest.unknown)
        yield _counter("undecided_messages", "Messages that could not be decided on.", ingest.failed)
        yield _counter("timers_woken", "Groups woken by their timers.", backend.pump.woken)
        yield _gauge("timer_lateness_seconds", "How late the last timers were.", backend.pump.late_ms / 1000)
        yield _counter("published", "Messages that the broker confirmed.", backend.publisher.published)
        yield _gauge("publisher_connected", "1 while commands can go out.", int(backend.publisher.connected))
        failures = CounterMetricFamily("twinmeter_service_failures", "Services started again.", labels=["service"])
        for service, count in backend.service_failures.items():
            failures.add_metric([service], count)
        yield failures
        if backend.subscriber is not None:
            counters = backend.subscriber.counters
            yield _gauge("ingest_connected", "1 while ingest is connected.", int(counters.connected))
            yield _gauge("ingest_in_flight", "Messages in the batch being decided.", counters.in_flight)
            yield _counter("ingest_acknowledged", "Messages acknowledged to the broker.", counters.acked)
            yield _counter("ingest_batches", "Batches decided.", counters.batches)
            yield _counter("ingest_batch_failures", "Batches given back to the broker.", counters.handler_failures)
            yield _counter("ingest_reconnects", "Connections made anew.", counters.reconnects)
        consumed = CounterMetricFamily(
            "twinmeter_entries_consumed", "Entries of effect streams dealt with.", labels=["consumer"]
        )
        for consumer, loop in backend.loops.items():
            consumed.add_metric([consumer], loop.consumed)
        yield consumed


class PlatformCollector(Collector):
    """Tells what was gathered last of the sites, and of the process that serves the API."""

    def __init__(self, backend: Backend, feed: LiveFeed) -> None:
        self._process = ProcessCollector(backend)
        self._feed = feed
        self.sites: dict[str, SiteNumbers] = {}

    def collect(self) -> Iterator[Metric]:
        """All families of one scrape."""
        yield from self._process.collect()
        yield _gauge("live_feeds", "Live feeds that are open.", self._feed.followers)
        yield _counter("live_feeds_let_go", "Live feeds that were read too slowly.", self._feed.counters.let_go)
        yield from self._of_sites()

    def _of_sites(self) -> Iterator[Metric]:
        site = ["site"]
        lag = GaugeMetricFamily("twinmeter_ledger_lag_entries", "Effect entries not yet in the ledger.", labels=site)
        age = GaugeMetricFamily(
            "twinmeter_ledger_lag_seconds", "How far the ledger is behind, on the site's clock.", labels=site
        )
        length = GaugeMetricFamily("twinmeter_effect_stream_entries", "Entries in the effect stream.", labels=site)
        acts = GaugeMetricFamily("twinmeter_acts_undelivered", "Acts that no twin has confirmed.", labels=site)
        refused = GaugeMetricFamily("twinmeter_effects_refused", "Effects that could not be posted.", labels=site)
        alarms = GaugeMetricFamily("twinmeter_alarms_active", "Alarms that stand.", labels=site)
        incidents = GaugeMetricFamily("twinmeter_incidents_open", "Incidents that have not healed.", labels=site)
        commands = GaugeMetricFamily(
            "twinmeter_commands", "Commands by the state they have reached.", labels=["site", "state"]
        )
        for name, numbers in self.sites.items():
            counts: SiteCounts = numbers.counts
            lag.add_metric([name], numbers.lag.entries)
            age.add_metric([name], numbers.lag.seconds)
            length.add_metric([name], numbers.lag.length)
            acts.add_metric([name], counts.acts_undelivered)
            refused.add_metric([name], counts.effects_refused)
            alarms.add_metric([name], counts.alarms_active)
            incidents.add_metric([name], counts.incidents_open)
            for state, count in counts.commands.items():
                commands.add_metric([name, state], count)
        yield from (lag, age, length, acts, refused, alarms, incidents, commands)


class Metrics:
    """The registry of one platform, and the times of its HTTP requests."""

    def __init__(self, backend: Backend, feed: LiveFeed) -> None:
        self._backend = backend
        self.registry = CollectorRegistry()
        self.collector = PlatformCollector(backend, feed)
        self.registry.register(self.collector)
        self.requests = Histogram(
            "twinmeter_http_request_seconds",
            "Time until the answer began, by operation and status.",
            ["operation", "status"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )

    async def text(self) -> bytes:
        """One scrape. What does not answer in time is left out of it, and the rest is told."""
        try:
            async with asyncio.timeout(GATHER_WITHIN_S):
                self.collector.sites = {site: await self._of(site) for site in await self._backend.registry.sites()}
        except Exception as error:
            log.warning("metrics without those of the sites", error=repr(error)[:500])
            self.collector.sites = {}
        return generate_latest(self.registry)

    async def _of(self, site: str) -> SiteNumbers:
        return SiteNumbers(await read_lag(self._backend, site), await self._backend.gauges.read(site))


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"twinmeter_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"twinmeter_{name}", text, value=value)

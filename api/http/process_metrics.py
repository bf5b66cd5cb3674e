"""What a process tells of itself: every service has this, whether or not it serves the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from api.http.metric_catalogue import family, one
from twin.flows.take_payments import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from api.http.backend import Backend


REASONS = ("topic", "contract", "unknown_site", "unknown_device", "undecided")
"""Why a message was not taken; each is told from the start, so that its first one is a rise and not a beginning."""


class ProcessCollector(Collector):
    """Tells what the objects of this process count by themselves; nothing is asked of Redis or SQL."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        """All families of one scrape."""
        yield from self._way_in()
        yield from self._ingest_session()
        yield from self._services()
        yield from self._recorder()

    def _way_in(self) -> Iterator[Metric]:
        vitals, ingest = self._backend.vitals, self._backend.ingest.counters
        stages = family("twinmeter_stage_seconds")
        for name, lag in (("receipt", vitals.receipt), ("commit", vitals.commit), ("posted", vitals.posted)):
            stages.add_metric([name], list(lag.buckets()), lag.total_ms / 1000)  # type: ignore[attr-defined]
        yield stages
        yield one("twinmeter_messages", ingest.messages)
        yield one("twinmeter_readings", ingest.readings)
        yield one("twinmeter_late_samples", vitals.late_samples)
        yield _by("twinmeter_dead_letters", {**dict.fromkeys(REASONS, 0), **ingest.dead_by})
        yield one("twinmeter_dead_letters_not_kept", ingest.letters_not_kept)
        yield one("twinmeter_unknown_devices", ingest.unknown)
        yield one("twinmeter_undecided_messages", ingest.failed)

    def _ingest_session(self) -> Iterator[Metric]:
        backend = self._backend
        reconnects = {"commands": max(0, backend.publisher.reconnects)}
        if backend.record_subscriber is not None:
            reconnects["recorder"] = backend.record_subscriber.counters.reconnects
        own = [] if backend.subscriber is None else [backend.subscriber]
        if sessions := [session.counters for session in (*own, *backend.shard_sessions.values())]:
            reconnects["ingest"] = sum(session.reconnects for session in sessions)
            yield one("twinmeter_ingest_connected", int(all(session.connected for session in sessions)))
            yield one("twinmeter_ingest_in_flight", sum(session.in_flight for session in sessions))
            yield one("twinmeter_ingest_acknowledged", sum(session.acked for session in sessions))
            yield one("twinmeter_ingest_batches", sum(session.batches for session in sessions))
            yield one("twinmeter_ingest_batch_failures", sum(session.handler_failures for session in sessions))
        yield _by("twinmeter_broker_reconnects", reconnects)

    def _services(self) -> Iterator[Metric]:
        backend, vitals = self._backend, self._backend.vitals
        yield one("twinmeter_published", backend.publisher.published)
        yield one("twinmeter_publisher_connected", int(backend.publisher.connected))
        yield one("twinmeter_webhooks_delivered", backend.webhooks.delivered)
        yield one("twinmeter_webhooks_failed", backend.webhooks.failed)
        yield _by("twinmeter_payment_calls", {**dict.fromkeys(VERDICTS, 0), **backend.payments.counted})
        yield one("twinmeter_timers_woken", backend.pump.woken)
        yield one("twinmeter_timer_lateness_seconds", backend.pump.late_ms / 1000)
        consumed = {consumer: loop.consumed for consumer, loop in backend.loops.items()}
        yield _by("twinmeter_entries_consumed", consumed)
        # `ledger:park-1` fails as the service `ledger`: sites are no part of a service's name.
        failures: dict[str, int] = {}
        for name, count in backend.service_failures.items():
            service = name.partition(":")[0]
            failures[service] = failures.get(service, 0) + count
        yield _by("twinmeter_service_failures", failures)
        yield _by("twinmeter_service_runs", dict.fromkeys(vitals.services, 1))
        yield _by("twinmeter_twins_rebuilt", vitals.rebuilds)
        leases = backend.lease_counters
        changes = {kind: held.taken + held.given + held.lost for kind, held in leases.items()}
        yield _by("twinmeter_shard_owner_changes", changes)
        yield _by("twinmeter_leases_held", {kind: held.held for kind, held in leases.items()})
        yield _by("twinmeter_leases_lost", {kind: held.lost for kind, held in leases.items()})
        yield _by("twinmeter_commits_fenced", {kind: held.fenced for kind, held in leases.items()})

    def _recorder(self) -> Iterator[Metric]:
        subscriber, counters = self._backend.record_subscriber, self._backend.recorder.counters
        if subscriber is None:
            return
        yield one("twinmeter_recorder_connected", int(subscriber.counters.connected))
        yield one("twinmeter_recorder_messages", counters.messages)
        yield one("twinmeter_recorder_skipped", counters.skipped)
        yield one("twinmeter_recorder_unacknowledged", subscriber.unacknowledged)
        yield one("twinmeter_recorder_write_seconds", counters.write_ms / 1000)


def _by(name: str, values: Mapping[str, float]) -> Metric:
    """A family with one label."""
    made = family(name)
    for label, value in sorted(values.items()):
        made.add_metric([label], value)  # type: ignore[attr-defined]
    return made

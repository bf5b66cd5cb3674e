"""What stands in Redis and SQL, site by site: gathered once a scrape, because a collector cannot wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from prometheus_client.registry import Collector

from api.http.lag import Lag, read_lag
from api.http.metric_catalogue import family
from api.http.unposted import Unposted, UnpostedWatch
from api.stream.feed import order
from schemas.clock_spec import scaled_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from api.http.backend import Backend, SiteCounts
    from schemas.clock_spec import ClockSpec
    from twin.ports import Clock

CONSUMERS: Final = ("ledger", "commands", "notices")
WENT_BACK: Final = "ledger_went_back"
INCIDENT_KINDS: Final = frozenset(
    {
        "ahead_of_its_time", "apportionment", "beyond_register", "clock_ahead", "clock_behind",
        "closed_locally_under_lock", "command_failing", "command_unverified", "config_not_taken",
        "fall", "fence_absurd", "implausible_rise", "ledger_refused", "ledger_went_back", "negative_loss",
        "no_energy", "no_members", "open_but_power_flows", "opened_locally", "rates_mismatch", "ratio_unread",
        "reading_contradicts", "register_reset", "relay_unknown", "tariff_missing", "unlock_refused",
    }
)  # fmt: skip
"""Kinds that are labels of their own; a test holds them to the code that opens incidents."""


class SiteNumbers(msgspec.Struct, frozen=True):
    """What one site adds to a scrape. `now` is on the site's clock, `wall` on the machine's (both Unix ms)."""

    lag: Lag
    consumers: dict[str, int]
    unposted: Unposted
    next_due: int | None
    last_effect_ms: int
    """When the newest effect was made, on the site's clock, as history is dated."""
    counts: Any
    now: int
    wall: int


class SiteGatherer:
    """Asks Redis and SQL for the numbers of all sites."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._unposted = UnpostedWatch()

    async def gather(self) -> dict[str, SiteNumbers]:
        """The numbers of every site now."""
        return {site: await self._of(site) for site in await self._backend.registry.sites()}

    async def _of(self, site: str) -> SiteNumbers:
        backend = self._backend
        known = await backend.store.generation(site)
        return SiteNumbers(
            lag=await read_lag(backend, site),
            consumers={name: await backend.stream.lag(site, name) for name in CONSUMERS},
            unposted=await self._unposted.look(backend, site),
            next_due=await backend.store.next_due(site),
            last_effect_ms=_on_clock(backend.clock, order(known[1])[0]) if known is not None else 0,
            counts=await backend.gauges.read(site),
            now=backend.clock.now(),
            wall=time.time_ns() // 1_000_000,
        )


class SiteCollector(Collector):
    """Tells what was gathered last."""

    def __init__(self, *, records: bool) -> None:
        self._records = records
        self.sites: dict[str, SiteNumbers] = {}

    def collect(self) -> Iterator[Metric]:
        """All families of one scrape."""
        families: dict[str, Any] = {}
        for site, numbers in self.sites.items():
            for name, labels, value in (*self._of_redis(numbers), *_of_sql(numbers)):
                if name not in families:
                    families[name] = family(name)
                families[name].add_metric([site, *labels], value)
        yield from families.values()

    def _of_redis(self, numbers: SiteNumbers) -> Iterator[tuple[str, tuple[str, ...], float]]:
        lag, unposted = numbers.lag, numbers.unposted
        yield "twinmeter_ledger_lag_entries", (), lag.entries
        yield "twinmeter_ledger_lag_seconds", (), lag.seconds
        yield "twinmeter_effect_stream_entries", (), lag.length
        for consumer, entries in numbers.consumers.items():
            yield "twinmeter_consumer_lag_entries", (consumer,), entries
        yield "twinmeter_unposted_money_nano", (), unposted.money_nano
        yield "twinmeter_unposted_money_seconds", (), _age_s(unposted.oldest_ms, numbers.wall)
        yield "twinmeter_unposted_money_partial", (), int(unposted.partial)
        yield "twinmeter_timer_overdue_seconds", (), _age_s(numbers.next_due, numbers.now)
        recorded = numbers.counts.recorded_ts
        behind = _age_s(recorded, numbers.last_effect_ms) if self._records and recorded is not None else 0.0
        yield "twinmeter_recorder_lag_seconds", (), behind


def _on_clock(clock: Clock, machine_ms: int) -> int:
    """An instant of the machine, Unix ms, as a site's clock showed it. One that follows telemetry keeps no past: what
    it shows now is the latest that it can have been."""
    spec: ClockSpec | None = getattr(clock, "spec", None)
    return min(machine_ms, clock.now()) if spec is None else scaled_now(spec, machine_ms)


def _of_sql(numbers: SiteNumbers) -> Iterator[tuple[str, tuple[str, ...], float]]:
    counts: SiteCounts = numbers.counts
    yield "twinmeter_acts_undelivered", (), counts.acts_undelivered
    yield "twinmeter_act_undelivered_seconds", (), _age_s(counts.oldest_act_ts, numbers.now)
    yield "twinmeter_effects_refused", (), counts.effects_refused
    for severity, count in sorted(counts.alarms.items()):
        yield "twinmeter_alarms_active", (severity,), count
    kinds: dict[str, int] = {}
    for kind, count in sorted(counts.incidents.items()):
        label = kind if kind in INCIDENT_KINDS else "other"
        kinds[label] = kinds.get(label, 0) + count
    for label, count in kinds.items():
        yield "twinmeter_incidents_open", (label,), count
    yield "twinmeter_ledger_went_back", (), counts.incidents.get(WENT_BACK, 0)
    for state, count in sorted(counts.commands.items()):
        yield "twinmeter_commands", (state,), count
    for reached in ("moving", "queued"):
        yield "twinmeter_command_oldest_seconds", (reached,), _age_s(counts.oldest_commands.get(reached), numbers.now)
    yield "twinmeter_quarantined_readings", (), counts.quarantined_readings
    yield "twinmeter_quarantined_energy_wh", (), counts.quarantined_wh
    yield "twinmeter_quarantined_water_litres", (), counts.quarantined_litres
    yield "twinmeter_rerate_marks", (), counts.rerate_marks
    yield "twinmeter_rerate_troubles", (), counts.rerate_troubles
    yield "twinmeter_webhooks_waiting", (), counts.webhooks_waiting
    yield "twinmeter_notices_waiting", (), counts.notices_waiting


def _age_s(since: int | None, now: int) -> float:
    """Seconds since an instant; 0 where there is none, or where it lies ahead."""
    return max(0, now - since) / 1000 if since is not None else 0.0

"""What fees are computed from: who held which supply under which tariff, days without supply, samples for demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.engine.keyed_rows import in_list
from adapters.store.sites.site_state import load_supplies, load_tariffs
from billing.demand import Sample, chained
from billing.late_points import place_late
from billing.money import parse_scaled
from billing.monthly_fees import Tenancy
from billing.points import Point, unpack
from billing.tariff import Tariff, compile_tariff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.store.engine.database import Transaction
    from adapters.store.sites.site_state import SupplyRow
    from billing.monthly_fees import Day

_WATT_DECIMALS = 3
_CHANGES = (
    "SELECT tenant, meter, supply_from, from_ts, tariff FROM supply_tariff WHERE site = ? AND {meters}"
    " ORDER BY meter, id"
)
_RELAYS = (
    "SELECT relay, ts FROM relay_report WHERE site = ? AND breaker = ? AND ts < ? AND ts >= COALESCE((SELECT max(ts)"
    " FROM relay_report WHERE site = ? AND breaker = ? AND ts <= ?), 0) ORDER BY ts, id"
)
_SAMPLES = (
    "SELECT e.epoch, e.from_ts, e.from_qty, e.to_ts, e.to_qty, e.points FROM energy e WHERE e.site = ? AND e.meter = ?"
    " AND e.epoch = ? AND e.from_qty >= COALESCE((SELECT p.from_qty FROM energy p WHERE p.site = e.site"
    " AND p.meter = e.meter AND p.epoch = e.epoch AND p.to_qty = ?), ?) AND e.from_qty <= ? ORDER BY e.from_qty"
)
_LATE = (
    "SELECT ts, qty FROM late_reading WHERE site = ? AND meter = ? AND epoch = ? AND ts > ? AND ts < ?"
    " ORDER BY ts, qty, id"
)


class Span(msgspec.Struct, frozen=True):
    """A supply under one tariff: a tenant pays for a meter in [from_ts, to_ts) (Unix ms, None is open)."""

    tenant: str
    meter: str
    breaker: str
    tariff: str
    from_ts: int | None
    to_ts: int | None
    capacity_w: int

    @property
    def tenancy(self) -> Tenancy:
        """The same for the calculation of fees."""
        return Tenancy(self.from_ts, self.to_ts, self.capacity_w)

    def touches(self, from_ts: int, to_ts: int) -> bool:
        """Whether any of it lies in [from_ts, to_ts)."""
        return (self.from_ts is None or self.from_ts < to_ts) and (self.to_ts is None or self.to_ts > from_ts)

    def within(self, from_ts: int, to_ts: int) -> tuple[int, int]:
        """The part of it in [from_ts, to_ts)."""
        low = from_ts if self.from_ts is None else max(from_ts, self.from_ts)
        return low, to_ts if self.to_ts is None else min(to_ts, self.to_ts)


class SiteTerms(msgspec.Struct, frozen=True):
    """Settings and compiled tariffs of a site, and the settings of its tenants and devices."""

    site: str
    settings: dict[str, Any]
    zone: ZoneInfo
    tariffs: dict[str, Tariff]
    tenants: dict[str, dict[str, Any]]
    devices: dict[str, dict[str, Any]]

    def holder(self, tenant: str) -> str:
        """The customer that a tenant's wallet belongs to: the tenant itself unless it names another."""
        return str(self.tenants.get(tenant, {}).get("holder") or tenant)


async def load_terms(tx: Transaction, site: str, only: Sequence[str] | None = None) -> SiteTerms:
    """Terms of a site; with `only` those of some tenants, and of no devices: whoever goes through a large site in
    portions may not read the whole of it for each. Raises LookupError for a site that was never imported."""
    rows = await tx.fetch("SELECT settings FROM site WHERE id = ?", site)
    if not rows:
        raise LookupError(f"site {site!r} is not in the database; import its site file first")
    settings: dict[str, Any] = msgspec.json.decode(rows[0][0])
    documents = await load_tariffs(tx, site)
    tariffs = {name: compile_tariff(document, settings["timezone"]) for name, document in documents.items()}
    if only is None:
        tenants = await tx.fetch("SELECT tenant, settings FROM tenant WHERE site = ? ORDER BY tenant", site)
        devices = await tx.fetch("SELECT device, settings FROM device WHERE site = ? ORDER BY device", site)
    else:
        named, texts = in_list(tx, "tenant", only)
        query = f"SELECT tenant, settings FROM tenant WHERE site = ? AND {named} ORDER BY tenant"  # noqa: S608
        tenants, devices = await tx.fetch(query, site, *texts), []
    return SiteTerms(
        site=site,
        settings=settings,
        zone=ZoneInfo(settings["timezone"]),
        tariffs=tariffs,
        tenants={name: msgspec.json.decode(text) for name, text in tenants},
        devices={name: msgspec.json.decode(text) for name, text in devices},
    )


async def load_spans(
    tx: Transaction, terms: SiteTerms, from_ts: int, to_ts: int, tenants: Sequence[str] | None = None
) -> list[Span]:
    """The supplies that touch [from_ts, to_ts), cut where their tariff changed; of some tenants where named."""
    condition, values = "AND (from_ts IS NULL OR from_ts < ?) AND (to_ts IS NULL OR to_ts > ?)", [to_ts, from_ts]
    if tenants is not None:
        named, texts = in_list(tx, "tenant", tenants)
        condition, values = f"{condition} AND {named}", [*values, *texts]
    supplies = await load_supplies(tx, terms.site, condition, *values)
    meters, texts = in_list(tx, "meter", sorted({row.meter for row in supplies}))
    changes: dict[tuple[str, str, int | None], list[tuple[int | None, str]]] = {}
    for tenant, meter, supply_from, since, tariff in await tx.fetch(_CHANGES.format(meters=meters), terms.site, *texts):
        changes.setdefault((tenant, meter, supply_from), []).append((since, tariff))
    spans = [span for row in supplies for span in _spans_of(row, changes.get(row.key, []), terms.tenants)]
    return [span for span in spans if span.touches(from_ts, to_ts)]


def _spans_of(
    row: SupplyRow, changes: Sequence[tuple[int | None, str]], tenants: Mapping[str, dict[str, Any]]
) -> list[Span]:
    """One supply as spans of one tariff each: the newest change that reaches an instant holds."""
    starts: dict[int | None, str] = {row.from_ts: row.tariff} if not changes else {}
    for since, tariff in changes:
        begin = row.from_ts if since is None else max(since, row.from_ts or 0)
        starts = {known: name for known, name in starts.items() if (known or 0) < (begin or 0)} | {begin: tariff}
    if row.from_ts not in starts and None not in starts:
        starts[row.from_ts] = row.tariff
    ordered = sorted(starts.items(), key=lambda item: item[0] or 0)
    ends = [begin for begin, _ in ordered[1:]] + [row.to_ts]
    capacity_w = capacity_of(row.entry, tenants.get(row.tenant, {}))
    breaker = row.breaker or row.meter
    return [
        Span(row.tenant, row.meter, breaker, tariff, begin, end, capacity_w)
        for (begin, tariff), end in zip(ordered, ends, strict=True)
    ]


def capacity_of(supply: Mapping[str, Any], tenant: Mapping[str, Any]) -> int:
    """Contracted W of a supply: its own `capacity_kw`, else the tenant's, else none."""
    text = supply.get("capacity_kw") or tenant.get("capacity_kw")
    return parse_scaled(text, _WATT_DECIMALS, "capacity") if text else 0


async def disconnected_days(tx: Transaction, site: str, breaker: str, days: Sequence[Day]) -> set[int]:
    """Numbers of the days on which the relay was reported open from beginning to end."""
    first = days[0].start_ms
    values = (site, breaker, days[-1].end_ms, site, breaker, first)
    reports = [(row[0], row[1]) for row in await tx.fetch(_RELAYS, *values)]
    closed: set[int] = set()
    for day in days:
        before = [relay for relay, ts in reports if ts <= day.start_ms]
        during = [relay for relay, ts in reports if day.start_ms < ts < day.end_ms]
        if before and before[-1] == "open" and all(relay == "open" for relay in during):
            closed.add(day.number)
    return closed


async def load_samples(tx: Transaction, site: str, meter: str, epochs: Sequence[tuple[int, int, int]]) -> list[Sample]:
    """The samples of a meter over (epoch, from_qty, to_qty) and the rows around them, as one register from 0.

    Rows keep the samples they were charged by; of one that does not, its ends stand for them. Late samples that agree
    with those are samples like any other, in whatever order they came.
    """
    series: list[list[Sample]] = []
    for epoch, low, high in sorted(epochs):
        samples: set[Sample] = set()
        for row in await tx.fetch(_SAMPLES, site, meter, epoch, low, low, high):
            points = unpack(bytes(row["points"])) if row["points"] else []
            samples.update((point.ts, point.qty) for point in points)
            if not points:
                samples |= {(row["from_ts"], row["from_qty"]), (row["to_ts"], row["to_qty"])}
        series.append(await _with_late(tx, (site, meter, epoch), sorted(samples)))
    return chained(series)


async def _with_late(tx: Transaction, epoch: tuple[str, str, int], samples: list[Sample]) -> list[Sample]:
    """The samples of an epoch and the late ones that lie between them and agree."""
    if not samples:
        return samples
    rows = await tx.fetch(_LATE, *epoch, samples[0][0], samples[-1][0])
    if not rows:
        return samples
    placed, _ = place_late([Point(*sample) for sample in samples], [Point(*row) for row in rows])
    return [(point.ts, point.qty) for point in placed]

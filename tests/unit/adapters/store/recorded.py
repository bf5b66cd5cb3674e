"""A meter's chain as its twin posts it while samples come in order: effects for the ledger, by the product's rating."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from billing.history import Epoch, Occupancy, Payer, Tenancy, rate_history
from billing.points import Point
from billing.tariff import compile_tariff
from tests.unit.adapters.store.park import document, site
from twin.core import samples
from twin.core.effects import AnyEffect, ChargePosted, EpochOpened
from twin.ports import SiteDocument

ZONE = "Asia/Shanghai"
METER, TENANT = "em-spare", "t-002"
DAY_MS, HOUR_MS = 86_400_000, 3_600_000


def tiered(name: str = "shop-tou") -> dict[str, Any]:
    """Day and night, and a surcharge on what a month uses beyond 10 kWh."""
    version = {
        "from": "2020-01-01T00:00:00",
        "mode": "tou+tiers",
        "periods": {"day": "1.00", "night": "0.40"},
        "calendar": [{"months": "all", "days": "all", "slots": {"00:00-08:00": "night", "08:00-24:00": "day"}}],
        "tiers": [{"upto": "10", "add": "0"}, {"add": "0.50"}],
    }
    return {"apiVersion": "twinmeter.tariff/v1", "tariff": name, "utility": "electricity", "versions": [version]}


def payer(tenant: str, tariff: str) -> Payer:
    """A payer as the ledger names it."""
    return Payer(tenant, f"tenant:{tenant}:wallet" if tenant else "landlord:vacancy", tariff)


def occupancy(documents: list[dict[str, Any]], *tenancies: Tenancy) -> Occupancy:
    """Who pays, by tariff documents."""
    tariffs = {document["tariff"]: compile_tariff(document, ZONE) for document in documents}
    return Occupancy(tenancies, tariffs, payer("", ""), ZONE)


def chain(points: list[Point], who: Occupancy, *, meter: str = METER, epoch: int = 1) -> list[AnyEffect]:
    """What the twin posts of these samples, the first of which opens the epoch: a row a charge, samples with the first
    row of their pair."""
    effects: list[AnyEffect] = [EpochOpened(meter, epoch, points[0].qty, points[0].ts, "first reading")]
    waiting, given = points[1:], points[0].qty
    for one in rate_history([Epoch(epoch, points)], who).charges:
        priced, payer_ = one.priced, one.payer
        # As the twin does: a row carries the samples up to the one that its pair was rated with.
        taken = (
            waiting[: next(n for n, point in enumerate(waiting, 1) if point.qty >= priced.to_qty)]
            if (given < priced.to_qty)
            else []
        )
        waiting = waiting[len(taken) :]
        given = taken[-1].qty if taken else given
        effects.append(
            ChargePosted(
                meter=meter, epoch=epoch, from_qty=priced.from_qty, to_qty=priced.to_qty, from_ts=priced.from_ts,
                to_ts=priced.to_ts, tenant=payer_.tenant, account=payer_.account, utility="electricity",
                tariff=payer_.tariff, version=priced.version, month=priced.month, price_micro=priced.price_micro,
                amount_nano=priced.amount_nano, period=priced.period, tier=priced.tier, estimated=priced.estimated,
                points=samples.keep(taken),
            )
        )  # fmt: skip
    return effects


def at(text: str) -> int:
    """A local instant, Unix ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).timestamp()) * 1000


def park_document(tariff: dict[str, Any] | None = None, **supply: Any) -> SiteDocument:
    """The small park, with a meter that nobody has read yet supplied by a tariff that knows day, night and tiers."""
    tariff = tariff or tiered()
    park = site()
    entry = {"meter": METER, "tariff": tariff["tariff"], **supply}
    tenants = [
        one if one["id"] != TENANT else {**one, "supplies": [*one["supplies"], entry]} for one in park["tenants"]
    ]
    base = document()
    return SiteDocument({**park, "tenants": tenants}, {**base.tariffs, tariff["tariff"]: tariff}, base.rulesets)

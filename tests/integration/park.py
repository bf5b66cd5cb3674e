"""A park for the integration tests: a site document made in code, a platform in this process, and an independent
calculation.

The calculation (`expected_charges`) knows nothing of the product: plain Python over the same series of register
values and a price table.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

from api.bootstrap import Platform, open_platform
from api.services import Services
from api.settings import Settings
from simulators.replay import MeterSeries, Reading
from twin.flows.import_site import import_site
from twin.ports import SiteDocument

SITE = "park-1"
ZONE = ZoneInfo("Asia/Shanghai")
PACK = Path(__file__).parents[2] / "rules" / "packs" / "residential-prepaid.yaml"
FLAT_MICRO = 852_300
PEAK_MICRO, FLAT_PERIOD_MICRO, VALLEY_MICRO = 1_203_400, 801_200, 392_100
TIER_EDGES_WH = (20_000, 60_000)
TIER_MICRO = (500_000, 550_000, 800_000)


def tariffs() -> dict[str, dict]:
    """Flat, time of use, and tiers, as a person would write them."""
    since = "2020-01-01T00:00:00"
    slots = {
        "00:00-08:00": "valley",
        "08:00-12:00": "peak",
        "12:00-18:00": "flat",
        "18:00-22:00": "peak",
        "22:00-24:00": "valley",
    }
    head = {"apiVersion": "twinmeter.tariff/v1", "utility": "electricity"}
    return {
        "flat": {**head, "tariff": "flat", "versions": [{"from": since, "mode": "flat", "price": "0.8523"}]},
        "tou": {
            **head,
            "tariff": "tou",
            "versions": [
                {
                    "from": since,
                    "mode": "tou",
                    "periods": {"peak": "1.2034", "flat": "0.8012", "valley": "0.3921"},
                    "calendar": [{"months": "all", "days": "all", "slots": slots}],
                }
            ],
        },
        "tiers": {
            **head,
            "tariff": "tiers",
            "versions": [
                {
                    "from": since,
                    "mode": "tiers",
                    "tiers": [{"upto": "20", "price": "0.50"}, {"upto": "60", "price": "0.55"}, {"price": "0.80"}],
                }
            ],
        },
    }


def site_document(
    meters: Iterable[MeterSeries],
    tariff_of: dict[str, str],
    start_ms: int,
    *,
    credit: str = "100000.00",
    relay: bool = True,
) -> SiteDocument:
    """One tenant a meter; `tariff_of` names each meter's tariff."""
    start = datetime.fromtimestamp(start_ms / 1000, ZONE).strftime("%Y-%m-%dT%H:%M:%S")
    devices, tenants = [], []
    for meter in meters:
        number = meter.device.removeprefix("em-")
        devices.append(
            {
                "id": meter.device,
                "kind": "electricity_meter",
                "gateway": "gw-01",
                "relay": relay,
                "remote_close": True,
                "opening_wh": meter.opening,
                "imax_a": 100,
                "register_digits_wh": meter.modulus,
            }
        )
        supply = {"meter": meter.device, "breaker": meter.device, "tariff": tariff_of[meter.device], "from": start}
        tenants.append(
            {
                "id": f"t-{number}",
                "name": f"商户{number}",
                "mode": "prepaid",
                "opening_credit": credit,
                "supplies": [supply],
            }
        )
    site = {
        "apiVersion": "twinmeter.site/v1",
        "site": SITE,
        "name": {"zh": "测试园区", "en": "Test park"},
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "interval": "15m",
        "gateways": [{"id": "gw-01", "name": {"zh": "一号网关"}}],
        "devices": devices,
        "tenants": tenants,
    }
    ruleset = YAML(typ="safe").load(PACK.read_text(encoding="utf-8"))
    return SiteDocument(site, tariffs(), {ruleset["ruleset"]: ruleset})


def expected_charges(
    readings: Iterable[Reading], tariff_of: dict[str, str], openings: dict[str, int]
) -> dict[str, int]:
    """Charge of every tenant in nano-units, from the series alone. Samples at equal times and repeats are ignored."""
    series: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for reading in readings:
        series[reading.device][reading.ts] = reading.body["d"]["import_wh"]
    charges = {}
    for device, values in series.items():
        points = sorted(values.items())
        if points[0][1] != openings[device]:
            points.insert(0, (points[0][0], openings[device]))
        charge = {"flat": _flat, "tou": _time_of_use, "tiers": _tiers}[tariff_of[device]]
        charges["t-" + device.removeprefix("em-")] = charge(points)
    return charges


def _flat(points: list[tuple[int, int]]) -> int:
    return (points[-1][1] - points[0][1]) * FLAT_MICRO


def _price_at(moment: datetime) -> int:
    hour = moment.hour
    if hour < 8 or hour >= 22:
        return VALLEY_MICRO
    return PEAK_MICRO if hour < 12 or hour >= 18 else FLAT_PERIOD_MICRO


def _time_of_use(points: list[tuple[int, int]]) -> int:
    total = 0
    for (t0, r0), (t1, r1) in itertools.pairwise(points):
        total += sum(wh * price for wh, price in _shares(t0, t1, r1 - r0))
    return total


def _shares(t0: int, t1: int, wh: int) -> list[tuple[int, int]]:
    """Whole Wh by price period, pro rata by time, largest remainder first, ties to the earlier."""
    pieces: list[tuple[int, int]] = []
    at = datetime.fromtimestamp(t0 / 1000, ZONE)
    end = datetime.fromtimestamp(t1 / 1000, ZONE)
    while at < end:
        price = _price_at(at)
        step = at
        while step < end and _price_at(step) == price:
            step = (step + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
        step = min(step, end)
        pieces.append((int((step - at).total_seconds() * 1000), price))
        at = step
    span = sum(length for length, _ in pieces)
    exact = [Fraction(wh * length, span) for length, _ in pieces]
    whole = [int(value) for value in exact]
    order = sorted(range(len(pieces)), key=lambda index: (-(exact[index] - whole[index]), index))
    for index in order[: wh - sum(whole)]:
        whole[index] += 1
    return [(share, price) for share, (_, price) in zip(whole, pieces, strict=True)]


def _tiers(points: list[tuple[int, int]]) -> int:
    """A series inside one month: the price of each Wh depends on how many came before it."""
    used = points[-1][1] - points[0][1]
    first, second = TIER_EDGES_WH
    parts = (min(used, first), max(0, min(used, second) - first), max(0, used - second))
    return sum(part * price for part, price in zip(parts, TIER_MICRO, strict=True))


@contextlib.asynccontextmanager
async def running_platform(
    folder: Path,
    *,
    redis_url: str,
    mqtt_url: str,
    database_url: str,
    clock: str = "telemetry",
    names: tuple[str, ...] = ("ingest", "ledger", "commands", "scheduler"),
) -> AsyncIterator[tuple[Platform, Services]]:
    """All services of one platform in this process, on the given servers."""
    settings = Settings(
        redis_url=redis_url,
        mqtt_url=mqtt_url,
        database_url=database_url,
        clock=clock,
        data=str(folder),
        http="127.0.0.1:0",
    )
    platform = await open_platform(settings)
    services = Services(platform, names)
    task = asyncio.create_task(services.run())
    try:
        await asyncio.wait_for(services.ready.wait(), 90)
        yield platform, services
    finally:
        services.stop.set()
        await asyncio.wait_for(task, 90)


async def import_document(platform: Platform, document: SiteDocument) -> None:
    """Import a site as the command line does."""
    await import_site(platform, document, who="test")


async def settled(platform: Platform, readings: int, *, site: str = SITE, within_s: float = 120.0) -> None:
    """Wait until so many readings were decided on and the ledger has written everything that came of them."""
    deadline = asyncio.get_running_loop().time() + within_s
    while platform.ingest.counters.readings < readings or await platform.stream.lag(site, "ledger"):
        assert asyncio.get_running_loop().time() < deadline, (
            f"{platform.ingest.counters} of {readings}, lag {await platform.stream.lag(site, 'ledger')}"
        )
        await asyncio.sleep(0.05)


async def charges_of(platform: Platform, site: str = SITE) -> dict[str, int]:
    """Charges of every tenant as the twins have them, nano-units."""
    return {
        group.tenant.id: group.tenant.charges_nano
        async for group in await platform.store.groups(site)
        if group.tenant is not None
    }

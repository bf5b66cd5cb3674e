"""Generate the example park: `python -m simulators.parks.generate [FOLDER]` writes `fleet.yaml` and `site.yaml`.

220 merchants with an electricity meter each, 60 of them with a water meter, behind 12 gateways; 12 large tenants have a
breaker of their own instead of a relay in the meter. Tariffs and rules are files beside, written by hand. The fleet is
written first and built; opening registers and opening credits of the site are then read off its meters, so that the two
files agree. Credits are spread by what each tenant will spend: within the first two hours of the scenario (two minutes
of a clock that runs 60 times as fast) some run low, some are cut off, most of these recharge and are reconnected.
The same seed gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from schemas.documents import load_checked
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.devices.water_meter import WaterMeter
from simulators.fleet import Fleet
from simulators.parks.merchants import Name, merchant_names
from simulators.parks.prices import spend_by_quarter
from simulators.parks.yaml_text import block
from simulators.scenario import load_scenario

SEED = 2026
SITE = "park-1"
ZONE = "Asia/Shanghai"
START = "2026-01-12T09:00:00"
HOURS = 2
GATEWAYS = 12
LOW_1 = Decimal(50)
FOLDER = Path(__file__).parent / "example"


class Trade(msgspec.Struct, frozen=True):
    """One kind of merchant: how many, what they draw, what they pay by."""

    name: str
    count: int
    profiles: list[str]
    peak_w: tuple[int, int]
    tariffs: tuple[str, ...]
    phases: int = 1
    imax_a: int = 100
    limit_w: int = 12_000
    water: bool = False
    breaker: bool = False
    rates: bool = False
    step_report_w: int | None = None


TRADES = (
    Trade("restaurants", 60, ["G5-A", "G3-A", "G0-M", "G4-M"], (5_000, 9_500), ("shop-tou", "shop-flat"), water=True),
    Trade("shops", 60, ["G4-A", "G4-B", "G4-H", "G0-A"], (2_500, 7_500), ("shop-flat", "shop-tou")),
    Trade(
        "offices",
        40,
        ["G1-A", "G1-B", "G1-C", "G0-A"],
        (6_000, 12_000),
        ("office-tou-tiers",),
        3,
        60,
        18_000,
        rates=True,
    ),
    Trade("cafes", 30, ["G2-A", "G5-A", "G4-M"], (2_500, 6_000), ("shop-tou", "shop-flat")),
    Trade("stalls", 18, ["H0-B", "H0-C", "G6-A"], (800, 2_000), ("shop-tiers",), 1, 40, 5_000, step_report_w=2_500),
    Trade(
        "anchors", 12, ["G3-H", "BL-H", "G3-M", "G2-A"], (18_000, 40_000), ("shop-tou",), 3, 150, 60_000, breaker=True
    ),
)


class Merchant(msgspec.Struct):
    """One tenant with the ids of its devices. `fate` is what its credit is chosen for."""

    number: int
    trade: Trade
    name: Name
    tariff: str
    water: str | None
    breaker: str | None
    fate: str = "comfortable"
    credit: Decimal = Decimal(0)

    @property
    def tenant(self) -> str:
        return f"t-{self.number:03d}"

    @property
    def meter(self) -> str:
        return f"em-{self.number:03d}"


FATES = (("cutoff", 34), ("saved", 16), ("low", 50), ("comfortable", 120))
"""cutoff: runs dry and is cut off. saved: recharges before that. low: falls below the first warning."""


def make_merchants(seed: int) -> list[Merchant]:
    """All merchants in order of their number, each with its fate."""
    rng = Random(f"{seed}:merchants")
    merchants: list[Merchant] = []
    waters = breakers = 0
    for trade in TRADES:
        for index, name in enumerate(merchant_names(trade.name, trade.count, rng)):
            waters, breakers = waters + trade.water, breakers + trade.breaker
            water = f"wm-{waters:03d}" if trade.water else None
            breaker = f"br-{breakers:03d}" if trade.breaker else None
            tariff = trade.tariffs[index % len(trade.tariffs)]
            merchants.append(Merchant(len(merchants) + 1, trade, name, tariff, water, breaker))
    fates = [fate for fate, count in FATES for _ in range(count)]
    rng.shuffle(fates)
    for merchant, fate in zip(merchants, fates, strict=True):
        merchant.fate = fate
    return merchants


def fleet_document(merchants: Sequence[Merchant], seed: int) -> dict[str, Any]:
    """The scenario: devices, what goes wrong, what happens, who recharges."""
    gateways = {"pattern": "gw-{n:02d}", "from": 1, "to": GATEWAYS}
    groups: list[dict[str, Any]] = [{"name": "gateways", "kind": "gateway", "ids": gateways, "model": "TM-G1"}]
    first = 1
    for trade in TRADES:
        ids = {"pattern": "em-{n:03d}", "from": first, "to": first + trade.count - 1}
        groups.append(_meter_group(trade, ids, gateways))
        first += trade.count
    water = {"pattern": "wm-{n:03d}", "from": 1, "to": sum(merchant.water is not None for merchant in merchants)}
    groups.append(
        {"name": "water", "kind": "water_meter", "ids": water, "gateways": gateways, "profile": "water"}
        | {"peak_lph": [300, 900], "opening_l": [10_000, 4_000_000], "valve": True, "valve_limit": True}
        | {"travel": ["8s", "15s"]}
    )
    large = [merchant for merchant in merchants if merchant.breaker is not None]
    groups.append(
        {"name": "breakers", "kind": "breaker", "ids": [merchant.breaker for merchant in large], "gateways": gateways}
        | {"meters": [merchant.meter for merchant in large], "travel": ["100ms", "400ms"]}
    )
    return {
        "apiVersion": "twinmeter.fleet/v1",
        "site": SITE,
        "title": "Example park: 220 merchants on a Monday morning",
        "seed": seed,
        "timezone": ZONE,
        "start": START,
        "interval": "1m",
        "groups": groups,
        "faults": _faults(merchants),
        "events": _events(merchants),
        "people": _people(merchants, seed),
    }


def _meter_group(trade: Trade, ids: dict[str, Any], gateways: dict[str, Any]) -> dict[str, Any]:
    group: dict[str, Any] = {"name": trade.name, "kind": "electricity_meter", "ids": ids, "gateways": gateways}
    group |= {"profile": trade.profiles, "peak_w": list(trade.peak_w)}
    group |= {"opening_wh": [100_000, 90_000_000], "phases": trade.phases, "relay": not trade.breaker}
    if not trade.breaker:
        group["travel"] = ["100ms", "400ms"]
    if trade.rates:
        group["rates"] = True
    if trade.step_report_w is not None:
        group["step_report_w"] = trade.step_report_w
    return group


def _faults(merchants: Sequence[Merchant]) -> list[dict[str, Any]]:
    cut = [merchant for merchant in merchants if merchant.fate == "cutoff" and merchant.breaker is None]
    calm = [merchant for merchant in merchants if merchant.fate == "comfortable"]
    return [
        {"fault": "duplicate", "share": "0.2", "probability": "0.05", "delay": ["1s", "90s"]},
        {"fault": "reorder", "share": "0.2", "probability": "0.05", "delay": ["10s", "2m"]},
        {"fault": "drop", "share": "0.1", "probability": "0.03"},
        {"fault": "late", "share": "0.1", "probability": "0.02", "delay": ["2m", "10m"]},
        {"fault": "offline", "devices": [f"gw-{GATEWAYS:02d}"], "from": "25m", "to": "40m"},
        {"fault": "spike", "devices": [calm[7].meter], "from": "30m", "to": "31m", "add": 500_000_000},
        {"fault": "rollover", "devices": [calm[11].meter], "from": "50m", "margin": 20},
        {"fault": "stuck_relay", "devices": [cut[3].meter]},
    ]


def _events(merchants: Sequence[Merchant]) -> list[dict[str, Any]]:
    shops = [
        merchant for merchant in merchants if merchant.trade.name == "restaurants" and merchant.fate == "comfortable"
    ]
    stalls = [merchant for merchant in merchants if merchant.trade.name == "stalls" and merchant.fate == "comfortable"]
    events = [
        {"event": "load_step", "devices": [shop.meter], "at": f"{at}m", "for": "12m", "add_w": 11_000, "pf_milli": 980}
        for shop, at in zip(shops, (12, 35, 58, 95), strict=False)
    ]
    events += [
        {"event": "load_step", "devices": [stall.meter], "at": f"{at}m", "for": "6m", "add_w": 3_000}
        for stall, at in zip(stalls, (20, 70), strict=False)
    ]
    return events


def _people(merchants: Sequence[Merchant], seed: int) -> list[dict[str, Any]]:
    rng = Random(f"{seed}:people")
    people = []
    for merchant in merchants:
        amount = f"{rng.choice((50, 100, 100, 200, 300))}.00"
        channel = rng.choice(("wechat", "alipay", "cash"))
        if merchant.fate == "cutoff" and rng.random() < 0.75:
            recharge: dict[str, Any] = {"when_below": "0.00", "amount": amount, "after": ["18m", "35m"]}
        elif merchant.fate == "saved":
            recharge = {"when_below": "3.00", "amount": amount, "after": ["1m", "6m"]}
        elif merchant.fate == "low" and rng.random() < 0.5:
            recharge = {"when_below": "49.00", "amount": amount, "after": ["5m", "40m"]}
        else:
            continue
        people.append({"tenant": merchant.tenant, "recharge": recharge | {"channel": channel}})
    return people


def choose_credits(merchants: Sequence[Merchant], fleet: Fleet, folder: Path, seed: int) -> None:
    """Give each merchant the opening credit that leads to its fate, from what its meters will count."""
    rng = Random(f"{seed}:credits")
    start = datetime.fromisoformat(START).replace(tzinfo=ZoneInfo(ZONE))
    tariffs = {path.stem: load_checked(path, "tariff").data for path in sorted((folder / "tariffs").glob("*.yaml"))}
    for merchant in merchants:
        spend = spend_by_quarter(_meter(fleet, merchant.meter).load, tariffs[merchant.tariff], start, HOURS)
        if merchant.water is not None:
            water = spend_by_quarter(_meter(fleet, merchant.water).load, tariffs[water_tariff(merchant)], start, HOURS)
            spend = [electricity + litres for electricity, litres in zip(spend, water, strict=True)]
        merchant.credit = _credit(merchant.fate, spend, rng).quantize(Decimal("0.01"))


def _credit(fate: str, spend: Sequence[Decimal], rng: Random) -> Decimal:
    """Dry after 15 to 75 minutes; or below the first warning some time in the first two hours; or neither."""
    if fate in ("cutoff", "saved"):
        return max(Decimal("0.05"), spend[rng.randint(0, 4)])
    if fate == "low":
        return LOW_1 + spend[rng.randint(0, len(spend) - 2)]
    return LOW_1 + spend[-1] * 3 + rng.randint(100, 2_000)


def _meter(fleet: Fleet, device_id: str) -> ElectricityMeter | WaterMeter:
    meter = fleet.devices[device_id]
    assert isinstance(meter, ElectricityMeter | WaterMeter)
    return meter


def water_tariff(merchant: Merchant) -> str:
    """Every other restaurant pays for water by tiers."""
    return "water-tiers" if merchant.number % 2 else "water-flat"


def site_document(merchants: Sequence[Merchant], fleet: Fleet) -> dict[str, Any]:
    """The site file: what the platform is told about the park."""
    gateways = [
        {"id": f"gw-{n:02d}", "name": {"zh": f"{n}号楼网关", "en": f"Gateway of building {n}"}, "model": "TM-G1"}
        for n in range(1, GATEWAYS + 1)
    ]
    devices = [device for merchant in merchants for device in _devices(merchant, fleet)]
    return {
        "apiVersion": "twinmeter.site/v1",
        "site": SITE,
        "name": {"zh": "示范园区", "en": "Example park"},
        "timezone": ZONE,
        "currency": "CNY",
        "interval": "15m",
        "tariffs": [f"tariffs/{path.name}" for path in sorted((FOLDER / "tariffs").glob("*.yaml"))],
        "rulesets": ["rules/prepaid.yaml"],
        "gateways": gateways,
        "devices": devices,
        "tenants": [_tenant(merchant) for merchant in merchants],
    }


def _devices(merchant: Merchant, fleet: Fleet) -> list[dict[str, Any]]:
    trade, meter = merchant.trade, _meter(fleet, merchant.meter)
    electricity: dict[str, Any] = {"id": merchant.meter, "kind": "electricity_meter", "gateway": meter.gateway}
    electricity |= {"relay": not trade.breaker, "remote_close": True} if not trade.breaker else {"relay": False}
    electricity |= {"opening_wh": meter.register.opening, "phases": trade.phases, "imax_a": trade.imax_a}
    electricity |= {"register_digits_wh": meter.register.modulus, "interval": "1m"}
    electricity["params"] = {"limit_w": trade.limit_w}
    found = [electricity]
    if merchant.breaker is not None:
        gateway = fleet.devices[merchant.breaker].gateway
        found.append(
            {"id": merchant.breaker, "kind": "breaker", "gateway": gateway, "remote_close": True, "interval": "1m"}
        )
    if merchant.water is not None:
        water = _meter(fleet, merchant.water)
        found.append(
            {"id": merchant.water, "kind": "water_meter", "gateway": water.gateway, "valve": True, "remote_close": True}
            | {"valve_limit": True, "opening_l": water.register.opening, "max_lph": 3_000, "interval": "1m"}
        )
    return found


def _tenant(merchant: Merchant) -> dict[str, Any]:
    breaker = merchant.breaker or merchant.meter
    supplies = [{"meter": merchant.meter, "breaker": breaker, "tariff": merchant.tariff, "from": START}]
    if merchant.water is not None:
        supplies.append({"meter": merchant.water, "tariff": water_tariff(merchant), "from": START})
    return {
        "id": merchant.tenant,
        "name": {"zh": merchant.name[0], "en": merchant.name[1]},
        "mode": "prepaid",
        "opening_credit": str(merchant.credit),
        "supplies": supplies,
    }


def write_park(folder: Path, seed: int = SEED) -> None:
    """Write `fleet.yaml` and `site.yaml` into a folder and check them. Tariffs are read from the example park."""
    merchants = make_merchants(seed)
    note = f"# Generated by `python -m simulators.parks.generate`, seed {seed}. Change the script, not this file.\n"
    fleet_path, site_path = folder / "fleet.yaml", folder / "site.yaml"
    fleet_path.write_text(note + block(fleet_document(merchants, seed)), encoding="utf-8")
    fleet = Fleet(load_scenario(fleet_path))
    choose_credits(merchants, fleet, FOLDER, seed)
    site_path.write_text(note + block(site_document(merchants, fleet)), encoding="utf-8")
    load_checked(site_path, "site")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the park into the folder named on the command line, or into the example park."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    write_park(Path(arguments[0]) if arguments else FOLDER)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

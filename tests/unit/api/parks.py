"""Two small parks for tests of the API: a shop with a meter and a valve, a tea house with a breaker; one elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from twin.ports import SiteDocument

SITE = "park-1"
OTHER_SITE = "park-2"
PACK = Path(__file__).parents[3] / "rules" / "packs" / "residential-prepaid.yaml"
SUPPLIED_FROM = "2026-01-01T00:00:00"


def document(site: str = SITE) -> SiteDocument:
    """The park with the tenants t-001 (100.00 of opening credit) and t-002."""
    devices = [
        {"id": "em-001", "kind": "electricity_meter", "gateway": "gw-01", "relay": True, "opening_wh": 120_000}
        | {"phases": 1, "imax_a": 60, "remote_close": True},
        {"id": "wm-001", "kind": "water_meter", "valve": True, "opening_l": 0},
        {"id": "em-002", "kind": "electricity_meter", "opening_wh": 0},
        {"id": "br-001", "kind": "breaker"},
        {"id": "em-spare", "kind": "electricity_meter"},
    ]
    shop = [
        {"meter": "em-001", "breaker": "em-001", "tariff": "shop-flat", "from": SUPPLIED_FROM},
        {"meter": "wm-001", "tariff": "water"},
    ]
    tea_house = [{"meter": "em-002", "breaker": "br-001", "tariff": "shop-flat"}]
    tenants = [
        {"id": "t-001", "name": "老王面馆", "mode": "prepaid", "opening_credit": "100.00", "supplies": shop},
        {"id": "t-002", "name": "Tea house", "mode": "prepaid", "supplies": tea_house},
    ]
    return _document(site, [{"id": "gw-01", "name": "Gateway of house 1"}], devices, tenants)


def elsewhere() -> SiteDocument:
    """Another park, with the tenant t-900."""
    devices = [{"id": "em-900", "kind": "electricity_meter", "relay": True, "opening_wh": 0}]
    supplies = [{"meter": "em-900", "breaker": "em-900", "tariff": "shop-flat"}]
    tenant = {"id": "t-900", "name": "Elsewhere", "mode": "prepaid", "opening_credit": "7.00", "supplies": supplies}
    return _document(OTHER_SITE, [], devices, [tenant])


def _document(
    site: str, gateways: list[dict[str, Any]], devices: list[dict[str, Any]], tenants: list[dict[str, Any]]
) -> SiteDocument:
    body = {
        "apiVersion": "twinmeter.site/v1",
        "site": site,
        "name": {"zh": "示范园区", "en": "Example park"},
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "interval": "15m",
        "gateways": gateways,
        "devices": devices,
        "tenants": tenants,
    }
    tariffs = {"shop-flat": _flat("shop-flat", "electricity", "0.85"), "water": _flat("water", "water", "4.10")}
    ruleset = YAML(typ="safe").load(PACK.read_text(encoding="utf-8"))
    return SiteDocument(body, tariffs, {ruleset["ruleset"]: ruleset})


def _flat(name: str, utility: str, price: str) -> dict[str, Any]:
    version = {"from": "2020-01-01T00:00:00", "mode": "flat", "price": price}
    return {"apiVersion": "twinmeter.tariff/v1", "tariff": name, "utility": utility, "versions": [version]}

"""The park that is simulated: its site file, and its prices as the checker knows them.

Prices stand here twice on purpose: as text in the tariffs that the platform reads, and as integers for the checker.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from twin.ports import SiteDocument

SITE = "park-1"
PACK = Path(__file__).parents[2] / "rules" / "packs" / "residential-prepaid.yaml"
START_MS = 1_767_888_000_000 + 3 * 24 * 3_600_000 + 9 * 3_600_000
"""Monday 12 January 2026, 09:00 in Shanghai: nobody is spared before 16:00."""
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
INTERVAL_MS = 2 * MINUTE
REPORT_MS = MINUTE
GRACE_MS = 3 * MINUTE
LIMIT_W = 6_000
NANO = 1_000_000_000

FLAT_MICRO = {0: 852_300, 1: 1_234_567}
"""Price of `flat` in micro-units a kWh, by version of the tariff."""
TOU_MICRO = {"early": 1_203_400, "late": 392_100}
TOU_EDGE_MINUTES = 9 * 60 + 30
TIER_EDGES_WH = (300, 900)
TIER_MICRO = (500_000, 550_000, 800_000)
PRICES = {
    "flat": set(FLAT_MICRO.values()),
    "tou": set(TOU_MICRO.values()),
    "tiers": set(TIER_MICRO),
}
TARIFF_OF = ("flat", "tou", "tiers", "flat")


def tariffs(flat_versions: int = 1, new_from: str = "") -> dict[str, dict[str, Any]]:
    """Flat (with a second price from an instant on, when there is one), time of use, and tiers."""
    since = "2020-01-01T00:00:00"
    head = {"apiVersion": "twinmeter.tariff/v1", "utility": "electricity"}
    flat = [{"from": since, "mode": "flat", "price": "0.8523"}]
    if flat_versions > 1:
        flat.append({"from": new_from, "mode": "flat", "price": "1.234567"})
    slots = {"00:00-09:30": "early", "09:30-24:00": "late"}
    tou = {
        "from": since,
        "mode": "tou",
        "periods": {"early": "1.2034", "late": "0.3921"},
        "calendar": [{"months": "all", "days": "all", "slots": slots}],
    }
    steps = [{"upto": "0.3", "price": "0.50"}, {"upto": "0.9", "price": "0.55"}, {"price": "0.80"}]
    return {
        "flat": {**head, "tariff": "flat", "versions": flat},
        "tou": {**head, "tariff": "tou", "versions": [tou]},
        "tiers": {**head, "tariff": "tiers", "versions": [{"from": since, "mode": "tiers", "tiers": steps}]},
    }


@lru_cache(maxsize=1)
def ruleset() -> dict[str, Any]:
    """The rules of the example, without the tests that stand in their file."""
    read: dict[str, Any] = YAML(typ="safe").load(PACK.read_text(encoding="utf-8"))
    return {key: value for key, value in read.items() if key != "tests"}


def meter_name(number: int) -> str:
    """Id of a meter and of its relay."""
    return f"em-{number:03d}"


def tenant_name(number: int) -> str:
    """Id of a tenant."""
    return f"t-{number:03d}"


def device(number: int, opening_wh: int, modulus: int) -> dict[str, Any]:
    """One meter with a relay, as the site file says it."""
    return {
        "id": meter_name(number),
        "kind": "electricity_meter",
        "relay": True,
        "remote_close": True,
        "opening_wh": opening_wh,
        "imax_a": 60,
        "phases": 1,
        "register_digits_wh": modulus,
    }


def site_document(
    openings: list[int], moduli: list[int], credits: list[str], *, interval: str = "2m", **changes: Any
) -> SiteDocument:
    """A tenant for each meter, and a newcomer with none for whom meters may be handed over."""
    tenants: list[dict[str, Any]] = []
    for number, credit in enumerate(credits, 1):
        supply = {"meter": meter_name(number), "breaker": meter_name(number), "from": "2026-01-12T09:00:00"}
        supply["tariff"] = TARIFF_OF[(number - 1) % len(TARIFF_OF)]
        tenants.append(
            {"id": tenant_name(number), "name": f"商户{number}", "mode": "prepaid", "opening_credit": credit}
            | {"supplies": [supply]}
        )
    site = {
        "apiVersion": "twinmeter.site/v1",
        "site": SITE,
        "name": {"zh": "模拟园区", "en": "Simulated park"},
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "interval": interval,
        "params": {"grace": "3m", "limit_w": LIMIT_W, "low1": "0.20", "low2": "0.10"},
        "devices": [device(number, *pair) for number, pair in enumerate(zip(openings, moduli, strict=True), 1)],
        "tenants": tenants,
        **changes,
    }
    return SiteDocument(site, tariffs(), {"residential-prepaid": ruleset()})

"""A small park as a site document, and effects as its twins would send them."""

from __future__ import annotations

from typing import Any

from twin.core.effects import AnyEffect, ChargePosted, EpochOpened
from twin.ports import Entry, SiteDocument

SITE = "park-1"
NOW = 1_767_225_600_000
"""2026-01-01T00:00:00Z, Unix ms."""
INTERVAL_MS = 900_000
PRICE_MICRO = 850_000
GUARDED: dict[str, Any] = {
    "apiVersion": "twinmeter.rules/v1",
    "ruleset": "guarded",
    "version": 1,
    "rules": [
        {
            "id": "trip",
            "scope": {"twin": "meter"},
            "on": ["event"],
            "when": "has(meter.id)",
            "guard": {"max": 1, "per": "10m"},
            "clear": {"when": "!has(meter.id)"},
            "then": [{"breaker.lock": {"lock": "overload"}}],
        }
    ],
}
"""A ruleset whose guard lets one of its firings through and holds the others."""


def tariff(name: str = "shop-flat", price: str = "0.85", utility: str = "electricity") -> dict[str, Any]:
    """A flat tariff."""
    version = {"from": "2020-01-01T00:00:00", "mode": "flat", "price": price}
    return {"apiVersion": "twinmeter.tariff/v1", "tariff": name, "utility": utility, "versions": [version]}


def ruleset(version: int = 1, title: str = "deduct") -> dict[str, Any]:
    """A ruleset with one rule."""
    rule = {
        "id": title,
        "scope": {"twin": "meter"},
        "on": ["reading.registers"],
        "when": "reading.delta > 0",
        "then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}],
    }
    return {"apiVersion": "twinmeter.rules/v1", "ruleset": "prepaid", "version": version, "rules": [rule]}


def site(**changes: Any) -> dict[str, Any]:
    """The site file of CONTRACT.md 5, shortened."""
    return {
        "apiVersion": "twinmeter.site/v1",
        "site": SITE,
        "name": {"zh": "示范园区", "en": "Example park"},
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "interval": "15m",
        "gateways": [{"id": "gw-01", "name": "Gateway of house 1"}],
        "devices": [
            {"id": "em-001", "kind": "electricity_meter", "gateway": "gw-01", "relay": True, "opening_wh": 120_000}
            | {"phases": 1, "imax_a": 60, "remote_close": True},
            {"id": "wm-001", "kind": "water_meter", "valve": True, "opening_l": 0},
            {"id": "em-002", "kind": "electricity_meter", "opening_wh": 0},
            {"id": "br-001", "kind": "breaker"},
            {"id": "em-spare", "kind": "electricity_meter"},
        ],
        "tenants": [
            {
                "id": "t-001",
                "name": "老王面馆",
                "mode": "prepaid",
                "opening_credit": "100.00",
                "params": {"low1": "50.00"},
                "supplies": [
                    {"meter": "em-001", "breaker": "em-001", "tariff": "shop-flat", "from": "2026-01-01T00:00:00"},
                    {"meter": "wm-001", "tariff": "water"},
                ],
            },
            {
                "id": "t-002",
                "name": "Tea house",
                "mode": "prepaid",
                "supplies": [{"meter": "em-002", "breaker": "br-001", "tariff": "shop-flat"}],
            },
        ],
        **changes,
    }


def document(**changes: Any) -> SiteDocument:
    """The park with its tariffs and its ruleset."""
    tariffs = {"shop-flat": tariff(), "water": tariff("water", "4.10", "water")}
    return SiteDocument(site(**changes), tariffs, {"prepaid": ruleset()})


def charge(
    from_qty: int,
    to_qty: int,
    *,
    meter: str = "em-002",
    tenant: str = "t-002",
    price_micro: int = PRICE_MICRO,
    to_ts: int = NOW,
    **changes: Any,
) -> ChargePosted:
    """One posted interval of a meter."""
    known: dict[str, Any] = {
        "meter": meter,
        "epoch": 1,
        "from_qty": from_qty,
        "to_qty": to_qty,
        "from_ts": to_ts - INTERVAL_MS,
        "to_ts": to_ts,
        "tenant": tenant,
        "account": f"tenant:{tenant}:wallet",
        "utility": "electricity",
        "tariff": "shop-flat",
        "version": 0,
        "month": 202601,
        "price_micro": price_micro,
        "amount_nano": (to_qty - from_qty) * price_micro,
    }
    return ChargePosted(**{**known, **changes})


def opened(meter: str, opening: int, epoch: int = 1) -> EpochOpened:
    """An opened register epoch."""
    return EpochOpened(meter, epoch, opening, NOW, "first reading")


def entry(number: int, *effects: AnyEffect, group: str = "t-002") -> Entry:
    """The stream's entry of a number."""
    return Entry(f"{NOW}-{number}", group, effects)

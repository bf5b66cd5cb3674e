"""The tariff of the contract's example, as the core receives it, and instants by their local text."""

from copy import deepcopy
from datetime import datetime
from typing import Any

SHANGHAI = "Asia/Shanghai"

SHOP_TOU: dict[str, Any] = {
    "apiVersion": "twinmeter.tariff/v1",
    "tariff": "shop-tou",
    "utility": "electricity",
    "versions": [
        {
            "from": "2026-01-01T00:00:00",
            "mode": "tou+tiers",
            "periods": {"peak": "1.2034", "flat": "0.8012", "valley": "0.3921"},
            "calendar": [
                {
                    "months": [7, 8, 9],
                    "days": "weekday",
                    "slots": {
                        "00:00-08:00": "valley",
                        "08:00-12:00": "flat",
                        "12:00-22:00": "peak",
                        "22:00-24:00": "valley",
                    },
                },
                {"months": "all", "days": "all", "slots": {"00:00-08:00": "valley", "08:00-24:00": "flat"}},
            ],
            "tiers": [{"upto": "240", "add": "0"}, {"upto": "400", "add": "0.05"}, {"add": "0.30"}],
            "surcharges": [{"name": "fund", "per_unit": "0.0150"}],
            "fixed": [{"name": "service", "per_month": "30.00", "while_disconnected": True}],
            "demand": {"price": "38.00", "window": "15m"},
            "minimum_per_month": "0",
        }
    ],
}


def shop_tou() -> dict[str, Any]:
    """A copy that a test may change."""
    return deepcopy(SHOP_TOU)


def flat(price: str = "0.8523", **keys: Any) -> dict[str, Any]:
    """A flat tariff valid since 2000, with further keys of its version."""
    version = {"from": "2000-01-01T00:00:00", "mode": "flat", "price": price, **keys}
    return {"tariff": "flat", "utility": "electricity", "versions": [version]}


def at(text: str) -> int:
    """Unix ms of an ISO text with an offset, `+08:00` if it has none."""
    instant = datetime.fromisoformat(text if "+" in text or text.endswith("Z") else text + "+08:00")
    return int(instant.timestamp() * 1000)

"""What a simulated load will cost, roughly, by a tariff file: enough to choose opening credits for a demonstration.

An estimate on purpose, of quarter-hours and the lowest tier, with no code of the platform: it decides how a park is
set up and must not be able to agree with the platform's rating by sharing it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from simulators.profiles import UNITS_PER_WH, Load

QUARTER = timedelta(minutes=15)


def spend_by_quarter(load: Load, tariff: dict[str, Any], start: datetime, hours: int) -> list[Decimal]:
    """Money spent from `start` to the end of each quarter-hour, ascending; `start` carries its zone."""
    total, found = Decimal(0), []
    at = start
    for _ in range(hours * 4):
        units = load.units_between(_ms(at), _ms(at + QUARTER))
        total += Decimal(units) / UNITS_PER_WH / 1000 * price_at(tariff, at)
        found.append(total)
        at += QUARTER
    return found


def price_at(tariff: dict[str, Any], at: datetime) -> Decimal:
    """Price of a kWh or cubic metre at a local instant, surcharges included, in the lowest tier."""
    local = at.strftime("%Y-%m-%dT%H:%M:%S")
    version = [version for version in tariff["versions"] if version["from"] <= local][-1]
    price = sum((Decimal(charge["per_unit"]) for charge in version.get("surcharges", [])), Decimal(0))
    if "price" in version:
        price += Decimal(version["price"])
    if "periods" in version:
        price += Decimal(version["periods"][_period(version["calendar"], at)])
    if "tiers" in version:
        lowest = version["tiers"][0]
        price += Decimal(lowest.get("price", lowest.get("add", "0")))
    return price


def _period(calendar: list[dict[str, Any]], at: datetime) -> str:
    clock = at.strftime("%H:%M")
    for entry in calendar:
        months_match = entry["months"] == "all" or at.month in entry["months"]
        days_match = entry["days"] == "all" or (entry["days"] == "weekday") == (at.weekday() < 5)
        if months_match and days_match:
            return next(str(name) for slot, name in entry["slots"].items() if _holds(slot, clock))
    raise ValueError(f"no calendar entry for {at.isoformat()}")


def _holds(slot: str, clock: str) -> bool:
    begin, end = slot.split("-")
    return begin <= clock < end


def _ms(at: datetime) -> int:
    return int(at.astimezone(ZoneInfo("UTC")).timestamp()) * 1000

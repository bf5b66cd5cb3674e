"""An independent calculation of charges from the text of the tariff contract: brute force, fractions, no product code.

It knows no segments. It asks minute by minute what the wall clock shows and which price that means, and joins equal
minutes. Everything a tariff can cut at lies on whole minutes, so minutes are enough.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import holidays

MINUTE_MS = 60_000
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


@dataclass(frozen=True)
class Charge:
    from_ts: int
    to_ts: int
    from_qty: int
    to_qty: int
    month: int
    period: str | None
    tier: int | None
    price: Fraction
    """Currency per kWh or m3."""
    amount: Fraction
    """Currency."""
    estimated: bool


def wall_clock(zone: str, ts_ms: int) -> datetime:
    return (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts_ms))
        .astimezone(ZoneInfo(zone))
        .replace(tzinfo=None)
    )


@lru_cache(maxsize=4096)
def first_minute_showing(zone: str, local: datetime) -> int:
    """The first instant at which the clock shows `local` or later: versions and months begin once."""
    near = int(local.replace(tzinfo=UTC).timestamp()) * 1000
    for ts in range(near - 40 * 60 * MINUTE_MS, near + 40 * 60 * MINUTE_MS, MINUTE_MS):
        if wall_clock(zone, ts) >= local:
            return ts
    raise AssertionError(local)


def month_of(zone: str, ts_ms: int) -> int:
    shown = wall_clock(zone, ts_ms)
    coming = datetime(shown.year + shown.month // 12, shown.month % 12 + 1, 1)
    begun = shown if ts_ms < first_minute_showing(zone, coming) else coming
    return begun.year * 100 + begun.month


def version_of(document: dict, zone: str, ts_ms: int) -> int:
    starts = [first_minute_showing(zone, datetime.fromisoformat(item["from"])) for item in document["versions"]]
    return max(index for index, start in enumerate(starts) if start <= ts_ms)


def period_of(version: dict, shown: datetime) -> str | None:
    if "calendar" not in version:
        return None
    for entry in version["calendar"]:
        if entry["months"] != "all" and shown.month not in entry["months"]:
            continue
        if not day_matches(entry["days"], shown):
            continue
        minute = shown.hour * 60 + shown.minute
        for slot, period in entry["slots"].items():
            (from_hour, from_minute), (to_hour, to_minute) = (map(int, edge.split(":")) for edge in slot.split("-"))
            if from_hour * 60 + from_minute <= minute < to_hour * 60 + to_minute:
                return period
        raise AssertionError(f"{shown} is in no slot")
    raise AssertionError(f"{shown} is in no calendar entry")


def day_matches(days: str | list[str], shown: datetime) -> bool:
    if isinstance(days, list):
        return WEEKDAYS[shown.weekday()] in days
    if days.startswith("holiday:"):
        return shown.date() in holidays_of(days.removeprefix("holiday:"), shown.year)
    return {"all": True, "weekday": shown.weekday() < 5, "weekend": shown.weekday() >= 5}[days]


@lru_cache(maxsize=64)
def holidays_of(country: str, year: int) -> set:
    return set(holidays.country_holidays(country, years=year))


def state_at(document: dict, zone: str, ts_ms: int) -> tuple[int, int, str | None]:
    """(month, version, period): what a price depends on besides use."""
    version = version_of(document, zone, ts_ms)
    period = period_of(document["versions"][version], wall_clock(zone, ts_ms))
    return month_of(zone, ts_ms), version, period


def spans_between(document: dict, zone: str, from_ts: int, to_ts: int) -> list[tuple[int, int, tuple]]:
    spans: list[tuple[int, int, tuple]] = []
    start = from_ts
    while start < to_ts:
        end = min((start // MINUTE_MS + 1) * MINUTE_MS, to_ts)
        state = state_at(document, zone, start)
        if spans and spans[-1][2] == state:
            spans[-1] = (spans[-1][0], end, state)
        else:
            spans.append((start, end, state))
        start = end
    return spans


def shared(total: int, weights: list[int]) -> list[int]:
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    shares = [int(part) for part in exact]
    while sum(shares) < total:
        lacking = [part - share for part, share in zip(exact, shares, strict=True)]
        shares[lacking.index(max(lacking))] += 1
    return shares


def unit_price(version: dict, period: str | None, tier: dict | None) -> Fraction:
    base = Fraction(version["periods"][period]) if period else Fraction(version.get("price", "0"))
    if tier and "price" in tier:
        base = Fraction(tier["price"])
    elif tier:
        base += Fraction(tier["add"])
    return base + sum(Fraction(item["per_unit"]) for item in version.get("surcharges", []))


def charges(document: dict, zone: str, samples: list[tuple[int, int]]) -> list[Charge]:
    """Charges of a series of (ts, register), use counted from zero at its start."""
    found: list[Charge] = []
    use: dict[int, int] = {}
    for (from_ts, from_qty), (to_ts, to_qty) in pairwise(samples):
        spans = spans_between(document, zone, from_ts, to_ts)
        shares = shared(to_qty - from_qty, [end - start for start, end, _ in spans])
        at = from_qty
        for (start, end, state), share in zip(spans, shares, strict=True):
            found.extend(in_tiers(document, state, use, (start, end, at, at + share), len(spans) > 1))
            at += share
    return found


def in_tiers(document: dict, state: tuple, use: dict[int, int], span: tuple, estimated: bool) -> list[Charge]:
    month, version_index, period = state
    start, end, from_qty, to_qty = span
    version = document["versions"][version_index]
    tiers = version.get("tiers", [])
    key = month // 100 if tiers and version.get("tier_period") == "year" else month
    runs: list[list] = []
    for quantity in range(from_qty, to_qty):  # one Wh at a time
        tier = tier_of(tiers, use.get(key, 0))
        for counted in (month, month // 100):
            use[counted] = use.get(counted, 0) + 1
        if runs and runs[-1][0] == tier:
            runs[-1][2] = quantity + 1
        else:
            runs.append([tier, quantity, quantity + 1])
    crossing = {low: start + (end - start) * (low - from_qty) // (to_qty - from_qty) for _, low, _ in runs[1:]}
    found: list[Charge] = []
    for tier, low, high in runs:
        price = unit_price(version, period, tiers[tier] if tier is not None else None)
        times = crossing.get(low, start), crossing.get(high, end)
        amount = price * Fraction(high - low, 1000)
        found.append(Charge(*times, low, high, month, period, tier, price, amount, estimated))
    return found


def tier_of(tiers: list[dict], used: int) -> int | None:
    for index, tier in enumerate(tiers):
        if "upto" not in tier or used < Fraction(tier["upto"]) * 1000:
            return index
    return None

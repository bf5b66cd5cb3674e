"""One version of a tariff: its prices as the file states them, checked and turned into integers.

Modes: `flat` has a `price`; `tou` has `periods` and a `calendar`; `tiers` has `tiers`, each with its `price`;
`tou+tiers` has all three. There a tier with `add` charges the period's price plus the add-on, and a tier with
`price` charges that price whatever the period: the slices still name their period, but it no longer moves the price.
Surcharges come on top of every price, replaced or not. An `add` or a surcharge may be negative (a discount), as long
as no full price falls below zero.

Tiers count the meter's cumulative use in the local calendar month, or, with `tier_period: year`, in the local
calendar year.

Free units: the first units of a meter in a local calendar month cost nothing, surcharges included (`free`, and what a
`package` includes; both together where there are both). They count towards tiers like any others.

`periods_from: meter` takes the periods from the meter's own sub-registers, which are named like the periods; the
calendar stays as what holds where they cannot be used.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from billing import tariff_fields as fields
from billing.day_calendar import DayCalendar, compile_calendar
from billing.local_time import first_instant, local_ms_of_day
from billing.points import RATE_NAMES
from billing.tariff_fields import TariffError, join

MODE_KEYS = {
    "flat": ("price",),
    "tou": ("periods", "calendar"),
    "tiers": ("tiers",),
    "tou+tiers": ("periods", "calendar", "tiers"),
}
_PRICE_KEYS = ("price", "periods", "calendar", "tiers")
_YEARS = range(1970, 9990)


class Tier(msgspec.Struct, frozen=True):
    """A step of cumulative use: up to `upto` Wh or litres (None: without end) `price_micro` replaces the base price,
    or `add_micro` is added to it; exactly one of the two is set."""

    upto: int | None
    price_micro: int | None
    add_micro: int | None


class Surcharge(msgspec.Struct, frozen=True):
    """A named price on top of every unit, in micro-units per kWh or m3."""

    name: str
    per_unit_micro: int


class FixedFee(msgspec.Struct, frozen=True):
    """A named fee a month in nano-units, due while disconnected too or not; `prorate` is `day` or `none`."""

    name: str
    per_month_nano: int
    while_disconnected: bool
    prorate: str = "day"


class Package(msgspec.Struct, frozen=True):
    """A fee a month in nano-units that includes so many Wh or litres of each meter and month."""

    name: str
    per_month_nano: int
    includes: int


class Demand(msgspec.Struct, frozen=True):
    """A price in micro-units per kW of the month's maximum mean demand; W x price is nano-units.

    The mean is taken over `window_ms`, a window that slides by `slip_ms`.
    """

    price_micro: int
    window_ms: int
    slip_ms: int


class PriceVersion(msgspec.Struct, frozen=True):
    """A tariff's prices from `start_ms` (Unix ms) until the next version.

    `start_ms` is the first instant at which the wall clock shows `from_local` or later, and identifies the version.
    """

    start_ms: int
    from_local: str
    mode: str
    price_micro: int
    periods: dict[str, int]
    calendar: DayCalendar | None
    tiers: tuple[Tier, ...]
    tier_period: str
    surcharges: tuple[Surcharge, ...]
    fixed: tuple[FixedFee, ...]
    demand: Demand | None
    minimum_nano: int
    package: Package | None = None
    capacity_micro: int = 0
    """Price per contracted kW and month; W x price is nano-units."""
    free_quantity: int = 0
    """First Wh or litres of a meter and month that cost nothing, without those of the package."""
    periods_from_meter: bool = False
    """Periods are those of the meter's sub-registers, where it tells them."""

    @property
    def free_upto(self) -> int:
        """Use of a month, in Wh or litres, up to which units cost nothing."""
        return self.free_quantity + (self.package.includes if self.package is not None else 0)

    @property
    def surcharge_micro(self) -> int:
        """The sum of the surcharges in micro-units per kWh or m3."""
        return sum(surcharge.per_unit_micro for surcharge in self.surcharges)

    def base_micro(self, period: str | None) -> int:
        """The price before tier and surcharges: of the period, of mode flat, or 0 in mode tiers."""
        return self.price_micro if period is None else self.periods[period]

    def tier_price_micro(self, tier: Tier, period: str | None) -> int:
        """The full price in a tier, surcharges included."""
        if tier.price_micro is not None:
            return tier.price_micro + self.surcharge_micro
        assert tier.add_micro is not None
        return self.base_micro(period) + tier.add_micro + self.surcharge_micro


def compile_version(item: Mapping[str, Any], utility: str, zone: ZoneInfo, path: str) -> PriceVersion:
    """Compiles one entry of `versions`; raises TariffError naming the place below `path`."""
    mode = fields.one_of(fields.required(item, "mode", path), tuple(MODE_KEYS), join(path, "mode"))
    _check_keys(item, mode, path)
    effective = _effective(fields.required(item, "from", path), join(path, "from"))
    periods = _periods(item, path) if "periods" in item else {}
    calendar = None
    if "calendar" in item:
        calendar = compile_calendar(item["calendar"], periods, effective.date(), join(path, "calendar"))
    into_day_s = effective.hour * 3600 + effective.minute * 60 + effective.second
    version = PriceVersion(
        start_ms=first_instant(zone, local_ms_of_day(effective.date()) + into_day_s * 1000),
        from_local=effective.isoformat(),
        mode=mode,
        price_micro=fields.price(item["price"], join(path, "price")) if mode == "flat" else 0,
        periods=periods,
        calendar=calendar,
        tiers=_tiers(item["tiers"], mode, join(path, "tiers")) if "tiers" in item else (),
        tier_period=fields.one_of(item.get("tier_period", "month"), ("month", "year"), join(path, "tier_period")),
        surcharges=_surcharges(item, path),
        fixed=_fixed(item, path),
        demand=_demand(item["demand"], utility, join(path, "demand")) if "demand" in item else None,
        minimum_nano=fields.money(item.get("minimum_per_month", "0"), join(path, "minimum_per_month")),
        package=_package(item["package"], join(path, "package")) if "package" in item else None,
        capacity_micro=_capacity(item["capacity"], utility, join(path, "capacity")) if "capacity" in item else 0,
        free_quantity=_free(item["free"], join(path, "free")) if "free" in item else 0,
        periods_from_meter=_periods_from(item, periods, utility, path),
    )
    _check_full_prices(version, path)
    return version


def _check_keys(item: Mapping[str, Any], mode: str, path: str) -> None:
    wanted = MODE_KEYS[mode]
    for key in wanted:
        if key not in item:
            raise TariffError(join(path, key), f"is missing; mode {mode} needs {' and '.join(wanted)}")
    for key in _PRICE_KEYS:
        if key in item and key not in wanted:
            raise TariffError(join(path, key), f"is not used by mode {mode}; remove it or change the mode")
    if "tier_period" in item and "tiers" not in wanted:
        raise TariffError(join(path, "tier_period"), f"is not used by mode {mode}; remove it or change the mode")


def _check_full_prices(version: PriceVersion, path: str) -> None:
    for period in version.periods or (None,):
        if not version.tiers and version.base_micro(period) + version.surcharge_micro < 0:
            place = "price" if period is None else f"periods.{period}"
            raise TariffError(join(path, place), "falls below zero with the surcharges")
        for index, tier in enumerate(version.tiers):
            if version.tier_price_micro(tier, period) < 0:
                within = "" if period is None else f" in period {period}"
                raise TariffError(join(path, f"tiers[{index}]"), f"the full price falls below zero{within}")


def _effective(value: Any, path: str) -> datetime:
    right = 'must be a local date and time without an offset such as "2026-01-01T00:00:00"'
    try:
        effective = datetime.fromisoformat(fields.text(value, path))
    except ValueError as error:
        if isinstance(error, TariffError):
            raise
        raise TariffError(path, f"{right}, found {value!r}") from None
    if effective.tzinfo is not None or effective.microsecond:
        raise TariffError(path, f"{right}, to the second, found {value!r}")
    if effective.year not in _YEARS:
        raise TariffError(path, f"lies outside the years {_YEARS.start} to {_YEARS.stop - 1}: {value!r}")
    return effective


def _periods(item: Mapping[str, Any], path: str) -> dict[str, int]:
    place = join(path, "periods")
    table = fields.mapping(item["periods"], place)
    if not table:
        raise TariffError(place, "names no period; give each its price")
    return {fields.text(name, place): fields.price(value, join(place, name)) for name, value in table.items()}


def _tiers(value: Any, mode: str, path: str) -> tuple[Tier, ...]:
    items = fields.sequence(value, path)
    tiers: list[Tier] = []
    below = 0
    for index, item in enumerate(items):
        place = join(path, index)
        tier = _tier(fields.mapping(item, place), mode, place)
        last = index == len(items) - 1
        if last and tier.upto is not None:
            raise TariffError(join(place, "upto"), "the last tier has no end; remove its upto or add a tier")
        if not last:
            below = _rising(tier.upto, below, join(place, "upto"))
        tiers.append(tier)
    return tuple(tiers)


def _rising(upto: int | None, below: int, path: str) -> int:
    if upto is None:
        raise TariffError(path, "is missing; only the last tier has no end")
    if upto <= below:
        raise TariffError(path, "must be above the end of the tier before it, and above zero")
    return upto


def _tier(item: Mapping[str, Any], mode: str, path: str) -> Tier:
    if mode == "tiers" and "add" in item:
        raise TariffError(join(path, "add"), "mode tiers has no price to add to; give the tier's price")
    if ("price" in item) == ("add" in item):
        raise TariffError(path, "must have either price (replaces) or add (comes on top)")
    return Tier(
        upto=fields.quantity(item["upto"], join(path, "upto")) if "upto" in item else None,
        price_micro=fields.price(item["price"], join(path, "price")) if "price" in item else None,
        add_micro=fields.price_change(item["add"], join(path, "add")) if "add" in item else None,
    )


def _surcharges(item: Mapping[str, Any], path: str) -> tuple[Surcharge, ...]:
    found: list[Surcharge] = []
    for entry, place in _entries(item, "surcharges", path):
        name = fields.text(fields.required(entry, "name", place), join(place, "name"))
        if any(known.name == name for known in found):
            raise TariffError(join(place, "name"), f"{name!r} is named twice")
        per_unit = fields.price_change(fields.required(entry, "per_unit", place), join(place, "per_unit"))
        found.append(Surcharge(name, per_unit))
    return tuple(found)


def _fixed(item: Mapping[str, Any], path: str) -> tuple[FixedFee, ...]:
    found: list[FixedFee] = []
    for entry, place in _entries(item, "fixed", path):
        name = fields.text(fields.required(entry, "name", place), join(place, "name"))
        if any(known.name == name for known in found):
            raise TariffError(join(place, "name"), f"{name!r} is named twice")
        per_month = fields.money(fields.required(entry, "per_month", place), join(place, "per_month"))
        always = fields.flag(entry.get("while_disconnected", True), join(place, "while_disconnected"))
        prorate = fields.one_of(entry.get("prorate", "day"), ("day", "none"), join(place, "prorate"))
        found.append(FixedFee(name, per_month, always, prorate))
    return tuple(found)


def _entries(item: Mapping[str, Any], key: str, path: str) -> list[tuple[Mapping[str, Any], str]]:
    place = join(path, key)
    if not item.get(key):
        return []
    listed = enumerate(fields.sequence(item[key], place))
    return [(fields.mapping(entry, join(place, index)), join(place, index)) for index, entry in listed]


def _demand(value: Any, utility: str, path: str) -> Demand:
    if utility != "electricity":
        raise TariffError(path, f"a demand price is for electricity, not for {utility}")
    item = fields.mapping(value, path)
    price_micro = fields.price(fields.required(item, "price", path), join(path, "price"))
    window_ms = fields.duration(fields.required(item, "window", path), join(path, "window"))
    slip_ms = fields.duration(item["slip"], join(path, "slip")) if "slip" in item else window_ms
    if window_ms % slip_ms:
        raise TariffError(join(path, "slip"), f"must divide the window of {item['window']} without remainder")
    return Demand(price_micro, window_ms, slip_ms)


def _package(value: Any, path: str) -> Package:
    item = fields.mapping(value, path)
    name = fields.text(fields.required(item, "name", path), join(path, "name"))
    per_month = fields.money(fields.required(item, "per_month", path), join(path, "per_month"))
    includes = fields.quantity(item["includes"], join(path, "includes")) if "includes" in item else 0
    return Package(name, per_month, includes)


def _capacity(value: Any, utility: str, path: str) -> int:
    if utility != "electricity":
        raise TariffError(path, f"a price of capacity is for electricity, not for {utility}")
    item = fields.mapping(value, path)
    return fields.price(fields.required(item, "price", path), join(path, "price"))


def _free(value: Any, path: str) -> int:
    item = fields.mapping(value, path)
    return fields.quantity(fields.required(item, "quantity", path), join(path, "quantity"))


def _periods_from(item: Mapping[str, Any], periods: Mapping[str, int], utility: str, path: str) -> bool:
    if "periods_from" not in item:
        return False
    place = join(path, "periods_from")
    if fields.one_of(item["periods_from"], ("calendar", "meter"), place) == "calendar":
        return False
    if utility != "electricity":
        raise TariffError(place, f"sub-registers are of electricity meters, not of {utility} meters")
    if not periods:
        raise TariffError(place, f"mode {item['mode']} has no periods; remove it or change the mode")
    for name in periods:
        if name not in RATE_NAMES:
            known = ", ".join(RATE_NAMES)
            raise TariffError(join(path, f"periods.{name}"), f"is no sub-register of a meter; those are {known}")
    return True

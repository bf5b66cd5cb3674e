"""Reading a site document: what the schema cannot check, and the state that the document wants.

All mistakes are collected, each with its place in the file, what is wrong and what would be right; one mistake refuses
the whole document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from adapters.store.journals.money_acts import HOARDING_PARAM
from adapters.store.sites.apportionment_entries import check_apportionments
from adapters.store.sites.contracts import can_switch, local_instant
from adapters.store.sites.site_plans import check_plans
from adapters.store.sites.site_state import GATEWAY, LISTS, METERS, SiteState, SupplyRow
from billing.money import MoneyError, parse_money
from billing.tariff import TariffError, compile_tariff
from rules.errors import ParamError, RuleError, did_you_mean
from rules.params import Param, param_value
from rules.ruleset import compile_ruleset
from schemas.durations import DurationError, parse_duration
from twin.core.view import TWIN_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twin.ports import SiteDocument

_UTILITY = {"electricity_meter": "electricity", "water_meter": "water"}
_MOST_NAMED = 8


class SiteError(Exception):
    """A site document that does not hold together; `problems` say where and what, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def wanted_state(document: SiteDocument) -> SiteState:
    """The state that a schema-checked document asks for. Raises SiteError with every problem found."""
    return _Reading(document).state()


class _Reading:
    """One document being read."""

    def __init__(self, document: SiteDocument) -> None:
        self.site = document.site
        self.problems: list[str] = []
        self.timezone: str = self.site["timezone"]
        self.tariffs = {tariff["tariff"]: tariff for tariff in document.tariffs.values()}
        self.rulesets = {ruleset["ruleset"]: ruleset for ruleset in document.rulesets.values()}
        self.params: dict[str, Param] = {}
        self.devices: dict[str, dict[str, Any]] = {}
        self.tenants: dict[str, dict[str, Any]] = {}
        self.supplies: list[tuple[str, SupplyRow]] = []

    def state(self) -> SiteState:
        self._settings()
        self._documents()
        self._overrides("params", self.site)
        self._devices()
        self._tenants()
        self._occupancy()
        self._breakers()
        self._vacancy()
        self._bills()
        self.problems += check_plans(self.site, self.params)
        if self.problems:
            raise SiteError(self.problems)
        settings = {key: value for key, value in self.site.items() if key not in LISTS}
        supplies = {supply.key: supply for _, supply in self.supplies}
        return SiteState(self.site["site"], settings, self.tariffs, self.rulesets, self.devices, self.tenants, supplies)

    def _vacancy(self) -> None:
        """Vacancy tariffs must be there, and of their utility."""
        for utility, name in self.site.get("vacancy", {}).items():
            tariff = self.tariffs.get(name)
            if tariff is None:
                self.wrong(f"vacancy.{utility}", f"there is no tariff {name!r}")
            elif tariff["utility"] != utility:
                self.wrong(f"vacancy.{utility}", f"tariff {name!r} is for {tariff['utility']}")

    def wrong(self, path: str, message: str) -> None:
        self.problems.append(f"{path}: {message}")

    def _settings(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ValueError, OSError, LookupError):
            self.wrong("timezone", f"unknown time zone {self.timezone!r}; write one such as Asia/Shanghai")
            self.timezone = "UTC"
        self._duration("interval", self.site)

    def _documents(self) -> None:
        for name, tariff in self.tariffs.items():
            try:
                compile_tariff(tariff, self.timezone)
            except (TariffError, MoneyError) as error:
                self.wrong(f"tariffs[{name}]", str(error))
        for name, ruleset in self.rulesets.items():
            try:
                self.params |= compile_ruleset(ruleset, TWIN_MODEL).params
            except RuleError as error:
                self.problems += [f"rulesets[{name}]: {line}" for line in str(error).splitlines()]

    def _devices(self) -> None:
        gateways = [
            ({**entry, "kind": GATEWAY}, f"gateways[{i}]") for i, entry in enumerate(self.site.get("gateways", ()))
        ]
        known_gateways = [entry["id"] for entry, _ in gateways]
        devices = [(entry, f"devices[{i}]") for i, entry in enumerate(self.site.get("devices", ()))]
        for entry, path in (*gateways, *devices):
            if entry["id"] in self.devices:
                self.wrong(f"{path}.id", f"{entry['id']!r} is used twice; every device needs an id of its own")
            self.devices[entry["id"]] = entry
            gateway = entry.get("gateway")
            if gateway is not None and gateway not in known_gateways:
                self.wrong(f"{path}.gateway", f"unknown gateway {gateway!r}; known: {_named(known_gateways)}")
            self._duration(f"{path}.interval", entry)
            self._overrides(f"{path}.params", entry)

    def _tenants(self) -> None:
        for i, entry in enumerate(self.site.get("tenants", ())):
            path = f"tenants[{i}]"
            if entry["id"] in self.tenants:
                self.wrong(f"{path}.id", f"{entry['id']!r} is used twice; every tenant needs an id of its own")
            self.tenants[entry["id"]] = {key: value for key, value in entry.items() if key != "supplies"}
            for key in ("opening_credit", "emergency_credit"):
                self._money(f"{path}.{key}", entry.get(key))
            self._instant(f"{path}.protected_until", entry.get("protected_until"))
            self._overrides(f"{path}.params", entry)
            for j, supply in enumerate(entry.get("supplies", ())):
                self._supply(f"{path}.supplies[{j}]", entry["id"], supply)

    def _supply(self, path: str, tenant: str, entry: dict[str, Any]) -> None:
        meter = self.devices.get(entry["meter"])
        if meter is None or meter["kind"] not in METERS:
            found = "unknown device" if meter is None else f"{meter['kind']}, not a meter:"
            meters = [name for name, device in self.devices.items() if device["kind"] in METERS]
            self.wrong(f"{path}.meter", f"{found} {entry['meter']!r}; known meters: {_named(meters)}")
        self._breaker(path, entry.get("breaker"))
        tariff = self.tariffs.get(entry["tariff"])
        if tariff is None:
            self.wrong(f"{path}.tariff", f"unknown tariff {entry['tariff']!r}; known: {_named(self.tariffs)}")
        elif meter is not None and _UTILITY.get(meter["kind"], tariff["utility"]) != tariff["utility"]:
            self.wrong(
                f"{path}.tariff", f"{entry['tariff']!r} prices {tariff['utility']}, the meter is a {meter['kind']}"
            )
        from_ts = self._instant(f"{path}.from", entry.get("from"))
        to_ts = self._instant(f"{path}.to", entry.get("to"))
        if from_ts is not None and to_ts is not None and to_ts <= from_ts:
            self.wrong(f"{path}.to", f"{entry['to']} is not after {entry['from']}")
            to_ts = None
        row = SupplyRow(tenant, entry["meter"], entry.get("breaker"), entry["tariff"], from_ts, to_ts, entry)
        self.supplies.append((path, row))

    def _breaker(self, path: str, name: str | None) -> None:
        if name is None:
            return
        device = self.devices.get(name)
        if device is None:
            switches = [known for known, entry in self.devices.items() if can_switch(entry)]
            self.wrong(f"{path}.breaker", f"unknown device {name!r}; known breakers: {_named(switches)}")
        elif not can_switch(device):
            message = (
                f"{name!r} ({device['kind']}) cannot switch; name a breaker, or say `relay: true` or `valve: true`"
            )
            self.wrong(f"{path}.breaker", message)

    def _occupancy(self) -> None:
        """No two supplies of one meter at one time."""
        by_meter: dict[str, list[tuple[str, SupplyRow]]] = {}
        for path, row in self.supplies:
            for _, other in by_meter.setdefault(row.meter, []):
                if _overlap(row, other):
                    whose = (
                        f"tenant {other.tenant!r}" if other.tenant != row.tenant else "another supply of this tenant"
                    )
                    self.wrong(f"{path}.meter", f"{row.meter!r} is paid for by {whose} at the same time")
            by_meter[row.meter].append((path, row))

    def _breakers(self) -> None:
        """A breaker belongs to one tenant."""
        owners: dict[str, str] = {}
        for path, row in self.supplies:
            if row.to_ts is not None:
                continue
            for name in {row.breaker or row.meter, row.meter}:
                owner = owners.setdefault(name, row.tenant)
                if owner != row.tenant:
                    self.wrong(f"{path}.breaker", f"{name!r} belongs to the supply of tenant {owner!r} already")

    def _bills(self) -> None:
        """Who holds whose wallet, and what is divided among whom."""
        for i, (name, entry) in enumerate(self.tenants.items()):
            holder = entry.get("holder")
            if holder is not None and (holder not in self.tenants or self.tenants[holder].get("holder")):
                right = "a tenant of this file that has no holder itself"
                self.wrong(f"tenants[{i}].holder", f"{holder!r} of {name!r} is not {right}")
        self.problems += check_apportionments(self.site.get("apportionments", ()), self.tenants, self.devices)

    def _money(self, path: str, text: str | None) -> None:
        try:
            parse_money(text if text is not None else "0")
        except MoneyError as error:
            self.wrong(path, str(error))

    def _instant(self, path: str, text: str | None) -> int | None:
        try:
            return local_instant(text, self.timezone) if text is not None else None
        except (ValueError, OverflowError) as error:
            self.wrong(path, f"{text!r} is not an instant such as 2026-01-01T00:00:00 ({error})")
            return None

    def _duration(self, path: str, entry: dict[str, Any]) -> None:
        try:
            if parse_duration(entry.get("interval", "15m")) == 0:
                self.wrong(path, "an interval must be longer than nothing")
        except DurationError as error:
            self.wrong(path, str(error))

    def _overrides(self, path: str, entry: dict[str, Any]) -> None:
        """Overrides of rule parameters must fit their declarations; an unknown one that looks like a known one is a
        slip.

        Others may belong to a ruleset that is activated later.
        """
        for name, value in entry.get("params", {}).items():
            param = self.params.get(name)
            if param is None:
                hint = did_you_mean(name, self.params)
                if hint and name != HOARDING_PARAM:
                    self.wrong(f"{path}.{name}", f"no ruleset here has this parameter; {hint}")
                continue
            try:
                param_value(param, value)
            except ParamError as error:
                self.wrong(f"{path}.{name}", str(error))


def _overlap(one: SupplyRow, other: SupplyRow) -> bool:
    starts_before = other.to_ts is None or one.from_ts is None or one.from_ts < other.to_ts
    ends_after = one.to_ts is None or other.from_ts is None or other.from_ts < one.to_ts
    return starts_before and ends_after


def _named(names: Iterable[str]) -> str:
    """Some names for an error message."""
    known = sorted(names)
    shown = ", ".join(known[:_MOST_NAMED])
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return shown + more if known else "none"

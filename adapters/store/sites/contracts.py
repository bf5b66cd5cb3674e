"""From what a site file says of devices and tenants to the contracts that their twins work by.

Every tenant is a group with the meters it pays for and the breakers (or valves) that switch them. A device that is no
tenant's is a group of its own with id `@<device>`.
"""

from __future__ import annotations

from datetime import datetime
from sys import intern
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.sites.payers import current_payers, rented
from adapters.store.sites.site_state import GATEWAY, METERS
from billing.money import parse_money
from schemas.durations import parse_duration
from twin.core.model import BreakerContract, Contract, MeterContract
from twin.ports import Contracts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from adapters.store.sites.site_state import SiteState, SupplyRow

Entry = dict[str, Any]

DEFAULT_INTERVAL = "15m"
DEFAULT_VOLTAGE_V = 230
DEFAULT_MODULUS = 1_000_000_000


def device_group(device: str) -> str:
    """The group of a device that is no tenant's."""
    return f"@{device}"


def can_switch(device: Entry) -> bool:
    """Whether a device interrupts a supply: a breaker, a meter with a relay, a water meter with a valve."""
    return bool(device["kind"] == "breaker" or device.get("relay") or device.get("valve"))


def local_instant(text: str, timezone: str) -> int:
    """Unix ms of an ISO 8601 instant; without an offset it is local time of the zone. Raises ValueError."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=ZoneInfo(timezone))
    return int(instant.timestamp()) * 1000 + instant.microsecond // 1000


def tenant_contract(entry: Entry, timezone: str) -> Contract:
    """The contract of one tenant."""
    protected = entry.get("protected_until")
    mode: Any = intern(entry["mode"])  # the model's own word: storing a twin leaves out what is its default
    return Contract(
        id=entry["id"],
        name=in_languages(entry.get("name") or entry["id"]),
        mode=mode,
        emergency_credit_nano=parse_money(entry.get("emergency_credit", "0")),
        params=entry.get("params", {}),
        protected_until=local_instant(protected, timezone) if protected else None,
        group=entry.get("group", ""),
    )


def in_languages(words: str | dict[str, str]) -> dict[str, str]:
    """A name by language; one that says no language stands under `und`, the tag for undetermined."""
    return {"und": words} if isinstance(words, str) else words


def meter_contract(settings: Entry, device: Entry, supply: SupplyRow | None, *, rented: bool = False) -> MeterContract:
    """The contract of one meter. `max_rate` is W or litres an hour, 0 where the file does not bound it.

    Without a supply the landlord pays by the site's vacancy tariff, where the meter is one that tenants rent.
    """
    electric = device["kind"] == "electricity_meter"
    digits = device.get("register_digits_wh" if electric else "register_digits_l", DEFAULT_MODULUS)
    own = device["id"] if can_switch(device) else None
    return MeterContract(
        id=device["id"],
        kind="electricity" if electric else "water",
        tariff=supply.tariff if supply else _vacancy_tariff(settings, device, rented=rented),
        breaker=(supply.breaker if supply else None) or own,
        gateway=device.get("gateway"),
        interval_ms=parse_duration(device.get("interval") or settings.get("interval") or DEFAULT_INTERVAL),
        modulus=digits * ratio_of(device),
        ratio=ratio_of(device),
        max_rate=_max_rate(device, electric),
        supply_from=supply.from_ts if supply else None,
        params=device.get("params", {}),
        imax_a=device.get("imax_a", 0) if electric else 0,
    )


def ratio_of(device: Entry) -> int:
    """Primary quantity of one unit that the device shows: current times voltage transformer."""
    return int(device.get("ratio", 1))


def _vacancy_tariff(settings: Entry, device: Entry, *, rented: bool) -> str:
    """The landlord's tariff for a metering point that nobody rents; none for a meter that is no tenant's to rent (a
    master meter, a spare), unless its entry says so (`rentable`)."""
    if not device.get("rentable", rented):
        return ""
    utility = "electricity" if device["kind"] == "electricity_meter" else "water"
    return str(settings.get("vacancy", {}).get(utility, ""))


def _max_rate(device: Entry, electric: bool) -> int:
    """Most that can flow, primary, whatever part of it the meter sees behind transformers."""
    if not electric:
        return int(device.get("max_lph", 0))
    phases, voltage_v = device.get("phases", 1), device.get("voltage_v", DEFAULT_VOLTAGE_V)
    return int(device.get("max_w") or phases * voltage_v * device.get("imax_a", 0))


def breaker_contract(settings: Entry, device: Entry, meters: Iterable[str]) -> BreakerContract:
    """The contract of one breaker, relay or valve; `meters` measure what flows through it."""
    return BreakerContract(
        id=device["id"],
        op="valve.set" if device.get("valve") else "breaker.set",
        remote_close=device.get("remote_close", False),
        meters=tuple(meters),
        gateway=device.get("gateway"),
        limits=bool(device.get("valve") and device.get("valve_limit")),
        schedule=_plan(settings, "schedules", device.get("schedule")),
        load_limit=_plan(settings, "limits", device.get("limit")),
    )


def _plan(settings: Entry, kind: str, name: str | None) -> Entry | None:
    """The schedule or limit of a name with the name in it, as twins keep it; titles are for screens."""
    plan = settings.get(kind, {}).get(name) if name is not None else None
    return None if plan is None else {"name": name, **{key: plan[key] for key in sorted(plan) if key != "title"}}


def tenant_contracts(
    settings: Entry, tenant: Entry, supplies: Sequence[SupplyRow], devices: Mapping[str, Entry]
) -> Contracts:
    """The contracts of a tenant's group, from its supplies in force."""
    meters = [meter_contract(settings, devices[supply.meter], supply) for supply in supplies]
    behind: dict[str, list[str]] = {}
    for meter in meters:
        if meter.breaker:
            behind.setdefault(meter.breaker, []).append(meter.id)
        if can_switch(devices[meter.id]):
            behind.setdefault(meter.id, [meter.id])
    breakers = [breaker_contract(settings, devices[name], names) for name, names in behind.items()]
    contract = tenant_contract(tenant, settings["timezone"])
    return Contracts(tenant["id"], contract, tuple(meters), tuple(breakers))


def device_contracts(settings: Entry, device: Entry, *, rented: bool = False) -> Contracts:
    """The contracts of a device that is no tenant's; `rented` says that a meter was one's before."""
    name = device["id"]
    if device["kind"] == GATEWAY:
        return Contracts(device_group(name), None, gateway=name)
    metered = device["kind"] in METERS
    meters = (meter_contract(settings, device, None, rented=rented),) if metered else ()
    breakers = (breaker_contract(settings, device, (name,) if metered else ()),) if can_switch(device) else ()
    return Contracts(device_group(name), None, meters, breakers)


def all_contracts(state: SiteState, at: int) -> dict[str, Contracts]:
    """Every group of a site with its contracts, from the supplies in force at an instant."""
    if state.imported_ts is None:
        return {}
    by_tenant: dict[str, list[SupplyRow]] = {}
    taken: set[str] = set()
    for supply in current_payers(state.supplies.values(), at).values():
        by_tenant.setdefault(supply.tenant, []).append(supply)
        taken |= {supply.meter, supply.breaker or supply.meter}
    former = rented(state.supplies.values(), at)
    groups: dict[str, Contracts] = {}
    for name, tenant in state.tenants.items():
        groups[name] = tenant_contracts(state.settings, tenant, by_tenant.get(name, ()), state.devices)
    for name, device in state.devices.items():
        if name not in taken:
            groups[device_group(name)] = device_contracts(state.settings, device, rented=name in former)
    return groups


def without_meters(contracts: Contracts, absent: Collection[str]) -> Contracts:
    """Contracts of a group that some of its meters have not reached yet, nor the breakers that come with them."""
    if not absent:
        return contracts
    meters = tuple(meter for meter in contracts.meters if meter.id not in absent)
    breakers = []
    for breaker in contracts.breakers:
        behind = tuple(name for name in breaker.meters if name not in absent)
        if behind or not breaker.meters:
            breakers.append(msgspec.structs.replace(breaker, meters=behind))
    return msgspec.structs.replace(contracts, meters=meters, breakers=tuple(breakers))

"""Apportionments as a site file names them: what they mean, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billing.apportionment import (
    BASES,
    WHOLE_MICRO,
    ApportionmentError,
    Basis,
    Member,
    Shared,
    apportion,
    check_bases,
)
from billing.money import MoneyError, parse_price, parse_scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LANDLORD = ""


def check_apportionments(
    entries: Iterable[Mapping[str, Any]], tenants: Mapping[str, Any], devices: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with the apportionments of a site file, each with its place."""
    entries = list(entries)
    known = {entry["id"] for entry in entries}
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        path = f"apportionments[{index}]"
        if entry["id"] in seen:
            yield f"{path}.id: {entry['id']!r} is used twice"
        seen.add(entry["id"])
        if "master" in entry and ("meter" in entry or not entry.get("subs")):
            yield f"{path}: a loss has a master and its subs, and no meter of its own"
        if "master" in entry and "price" not in entry:
            yield f"{path}.price: is missing; nobody was charged for a loss, so it needs a price"
        for name in (*filter(None, (entry.get("meter"), entry.get("master"))), *entry.get("subs", ())):
            if name not in devices or not str(devices[name].get("kind", "")).endswith("_meter"):
                yield f"{path}: {name!r} is not a meter of this site"
        yield from _check_members(entry, path, tenants, known)
        try:
            price_of(entry)
            check_bases(bases_of(entry), f"{path}.by")
        except (ApportionmentError, MoneyError) as error:
            yield f"{path}: {error}"
    if len(seen) == len(entries):
        yield from _check_rings(entries)


def _check_members(entry: Mapping[str, Any], path: str, tenants: Mapping[str, Any], groups: set[str]) -> Iterator[str]:
    if entry.get("members", "all") == "all":
        return
    names = [member_key(member) for member in entry["members"]]
    for index, (kind, name) in enumerate(names):
        place = f"{path}.members[{index}]"
        if (kind, name) in names[:index]:
            yield f"{place}: {name or 'the landlord'!r} takes part twice"
        if kind == "tenant" and name not in tenants:
            yield f"{place}: unknown tenant {name!r}"
        if kind == "group" and name not in groups:
            yield f"{place}: unknown apportionment {name!r}"
        try:
            member_of(entry["members"][index], {}, 1, 0)
        except MoneyError as error:
            yield f"{place}: {error}"


def _check_rings(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    groups = []
    for entry in entries:
        members = entry.get("members", "all")
        inner = () if members == "all" else [name for kind, name in map(member_key, members) if kind == "group"]
        plain = tuple(Member(name, group=True) for name in inner) or (Member("somebody"),)
        groups.append(Shared(entry["id"], 0, (Basis("household"),), plain, price_micro=0))
    try:
        apportion([group for group in groups if group.members])
    except ApportionmentError as error:
        if "ring" in str(error):
            yield f"apportionments: {error}"


def member_key(item: str | Mapping[str, Any]) -> tuple[str, str]:
    """What takes part, and its name: a tenant, the landlord, or another apportionment (`group`)."""
    if isinstance(item, str):
        return "tenant", item
    if item.get("landlord"):
        return "landlord", LANDLORD
    return ("group", item["group"]) if "group" in item else ("tenant", item["tenant"])


def member_of(item: str | Mapping[str, Any], settings: Mapping[str, Any], days: int, own_use: int) -> Member:
    """A member with what the apportionment says of it, else what the tenant's entry says."""
    kind, name = member_key(item)
    said: Mapping[str, Any] = {**settings, **(item if not isinstance(item, str) else {})}
    return Member(
        id=name,
        group=kind == "group",
        households=int(said.get("households", 1)),
        area_milli=parse_scaled(str(said.get("area_m2", "0")), 3, "area"),
        own_use=own_use,
        coefficient_micro=parse_scaled(str(said.get("coefficient", "0")), 6, "coefficient"),
        percent_micro=parse_scaled(str(said.get("percent", "0")), 6, "percentage"),
        days=days,
    )


def bases_of(entry: Mapping[str, Any]) -> tuple[Basis, ...]:
    """By what it is divided, each with its part of the whole. Raises MoneyError."""
    by = entry.get("by", "household")
    if isinstance(by, str):
        assert by in BASES
        return (Basis(by, WHOLE_MICRO),)  # type: ignore[arg-type]
    return tuple(Basis(one["by"], parse_scaled(one["percent"], 6, "percentage")) for one in by)


def price_of(entry: Mapping[str, Any]) -> int | None:
    """Its own price, micro per kWh or m3. Raises MoneyError."""
    return parse_price(entry["price"]) if "price" in entry else None

"""Apportionments of a site: from what the site file says and the energy of the month to the shares of tenants.

A site file names what is shared (a meter, or the loss between a master and its subs), by which bases and among whom. A
group that cannot be divided (a meter without energy, a negative loss) is reported and charges nobody; the others go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.accounts import wallet
from adapters.store.fee_facts import load_spans
from adapters.store.fee_posting import FeeDue
from billing.apportionment import (
    BASES,
    WHOLE_MICRO,
    ApportionmentError,
    Basis,
    Member,
    Shared,
    apportion,
    check_bases,
    loss,
)
from billing.money import MoneyError, parse_price, parse_scaled
from billing.monthly_fees import held_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapters.store.database import Transaction
    from adapters.store.fee_facts import SiteTerms, Span
    from adapters.store.monthly_charges import Month

SHARES = ("share", "loss")
LANDLORD = ""
_METERED = (
    "SELECT meter, utility, account, sum(quantity), sum(amount_nano) FROM charge_sum WHERE site = ? AND month = ?"
    " AND meter <> '' GROUP BY meter, utility, account"
)
_INCIDENT = (
    "INSERT INTO incident (site, device, kind, since, count, detail, resolved_ts) VALUES (?, ?, ?, ?, 1, ?, NULL)"
    " ON CONFLICT (site, device, kind, since) DO UPDATE SET detail = excluded.detail"
)


class Trouble(msgspec.Struct, frozen=True):
    """A group that was not divided, and why; `device` is where a person should look."""

    group: str
    device: str
    kind: str
    detail: str


class MonthUse(msgspec.Struct):
    """The energy of a month: quantity and nano-units by meter, quantity by (tenant, utility)."""

    by_meter: dict[str, tuple[int, int]]
    utility: dict[str, str]
    by_tenant: dict[tuple[str, str], int]


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
            _price(entry)
            check_bases(_bases(entry), f"{path}.by")
        except (ApportionmentError, MoneyError) as error:
            yield f"{path}: {error}"
    if len(seen) == len(entries):
        yield from _check_rings(entries)


def _check_members(entry: Mapping[str, Any], path: str, tenants: Mapping[str, Any], groups: set[str]) -> Iterator[str]:
    if entry.get("members", "all") == "all":
        return
    names = [_member_key(member) for member in entry["members"]]
    for index, (kind, name) in enumerate(names):
        place = f"{path}.members[{index}]"
        if (kind, name) in names[:index]:
            yield f"{place}: {name or 'the landlord'!r} takes part twice"
        if kind == "tenant" and name not in tenants:
            yield f"{place}: unknown tenant {name!r}"
        if kind == "group" and name not in groups:
            yield f"{place}: unknown apportionment {name!r}"
        try:
            _member(entry["members"][index], {}, 1, 0)
        except MoneyError as error:
            yield f"{place}: {error}"


def _check_rings(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    groups = []
    for entry in entries:
        members = entry.get("members", "all")
        inner = () if members == "all" else [name for kind, name in map(_member_key, members) if kind == "group"]
        plain = tuple(Member(name, group=True) for name in inner) or (Member("somebody"),)
        groups.append(Shared(entry["id"], 0, (Basis("household"),), plain, price_micro=0))
    try:
        apportion([group for group in groups if group.members])
    except ApportionmentError as error:
        if "ring" in str(error):
            yield f"apportionments: {error}"


async def month_use(tx: Transaction, site: str, month: int) -> MonthUse:
    """The energy of a month as it was summed for settlement."""
    use = MonthUse({}, {}, {})
    for meter, utility, account, quantity, amount_nano in await tx.fetch(_METERED, site, month):
        before = use.by_meter.get(meter, (0, 0))
        use.by_meter[meter] = (before[0] + int(quantity), before[1] + int(amount_nano))
        use.utility[meter] = utility
        if account.startswith("tenant:"):
            key = (account.split(":")[1], utility)
            use.by_tenant[key] = use.by_tenant.get(key, 0) + int(quantity)
    return use


async def share_dues(tx: Transaction, terms: SiteTerms, month: Month) -> tuple[list[FeeDue], list[Trouble]]:
    """The shares of a month for all tenants and the landlord, and the groups that could not be divided."""
    entries = terms.settings.get("apportionments", [])
    if not entries:
        return [], []
    use = await month_use(tx, terms.site, month.number)
    spans = await load_spans(tx, terms, month.start_ms, month.end_ms)
    days: dict[str, int] = {}
    for span in spans:
        days[span.tenant] = max(days.get(span.tenant, 0), held_days(month.days, span.tenancy))
    troubles: list[Trouble] = []
    groups: dict[str, Shared] = {}
    for entry in entries:
        found = _shared(entry, terms, use, days, spans)
        if isinstance(found, Trouble):
            troubles.append(found)
        else:
            groups[entry["id"]] = found
    dues: list[FeeDue] = []
    try:
        dues = list(_dues(groups, {entry["id"]: entry for entry in entries}, use, month.number))
    except ApportionmentError as error:
        troubles.append(Trouble("", "", "apportionment", str(error)))
    return dues, troubles


async def raise_incidents(tx: Transaction, site: str, troubles: Iterable[Trouble], since: int) -> None:
    """Groups that could not be divided, as incidents of their meters."""
    for trouble in troubles:
        if trouble.device:
            await tx.execute(_INCIDENT, site, trouble.device, trouble.kind, since, trouble.detail)


def _shared(
    entry: Mapping[str, Any], terms: SiteTerms, use: MonthUse, days: Mapping[str, int], spans: Iterable[Span]
) -> Shared | Trouble:
    named = entry["id"]
    meters = [name for name in (entry.get("master"), entry.get("meter"), *entry.get("subs", ())) if name]
    for name in meters:
        if name not in use.by_meter:
            return Trouble(named, name, "no_energy", f"apportionment {named}: meter {name} has no energy this month")
    quantity, amount_nano = 0, 0
    if "meter" in entry:
        quantity, amount_nano = use.by_meter[entry["meter"]]
    elif "master" in entry:
        measured = [use.by_meter[name][0] for name in entry["subs"]]
        quantity = loss(use.by_meter[entry["master"]][0], measured)
    if quantity < 0:
        device = str(entry.get("master") or entry["meter"])
        detail = f"apportionment {named}: the subs measured {-quantity} more than their master; nobody is charged"
        return Trouble(named, device, "negative_loss", detail)
    utility = use.utility[meters[0]] if meters else str(entry.get("utility", "electricity"))
    members = tuple(_members(entry, terms, use, days, utility, spans))
    if not members:
        return Trouble(named, meters[0] if meters else "", "no_members", f"apportionment {named}: nobody takes part")
    return Shared(named, quantity, _bases(entry), members, _price(entry), amount_nano)


def _members(
    entry: Mapping[str, Any],
    terms: SiteTerms,
    use: MonthUse,
    days: Mapping[str, int],
    utility: str,
    spans: Iterable[Span],
) -> Iterator[Member]:
    listed = entry.get("members", "all")
    if listed == "all":
        supplied = {span.tenant for span in spans if span.tariff in terms.tariffs}
        listed = sorted(
            name
            for name in supplied
            if any(s.tenant == name and terms.tariffs[s.tariff].utility == utility for s in spans)
        )
    whole = max(days.values(), default=1)
    for item in listed:
        kind, name = _member_key(item)
        held = days.get(name, 0) if kind == "tenant" else whole
        if held:
            settings = terms.tenants.get(name, {}) if kind == "tenant" else {}
            yield _member(item, settings, held, use.by_tenant.get((name, utility), 0))


def _member_key(item: str | Mapping[str, Any]) -> tuple[str, str]:
    if isinstance(item, str):
        return "tenant", item
    if item.get("landlord"):
        return "landlord", LANDLORD
    return ("group", item["group"]) if "group" in item else ("tenant", item["tenant"])


def _member(item: str | Mapping[str, Any], settings: Mapping[str, Any], days: int, own_use: int) -> Member:
    """A member with what the apportionment says of it, else what the tenant's entry says."""
    kind, name = _member_key(item)
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


def _bases(entry: Mapping[str, Any]) -> tuple[Basis, ...]:
    by = entry.get("by", "household")
    if isinstance(by, str):
        assert by in BASES
        return (Basis(by, WHOLE_MICRO),)  # type: ignore[arg-type]
    return tuple(Basis(one["by"], parse_scaled(one["percent"], 6, "percentage")) for one in by)


def _price(entry: Mapping[str, Any]) -> int | None:
    return parse_price(entry["price"]) if "price" in entry else None


def _dues(
    groups: Mapping[str, Shared], entries: Mapping[str, Mapping[str, Any]], use: MonthUse, month: int
) -> Iterator[FeeDue]:
    for share in apportion(_whole(groups)):
        entry = entries[share.group]
        if any(member.group and member.id == share.member for member in groups[share.group].members):
            continue
        meter = str(entry.get("meter") or entry.get("master") or "")
        facts: dict[str, Any] = {
            "weight": share.weight,
            "weights": share.weights,
            "shared_quantity": share.total_quantity,
            "shared_nano": share.total_nano,
            "by": ",".join(basis.by for basis in groups[share.group].bases),
        }
        utility = use.utility.get(meter, str(entry.get("utility", "electricity")))
        yield FeeDue(
            *("loss" if "master" in entry else "share", share.member, meter, share.group, month, share.amount_nano),
            utility=utility,
            quantity=share.quantity,
            unit="l" if utility == "water" else "Wh",
            price_micro=share.price_micro,
            facts=facts | ({"equal": 1} if share.equal else {}),
        )


def _whole(groups: Mapping[str, Shared]) -> list[Shared]:
    """The groups that can be divided: one that hands on to a group in trouble would lose that part."""
    for group in groups.values():
        for member in group.members:
            if member.group and member.id not in groups:
                raise ApportionmentError(f"{group.id}: hands on to {member.id}, which cannot be divided this month")
    return list(groups.values())


__all__ = [
    "LANDLORD",
    "SHARES",
    "MonthUse",
    "Trouble",
    "check_apportionments",
    "raise_incidents",
    "share_dues",
    "wallet",
]

"""Apportionments of a site: from what the site file says and the energy of the month to the shares of tenants.

A site file names what is shared (a meter, or the loss between a master and its subs), by which bases and among whom. A
group that cannot be divided (a meter without energy, a negative loss) is reported and charges nobody; the others go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills.fee_facts import load_spans
from adapters.store.bills.fee_posting import FeeDue
from adapters.store.sites.apportionment_entries import bases_of, member_key, member_of, price_of
from billing.apportionment import (
    ApportionmentError,
    Member,
    Shared,
    apportion,
    loss,
)
from billing.monthly_fees import held_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapters.store.bills.fee_facts import SiteTerms, Span
    from adapters.store.bills.monthly_charges import Month
    from adapters.store.engine.database import Transaction

SHARES = ("share", "loss")
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
    return Shared(named, quantity, bases_of(entry), members, price_of(entry), amount_nano)


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
        kind, name = member_key(item)
        held = days.get(name, 0) if kind == "tenant" else whole
        if held:
            settings = terms.tenants.get(name, {}) if kind == "tenant" else {}
            yield member_of(item, settings, held, use.by_tenant.get((name, utility), 0))


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

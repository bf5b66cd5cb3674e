"""Why a tenant was cut off, or was not: facts from the twin and from the records of its rules, told in plain words.

The same records explain a rule to the staff; here they become what a tenant can act on: since when, for which reason,
by which figures, and what brings the supply back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from rules.explain import Record
from twin.core.asking import explain_locking_rules
from twin.core.breaker_why import nameless
from twin.flows.explain_rules import Moment, UnknownTwinError, moment_of
from twin.flows.tenant_words import LockReason, TenantWhy, sentences

if TYPE_CHECKING:
    from twin.core.model import Group
    from twin.flows.explain_rules import Parts

WAITING = ("pending", "deferred")


async def tenant_why(parts: Parts, site: str, tenant: str, at: int | None = None) -> TenantWhy:
    """Why a tenant is cut off, or is not, now or at an instant. Raises what `explain_rules.moment_of` raises."""
    moment = await moment_of(parts, site, tenant, at)
    group = moment.group
    if group.tenant is None or group.id != tenant:
        raise UnknownTwinError(f"site {site} has no tenant {tenant!r}")
    locks = [await _reason(parts, moment, *found) for found in _standing(group)]
    ahead = tuple(
        record
        for record in explain_locking_rules(group, moment.policy, moment.guards, moment.at)
        if record.state in WAITING
    )
    why = TenantWhy(
        tenant=tenant,
        at=moment.at,
        cut=bool(locks),
        balance_nano=group.tenant.balance_nano,
        state=group.tenant.state,
        locks=tuple(locks),
        ahead=ahead,
        waiting_to_close=any(breaker.close is not None for breaker in group.breakers.values()),
        text={},
    )
    told = {language: sentences(why, language, moment.policy.zone) for language in ("zh", "en")}
    return msgspec.structs.replace(why, text=told)


def for_tenants(why: TenantWhy) -> TenantWhy:
    """The same without the names of staff; the sentences name nobody anyway."""
    locks = tuple(msgspec.structs.replace(lock, who=nameless(lock.who)) for lock in why.locks)
    return msgspec.structs.replace(why, locks=locks)


def _standing(group: Group) -> list[tuple[str, str, Any]]:
    return [
        (name, kind, lock) for name, breaker in sorted(group.breakers.items()) for kind, lock in breaker.locks.items()
    ]


async def _reason(parts: Parts, moment: Moment, device: str, kind: str, lock: Any) -> LockReason:
    group = moment.group
    record = None
    if lock.rule:
        twins = [group.id, device, *group.breaker_contracts[device].meters]
        found = await parts.past.firing(group.site, lock.rule, twins, lock.since)
        record = msgspec.convert({**found, "memory": None}, Record) if found else None
    water = group.breaker_contracts[device].op == "valve.set"
    return LockReason(
        device=device,
        utility="water" if water else "electricity",
        lock=kind,
        who=lock.who,
        why=lock.why,
        since=lock.since,
        until=lock.until,
        rule=lock.rule,
        rule_version=lock.rule_version,
        record=record,
    )

"""What keeps an arrears cutoff back, whatever a rule's author wrote, and the emergency credit.

Theory of operation. A rule decides that somebody is to be cut off; a site has promised some things besides, and they
hold for every rule alike. While one of them stands, the rule waits at a gate of that name and is asked again:

- `protected`: the supply is guaranteed (保电) until an instant. Keeps back arrears and schedules, never safety.
- `mode_changed`: the tenant was postpaid a short while ago; a change of mode never interrupts a supply.
- `not_warned`: the site asks (`notice_time`) that a warning was delivered so long before, and that is not proved.
- `water_kept`: the utility is water, and none of the valves meant can do less than close: nobody loses water for money.

Balances too old to act on are kept from such rules by the view (`fresh_only`); calendars, grace, guards and
inhibitors are the rule's own.

Emergency credit is how far below zero a supply goes on. Where a site asks for consent (`emergency_opt_in`), it counts
only once the tenant has taken it, and until it is repaid in full; it can be taken again after that. Whatever comes in
repays it first, and the tenant is told how much of it that was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from rules.actions import Lock
from twin.core.effects import NotificationWanted, ParamChanged
from twin.core.lock_kinds import ARREARS, BELOW_GUARANTEE, guaranteed
from twin.core.policy import EMERGENCY_TAKEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rules.rule import Rule
    from twin.core.draft import Draft
    from twin.core.model import BreakerContract, Contract, Group
    from twin.core.model import Lock as LockInForce
    from twin.core.policy import SitePolicy

GATES = ("protected", "mode_changed", "not_warned", "water_kept")
WARNINGS = frozenset({"low_balance", "arrears_warning", "warning_cut"})
"""Templates of notices whose delivery proves that a tenant was warned."""
PREPAID_SINCE = "prepaid_since"
"""Parameter that the platform sets on a tenant that was postpaid before: the instant of the change (Unix ms)."""
PLATFORM_PARAMS = frozenset({"notice_time", "conversion_grace", "emergency_opt_in"})
"""Parameters that a rule file declares for its sites, and that the platform reads."""
CONVERSION_MS = 24 * 3_600_000
"""So long after a change to prepayment nothing is cut for arrears, unless the site says otherwise."""


def closed_gate(group: Group, params: Mapping[str, Any], rule: Rule, breakers: Iterable[str], now: int) -> str:
    """The first promise that keeps a rule's locks back from these breakers; an empty text where none does."""
    kinds = {plan.action.lock for plan in rule.actions if isinstance(plan.action, Lock)}
    if kinds & BELOW_GUARANTEE and guaranteed(group.contract, now):
        return "protected"
    if not kinds & set(ARREARS) or group.tenant is None:
        return ""
    since = group.tenant.params.get(PREPAID_SINCE)
    grace_ms = params.get("conversion_grace", CONVERSION_MS)
    if isinstance(since, int) and now < since + grace_ms:
        return "mode_changed"
    notice_ms = params.get("notice_time", 0)
    if "credit" in kinds and notice_ms and not warned(group, notice_ms, now):
        return "not_warned"
    meant = list(breakers)
    if meant and not any(may_lock_for_money(group.breaker_contracts[name]) for name in meant):
        return "water_kept"
    return ""


def warned(group: Group, notice_ms: int, now: int) -> bool:
    """Whether it is proved that a warning reached the tenant so long ago, since the balance last was in order."""
    tenant = group.tenant
    return tenant is not None and tenant.warned_at is not None and now >= tenant.warned_at + notice_ms


def may_lock_for_money(contract: BreakerContract) -> bool:
    """Electricity may be cut off for arrears; water only where the valve can be left with a trickle."""
    return contract.op != "valve.set" or contract.limits


def cutting_hours(policy: SitePolicy, locks: Mapping[str, LockInForce], now: int) -> tuple[bool, int] | None:
    """Whether the rules behind these locks may cut off at this instant, and until when that stays so (Unix ms).

    None where no calendar binds them: one of them is not for money, was placed by a person, or by a rule that knows no
    hours. A rule fires inside its hours alone; a device may be out of reach then, and come back outside of them.
    """
    found = []
    for kind, lock in locks.items():
        bound = policy.locking_rule(lock.rule) if kind in ARREARS and lock.rule else None
        active = bound.rule.active if bound is not None else None
        if active is None:
            return None
        found.append((active.is_open(now, policy.zone), active.next_change(now, policy.zone)))
    if not found:
        return None
    some_open = any(is_open for is_open, _ in found)
    ends = [change for is_open, change in found if is_open or not some_open]
    return some_open, max(ends) if some_open else min(ends)


class Emergency(msgspec.Struct, frozen=True):
    """Emergency credit of one tenant: how much there is, whether it is offered or taken, and how much of it is used."""

    limit_nano: int
    opt_in: bool
    taken: bool
    offered: bool
    used_nano: int


def emergency(group: Group, params: Mapping[str, Any]) -> Emergency:
    """The emergency credit as it stands. `params` are the tenant's in force (`SitePolicy.tenant_params`)."""
    tenant = group.tenant
    prepaid = group.contract is not None and group.contract.mode == "prepaid"
    opt_in = bool(params.get("emergency_opt_in"))
    whole = params.get("emergency_offered", 0) if opt_in else params.get("emergency_credit", 0)
    if tenant is None or not prepaid or whole <= 0:
        return Emergency(0, opt_in, taken=False, offered=False, used_nano=0)
    balance = tenant.balance_nano
    taken = bool(tenant.params.get(EMERGENCY_TAKEN)) if opt_in else balance <= 0
    near = balance <= max(params.get("low2", 0), 0)
    used = min(max(-balance, 0), whole) if taken else 0
    return Emergency(whole, opt_in, taken=taken, offered=opt_in and near and not taken, used_nano=used)


def take_emergency(draft: Draft, who: str, now: int) -> bool:
    """The tenant takes the emergency credit that is offered; False where none is."""
    tenant = draft.tenant()
    if tenant is None:
        return False
    if not emergency(draft.group, draft.policy.tenant_params(draft.group.contract, tenant.params)).offered:
        return False
    tenant.params = {**tenant.params, EMERGENCY_TAKEN: True}
    draft.supply_dirty = True
    draft.emit(ParamChanged("tenant", tenant.id, EMERGENCY_TAKEN, now, value=True, who=who))
    draft.emit(NotificationWanted(tenant.id, "emergency_taken", now, {"balance_nano": tenant.balance_nano}))
    return True


def tell_repayment(draft: Draft, before_nano: int, now: int) -> None:
    """Money came in over a balance of `before_nano`: it repays what was used of the emergency credit first."""
    tenant, contract = draft.group.tenant, draft.group.contract
    assert tenant is not None
    after = tenant.balance_nano
    if contract is None or contract.mode != "prepaid" or before_nano >= 0 or after <= before_nano:
        return
    params = draft.policy.tenant_params(contract, tenant.params)
    taken = EMERGENCY_TAKEN in tenant.params
    if not taken and params.get("emergency_credit", 0) <= 0:
        return
    data = {"repaid_nano": min(after, 0) - before_nano, "left_nano": max(-after, 0), "balance_nano": after}
    draft.emit(NotificationWanted(tenant.id, "emergency_repaid", now, data))
    if taken and after >= 0:
        private = draft.tenant()
        assert private is not None
        private.params = {name: value for name, value in tenant.params.items() if name != EMERGENCY_TAKEN}
        draft.emit(ParamChanged("tenant", tenant.id, EMERGENCY_TAKEN, now, None, before=True, who="repaid"))


def becomes_prepaid(before: Contract | None, after: Contract | None) -> bool:
    """Whether a tenant that paid afterwards pays beforehand from now on."""
    return before is not None and after is not None and before.mode not in ("", after.mode) and after.mode == "prepaid"


def note_mode(draft: Draft, before: str, after: str, now: int) -> None:
    """The tenant now pays beforehand where it paid afterwards: the day is kept, so that nothing is cut at once."""
    if before == after or before == "" or after != "prepaid":
        return
    tenant = draft.tenant()
    assert tenant is not None
    known = tenant.params.get(PREPAID_SINCE)
    tenant.params = {**tenant.params, PREPAID_SINCE: now}
    draft.emit(ParamChanged("tenant", tenant.id, PREPAID_SINCE, now, now, known, who="platform"))

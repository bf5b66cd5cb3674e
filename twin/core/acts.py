"""Acts: what people decided, born in SQL and applied to the twin in order, once.

Each act carries the group's next sequence number. One that the twin has seen changes nothing; one that comes too
early is refused, and the deliverer sends the missing ones first. Credits are absolute totals besides, so even a
repeat could not credit twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core import accrual, arrears, configuration, meter_life, plans
from twin.core.act_order import ActOutOfOrderError, is_new
from twin.core.commands import cancel, reconcile
from twin.core.effects import ActCarriedOut, AlarmCareChanged, AlarmChanged, IncidentResolved, ParamChanged
from twin.core.evidence import tell_again
from twin.core.incidents import resolve_incident
from twin.core.lock_kinds import BY_ANY_RULE
from twin.core.locks import give_way, in_weight, insist, note_over, pass_on, place, release
from twin.core.model import BreakerTwin, GatewayTwin, Lock, MeterTwin, Register, TenantTwin, duplicate
from twin.core.policy import EMERGENCY_TAKEN
from twin.core.reactions import approve_rule, react_to_credit, release_rule, start_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.draft import Draft
    from twin.core.messages import (
        AlarmCared,
        AlarmTold,
        ContractsChanged,
        CreditsPosted,
        EmergencyTaken,
        FiringApproved,
        IncidentClosed,
        LockPlaced,
        LockReleased,
        WarningDelivered,
    )

    Params = Mapping[str, str | int | bool]


__all__ = ["ActOutOfOrderError"]


def on_credits(draft: Draft, act: CreditsPosted, now: int) -> None:
    """Take over the total of credits as SQL has it."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    tenant = draft.tenant()
    if tenant is None:
        return
    before_nano = tenant.balance_nano
    tenant.credits_nano = act.credits_nano
    tenant.credits_seq = act.seq
    arrears.tell_repayment(draft, before_nano, now)
    react_to_credit(draft, act.credited_nano, now)


def on_emergency(draft: Draft, act: EmergencyTaken, now: int) -> None:
    """The tenant takes the emergency credit; where none is offered (any more), nothing happens."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    draft.emit(ActCarriedOut(act.seq))
    _take_emergency(draft, act.who, now)


def _take_emergency(draft: Draft, who: str, now: int) -> None:
    if arrears.take_emergency(draft, who, now):
        react_to_credit(draft, 0, now)
    elif draft.group.tenant is not None and EMERGENCY_TAKEN not in draft.group.tenant.params:
        draft.emit(ParamChanged("tenant", draft.group.tenant.id, EMERGENCY_TAKEN, now, None, who="not offered"))


def on_warned(draft: Draft, message: WarningDelivered, now: int) -> None:
    """A notice reached the tenant: the first warning since the balance was in order is the one that counts."""
    known = draft.group.tenant
    if known is None or known.id != message.tenant or message.template not in arrears.WARNINGS:
        return
    if known.state == "NORMAL" or known.warned_at is not None:
        return
    tenant = draft.tenant()
    assert tenant is not None
    tenant.warned_at = min(message.ts, now)


def on_lock_placed(draft: Draft, act: LockPlaced, now: int) -> None:
    """A person locks a breaker open; whatever was used until now is posted."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    if act.breaker not in draft.group.breakers:
        return
    lock = Lock(act.who, act.why, now, act.until)
    if act.until is not None and act.until <= now:
        note_over(draft, act.breaker, act.lock, lock, now)
        return
    if place(draft, act.breaker, act.lock, lock, now):
        return
    standing = draft.group.breakers[act.breaker].locks[act.lock]
    if standing.rule and act.until is None and act.lock not in BY_ANY_RULE:
        pass_on(draft, act.breaker, act.lock, lock, now)  # or the rule would take off what a person wants as well
    insist(draft, act.breaker, now)


def on_lock_released(draft: Draft, act: LockReleased, now: int) -> None:
    """A person releases one lock."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    breaker = draft.group.breakers.get(act.breaker)
    if breaker is None or act.lock not in breaker.locks:
        return
    rule_id = breaker.locks[act.lock].rule
    if rule_id:
        release_rule(draft, rule_id, act.breaker, now)
    if act.lock == plans.SCHEDULE:
        plans.freed(draft, act.breaker, now)
    release(draft, act.breaker, act.lock, act.who, act.why, now)


def on_alarm_cared(draft: Draft, act: AlarmCared, _now: int) -> None:
    """People took care of an alarm: nothing is decided here, the live feed is told."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    draft.emit(
        AlarmCareChanged(
            act.rule, act.twin, act.since, act.ts, act.what, act.who, act.acknowledged, act.assignee, act.shelved_until
        )
    )


def on_alarm_told(draft: Draft, act: AlarmTold, _now: int) -> None:
    """SQL raised or cleared an alarm of its own: nothing is decided here, the live feed is told."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    draft.emit(
        AlarmChanged(act.rule, 0, act.twin, act.since, act.ts, act.severity, act.active, because=dict(act.because))
    )


def on_incident_closed(draft: Draft, act: IncidentClosed, now: int) -> None:
    """A person closed an incident: the twin forgets it, unless it is another one by now; screens are told."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    group = draft.group
    twins: list[MeterTwin | BreakerTwin] = [
        *([draft.breaker(act.device)] if act.device in group.breakers else []),
        *([draft.meter(act.device)] if act.device in group.meters else []),
    ]
    for twin in twins:
        known = twin.incidents.get(act.kind)
        if known is not None and known.since == act.since:
            resolve_incident(draft, twin, act.kind, now)
            if isinstance(twin, BreakerTwin) and act.kind == "closed_locally_under_lock":
                tell_again(draft, twin, now)
            return
    draft.emit(IncidentResolved(act.device, act.kind, act.since, act.ts))


def on_firing_approved(draft: Draft, act: FiringApproved, now: int) -> None:
    """A person lets a rule that waits behind its guard act; where it waits no more, nothing happens."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    draft.emit(ActCarriedOut(act.seq))
    approve_rule(draft, act.scope, act.twin, act.rule, act.until, now)


def carry_out_owed(draft: Draft, now: int) -> None:
    """A group that was made from SQL before SQL had what came of these acts carries them out now, once."""
    owed, draft.group.owed = draft.group.owed or (), None
    for act in owed:
        draft.emit(ActCarriedOut(act.seq))
        if act.kind == "emergency":
            _take_emergency(draft, act.who, now)
        elif act.kind == "approval":
            approve_rule(draft, act.scope, act.twin, act.rule, act.until, now)
        else:
            arrears.note_mode(draft, "postpaid", "prepaid", now)


def on_contracts(draft: Draft, act: ContractsChanged, now: int) -> None:
    """The group's contracts from now on. New devices start; what a removed device still owes is posted."""
    if not is_new(draft.group, act):
        return
    group = draft.group
    group.acts_seq = act.seq
    meter_life.let_go(draft, act.released, now)
    for name in [name for name in group.meters if name not in {meter.id for meter in act.meters}]:
        _post_all(draft, name)
    other_ratios = meter_life.charge_before_new_ratios(draft, act, now)
    tariffs = {name: contract.tariff for name, contract in group.meter_contracts.items()}
    for contract in act.meters:
        if contract.id in tariffs and tariffs[contract.id] != contract.tariff:
            _post_all(draft, contract.id)
    _give_way(draft, act, now)
    travelling = {group.meter_contracts[name].breaker for name in act.released if name in group.meter_contracts}
    for name in sorted(group.breakers.keys() - travelling - {breaker.id for breaker in act.breakers}):
        cancel(draft, name, now, "the breaker has left this group")
    before = group.contract
    group.contract = act.contract
    if act.contract is not None and group.tenant is None:
        group.tenant = TenantTwin(act.contract.id, state_since=now)
    group.meter_contracts = {meter.id: meter for meter in act.meters}
    group.breaker_contracts = {breaker.id: breaker for breaker in act.breakers}
    meters = {**meter_life.handed_meters(act), **group.meters}
    group.meters = {
        meter.id: meters.get(meter.id) or _new_meter(meter.id, act, meter.supply_from) for meter in act.meters
    }
    breakers = {**meter_life.handed_breakers(act), **group.breakers}
    come = {breaker.id: act.standing.get(breaker.id, {}) for breaker in act.breakers if breaker.id not in breakers}
    breakers |= {name: BreakerTwin(name, locks=in_weight(locks)) for name, locks in come.items()}
    group.breakers = {breaker.id: breakers[breaker.id] for breaker in act.breakers}
    meter_life.open_new_ratios(draft, other_ratios, act.events, now)
    if act.gateway is not None and group.gateway is None:
        group.gateway = GatewayTwin(act.gateway)
    draft.wake_dirty = True
    meter_life.take_over(draft, act, come, now)
    if before is not None and act.contract is not None:
        arrears.note_mode(draft, before.mode, act.contract.mode, now)
    if act.prepaid_now:
        draft.emit(ActCarriedOut(act.seq))
    for breaker_id, rule_id in give_way(draft, now):
        if rule_id:
            release_rule(draft, rule_id, breaker_id, now)
    start_rules(draft, now)
    for name in group.breakers:
        plans.follow(draft, name, now, anew=True)
        configuration.follow(draft, name, now)
        reconcile(draft, name)


def _give_way(draft: Draft, act: ContractsChanged, now: int) -> None:
    """Where people now say something else of a parameter than before, what a rule had set of it gives way."""
    group = draft.group
    tenant = draft.tenant() if group.tenant is not None and group.tenant.params else None
    if tenant is not None and group.contract is not None and act.contract is not None:
        tenant.params = _kept_params(draft, "tenant", tenant, group.contract.params, act.contract.params, now)
    for contract in act.meters:
        known = group.meter_contracts.get(contract.id)
        if known is not None and group.meters[contract.id].params:
            meter = draft.meter(contract.id)
            meter.params = _kept_params(draft, "meter", meter, known.params, contract.params, now)


def _kept_params(
    draft: Draft, scope: str, twin: TenantTwin | MeterTwin, before: Params, after: Params, now: int
) -> dict[str, str | int | bool]:
    """What rules have set and nobody has said anything new of; the rest is reported as given way."""
    gone = [name for name in twin.params if before.get(name) != after.get(name)]
    for name in gone:
        draft.emit(ParamChanged(scope, twin.id, name, now, None, twin.params[name], who="import"))
    return {name: value for name, value in twin.params.items() if name not in gone}


def _new_meter(name: str, act: ContractsChanged, supply_from: int | None) -> MeterTwin:
    opening = act.openings.get(name)
    if opening is None:
        return MeterTwin(name)
    register = Register(opening=opening, seen=opening, head=opening, posted=opening, opened=True)
    register.seen_ts = register.head_ts = register.posted_ts = register.since = supply_from
    return MeterTwin(name, register=register)


def _post_all(draft: Draft, name: str) -> None:
    meter = draft.meter(name)
    meter.register = duplicate(meter.register)
    accrual.post(draft, meter)

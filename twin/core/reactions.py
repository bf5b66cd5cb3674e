"""Reactions: which rules a happening touches, and what their firing does to the twins.

Rules decide *that* something happens; how it happens is decided here: a charge goes through the register, a lock
through the breaker's set of locks, an alarm keeps its identity while its severity moves. Samples that came late or
from a buffer charge, and do nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from billing.money import MoneyError
from billing.rating import RatingError
from billing.tariff_fields import TariffError
from rules import actions
from rules.explain import explain
from rules.step import Step, released_by_operator, step
from twin.core import accrual, locks, supply
from twin.core.effects import AlarmChanged, NotificationWanted, RuleChanged, WebhookWanted
from twin.core.incidents import open_incident, resolve_incident
from twin.core.model import Lock, MeterTwin, TenantTwin
from twin.core.view import View, stands

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rules.step import RuleState
    from twin.core.draft import Draft
    from twin.core.messages import DeviceEvent, Telemetry
    from twin.core.policy import BoundRule

HOLDING_GATES = frozenset({"active", "inhibited_by", "guard", "cooldown", "unknown", "error"})


def react_to_reading(
    draft: Draft, meter_id: str, sample: Telemetry | None, delta: int, now: int, *, live: bool
) -> None:
    """A sample was judged: charge it, and if it is live let the rules on its channels and on the balance look."""
    index = draft.policy.by_trigger
    view = View(draft, now, meter_id)
    view.sample = sample
    view.delta = delta
    if sample is None:
        _charge(draft, meter_id, now)
        return
    for bound in index.registers:
        if bound.charges or live:
            _evaluate(draft, view, bound, "reading.registers", now)
    if not live:
        return
    seen: list[BoundRule] = []
    for channel in sample.d:
        for bound in index.channels.get(channel, ()):
            if bound not in seen:
                seen.append(bound)
                _evaluate(draft, view, bound, f"reading.{channel}", now)
    for bound in index.any_reading:
        _evaluate(draft, view, bound, "reading", now)
    _renew_watches(draft, view, meter_id, now)
    tenant = draft.group.tenant
    if tenant is not None and tenant.unseen_charges:
        react_to_balance(draft, now)


def _renew_watches(draft: Draft, view: View, meter_id: str, now: int) -> None:
    """Rules that watch the clock look again with a reading when their due time is near, and move it.

    So a meter that reports regularly is never woken by a timer: that would cost as much as a reading.
    """
    near = now + draft.group.meter_contracts[meter_id].interval_ms * 3 // 2
    for bound in draft.policy.by_trigger.watches:
        due = draft.group.meters[meter_id].wakes.get(bound.rule.id)
        if due is None or due < near:
            _evaluate(draft, view, bound, "clock", now)


def react_to_balance(draft: Draft, now: int) -> None:
    """The balance moved: let the tenant's rules look at it."""
    tenant = draft.tenant()
    assert tenant is not None
    tenant.unseen_charges = False
    view = View(draft, now)
    for bound in draft.policy.by_trigger.balance:
        _evaluate(draft, view, bound, "account.balance", now)


def react_to_credit(draft: Draft, credited_nano: int, now: int) -> None:
    """Money came in (or was corrected): balance rules first, so that what no longer holds is cleared, then
    `account.credited`."""
    draft.supply_dirty = True
    react_to_balance(draft, now)
    view = View(draft, now)
    view.credited_nano = credited_nano
    for bound in draft.policy.by_trigger.credited:
        _evaluate(draft, view, bound, "account.credited", now)


def react_to_event(draft: Draft, event: DeviceEvent, now: int) -> None:
    """A device event of a meter. Events from a buffer are history and actuate nothing."""
    if event.hist:
        return
    view = View(draft, now, event.device)
    view.device_event = event
    for trigger in (f"reading.{event.kind}", "event"):
        for bound in draft.policy.by_trigger.of("meter", trigger):
            _evaluate(draft, view, bound, trigger, now)


def react_to_connection(draft: Draft, meter_id: str, now: int) -> None:
    """The connection of a meter, or of the gateway in front of it, changed."""
    view = View(draft, now, meter_id)
    for bound in draft.policy.by_trigger.of("meter", "conn"):
        _evaluate(draft, view, bound, "conn", now)


def react_to_clock(draft: Draft, now: int) -> None:
    """Time passed: every rule whose own due time has come looks again."""
    for name, meter in list(draft.group.meters.items()):
        _run_due_rules(draft, "meter", name, meter, now)
    if draft.group.tenant is not None:
        _run_due_rules(draft, "tenant", None, draft.group.tenant, now)


def start_rules(draft: Draft, now: int) -> None:
    """Let rules that depend on time alone take up their watch on a group whose contracts changed."""
    draft.supply_dirty = True
    for name in draft.group.meters:
        view = View(draft, now, name)
        for bound in draft.policy.by_trigger.of("meter", "clock"):
            _evaluate(draft, view, bound, "clock", now)
    if draft.group.tenant is not None:
        view = View(draft, now)
        for bound in draft.policy.by_trigger.of("tenant", "clock"):
            _evaluate(draft, view, bound, "clock", now)


def release_rule(draft: Draft, rule_id: str, breaker: str, now: int) -> None:
    """A person took off what a rule had locked: the rule starts anew, with its grace, instead of locking again
    at once."""
    owners: list[tuple[str | None, MeterTwin | TenantTwin | None]] = [(None, draft.group.tenant)]
    owners += [(name, draft.group.meters[name]) for name in draft.group.breaker_contracts[breaker].meters]
    for meter_id, owner in owners:
        state = owner.rules.get(rule_id) if owner is not None else None
        if state is None:
            continue
        private = _private(draft, meter_id)
        after = released_by_operator(state, now)
        private.rules = {name: kept for name, kept in private.rules.items() if name != rule_id}
        if after is not None:
            private.rules[rule_id] = after


def settle_supply(draft: Draft, now: int) -> None:
    """Bring the tenant's disconnect state up to date where something that it depends on has moved."""
    if draft.supply_dirty:
        draft.supply_dirty = False
        supply.update(draft, draft.policy.tenant_params(draft.group.contract), now)


def _run_due_rules(draft: Draft, scope: str, meter_id: str | None, owner: MeterTwin | TenantTwin, now: int) -> None:
    """Rules whose wake has come, and rules that watch the clock but have no wake yet, as after a rebuild."""
    due = [rule_id for rule_id, wake in owner.wakes.items() if wake <= now]
    due += [bound.rule.id for bound in draft.policy.by_trigger.of(scope, "clock") if bound.rule.id not in owner.wakes]
    if not due:
        return
    view = View(draft, now, meter_id)
    for rule_id in due:
        bound = draft.policy.bound(scope, rule_id)
        if bound is None:
            _forget(_private(draft, meter_id), rule_id)
        else:
            _evaluate(draft, view, bound, "clock", now)


def _evaluate(draft: Draft, view: View, bound: BoundRule, trigger: str, now: int) -> None:
    """Step one rule for the view's twin and carry out what it asks; in most calls that is nothing."""
    rule = bound.rule
    meter_id = view.meter_id
    group = draft.group
    if view.ruleset is not bound.ruleset:
        meter_contract = None if meter_id is None else group.meter_contracts[meter_id]
        view.params = draft.policy.params_for(bound.ruleset, group.contract, meter_contract)
        view.ruleset = bound.ruleset
    view.fresh_only = bound.locks_credit
    owner: Any = group.tenant if meter_id is None else group.meters[meter_id]
    before: RuleState | None = owner.rules.get(rule.id)
    outcome = step(rule, view, before, now, trigger)
    if outcome.wake_ms != owner.wakes.get(rule.id):
        _set_wake(draft, _private(draft, meter_id), rule.id, outcome.wake_ms)
    if bound.locks_credit and (outcome.gate in HOLDING_GATES or (group.tenant is not None and group.tenant.held)):
        _show_waiting(draft, rule.id, outcome, before)
    if outcome.changed or (outcome.transition and not bound.charges):
        _record(draft, view, bound, before, outcome, now)
    for action in outcome.actions:
        _carry_out(draft, view, bound, outcome, action, now)
    for lock in outcome.assert_actions:
        _lock(draft, view, bound, lock, now)


def _record(draft: Draft, view: View, bound: BoundRule, before: RuleState | None, outcome: Step, now: int) -> None:
    """Keep the rule's new state in its twin, and tell of moves that a person may ask about."""
    rule = bound.rule
    if outcome.changed:
        owner = _private(draft, view.meter_id)
        rules = {name: state for name, state in owner.rules.items() if name != rule.id}
        if outcome.state is not None:
            rules[rule.id] = outcome.state
        owner.rules = rules
    if not outcome.transition:
        return
    after = outcome.state if outcome.changed else before
    record = msgspec.to_builtins(explain(rule, view, after, now))
    state = after.state if after else "normal"
    memory = msgspec.to_builtins(after) if after is not None else {}
    draft.emit(RuleChanged(rule.id, rule.version, view.twin_id, now, state, outcome.transition, record, memory))
    _alarm(draft, view, bound, before, outcome, record, now)
    if outcome.transition == "fired" and rule.guard is not None:
        draft.guards_spent[rule.id] = draft.guards_spent.get(rule.id, 0) + 1


def _alarm(
    draft: Draft,
    view: View,
    bound: BoundRule,
    before: RuleState | None,
    outcome: Step,
    record: dict[str, Any],
    now: int,
) -> None:
    """An alarm is raised when its rule fires, changes severity in place, and clears with its rule."""
    rule = bound.rule
    alarm = next((plan.action for plan in rule.actions if isinstance(plan.action, actions.Alarm)), None)
    if alarm is None:
        return
    twin = view.meter_id or draft.group.id
    tenant = draft.group.tenant.id if draft.group.tenant else ""
    after = outcome.state
    if outcome.transition in ("fired", "level_up", "level_down") and after is not None:
        severity = rule.severity(after.level) or alarm.severity
        draft.emit(AlarmChanged(rule.id, rule.version, twin, after.fired_at, now, severity, True, tenant, record))
    elif outcome.transition in ("cleared", "released") and before is not None:
        severity = rule.severity(before.level) or alarm.severity
        draft.emit(AlarmChanged(rule.id, rule.version, twin, before.fired_at, now, severity, False, tenant, record))


def _carry_out(draft: Draft, view: View, bound: BoundRule, outcome: Step, action: actions.Action, now: int) -> None:
    rule = bound.rule
    if isinstance(action, actions.Charge):
        assert view.meter_id is not None
        _charge(draft, view.meter_id, now)
    elif isinstance(action, actions.Lock):
        _lock(draft, view, bound, action, now)
    elif isinstance(action, actions.Unlock):
        for breaker in _targets(draft, view, action.target):
            timing = {"expires_ms": action.expires_ms, "verify_ms": action.verify_within_ms}
            why = {"rule": rule.id, "ver": rule.version}
            locks.release(draft, breaker, action.lock, "rule", rule.id, now, why, timing)
            draft.supply_dirty = True
    elif isinstance(action, actions.Notify):
        tenant = draft.group.tenant
        if tenant is not None:
            severity = rule.severity(outcome.state.level) if outcome.state else ""
            data = {"rule": rule.id, "balance_nano": tenant.balance_nano, "severity": severity}
            if view.meter_id:
                data["meter"] = view.meter_id
            draft.emit(NotificationWanted(tenant.id, action.template, now, data))
    elif isinstance(action, actions.Webhook):
        values = {key: bound.ruleset.model[path].get(view) for key, path in action.data}
        data = {key: value for key, value in values.items() if isinstance(value, str | int | bool | list)}
        draft.emit(WebhookWanted(rule.id, view.meter_id or draft.group.id, now, action.name, data))
    elif isinstance(action, actions.SetParam):
        _set_param(draft, view, action)


def _charge(draft: Draft, meter_id: str, now: int) -> None:
    """Charge what the register shows; where the tariff cannot, nothing moves and a person is told."""
    meter = draft.meter(meter_id)
    tenant = draft.tenant()
    if tenant is None:
        return
    try:
        amount_nano = accrual.charge(draft, meter, now)
    except (KeyError, TariffError, MoneyError, RatingError) as error:
        open_incident(draft, meter, "tariff_missing", now, f"{type(error).__name__}: {error}"[:300])
        return
    if "tariff_missing" in meter.incidents:
        resolve_incident(draft, meter, "tariff_missing", now)
    if amount_nano:
        tenant.charges_nano += amount_nano
        tenant.unseen_charges = True
        draft.supply_dirty = draft.supply_dirty or supply.band_moved(draft, amount_nano)


def _lock(draft: Draft, view: View, bound: BoundRule, action: actions.Lock, now: int) -> None:
    """Lock every breaker this rule is about, except those whose inhibiting rule stands; money used until now is
    posted."""
    rule = bound.rule
    lock = Lock(
        who="rule",
        why=rule.id,
        since=now,
        rule=rule.id,
        rule_version=rule.version,
        expires_ms=action.expires_ms or 60_000,
        verify_ms=action.verify_within_ms or 15_000,
    )
    for breaker in _targets(draft, view, action.target):
        if action.lock in draft.group.breakers[breaker].locks or _inhibited(draft, breaker, bound):
            continue
        locks.place(draft, breaker, action.lock, lock, now)
        draft.supply_dirty = True


def _inhibited(draft: Draft, breaker: str, bound: BoundRule) -> bool:
    """A rule on the meters behind a breaker may keep just that breaker from being locked (`inhibited_by ... equal`)."""
    meters = [draft.group.meters[name] for name in draft.group.breaker_contracts[breaker].meters]
    return any(
        stands(meter, inhibitor.name)
        for inhibitor in bound.rule.inhibited_by
        if inhibitor.flag is None
        for meter in meters
    )


def _targets(draft: Draft, view: View, target: str) -> Iterable[str]:
    """The breakers (or valves) an action means: the meter's own, or all of the tenant's."""
    op = "breaker.set" if target == "breaker" else "valve.set"
    contracts = draft.group.breaker_contracts
    if view.meter_id is None:
        return [name for name, contract in contracts.items() if contract.op == op]
    breaker = draft.group.meter_contracts[view.meter_id].breaker
    return [breaker] if breaker is not None and contracts[breaker].op == op else []


def _set_param(draft: Draft, view: View, action: actions.SetParam) -> None:
    """A rule changes a parameter of its own twin; the contract is replaced, so cached parameters are looked up anew."""
    group = draft.group
    view.ruleset = None  # its parameters are looked up anew
    if view.meter_id is not None:
        contract = group.meter_contracts[view.meter_id]
        changed = msgspec.structs.replace(contract, params={**contract.params, action.name: action.value})
        group.meter_contracts = {**group.meter_contracts, view.meter_id: changed}
    elif group.contract is not None:
        params = {**group.contract.params, action.name: action.value}
        group.contract = msgspec.structs.replace(group.contract, params=params)


def _show_waiting(draft: Draft, rule_id: str, outcome: Step, before: RuleState | None) -> None:
    """Keep the reasons why a due cutoff waits where the tenant and the clerk can see them."""
    tenant = draft.group.tenant
    if tenant is None:
        return
    state = outcome.state if outcome.changed else before
    name = state.state if state is not None else "normal"
    waits = outcome.gate in HOLDING_GATES and (name in ("pending", "deferred") or tenant.state in ("DUE", "HELD"))
    mine = f"{rule_id}: "
    held = tuple(reason for reason in tenant.held if not reason.startswith(mine))
    if waits:
        held = (*held, mine + outcome.gate)
    if held != tenant.held:
        private = draft.tenant()
        assert private is not None
        private.held = held
        draft.supply_dirty = True


def _private(draft: Draft, meter_id: str | None) -> MeterTwin | TenantTwin:
    if meter_id is not None:
        return draft.meter(meter_id)
    tenant = draft.tenant()
    assert tenant is not None
    return tenant


def _set_wake(draft: Draft, owner: MeterTwin | TenantTwin, rule_id: str, wake: int | None) -> None:
    wakes = {name: due for name, due in owner.wakes.items() if name != rule_id}
    if wake is not None:
        wakes[rule_id] = wake
    owner.wakes = wakes
    draft.wake_dirty = True


def _forget(owner: MeterTwin | TenantTwin, rule_id: str) -> None:
    """A rule that is no longer loaded leaves nothing behind; locks that it placed stand until somebody releases
    them."""
    owner.wakes = {name: due for name, due in owner.wakes.items() if name != rule_id}
    owner.rules = {name: state for name, state in owner.rules.items() if name != rule_id}

"""Outcomes: what the firing of a rule does to the twins, and what the outside world is told of it.

Rules decide *that* something happens; how it happens is decided here: a charge goes through the register, a lock
through the breaker's set of locks, an alarm keeps its identity while its severity moves, a parameter is set on the
twin. Rule files are tested through the same functions (see `rehearsal`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from billing.money import MoneyError
from billing.rating import RatingError
from billing.tariff_fields import TariffError
from rules import actions
from rules.explain import explain
from twin.core import accrual, configuration, locks, supply
from twin.core.arrears import GATES, may_lock_for_money
from twin.core.effects import AlarmChanged, NotificationWanted, ParamChanged, RuleChanged, WebhookWanted
from twin.core.guards import tell_held
from twin.core.incidents import open_incident, resolve_incident
from twin.core.lock_kinds import ARREARS, BY_ANY_RULE, outranked, rule_may_release
from twin.core.model import Lock
from twin.core.sight import STANDING, stands
from twin.core.step_watch import evidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rules.rule import Rule
    from rules.state import RuleState, Step
    from twin.core.draft import Draft
    from twin.core.policy import BoundRule
    from twin.core.sight import RuleOwner, View

HOLDING_GATES = frozenset({"active", "inhibited_by", "guard", "cooldown", "unknown", "error", *GATES})


def private_owner(draft: Draft, view: View) -> RuleOwner:
    """The twin that keeps the rules of this view, private to the draft."""
    if view.meter_id is not None:
        return draft.meter(view.meter_id)
    if view.breaker_id is not None:
        return draft.breaker(view.breaker_id)
    owner = draft.gateway() if view.scope == "gateway" else draft.tenant()
    assert owner is not None
    return owner


def keep_state(owner: RuleOwner, rule_id: str, state: RuleState | None) -> None:
    """Set or forget what a rule remembers about a twin that is private to the draft."""
    rules = {name: known for name, known in owner.rules.items() if name != rule_id}
    if state is not None:
        rules[rule_id] = state
    owner.rules = rules


def record(draft: Draft, view: View, bound: BoundRule, before: RuleState | None, outcome: Step, now: int) -> None:
    """Keep the rule's new state in its twin, and tell of moves that a person may ask about."""
    rule = bound.rule
    if outcome.changed:
        keep_state(private_owner(draft, view), rule.id, outcome.state)
    if not outcome.transition:
        return
    after = outcome.state if outcome.changed else before
    because = tell(draft, view, bound, after, outcome.transition, now)
    move_alarm(draft, view, bound, before, outcome, because, now)
    if outcome.transition == "deferred":
        tell_held(draft, rule, because, now)
    if outcome.transition == "fired" and rule.guard is not None:
        draft.guards_spent[rule.id] = draft.guards_spent.get(rule.id, 0) + 1


def tell(
    draft: Draft, view: View, bound: BoundRule, after: RuleState | None, transition: str, now: int
) -> dict[str, Any]:
    """Report a move of a rule with what it remembers from now on; returns the record that explains the move."""
    rule = bound.rule
    because: dict[str, Any] = msgspec.to_builtins(explain(rule, view, after, now))
    proof = evidence(view) if view.device_event is not None else None
    if proof is not None:
        because["evidence"] = proof
    state = after.state if after else "normal"
    memory = msgspec.to_builtins(after) if after is not None else {}
    draft.emit(RuleChanged(rule.id, rule.version, view.twin_id, now, state, transition, because, memory))
    return because


def move_alarm(
    draft: Draft,
    view: View,
    bound: BoundRule,
    before: RuleState | None,
    outcome: Step,
    because: dict[str, Any],
    now: int,
) -> None:
    """An alarm is raised when its rule fires, changes severity in place, and clears with its rule."""
    rule = bound.rule
    alarm = next((plan.action for plan in rule.actions if isinstance(plan.action, actions.Alarm)), None)
    if alarm is None:
        return
    twin = view.twin_id
    tenant = draft.group.tenant.id if draft.group.tenant else ""
    after = outcome.state
    if outcome.transition in ("fired", "level_up", "level_down") and after is not None:
        severity = rule.severity(after.level) or alarm.severity
        draft.emit(AlarmChanged(rule.id, rule.version, twin, after.fired_at, now, severity, True, tenant, because))
    elif outcome.transition in ("cleared", "released", "ended") and before is not None:
        severity = rule.severity(before.level) or alarm.severity
        draft.emit(AlarmChanged(rule.id, rule.version, twin, before.fired_at, now, severity, False, tenant, because))


def carry_out(draft: Draft, view: View, bound: BoundRule, outcome: Step, action: actions.Action, now: int) -> None:
    """Do what one action of a rule that fired asks for."""
    rule = bound.rule
    if isinstance(action, actions.Charge):
        assert view.meter_id is not None
        charge(draft, view.meter_id, now)
    elif isinstance(action, actions.Lock):
        lock_targets(draft, view, bound, action, now)
    elif isinstance(action, actions.Unlock):
        for breaker in view.switches(action.target):
            timing = {"expires_ms": action.expires_ms, "verify_ms": action.verify_within_ms}
            _unlock(draft, breaker, action.lock, rule, view, timing, now)
    elif isinstance(action, actions.Notify):
        _notify(draft, view, bound, outcome, action, now)
    elif isinstance(action, actions.Webhook):
        values = {key: bound.ruleset.model[path].get(view) for key, path in action.data}
        data = {key: value for key, value in values.items() if isinstance(value, str | int | bool | list)}
        draft.emit(WebhookWanted(rule.id, view.twin_id, now, action.name, data))
    elif isinstance(action, actions.SetParam):
        _set_param(draft, view, bound, action, now)


def _unlock(draft: Draft, breaker: str, kind: str, rule: Rule, view: View, timing: dict[str, int], now: int) -> None:
    """A rule takes a lock off, where it may: money ends `credit` alone, and what stands for safety is left standing."""
    lock = draft.group.breakers[breaker].locks.get(kind)
    if lock is None:
        return
    places = _places(rule, kind)
    if places and lock.rule != rule.id and kind not in BY_ANY_RULE:
        return  # its automatic release; the lock is another rule's by now
    if not rule_may_release(kind, lock, rule.id):
        detail = f"rule {rule.id} may not release {kind}, placed by {lock.rule or lock.who}"
        open_incident(draft, draft.breaker(breaker), "unlock_refused", now, detail)
        return
    heir = _heir(draft, breaker, kind, rule) if places and kind not in ARREARS else None
    if heir is not None:
        locks.pass_on(draft, breaker, kind, _lock_of(heir.rule, _places(heir.rule, kind)[0], None, now), now)
        return
    why = {"rule": rule.id, "ver": rule.version, "inputs": explain(rule, view, None, now).inputs}
    locks.release(draft, breaker, kind, "rule", rule.id, now, why, timing)
    draft.supply_dirty = True


def _places(rule: Rule, kind: str) -> list[actions.Lock]:
    """The rule's own locks of a kind."""
    planned = (plan.action for plan in rule.actions)
    return [action for action in planned if isinstance(action, actions.Lock) and action.lock == kind]


def _heir(draft: Draft, breaker: str, kind: str, rule: Rule) -> BoundRule | None:
    """Another rule that has fired meanwhile and wants the breaker locked for the same reason: one lock of a kind is
    enough for both, and the release of one must not close what the other found. One that waits for a person first."""
    group = draft.group
    meters = (group.meters[name] for name in group.breaker_contracts[breaker].meters)
    owners = (group.tenant, group.breakers[breaker], *meters)
    states = {name: state.state for owner in owners if owner is not None for name, state in owner.rules.items()}
    heirs = [
        bound
        for bound in draft.policy.by_trigger.by_id.values()
        if bound.id != rule.id and states.get(bound.id) in STANDING and _places(bound.rule, kind)
    ]
    lasting = [bound for bound in heirs if not _places(bound.rule, kind)[0].lasts_ms]
    return min(lasting, key=lambda bound: (bound.rule.retry is not None, bound.id), default=None)


def charge(draft: Draft, meter_id: str, now: int) -> None:
    """Charge what the register shows; where the tariff cannot, nothing moves and a person is told. Without a tenant
    the landlord pays, where the contract has a tariff for that."""
    meter = draft.meter(meter_id)
    tenant = draft.tenant()
    if tenant is None and not draft.group.meter_contracts[meter_id].tariff:
        return
    try:
        amount_nano = accrual.charge(draft, meter, now)
    except (KeyError, TariffError, MoneyError, RatingError) as error:
        open_incident(draft, meter, "tariff_missing", now, f"{type(error).__name__}: {error}"[:300])
        return
    if "tariff_missing" in meter.incidents:
        resolve_incident(draft, meter, "tariff_missing", now)
    if amount_nano and tenant is not None:
        tenant.charges_nano += amount_nano
        tenant.unseen_charges = True
        draft.supply_dirty = draft.supply_dirty or supply.band_moved(draft, amount_nano)


def _notify(draft: Draft, view: View, bound: BoundRule, outcome: Step, action: actions.Notify, now: int) -> None:
    """Tell the tenant or the operator; of a device that nobody pays for, only the operator can be told."""
    rule = bound.rule
    tenant = draft.group.tenant
    if tenant is None and action.to == "tenant":
        return
    data: dict[str, Any] = {"rule": rule.id, "severity": rule.severity(outcome.state.level) if outcome.state else ""}
    if tenant is not None:
        data["balance_nano"] = tenant.balance_nano
    if view.scope != "tenant":
        data[view.scope] = view.twin_id
    whose = tenant.id if tenant is not None else draft.group.id
    to = "operator" if tenant is None and action.to == "both" else action.to
    draft.emit(NotificationWanted(whose, action.template, now, data, to, action.channels, twin=view.twin_id))


def lock_targets(draft: Draft, view: View, bound: BoundRule, action: actions.Lock, now: int) -> None:
    """Lock every breaker this rule is about, except those whose inhibiting rule stands; money used until now is
    posted."""
    rule = bound.rule
    ends = rule.active if action.until_calendar else None
    until = ends.next_change(draft.now, view.zone) if ends is not None else None
    if action.lasts_ms:
        until = draft.now + action.lasts_ms
    lock = _lock_of(rule, action, until, now)
    contract = draft.group.contract
    for breaker in view.switches(action.target):
        standing = draft.group.breakers[breaker].locks.get(action.lock)
        if _inhibited(draft, breaker, bound):
            continue
        if standing is not None and locks.outlasts(standing, until):
            if until is None and _releases_itself(draft, standing, action.lock, rule):
                locks.pass_on(draft, breaker, action.lock, lock, now)
            continue
        if outranked(action.lock, contract, draft.now):
            look_again(draft)  # the guarantee ends some day, whether or not the balance moves then
            continue
        if action.lock in ARREARS and not may_lock_for_money(draft.group.breaker_contracts[breaker]):
            continue
        locks.place(draft, breaker, action.lock, lock, now)
        draft.supply_dirty = True


def _releases_itself(draft: Draft, standing: Lock, kind: str, rule: Rule) -> bool:
    """Whether a lock is another rule's that takes it off by itself, where this rule leaves that to a person."""
    if rule.retry is not None or kind in BY_ANY_RULE or standing.rule in ("", rule.id):
        return False
    other = draft.policy.locking_rule(standing.rule)
    return other is not None and other.rule.retry is not None


def _lock_of(rule: Rule, action: actions.Lock, until: int | None, now: int) -> Lock:
    """The lock that a rule places by one of its actions."""
    return Lock(
        who="rule",
        why=rule.id,
        since=now,
        until=until,
        rule=rule.id,
        rule_version=rule.version,
        expires_ms=action.expires_ms or 60_000,
        verify_ms=action.verify_within_ms or 15_000,
    )


def assert_locks(draft: Draft, view: View, bound: BoundRule, wanted: Iterable[actions.Lock], now: int) -> None:
    """The locks of a rule that stays fired and true must stand; one that lasts for a while has had its time."""
    for lock in wanted:
        if not lock.lasts_ms:
            lock_targets(draft, view, bound, lock, now)


def look_again(draft: Draft) -> None:
    """Let the rules on the balance look with the next live reading, whether or not that moves the balance."""
    tenant = draft.group.tenant
    if tenant is not None and not tenant.unseen_charges:
        private = draft.tenant()
        assert private is not None
        private.unseen_charges = True


def _inhibited(draft: Draft, breaker: str, bound: BoundRule) -> bool:
    """A rule on the meters behind a breaker may keep just that breaker from being locked (`inhibited_by ... equal`)."""
    meters = [draft.group.meters[name] for name in draft.group.breaker_contracts[breaker].meters]
    return any(
        stands(meter, inhibitor.name)
        for inhibitor in bound.rule.inhibited_by
        if inhibitor.flag is None
        for meter in meters
    )


def _set_param(draft: Draft, view: View, bound: BoundRule, action: actions.SetParam, now: int) -> None:
    """A rule sets a parameter of its own twin. It is kept apart from the contract, so that an import leaves it alone,
    and recorded, so that a rebuild brings it back. To set what is set already says and changes nothing."""
    owner = private_owner(draft, view)
    before = owner.params.get(action.name)
    if before == action.value and type(before) is type(action.value):
        return
    owner.params = {**owner.params, action.name: action.value}
    view.ruleset = None  # its parameters are looked up anew
    draft.supply_dirty = True
    rule = bound.rule
    draft.emit(
        ParamChanged(view.scope, view.twin_id, action.name, now, action.value, before, rule.id, rule.version, rule.id)
    )
    if action.name == configuration.LIMIT:
        configuration.follow_all(draft, draft.now)


def show_waiting(draft: Draft, rule_id: str, outcome: Step, before: RuleState | None) -> None:
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

"""Reactions: which rules a happening touches. What their firing does stands in `outcomes`.

A happening has a name, such as `reading.power_w` or `breaker.relay`; a rule is touched when that name, or a beginning
of it, stands in its `on`. Samples that came late or from a buffer charge, and do nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rules.step import approved_by_operator, released_by_operator, step
from twin.core import supply
from twin.core.outcomes import (
    HOLDING_GATES,
    assert_locks,
    carry_out,
    charge,
    keep_state,
    look_again,
    private_owner,
    record,
    show_waiting,
    tell,
)
from twin.core.sight import View, gateway_view
from twin.core.traces import Traced, traced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rules.language.recorder import Raw
    from rules.state import RuleState
    from twin.core.draft import Draft
    from twin.core.messages import DeviceEvent, Telemetry
    from twin.core.policy import BoundRule
    from twin.core.sight import RuleOwner

CONNECTION = ("conn", "conn.state", "conn.since", "gateway", "gateway.state")
BIRTH = ("birth",)
_WAITING = ("pending", "deferred")


def react_to_reading(
    draft: Draft, meter_id: str, sample: Telemetry | None, delta: int, now: int, *, live: bool
) -> None:
    """A sample was judged: charge it, and if it is live let the rules on its channels and on the balance look."""
    index = draft.policy.by_trigger
    view = View(draft, now, meter_id)
    view.sample = sample
    view.delta = delta
    if sample is None:
        charge(draft, meter_id, now)
        return
    touched = index.touched_by(sample.d, live=live)
    look(draft, view, touched, "reading", now)
    if not live:
        return
    _renew_watches(draft, view, meter_id, now)
    tenant = draft.group.tenant
    if tenant is not None and tenant.unseen_charges:
        react_to_balance(draft, now)


def look(draft: Draft, view: View, touched: tuple[BoundRule, ...], trigger: str, now: int) -> None:
    """Let rules look, and be done at once with each that has nothing to do: its condition is false, and it remembers
    nothing. Nearly every rule at nearly every reading is. One that only charges, and remembers nothing, charges."""
    if draft.traces is not None:
        _look_and_trace(draft, view, touched, trigger, now)
        return
    remembered = view.owner.rules
    for bound in touched:
        quick = bound.quick
        if quick is None or bound.id in remembered or (bound.locks_credit and _is_held(draft)):
            evaluate(draft, view, bound, trigger, now)
            remembered = view.owner.rules
            continue
        if view.ruleset is not bound.ruleset:
            _look_up_params(draft, view, bound, view.owner)
        view.fresh_only = bound.fresh_only
        holds = quick(view)
        if holds is False:
            continue
        if holds is True and bound.at_once:
            charge(draft, view.meter_id, now)  # type: ignore[arg-type]
        else:
            evaluate(draft, view, bound, trigger, now)
            remembered = view.owner.rules


def _look_and_trace(draft: Draft, view: View, touched: tuple[BoundRule, ...], trigger: str, now: int) -> None:
    """The same with what every clause gave put aside."""
    traces = draft.traces
    assert traces is not None
    remembered = view.owner.rules
    for bound in touched:
        raw: list[Raw] = []
        view.fresh_only = False
        known = bound.quick_record is not None and view.ruleset is bound.ruleset and bound.id not in remembered
        if known and bound.quick_record(view, raw) is False:  # type: ignore[misc]
            traces.append(Traced(bound, view.twin_id, now, "when", raw))
        else:
            evaluate(draft, view, bound, trigger, now)
            remembered = view.owner.rules


def _is_held(draft: Draft) -> bool:
    """Whether the tenant is shown reasons why a due cutoff waits, which may no longer hold."""
    tenant = draft.group.tenant
    return tenant is not None and bool(tenant.held)


def _renew_watches(draft: Draft, view: View, meter_id: str, now: int) -> None:
    """Rules that watch the clock look again with a reading when their due time is near, and move it.

    So a meter that reports regularly is never woken by a timer: that would cost as much as a reading.
    """
    near = now + draft.group.meter_contracts[meter_id].interval_ms * 3 // 2
    for bound in draft.policy.by_trigger.watches:
        due = draft.group.meters[meter_id].wakes.get(bound.rule.id)
        if due is None or due < near:
            evaluate(draft, view, bound, "clock", now)


def react_to_balance(draft: Draft, now: int) -> None:
    """The balance moved: let the rules that look at it look."""
    tenant = draft.tenant()
    assert tenant is not None
    tenant.unseen_charges = False
    index = draft.policy.by_trigger
    look(draft, View(draft, now), index.balance, "account.balance", now)
    if index.devices_watch_balance:
        for bound, other in _on_devices(draft, "account.balance", now):
            evaluate(draft, other, bound, "account.balance", now)


def react_to_credit(draft: Draft, credited_nano: int, now: int) -> None:
    """Money came in (or was corrected): balance rules first, so that what no longer holds is cleared, then
    `account.credited`."""
    draft.supply_dirty = True
    react_to_balance(draft, now)
    view = View(draft, now)
    view.credited_nano = credited_nano
    for bound in draft.policy.by_trigger.credited:
        evaluate(draft, view, bound, "account.credited", now)
    for bound, other in _on_devices(draft, "account.credited", now):
        evaluate(draft, other, bound, "account.credited", now)


def _on_devices(draft: Draft, name: str, now: int) -> Iterator[tuple[BoundRule, View]]:
    """Rules of meters and breakers that the tenant's money touches."""
    index = draft.policy.by_trigger
    for bound in index.of("meter", name):
        for meter in list(draft.group.meters):
            yield bound, View(draft, now, meter)
    for bound in index.of("breaker", name):
        for breaker in list(draft.group.breakers):
            yield bound, View(draft, now, breaker_id=breaker)


def react_to_event(draft: Draft, event: DeviceEvent, now: int) -> None:
    """An event of a meter or breaker. Events from a buffer are history and actuate nothing."""
    if event.hist:
        return
    for view in views_of_device(draft, event.device, now):
        view.device_event = event
        touched = draft.policy.by_trigger.of(view.scope, f"reading.{event.kind}")
        for bound in touched:
            evaluate(draft, view, bound, f"reading.{event.kind}", now)
        for bound in draft.policy.by_trigger.of(view.scope, "event"):
            if bound not in touched:
                evaluate(draft, view, bound, "event", now)


def react_to_connection(draft: Draft, meter_id: str, now: int) -> None:
    """The connection of a meter, or of the gateway in front of it, changed."""
    touch(draft, View(draft, now, meter_id), CONNECTION, now)


def react_to_birth(draft: Draft, device: str, now: int) -> None:
    """A device (re)started."""
    for view in views_of_device(draft, device, now):
        touch(draft, view, BIRTH, now)


def react_to_link(draft: Draft, gateway: str, now: int) -> None:
    """The gateway in front of breakers changed its connection; meters were told one by one."""
    if draft.policy.by_trigger.scopes & {"breaker"}:
        for name, contract in draft.group.breaker_contracts.items():
            if contract.gateway == gateway:
                touch(draft, View(draft, now, breaker_id=name), CONNECTION, now)


def touch(draft: Draft, view: View, names: tuple[str, ...], now: int) -> None:
    """Let each rule that one of the names touches look once."""
    index = draft.policy.by_trigger
    seen: list[BoundRule] = []
    for name in names:
        for bound in index.of(view.scope, name):
            if bound not in seen:
                seen.append(bound)
                evaluate(draft, view, bound, name, now)


def views_of_device(draft: Draft, device: str, now: int) -> Iterator[View]:
    """A device as meter, as breaker or valve, as gateway: whatever it is."""
    group = draft.group
    if device in group.meters:
        yield View(draft, now, device)
    if device in group.breakers:
        yield View(draft, now, breaker_id=device)
    if group.gateway is not None and group.gateway.id == device:
        yield gateway_view(draft, now)


def all_views(draft: Draft, now: int) -> Iterator[View]:
    """Every twin of the group that rules can be about and that some rule is about."""
    group, scopes = draft.group, draft.policy.by_trigger.scopes
    if "meter" in scopes:
        for name in list(group.meters):
            yield View(draft, now, name)
    if "breaker" in scopes:
        for name in list(group.breakers):
            yield View(draft, now, breaker_id=name)
    if "gateway" in scopes and group.gateway is not None:
        yield gateway_view(draft, now)
    if group.tenant is not None:
        yield View(draft, now)


def react_to_clock(draft: Draft, now: int) -> None:
    """Time passed: every rule whose own due time has come looks again."""
    for view in all_views(draft, now):
        _run_due_rules(draft, view, now)


def start_rules(draft: Draft, now: int) -> None:
    """A group's contracts changed: rules that look at them, or at time alone, take up their watch."""
    draft.supply_dirty = True
    index = draft.policy.by_trigger
    for view in all_views(draft, now):
        for bound in index.of(view.scope, "clock"):
            evaluate(draft, view, bound, "clock", now)
        for bound in index.on_contract.get(view.scope, ()):
            evaluate(draft, view, bound, "contract", now)


def release_rule(draft: Draft, rule_id: str, breaker: str, now: int) -> None:
    """A person took off what a rule had locked: the rule starts anew, with its grace, instead of locking again
    at once."""
    views = [View(draft, now)] if draft.group.tenant is not None else []
    views += [View(draft, now, name) for name in draft.group.breaker_contracts[breaker].meters]
    for view in (*views, View(draft, now, breaker_id=breaker)):
        state = view.owner.rules.get(rule_id)
        if state is not None:
            owner = private_owner(draft, view)
            keep_state(owner, rule_id, released_by_operator(state, now))
            _set_wake(draft, owner, rule_id, now)  # it looks at once: its grace runs from here, whatever comes


def approve_rule(draft: Draft, scope: str, twin: str, rule_id: str, until: int, now: int) -> bool:
    """A person lets a rule that waits pass its guard; it looks at once. False where nothing waits (any more)."""
    bound = draft.policy.bound(scope, rule_id)
    view = next((one for one in all_views(draft, now) if one.scope == scope and one.twin_id == twin), None)
    if bound is None or view is None:
        return False
    state = view.owner.rules.get(rule_id)
    approved = approved_by_operator(state, until) if state is not None else None
    if approved is None:
        return False
    _look_up_params(draft, view, bound, view.owner)
    keep_state(private_owner(draft, view), rule_id, approved)
    tell(draft, view, bound, approved, "approved", now)
    evaluate(draft, view, bound, "clock", now)
    return True


def settle_supply(draft: Draft, now: int) -> None:
    """Bring the tenant's disconnect state up to date where something that it depends on has moved."""
    if draft.supply_dirty:
        draft.supply_dirty = False
        tenant = draft.group.tenant
        supply.update(draft, draft.policy.tenant_params(draft.group.contract, tenant.params if tenant else None), now)


def _run_due_rules(draft: Draft, view: View, now: int) -> None:
    """Rules whose wake has come, and rules that wait for time but have no wake yet, as after a rebuild."""
    owner = view.owner
    wakes = owner.wakes
    due = [rule_id for rule_id, wake in wakes.items() if wake <= now]
    watching = draft.policy.by_trigger.of(view.scope, "clock")
    due += [bound.rule.id for bound in watching if bound.rule.id not in wakes]
    due += [name for name, state in owner.rules.items() if name not in wakes and name not in due and _waits(state)]
    for rule_id in due:
        bound = draft.policy.bound(view.scope, rule_id)
        if bound is None:
            _forget(private_owner(draft, view), rule_id)
        else:
            evaluate(draft, view, bound, "clock", now)


def _waits(state: RuleState) -> bool:
    """Whether time alone can move a rule that does not watch the clock."""
    return state.state == "deferred" or bool(state.release_ms)


def evaluate(draft: Draft, view: View, bound: BoundRule, trigger: str, now: int) -> None:
    """Step one rule for the view's twin and carry out what it asks; in most calls that is nothing."""
    rule = bound.rule
    owner = view.owner
    if view.ruleset is not bound.ruleset:
        _look_up_params(draft, view, bound, owner)
    view.fresh_only = bound.fresh_only
    before: RuleState | None = owner.rules.get(rule.id)
    outcome = step(rule, view, before, now, trigger)
    if draft.traces is not None:
        draft.traces.append(traced(view, view.twin_id, bound, outcome, now))
    if outcome.wake_ms != owner.wakes.get(rule.id):
        _set_wake(draft, private_owner(draft, view), rule.id, outcome.wake_ms)
    if bound.fresh_only and outcome.gate == "unknown":
        look_again(draft)  # a fresh reading is what it waits for
    if bound.locks_credit:
        tenant = draft.group.tenant
        if outcome.gate in HOLDING_GATES or (tenant is not None and tenant.held):
            show_waiting(draft, rule.id, outcome, before)
    if outcome.changed or (outcome.transition and not bound.charges):
        record(draft, view, bound, before, outcome, now)
    for action in outcome.actions:
        carry_out(draft, view, bound, outcome, action, now)
    assert_locks(draft, view, bound, outcome.assert_actions, now)


def _look_up_params(draft: Draft, view: View, bound: BoundRule, owner: RuleOwner) -> None:
    group = draft.group
    meter = None if view.meter_id is None else group.meter_contracts[view.meter_id]
    tenant = group.tenant
    set_for_tenant = tenant.params if tenant is not None else None
    set_here = owner.params if owner is not tenant else None
    view.params = draft.policy.params_for(bound.ruleset, group.contract, meter, set_for_tenant, set_here)
    view.ruleset = bound.ruleset


def _set_wake(draft: Draft, owner: RuleOwner, rule_id: str, wake: int | None) -> None:
    wakes = {name: due for name, due in owner.wakes.items() if name != rule_id}
    if wake is not None:
        wakes[rule_id] = wake
    owner.wakes = wakes
    draft.wake_dirty = True


def _forget(owner: RuleOwner, rule_id: str) -> None:
    """A rule that is no longer loaded leaves nothing behind; locks that it placed stand until somebody releases
    them."""
    owner.wakes = {name: due for name, due in owner.wakes.items() if name != rule_id}
    keep_state(owner, rule_id, None)

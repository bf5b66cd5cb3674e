"""What is due: one look at everything in a group that waits for time to pass.

Every due time is kept inside the twin it belongs to (a rule's wake, a command's expiry, a lock's end, an open row
that nobody closed), so the store's timer index holds just one instant a group, can be lost, and is rebuilt from the
twins. An index entry may be early, never late: after an early wake-up nothing happens but a new entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core import accrual, acts, configuration, plans
from twin.core.commands import next_due, on_due
from twin.core.locks import give_way, release_ended
from twin.core.meter_life import carry_out_owed
from twin.core.model import duplicate
from twin.core.reactions import react_to_clock, react_to_credit, release_rule

if TYPE_CHECKING:
    from twin.core.draft import Draft
    from twin.core.model import MeterTwin


def run_due(draft: Draft, now: int) -> None:
    """Deal with everything whose time has come."""
    draft.wake_dirty = True
    for name in [name for name, meter in draft.group.meters.items() if meter.owed]:
        carry_out_owed(draft, name, now)
    if draft.group.owed:
        acts.carry_out_owed(draft, now)
    for name in list(draft.group.breakers):
        plans.follow(draft, name, now)
        release_ended(draft, name, now)
        on_due(draft, name, now)
        configuration.on_due(draft, name, now)
    for name, meter in list(draft.group.meters.items()):
        due = _silence_due(draft, meter)
        if due is not None and due <= now:
            private = draft.meter(name)
            private.register = duplicate(private.register)
            accrual.post(draft, private)
    react_to_clock(draft, now)
    if draft.group.tenant is not None and draft.group.tenant.unseen_credits:
        tenant = draft.tenant()
        assert tenant is not None
        tenant.unseen_credits = False
        for breaker, rule_id in give_way(draft, now):
            if rule_id:
                release_rule(draft, rule_id, breaker, now)
        react_to_credit(draft, 0, now)


def earliest_due(draft: Draft) -> int | None:
    """Earliest instant at which anything in the group is due; None when nothing is."""
    group = draft.group
    dues: list[int] = []
    for breaker in group.breakers.values():
        due = next_due(breaker)
        if due is not None:
            dues.append(due)
        if breaker.plan_at is not None:
            dues.append(breaker.plan_at)
        if breaker.cfg is not None and breaker.cfg.retry_at is not None:
            dues.append(breaker.cfg.retry_at)
    for meter in group.meters.values():
        due = _silence_due(draft, meter)
        if due is not None:
            dues.append(due)
        dues.extend(meter.wakes.values())
    for owner in (*group.breakers.values(), group.gateway):
        if owner is not None and owner.wakes:
            dues.extend(owner.wakes.values())
    if group.tenant is not None:
        dues.extend(group.tenant.wakes.values())
    return min(dues, default=None)


def _silence_due(draft: Draft, meter: MeterTwin) -> int | None:
    """An open row is normally posted by the next reading; when none comes, one interval later it is posted as it is."""
    row = meter.register.row
    if row is None:
        return None
    return draft.policy.grid.bounds(row.to_ts - 1)[1] + draft.policy.grid.interval_ms

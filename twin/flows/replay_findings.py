"""From the effects of a decision to what a person would ask about: who was cut, reconnected, alarmed, notified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.effects import AlarmChanged, LockChanged, NotificationWanted, RuleChanged, WebhookWanted
from twin.recorded import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.core.effects import AnyEffect
    from twin.core.model import Group

_TRANSITIONS = {
    "fired": "fired",
    "level_up": "fired",
    "level_down": "fired",
    "cleared": "cleared",
    "released": "cleared",
}


def findings_of(before: Group, effects: Sequence[AnyEffect]) -> list[Finding]:
    """Findings among the effects that a decision on `before` gave."""
    found: list[Finding] = []
    tenant = before.tenant.id if before.tenant is not None else before.contract.id if before.contract else ""
    standing: dict[str, set[str]] = {}
    for effect in effects:
        if isinstance(effect, LockChanged):
            if effect.breaker not in standing:
                breaker = before.breakers.get(effect.breaker)
                standing[effect.breaker] = set(breaker.locks) if breaker is not None else set()
            found.append(_of_lock(effect, standing[effect.breaker], tenant))
        elif isinstance(effect, RuleChanged):
            kind = _TRANSITIONS.get(effect.transition)
            if kind is not None:
                detail = str(effect.record.get("severity", "")) if kind == "fired" else ""
                found.append(Finding(effect.ts, kind, effect.rule, effect.twin, tenant, detail))
        elif isinstance(effect, AlarmChanged):
            kind = "alarm" if effect.active else "alarm_over"
            detail = effect.severity if effect.active else ""
            found.append(Finding(effect.ts, kind, effect.rule, effect.twin, tenant, detail))
        elif isinstance(effect, NotificationWanted):
            rule = str(effect.data.get("rule", "platform"))
            found.append(Finding(effect.ts, "notified", rule, effect.tenant, tenant, effect.template))
        elif isinstance(effect, WebhookWanted):
            found.append(Finding(effect.ts, "webhook", effect.rule, effect.twin, tenant, effect.name))
    return found


def _of_lock(effect: LockChanged, standing: set[str], tenant: str) -> Finding:
    rule = effect.rule or ("platform" if effect.who == "platform" else "person")
    if effect.active:
        kind = "locked" if standing else "cut"
        standing.add(effect.lock)
    else:
        standing.discard(effect.lock)
        kind = "unlocked" if standing else "reconnected"
    return Finding(effect.ts, kind, rule, effect.breaker, tenant, effect.lock)

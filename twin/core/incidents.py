"""Incidents: what a person should know about a device. One open incident a kind; it counts repeats and heals by itself.

Some kinds are dangerous enough to be an alarm as well; their rule name starts with `@` because no rule file holds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.effects import AlarmChanged, IncidentOpened, IncidentResolved
from twin.core.model import Incident

if TYPE_CHECKING:
    from twin.core.draft import Draft
    from twin.core.model import BreakerTwin, MeterTwin

ALARMING = {
    "open_but_power_flows": "critical",
    "command_unverified": "critical",
    "closed_locally_under_lock": "critical",
    "ratio_unread": "major",
    "register_reset": "major",
    "implausible_rise": "major",
    "tariff_missing": "major",
    "config_not_taken": "warning",
    "relay_unknown": "warning",
}
"""Kinds that raise an alarm of their own, with its severity."""


OF_BREAKERS = frozenset(
    {
        "command_failing",
        "command_unverified",
        "config_not_taken",
        "closed_locally_under_lock",
        "fence_absurd",
        "opened_locally",
        "open_but_power_flows",
        "relay_unknown",
        "unlock_refused",
    }
)
"""Kinds that belong to the breaker where one device is a meter and its breaker; the others are the meter's."""


def open_incident(draft: Draft, twin: MeterTwin | BreakerTwin, kind: str, now: int, detail: str = "") -> None:
    """Open an incident on a twin that is private to the draft, or count one more of an open one."""
    known = twin.incidents.get(kind)
    if known is not None:
        again = Incident(kind, known.since, known.count + 1, known.detail)
        twin.incidents = {**twin.incidents, kind: again}
        return
    twin.incidents = {**twin.incidents, kind: Incident(kind, now, 1, detail)}
    draft.emit(IncidentOpened(twin.id, kind, now, detail))
    if kind in ALARMING:
        draft.emit(_alarm(draft, twin.id, kind, now, now, active=True, detail=detail))


def resolve_incident(draft: Draft, twin: MeterTwin | BreakerTwin, kind: str, now: int) -> None:
    """Close an incident where one is open."""
    known = twin.incidents.get(kind)
    if known is None:
        return
    twin.incidents = {name: incident for name, incident in twin.incidents.items() if name != kind}
    draft.emit(IncidentResolved(twin.id, kind, known.since, now))
    if kind in ALARMING:
        draft.emit(_alarm(draft, twin.id, kind, known.since, now, active=False, detail=known.detail))


def _alarm(draft: Draft, device: str, kind: str, since: int, now: int, *, active: bool, detail: str) -> AlarmChanged:
    tenant = draft.group.tenant.id if draft.group.tenant else ""
    because = {"detail": detail} if detail else {}
    return AlarmChanged(f"@{kind}", 0, device, since, now, ALARMING[kind], active, tenant, because)

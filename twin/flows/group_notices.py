"""Which alarms are told together: `group_by` of a rule, looked up for the twin that a notice is about.

Two hundred meters behind one gateway that fails are two hundred alarms, and one notification: the first notice of a
group tells for all that follow within `TOGETHER_MS`. Notices for another recipient, of another template or of another
severity are another group, so whatever becomes worse is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from twin.core.draft import Draft
from twin.core.view import View

if TYPE_CHECKING:
    from twin.core.effects import NotificationWanted
    from twin.ports import Entry, Policies, TwinStore

TOGETHER_MS: Final = 15 * 60_000
"""How long after the first notice of a group others of it are told by it."""


class AlarmGroups:
    """Names the group of a notice."""

    def __init__(self, store: TwinStore, policies: Policies) -> None:
        self._store = store
        self._policies = policies

    async def name(self, site: str, entry: Entry, notice: NotificationWanted) -> str:
        """The group that a notice belongs to, as a text; empty for one that is told by itself."""
        meter = notice.data.get("meter")
        try:
            policy = await self._policies.policy(site)
        except LookupError:
            return ""
        bound = policy.bound("tenant" if meter is None else "meter", str(notice.data.get("rule", "")))
        if bound is None or not bound.rule.group_by:
            return ""
        group = (await self._store.load(site, [entry.group])).get(entry.group)
        if group is None or (meter is not None and meter not in group.meter_contracts):
            return ""
        view = View(Draft(group, policy, {}, notice.ts), notice.ts, meter)
        values = [str(bound.ruleset.model[path].get(view)) for path in bound.rule.group_by]
        parts = [_recipient(notice), bound.rule.id, notice.template, notice.data.get("severity", ""), *values]
        return msgspec.json.encode(parts).decode()


def _recipient(notice: NotificationWanted) -> str:
    """Who is told: a tenant by its id, or a role or group such as `operator`."""
    return f"tenant:{notice.tenant}" if notice.to == "tenant" else notice.to

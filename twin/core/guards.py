"""The blast radius of automatic cutoffs: a rule whose guard is used up holds its further firings, and people are told.

A guard counts the firings of a rule over the whole site. Beyond it every further twin waits until a person agrees; a
wrong tariff must not cut off five thousand homes. However many wait, there is one critical alarm and one notice to the
operator a rule and window: every twin tells of it under the same identity, and whoever hears it twice hears it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin.core.effects import AlarmChanged, NotificationWanted

if TYPE_CHECKING:
    from rules.rule import Rule
    from twin.core.draft import Draft

GUARD_HELD = "@guard_held"
"""Name of the alarm; its twin is the rule. No rule file holds it, so nothing in one can silence it."""
TEMPLATE = "guard_held"


def tell_held(draft: Draft, rule: Rule, because: dict[str, Any], now: int) -> None:
    """A firing was just held back by its rule's guard: tell that the guard of the rule is used up."""
    if rule.guard is None or because.get("gate") != "guard":
        return
    since = now - now % rule.guard.per_ms
    told = {"rule": rule.id, "max": rule.guard.max, "per_ms": rule.guard.per_ms}
    draft.emit(AlarmChanged(GUARD_HELD, rule.version, rule.id, since, since, "critical", True, "", told))
    draft.emit(NotificationWanted("@site", TEMPLATE, since, told, "operator", twin=rule.id))

"""Asking a group why: the record of a rule for its twins, by the evaluator that runs live; nothing is changed by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rules.actions import Lock
from rules.errors import did_you_mean
from rules.explain import Record, explain
from twin.core.draft import Draft
from twin.core.sight import View, gateway_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from twin.core.model import Group
    from twin.core.policy import BoundRule, SitePolicy


class UnknownRuleError(LookupError):
    """No loaded rule has this id; the text names similar ones."""


class WrongTwinError(LookupError):
    """The rule is about another kind of twin than the one named, and the group has none of that kind."""


def rules_named(policy: SitePolicy, rule_id: str) -> list[BoundRule]:
    """The loaded rules of an id, one a scope. Raises UnknownRuleError."""
    found = [bound for (_, name), bound in policy.by_trigger.by_id.items() if name == rule_id]
    if not found:
        known = sorted({name for _, name in policy.by_trigger.by_id})
        hint = did_you_mean(rule_id, known)
        raise UnknownRuleError(f"no active rule is called {rule_id!r}{f': {hint}' if hint else ''}")
    return found


def explain_rule(
    group: Group, policy: SitePolicy, guards: Mapping[str, int], rule_id: str, twin: str, now: int
) -> list[Record]:
    """Records of a rule for a twin at an instant: the device named; for a tenant, each device that the rule is about.

    `twin` may be the tenant, or any device of the group. Raises UnknownRuleError or WrongTwinError.
    """
    records: list[Record] = []
    for bound in rules_named(policy, rule_id):
        views = list(_views(group, policy, guards, bound, now))
        named = [view for view in views if view.twin_id == twin]
        records += [_record(policy, bound, view, now) for view in named or views]
    if not records:
        raise WrongTwinError(f"rule {rule_id} is not about {twin}, nor about anything that belongs to it")
    return records


def explain_locking_rules(group: Group, policy: SitePolicy, guards: Mapping[str, int], now: int) -> list[Record]:
    """Records of every rule that could switch off a supply of this group, for each twin that it is about."""
    return [
        _record(policy, bound, view, now)
        for bound in policy.by_trigger.by_id.values()
        if any(isinstance(plan.action, Lock) for plan in bound.rule.actions)
        for view in _views(group, policy, guards, bound, now)
    ]


def _views(group: Group, policy: SitePolicy, guards: Mapping[str, int], bound: BoundRule, now: int) -> Iterator[View]:
    draft = Draft(group, policy, guards, now)
    scope = bound.rule.scope_twin
    if scope == "meter":
        yield from (View(draft, now, name) for name in group.meters)
    elif scope == "breaker":
        yield from (View(draft, now, breaker_id=name) for name in group.breakers)
    elif scope == "gateway" and group.gateway is not None:
        yield gateway_view(draft, now)
    elif scope == "tenant" and group.tenant is not None:
        yield View(draft, now)


def _record(policy: SitePolicy, bound: BoundRule, view: View, now: int) -> Record:
    group, owner = view.group, view.owner
    tenant = group.tenant
    meter = None if view.meter_id is None else group.meter_contracts[view.meter_id]
    set_for_tenant = tenant.params if tenant is not None else None
    set_here = owner.params if owner is not tenant else None
    view.params = policy.params_for(bound.ruleset, group.contract, meter, set_for_tenant, set_here)
    view.ruleset = bound.ruleset
    view.fresh_only = bound.fresh_only
    return explain(bound.rule, view, owner.rules.get(bound.rule.id), now)

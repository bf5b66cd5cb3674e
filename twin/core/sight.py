"""The twin that rules look at: one meter, breaker, gateway or tenant of a draft, at an instant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rules.actions import Lock
from twin.core.arrears import closed_gate
from twin.core.commands import FRESH_INTERVALS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from rules.rule import Rule, Ruleset
    from twin.core.draft import Draft
    from twin.core.messages import DeviceEvent, Telemetry
    from twin.core.model import BreakerTwin, GatewayTwin, Group, MeterContract, MeterTwin, TenantTwin

    RuleOwner = MeterTwin | BreakerTwin | GatewayTwin | TenantTwin
    """Twins that rules are about: each keeps the memory of its rules, and when they want to be woken."""

STANDING = frozenset({"fired", "recovering"})


class View:
    """The environment of one evaluation: a twin of the draft at an instant. Satisfies `rules.language.values.Env`.

    It is about a meter, a breaker or valve, a gateway, or, with none of them named, the tenant of the group.
    """

    __slots__ = (
        "breaker_id",
        "credited_nano",
        "delta",
        "device_event",
        "draft",
        "fresh_only",
        "meter_id",
        "now",
        "params",
        "ruleset",
        "sample",
        "scope",
        "zone",
    )

    def __init__(self, draft: Draft, now: int, meter_id: str | None = None, *, breaker_id: str | None = None) -> None:
        self.draft = draft
        self.now = now
        self.zone: ZoneInfo = draft.policy.zone
        self.params: Mapping[str, Any] = {}
        self.ruleset: Ruleset | None = None
        """The ruleset whose parameters `params` holds."""
        self.meter_id = meter_id
        self.breaker_id = breaker_id
        self.scope = "meter" if meter_id is not None else "breaker" if breaker_id is not None else "tenant"
        self.sample: Telemetry | None = None
        self.device_event: DeviceEvent | None = None
        self.delta = 0
        self.credited_nano = 0
        self.fresh_only = False

    @property
    def twin_id(self) -> str:
        """The twin this evaluation is about: the device, or the group of the tenant."""
        if self.scope == "gateway":
            gateway = self.draft.group.gateway
            return gateway.id if gateway is not None else ""
        return self.meter_id or self.breaker_id or self.draft.group.id

    @property
    def owner(self) -> RuleOwner:
        """The twin that keeps the state of the rules evaluated here, as decided so far."""
        group = self.draft.group
        if self.meter_id is not None:
            return group.meters[self.meter_id]
        if self.breaker_id is not None:
            return group.breakers[self.breaker_id]
        owner = group.gateway if self.scope == "gateway" else group.tenant
        assert owner is not None
        return owner

    @property
    def group(self) -> Group:
        """The group as decided so far."""
        return self.draft.group

    @property
    def meter(self) -> MeterTwin:
        """The meter this evaluation is about; only for rules of scope meter."""
        assert self.meter_id is not None
        return self.draft.group.meters[self.meter_id]

    @property
    def meter_contract(self) -> MeterContract:
        """Contract of the meter this evaluation is about."""
        assert self.meter_id is not None
        return self.draft.group.meter_contracts[self.meter_id]

    @property
    def breaker(self) -> BreakerTwin | None:
        """The breaker or valve this evaluation is about: the twin itself, or the one that switches the meter."""
        name = self.breaker_id if self.breaker_id is not None else self.meter_contract.breaker
        return self.draft.group.breakers.get(name) if name else None

    def peer_fired(self, rule_id: str) -> bool:
        """Whether the named rule stands on this twin or on its tenant, or on every meter that this twin is about."""
        group = self.draft.group
        for owner in (self.owner, group.tenant):
            if owner is not None and rule_id in owner.rules:
                return owner.rules[rule_id].state in STANDING
        meters = self.meters
        return bool(meters) and all(stands(meter, rule_id) for meter in meters)

    @property
    def meters(self) -> list[MeterTwin]:
        """The meter itself, those behind the breaker, or all of the tenant."""
        group = self.draft.group
        if self.meter_id is not None:
            return [group.meters[self.meter_id]]
        if self.breaker_id is not None:
            return [group.meters[name] for name in group.breaker_contracts[self.breaker_id].meters]
        return list(group.meters.values())

    def held_back(self, rule: Rule) -> str:
        """The promise of the site that keeps a rule from locking (`twin.core.arrears`); an empty text for none."""
        group, scope = self.draft.group, self.scope
        if scope == "gateway":
            return ""
        tenant = group.tenant
        params = self.draft.policy.tenant_params(group.contract, tenant.params if tenant is not None else None)
        wanted = {plan.action.target for plan in rule.actions if isinstance(plan.action, Lock)}
        names = [name for target in wanted for name in self.switches(target)]
        return closed_gate(group, params, rule, names, self.now)

    def switches(self, target: str) -> list[str]:
        """The breakers (or valves) an action means: the twin itself, the meter's own, or all of the tenant's."""
        op = "breaker.set" if target == "breaker" else "valve.set"
        contracts = self.draft.group.breaker_contracts
        if self.scope == "gateway":
            return []
        if self.scope == "tenant":
            return [name for name, contract in contracts.items() if contract.op == op]
        one = self.breaker_id if self.breaker_id is not None else self.meter_contract.breaker
        return [one] if one is not None and contracts[one].op == op else []

    def guard_used(self, rule_id: str) -> int:
        """Firings counted inside the rule's guard window."""
        return self.draft.guard_used(rule_id)


def gateway_view(draft: Draft, now: int) -> View:
    """The view of rules about the gateway of a group."""
    view = View(draft, now)
    view.scope = "gateway"
    return view


def stands(meter: MeterTwin, rule_id: str) -> bool:
    """Whether a rule of scope meter has fired on this meter and not cleared."""
    state = meter.rules.get(rule_id)
    return state is not None and state.state in STANDING


def newest_live(group: Group, now: int) -> int | None:
    """Newest live sample of the group's meters that is fresh by its own interval; None when all are stale."""
    best: int | None = None
    for name, meter in group.meters.items():
        at = meter.at
        if at is None or now - at > FRESH_INTERVALS * group.meter_contracts[name].interval_ms:
            continue
        if best is None or at > best:
            best = at
    return best

"""What a site has agreed for all its twins: zone, posting grid, tariffs, rules and limits of belief.

A policy is compiled once and shared by every decision until something in it changes. Rules are indexed by what
triggers them, so a message pays for the rules it touches and not for those that are merely loaded.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from billing.money import format_nano
from billing.posting import PostingGrid
from billing.tariff import Tariff
from rules.actions import Charge, Lock
from rules.errors import ParamError
from rules.params import param_value
from rules.rule import Rule, Ruleset
from rules.ruleset import resolve_params
from twin.core.lock_kinds import ARREARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from zoneinfo import ZoneInfo

    from rules.language.compiler import Run
    from rules.language.recorder import Recording
    from twin.core.model import Contract, MeterContract

    Params = Mapping[str, str | int | bool]

MOST_CACHED_PARAMS = 100_000
EMERGENCY_TAKEN = "emergency_taken"
"""Parameter that is set on a tenant while it has taken an emergency credit that must be asked for."""
MOST_CHANNEL_SETS = 1_000


class BoundRule(msgspec.Struct, frozen=True, eq=False):
    """A rule together with what the core needs to know about it at every evaluation."""

    ruleset: Ruleset
    rule: Rule
    charges: bool
    """It charges energy, so it also looks at late and historical samples."""
    locks_credit: bool
    """It can cut off for arrears: its waiting is shown to the tenant."""
    quick: Run | None = None
    """Its condition, where nothing is to be done as long as that is false and the rule remembers nothing."""
    quick_record: Recording | None = None
    """The same, putting the values of its clauses aside; for rules that have neither a scope nor a ladder."""
    at_once: bool = False
    """It charges and does nothing else, whenever its condition holds and it remembers nothing."""
    id: str = ""
    fresh_only: bool = False
    """It can cut off for money, for good or as a warning: it must not see stale balances."""


class SitePolicy:
    """Shared, immutable context of every decision at one site."""

    def __init__(
        self,
        *,
        site: str,
        zone: ZoneInfo,
        currency: str,
        interval_ms: int,
        tariffs: Mapping[str, Tariff],
        rulesets: Iterable[Ruleset],
        params: Mapping[str, str | int | bool] | None = None,
        skew_ms: int | None = 300_000,
        version: str = "",
        trace: bool = False,
    ) -> None:
        self.site = site
        self.zone = zone
        self.currency = currency
        self.grid = PostingGrid(interval_ms, str(zone))
        self.tariffs = tariffs
        self.rulesets = tuple(rulesets)
        self.params = dict(params or {})
        self.aliases: Mapping[str, str] = {}
        """Device ids on the wire that speak for a metering point of another id: meters that were replaced."""
        self.skew_ms = skew_ms
        """How far a device's clock may be ahead of ours; None when time itself follows telemetry."""
        self.tolerance_milli = 1_200
        """A register may grow by at most max_rate * time * tolerance / 1000, plus `slack`."""
        self.slack = 10
        """Smallest register step that is always plausible, Wh or litres (one digit of the display)."""
        self.reset_after = 3
        """So many consistent readings below the head open a new epoch with reason `reset`."""
        self.version = version
        """Changes whenever tariffs, rules or parameters do."""
        self.trace = trace
        """Put aside what every clause gave at every evaluation; decisions carry it in `traces`."""
        self.by_trigger = _index(self.rulesets)
        self.guard_windows = {
            rule.id: rule.guard.per_ms for ruleset in self.rulesets for rule in ruleset.rules if rule.guard is not None
        }
        self._shared: dict[str, dict[str, Any]] = {}
        self._params: dict[tuple[int, ...], tuple[tuple[object, ...], dict[str, Any]]] = {}

    def bound(self, scope: str, rule_id: str) -> BoundRule | None:
        """The rule of this scope and id, if it is loaded."""
        return self._by_id.get((scope, rule_id))

    def locking_rule(self, rule_id: str) -> BoundRule | None:
        """The rule that a lock names; locks tell no scope."""
        bounds = (self.bound(scope, rule_id) for scope in ("tenant", "meter", "breaker"))
        return next((bound for bound in bounds if bound is not None), None)

    @property
    def _by_id(self) -> dict[tuple[str, str], BoundRule]:
        return self.by_trigger.by_id

    def params_for(
        self,
        ruleset: Ruleset,
        contract: Contract | None,
        meter: MeterContract | None = None,
        set_for_tenant: Params | None = None,
        set_here: Params | None = None,
    ) -> dict[str, Any]:
        """A ruleset's parameters in force: defaults, then site, tenant and device overrides on top.

        What rules have set (for the tenant, and for the device itself) lies over what the contract says of the same
        twin. Twins without overrides of their own share one mapping; the others are cached by the identity of the
        contracts, which are shared and never changed in place.
        """
        if _overrides_nothing(contract) and not set_for_tenant and not set_here and (meter is None or not meter.params):
            shared = self._shared.get(ruleset.name)
            if shared is None:
                shared = resolve_params(ruleset, _valid(ruleset, self.params))
                shared = self._shared[ruleset.name] = _with_consent(shared, None)
            return shared
        sources = (contract, meter, set_for_tenant or None, set_here or None)
        key = (id(ruleset), id(contract), id(meter), id(sources[2]), id(sources[3]))
        known = self._params.get(key)
        if known is not None and _are_same(known[0], sources):
            return known[1]
        here = set_here or {}
        layers = (self.params, _tenant_layer(contract), set_for_tenant or {}, meter.params if meter else {}, here)
        params = resolve_params(ruleset, *(_valid(ruleset, layer) for layer in layers))
        params = _with_consent(params, set_for_tenant)
        if len(self._params) >= MOST_CACHED_PARAMS:
            self._params.clear()
        self._params[key] = (sources, params)
        return params

    def tenant_params(self, contract: Contract | None, set_for_tenant: Params | None = None) -> dict[str, Any]:
        """The parameters of all rulesets as one tenant has them, for the disconnect facts; earlier rulesets win."""
        if len(self.rulesets) == 1:
            return self.params_for(self.rulesets[0], contract, None, set_for_tenant)
        params: dict[str, Any] = {}
        for ruleset in reversed(self.rulesets):
            params.update(self.params_for(ruleset, contract, None, set_for_tenant))
        return params


def _are_same(known: tuple[object, ...], sources: tuple[object, ...]) -> bool:
    """Whether these are the very objects: an id alone may belong to another one by now."""
    return known[0] is sources[0] and known[1] is sources[1] and known[2] is sources[2] and known[3] is sources[3]


def _with_consent(params: dict[str, Any], set_for_tenant: Params | None) -> dict[str, Any]:
    """An emergency credit that must be asked for (`emergency_opt_in`) counts only while the tenant has taken it."""
    if not params.get("emergency_opt_in"):
        return params
    offered = params.get("emergency_credit", 0)
    taken = bool((set_for_tenant or {}).get(EMERGENCY_TAKEN))
    return {**params, "emergency_credit": offered if taken else 0, "emergency_offered": offered}


def _overrides_nothing(contract: Contract | None) -> bool:
    return contract is None or not (contract.params or contract.emergency_credit_nano)


def _valid(ruleset: Ruleset, layer: Mapping[str, str | int | bool]) -> dict[str, Any]:
    """The overrides that fit their declarations.

    An import refuses the others; one that slips through (the ruleset changed its mind about a type) must not stop a
    tenant's readings, so it counts as not given.
    """
    valid: dict[str, Any] = {}
    for name, raw in layer.items():
        param = ruleset.params.get(name)
        if param is None:
            continue
        try:
            param_value(param, raw)
        except ParamError:
            continue
        valid[name] = raw
    return valid


def _tenant_layer(contract: Contract | None) -> dict[str, str | int | bool]:
    if contract is None:
        return {}
    layer: dict[str, str | int | bool] = {}
    if contract.emergency_credit_nano:
        layer["emergency_credit"] = format_nano(contract.emergency_credit_nano)
    layer.update(contract.params)
    return layer


ALIASES = {
    "reading.quality": "reading",
    "reading.at": "reading",
    "reading.gaps": "reading",
    "reading.missed": "reading",
    "reading.duplicates": "reading",
    "reading.delta": "reading.registers",
    "reading.step_w": "reading.power_step",
    "reading.step_pf_milli": "reading.power_step",
    "reading.step_class": "reading.power_step",
    "account.credits": "account.balance",
    "account.charges": "account.balance",
    "account": "account.balance",
}
"""Paths that change together with something else: what touches their rules."""
_CONTRACT_WORDS = frozenset({"tenant", "meter", "gateway", "breaker"})
_SOURCES_OF_THEIR_OWN = frozenset({"incidents", "state", "locks", "relay", "relays", "since"})
_TOLD_BY_READINGS = frozenset({"clock", "reading", "account.balance", "account.credited"})


class TriggerIndex:
    """Rules by what touches them: a named trigger, or the channel of a reading."""

    def __init__(self, bound: Iterable[BoundRule]) -> None:
        named: defaultdict[tuple[str, str], list[BoundRule]] = defaultdict(list)
        self.by_id: dict[tuple[str, str], BoundRule] = {}
        for entry in bound:
            self.by_id[(entry.rule.scope_twin, entry.rule.id)] = entry
            for trigger in dict.fromkeys(ALIASES.get(trigger, trigger) for trigger in entry.rule.on):
                named[(entry.rule.scope_twin, trigger)].append(entry)
        self.named = {key: tuple(found) for key, found in named.items()}
        self.scopes = frozenset(scope for scope, _ in named)
        self.registers = self.named.get(("meter", "reading.registers"), ())
        self.any_reading = self.named.get(("meter", "reading"), ())
        self.balance = self.named.get(("tenant", "account.balance"), ())
        self.watches = self.named.get(("meter", "clock"), ())
        self.devices_watch_balance = any((scope, "account.balance") in self.named for scope in ("meter", "breaker"))
        self.credited = self.named.get(("tenant", "account.credited"), ())
        on_steps = (entry.ruleset for entry in self.named.get(("meter", "reading.power_step"), ()))
        self.steps = next((ruleset for ruleset in on_steps if "malignant_bands" in ruleset.params), None)
        """The rules that say which steps of power are looked for in streams; None: nobody looks."""
        self.channels = {
            trigger.removeprefix("reading."): found
            for (scope, trigger), found in self.named.items()
            if scope == "meter" and trigger.startswith("reading.") and trigger != "reading.registers"
        }
        self.on_contract = _on_contract(self.named)
        self._touched: dict[tuple[object, ...], tuple[BoundRule, ...]] = {}
        self.follows = any(
            trigger not in _TOLD_BY_READINGS and not trigger.startswith("reading.") for _, trigger in self.named
        )
        """Whether effects of a decision can touch a rule at all."""

    def touched_by(self, channels: Iterable[str], *, live: bool) -> tuple[BoundRule, ...]:
        """Rules of meters that a reading with these channels touches, each once, in the order in which they look: those
        on registers, on its channels, on any reading. One that is not live touches what charges, and nothing else.

        Meters of one kind send the same channels in the same order, so the answer is remembered.
        """
        key = (live, *channels)
        found = self._touched.get(key)
        if found is None:
            if len(self._touched) >= MOST_CHANNEL_SETS:
                self._touched.clear()
            on_channels = [bound for name in key[1:] for bound in self.channels.get(str(name), ())]
            wanted = [*self.registers, *(on_channels if live else ()), *(self.any_reading if live else ())]
            chosen = [bound for bound in wanted if live or bound.charges]
            found = self._touched[key] = tuple(dict.fromkeys(chosen))
        return found

    def of(self, scope: str, trigger: str) -> tuple[BoundRule, ...]:
        """Rules of a scope that a named trigger touches."""
        return self.named.get((scope, trigger), ())


def _on_contract(named: Mapping[tuple[str, str], tuple[BoundRule, ...]]) -> dict[str, tuple[BoundRule, ...]]:
    """By scope, the rules on what an import or a person says of the twin, such as `tenant.mode`."""
    found: defaultdict[str, list[BoundRule]] = defaultdict(list)
    for (scope, trigger), rules in named.items():
        first, _, rest = trigger.partition(".")
        if first in _CONTRACT_WORDS and rest not in _SOURCES_OF_THEIR_OWN:
            found[scope].extend(rule for rule in rules if rule not in found[scope])
    return {scope: tuple(rules) for scope, rules in found.items()}


def _index(rulesets: Iterable[Ruleset]) -> TriggerIndex:
    return TriggerIndex(bind(ruleset, rule) for ruleset in rulesets for rule in ruleset.rules if rule.enabled)


def bind(ruleset: Ruleset, rule: Rule) -> BoundRule:
    """What the core needs to know of a rule."""
    actions = [plan.action for plan in rule.actions]
    for_money = {action.lock for action in actions if isinstance(action, Lock)} & set(ARREARS)
    plain = rule.when is not None and rule.where is None and not rule.clocked and not for_money
    return BoundRule(
        ruleset=ruleset,
        rule=rule,
        charges=any(isinstance(action, Charge) for action in actions),
        locks_credit="credit" in for_money,
        quick=_quick(rule),
        quick_record=rule.when.record if plain and rule.when is not None else None,
        at_once=rule.ready is not None and len(actions) == 1 and isinstance(actions[0], Charge),
        id=rule.id,
        fresh_only=bool(for_money),
    )


def _quick(rule: Rule) -> Run | None:
    """A condition that is false only where a rule without a memory has nothing to do and no instant to wait for."""
    if rule.clocked and (rule.flip is not None or rule.repeats):
        return None
    condition = rule.run_when if rule.run_when is not None else _some_rung(rule.run_levels)
    inside = rule.run_where
    if inside is None:
        return condition

    def run(env: Any) -> Any:
        found = inside(env)
        return condition(env) if found is True else found

    return run


def _some_rung(runs: tuple[Run, ...]) -> Run:
    """Of a ladder: whether a rung holds or may hold. Never exactly true: which rung it is must be looked at."""

    def run(env: Any) -> Any:
        for rung in runs:
            if rung(env) is not False:
                return None
        return False

    return run

"""Rehearsal: rule files are tested on the core itself.

A test stands for one tenant with a breaker, a valve, and a meter behind each. What a rule asks for is carried out by
the functions that do it live (`outcomes`), commands come from the locks as ever, and the device obeys each of them at
once: it acknowledges, reports its relay and, when it is open, that nothing flows. Nothing here evaluates rules; their
conditions read the test's own values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billing.money import parse_money
from billing.tariff import compile_tariff
from rules.params import param_value
from rules.stage import Happened
from twin.core import effects as fx
from twin.core.decide import decide
from twin.core.draft import Draft
from twin.core.messages import CommandAnswered, CommandSent, StateReported, Telemetry, Tick
from twin.core.model import (
    BreakerContract,
    BreakerTwin,
    Contract,
    GatewayTwin,
    Group,
    MeterContract,
    MeterTwin,
    Register,
    TenantTwin,
    duplicate,
)
from twin.core.outcomes import assert_locks, carry_out, record
from twin.core.policy import SitePolicy, bind
from twin.core.sight import View
from twin.core.valves import wire_target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from rules.rule import Rule, Ruleset
    from rules.state import RuleState, Step
    from twin.core.messages import Message

METERS = {"breaker": "meter", "valve": "water-meter"}
"""The meter behind each switch of a test."""
DEFAULT_PRICE = "1.00"


class _Seen(View):
    """The view of a twin of the stage whose paths hold what the test says."""

    def __init__(self, draft: Draft, env: Any, scope: str, switch: str) -> None:
        meter = METERS[switch] if scope == "meter" else None
        super().__init__(draft, env.now, meter, breaker_id=switch if scope == "breaker" else None)
        self.scope = scope
        self.values = env.values
        self.sampled_at = env.sampled_at
        self.params = env.params
        self.zone = env.zone
        self.peer_fired = env.peer_fired  # type: ignore[method-assign]
        self.guard_used = env.guard_used  # type: ignore[method-assign]


class Rehearsal:
    """The stage of one test."""

    def __init__(self, ruleset: Ruleset, start: int, zone: tzinfo, test: Mapping[str, Any]) -> None:
        self._bound = {rule.id: bind(ruleset, rule) for rule in ruleset.rules}
        self._policy = _policy(zone, test.get("price", DEFAULT_PRICE))
        self._group = _group(start)
        self._seq = 0

    def carry_out(self, rule: Rule, env: Any, before: RuleState | None, outcome: Step) -> Happened:
        """Do what a step of a rule asks for, at `env.now`."""
        now = env.now
        found: list[Any] = []
        self._refresh(env, rule)
        if self._group.wake is not None and self._group.wake <= now:
            found += self._play(Tick(), now)
        if not (outcome.actions or outcome.assert_actions or outcome.transition):
            return _happened(rule, found, None, self._bound[rule.id].ruleset)
        draft = Draft(self._group, self._policy, {}, now)
        view = _Seen(draft, env, rule.scope_twin, _switch_of(rule))
        bound = self._bound[rule.id]
        view.ruleset = bound.ruleset
        record(draft, view, bound, before, outcome, now)
        for action in outcome.actions:
            carry_out(draft, view, bound, outcome, action, now)
        assert_locks(draft, view, bound, outcome.assert_actions, now)
        charged = _charged(self._group, draft.group) if bound.charges and outcome.actions else None
        self._group = draft.group
        found += draft.effects
        self._obey(found, now)
        return _happened(rule, found, charged, bound.ruleset)

    def locks(self) -> tuple[str, ...]:
        """Every lock that stands, by name."""
        return tuple(sorted({kind for breaker in self._group.breakers.values() for kind in breaker.locks}))

    def paths(self) -> dict[str, Any]:
        """What rules can read of the switches."""
        breaker, valve = self._group.breakers["breaker"], self._group.breakers["valve"]
        return {
            "breaker.locks": sorted(breaker.locks),
            "breaker.relay": breaker.relay,
            "valve.locks": sorted(valve.locks),
            "valve.position": wire_target("valve.set", valve.relay or "closed"),
        }

    def _refresh(self, env: Any, rule: Rule) -> None:
        """The meters have reported just now; the register has moved by what the test says."""
        draft = Draft(self._group, self._policy, {}, env.now)
        for name in METERS.values():
            meter = draft.meter(name)
            meter.at = env.now
        delta = env.values.get("reading.delta")
        if self._bound[rule.id].charges and isinstance(delta, int) and delta > 0:
            meter = draft.meter(METERS[_switch_of(rule)])
            register = meter.register = duplicate(meter.register)
            register.seen = register.head + delta  # what live rules read as reading.delta
            register.seen_ts = env.now
        self._group = draft.group

    def _obey(self, found: list[Any], now: int) -> None:
        """The device does what it is told, reports it, and the meter behind it shows it."""
        for command in [one for one in found if isinstance(one, fx.CommandChanged) and one.state == "created"]:
            if self._group.breakers[command.device].fence != command.fence:
                continue  # another command of the same evaluation has superseded it
            self._seq += 1
            target: Any = command.target
            power = {"power_w": 0 if target == "open" else 100}
            meter = METERS[command.device]
            self._play(CommandSent(command.device, command.cmd, now), now)
            self._play(CommandAnswered(command.device, command.cmd, "executed", now, target), now)
            self._play(StateReported(command.device, target, now), now)
            self._play(Telemetry(meter, "s", self._seq, now, power, received_at=now), now)

    def _play(self, message: Message, now: int) -> tuple[Any, ...]:
        decision = decide(self._group, message, now, self._policy)
        self._group = decision.group
        return decision.effects


def rehearse(ruleset: Ruleset, start: int, zone: tzinfo, test: Mapping[str, Any]) -> Rehearsal:
    """The stage for one test of a rule file; satisfies `rules.stage.OpenStage`."""
    return Rehearsal(ruleset, start, zone, test)


def _policy(zone: tzinfo, price: str) -> SitePolicy:
    parse_money(price)
    tariff = {
        "apiVersion": "twinmeter.tariff/v1",
        "tariff": "test",
        "utility": "electricity",
        "versions": [{"from": "1970-01-02T00:00:00", "mode": "flat", "price": price}],
    }
    return SitePolicy(
        site="test",
        zone=zone,  # type: ignore[arg-type]
        currency="CNY",
        interval_ms=900_000,
        tariffs={"test": compile_tariff(tariff, str(zone))},
        rulesets=(),
    )


def _group(start: int) -> Group:
    group = Group("test", "tenant", Contract("tenant", account="tenant"), TenantTwin("tenant"))
    for switch, meter in METERS.items():
        op: Any = f"{switch}.set"
        group.breaker_contracts[switch] = BreakerContract(switch, op, meters=(meter,), limits=switch == "valve")
        group.breakers[switch] = BreakerTwin(switch, relay="closed", relay_at=start, relay_since=start)
        group.meter_contracts[meter] = MeterContract(meter, tariff="test", breaker=switch)
        register = Register(opened=True, seen_ts=start, head_ts=start, posted_ts=start)
        group.meters[meter] = MeterTwin(meter, register=register, at=start)
    group.gateway = GatewayTwin("gateway")
    return group


def _switch_of(rule: Rule) -> str:
    """The valve for rules that lock or release one, the breaker for all others."""
    wanted = {getattr(plan.action, "target", "") for plan in rule.actions}
    return "valve" if "valve" in wanted else "breaker"


def _charged(before: Group, after: Group) -> int:
    assert before.tenant is not None
    assert after.tenant is not None
    return after.tenant.charges_nano - before.tenant.charges_nano


def _happened(rule: Rule, found: list[Any], charged_nano: int | None, ruleset: Ruleset) -> Happened:
    """The effects of one evaluation, in the words of a test."""
    alarms = [one for one in found if isinstance(one, fx.AlarmChanged) and one.rule == rule.id]
    alarm = (alarms[-1].severity if alarms[-1].active else "none") if alarms else ""
    issued = [one for one in found if isinstance(one, fx.CommandChanged) and one.state in ("created", "queued")]
    changed = {one.name: one.value for one in found if isinstance(one, fx.ParamChanged)}
    return Happened(
        alarm=alarm,
        notices=tuple(one.template for one in found if isinstance(one, fx.NotificationWanted)),
        commands=tuple(f"{one.op.partition('.')[0]}.{wire_target(one.op, one.target)}" for one in issued),
        charged_nano=charged_nano,
        webhooks=tuple(one.name for one in found if isinstance(one, fx.WebhookWanted)),
        set_params={name: param_value(ruleset.params[name], value) for name, value in changed.items()},
    )

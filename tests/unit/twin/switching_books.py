"""What SQL keeps of one tenant's group, in the least code: enough to make the group anew as the rebuild does."""

from __future__ import annotations

import msgspec

from rules.state import RuleState
from twin.core import effects as fx
from twin.core.incidents import OF_BREAKERS
from twin.core.messages import LockPlaced, LockReleased
from twin.core.model import Group, Incident, Lock, MeterTwin, Register, TenantTwin
from twin.core.revival import LastCommand, look_at_everything, revived_breaker

BREAKER, METER, TENANT = "em-001", "em-001", "t-001"


class Books:
    """Posted effects and people's acts; what was not posted is unknown here."""

    def __init__(self, start: int, opening: int) -> None:
        self.acts: list = []
        self.credits_nano = 0
        self.credits_seq = 0
        self.charges_nano = 0
        self.head, self.head_ts, self.opened = opening, start, False
        self.locks: dict[str, tuple[int, bool, Lock]] = {}
        self.commands: dict[str, fx.CommandChanged] = {}
        self.relays: list[fx.RelayReported] = []
        self.incidents: dict[tuple[str, int], Incident | None] = {}
        self.rules: dict[tuple[str, str], dict] = {}
        self.params: dict[str, object] = {}
        self.state = ("NORMAL", 0)
        self.generation = 0

    def act(self, act) -> None:
        """A person's act is in force in SQL before anybody else hears of it."""
        self.acts.append(act)
        if isinstance(act, LockPlaced):
            _, active, known = self.locks.get(act.lock, (0, False, Lock("", "", 0)))
            outlasts = known.until is None or (act.until is not None and known.until >= act.until)
            if not (active and outlasts):
                self.locks[act.lock] = (act.ts, True, Lock(act.who, act.why, act.ts, act.until))
        elif isinstance(act, LockReleased):
            self.locks[act.lock] = (act.ts, False, Lock(act.who, act.why, act.ts))

    def post(self, effect) -> None:
        """What the ledger writer makes of one effect."""
        kind = type(effect)
        if kind is fx.ChargePosted:
            self.head, self.head_ts = effect.to_qty, effect.to_ts
            self.charges_nano += effect.amount_nano
        elif kind is fx.LockChanged:
            if effect.lock not in self.locks or effect.ts >= self.locks[effect.lock][0]:
                lock = Lock(effect.who, effect.why, effect.ts, effect.until, effect.rule, effect.rule_version)
                self.locks[effect.lock] = (effect.ts, effect.active, lock)
        elif kind is fx.CommandChanged:
            self.commands[effect.cmd] = effect
        elif kind is fx.RelayReported:
            self.relays.append(effect)
        elif kind is fx.IncidentOpened:
            self.incidents[effect.kind, effect.since] = Incident(effect.kind, effect.since, 1, effect.detail)
        elif kind is fx.IncidentResolved:
            self.incidents[effect.kind, effect.since] = None
        elif kind is fx.RuleChanged:
            self.rules[effect.record.get("scope", ""), effect.rule] = effect.memory
        elif kind is fx.ParamChanged:
            self.params[effect.name] = effect.value
        elif kind is fx.SupplyStateChanged:
            self.state = (effect.after, effect.ts)

    def rebuilt(self, contracts: dict) -> Group:
        """The group as SQL knows it."""
        self.generation += 1
        group = Group("park-1", TENANT, contracts["contract"], acts_seq=len(self.acts))
        group.meter_contracts = {meter.id: meter for meter in contracts["meters"]}
        group.breaker_contracts = {breaker.id: breaker for breaker in contracts["breakers"]}
        head = Register(opening=self.head, seen=self.head, head=self.head, posted=self.head, opened=True)
        head.since = head.seen_ts = head.head_ts = head.posted_ts = self.head_ts
        incidents = {one.kind: one for one in self.incidents.values() if one is not None}
        of_meter = {kind: one for kind, one in incidents.items() if kind not in OF_BREAKERS}
        group.meters = {METER: MeterTwin(METER, register=head, incidents=of_meter, rules=self._memory("meter"))}
        breaker = revived_breaker(BREAKER, self.standing(), self._last_command(), self.generation)
        breaker.incidents = {kind: one for kind, one in incidents.items() if kind in OF_BREAKERS}
        group.breakers = {BREAKER: breaker}
        group.tenant = TenantTwin(TENANT, self.credits_nano, self.credits_seq, self.charges_nano, *self.state)
        group.tenant.rules = self._memory("tenant")
        group.tenant.params = {name: value for name, value in self.params.items() if value is not None}
        look_at_everything(group)
        return group

    def standing(self) -> dict[str, Lock]:
        """Locks that stand, by kind."""
        return {kind: lock for kind, (_, active, lock) in self.locks.items() if active}

    def _memory(self, scope: str) -> dict[str, RuleState]:
        told = {rule: memory for (where, rule), memory in self.rules.items() if where == scope and memory}
        return {rule: msgspec.convert(memory, RuleState) for rule, memory in told.items()}

    def _last_command(self) -> LastCommand | None:
        last = max(self.commands.values(), key=lambda command: command.fence, default=None)
        if last is None:
            return None
        closed = any(report.relay == "closed" and report.ts >= last.issued for report in self.relays)
        return LastCommand(last.fence, last.target, last.state, last.ts, closed)

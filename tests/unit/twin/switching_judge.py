"""What must never happen in the world of the explorer, and where everything must stand once all faults have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.twin.switching_books import BREAKER, METER, Books
from twin.core import effects as fx

if TYPE_CHECKING:
    from simulators.devices.contactor import Contactor
    from simulators.devices.electricity_meter import ElectricityMeter
    from twin.core.messages import Telemetry
    from twin.core.model import Group
    from twin.core.policy import SitePolicy


class Violation(AssertionError):  # noqa: N818 -- it is no error of the program
    """Something happened that must never happen."""


class Judge:
    """Looks at every effect and every movement of the world that it is part of."""

    now: int
    group: Group
    books: Books
    device: ElectricityMeter
    contactor: Contactor
    stream: list[Any]
    issued: dict[str, fx.CommandChanged]
    standing: set[str]
    told_by_hand: dict[str, int]
    reason_to_move: dict[str, int]
    executed_open_fence: int
    moved_by: str
    has_lied: bool
    has_lost: bool
    remote_close: bool
    policy: SitePolicy
    done: set[str]

    def _judge(self, effect, before: Group) -> None:
        if isinstance(effect, fx.CommandChanged) and effect.state in ("created", "queued"):
            if effect.cmd not in self.issued:
                self._judge_issue(effect)
            self.issued[effect.cmd] = effect
        elif isinstance(effect, fx.LockChanged):
            self._judge_lock(effect, before)
            (self.standing.add if effect.active else self.standing.discard)(effect.lock)
        elif isinstance(effect, fx.IncidentOpened) and effect.kind in ("closed_locally_under_lock", "opened_locally"):
            self.told_by_hand[effect.kind] = self.count_reasons(effect.kind)
        elif isinstance(effect, fx.IncidentResolved):
            self.told_by_hand.pop(effect.kind, None)

    def count_reasons(self, kind: str) -> int:
        return self.reason_to_move["closed" if kind == "opened_locally" else "open"]

    def _judge_issue(self, effect: fx.CommandChanged) -> None:
        if effect.fence in {one.fence for one in self.issued.values()} and len(self.issued) > 0:
            raise Violation(f"fence {effect.fence} is used for a second command")
        if effect.target == "closed" and not self.remote_close:
            raise Violation("closes from afar what may be closed on site alone")
        if effect.target in ("closed", "armed"):
            if self.standing - ({"warning"} if effect.target == "armed" else set()):
                raise Violation(f"closes under {sorted(self.standing)}")
            fought = self.told_by_hand.get("opened_locally") == self.reason_to_move["closed"]
            if fought and self.standing != {"warning"}:  # which arms: whoever is there decides
                raise Violation("fights somebody on site who has opened it")
        if effect.target == "open":
            if not self.standing:
                raise Violation("opens without a lock")
            if self._kept_on(effect.ts) or (self._for_money() and self._kept_on(effect.exp - 1)):
                raise Violation("cuts off at a time in which nothing is cut off")
            if self.told_by_hand.get("closed_locally_under_lock") == self.reason_to_move["open"]:
                raise Violation("fights somebody on site who has closed it")

    def _for_money(self) -> bool:
        """Whether the credit rule alone wants the breaker open; a warning knows no hours here."""
        locks = self.group.breakers[BREAKER].locks
        return locks.keys() == {"credit"} and locks["credit"].who == "rule"

    def _kept_on(self, ts: int) -> bool:
        rule = self.policy.bound("tenant", "arrears-cutoff").rule
        return self._for_money() and not rule.active.is_open(ts, self.policy.zone)

    def _judge_reading(self, sample: Telemetry) -> None:
        """Power through a breaker that is reported open is an alarm from the first live reading that shows it."""
        breaker, meter = self.group.breakers[BREAKER], self.group.meters[METER]
        is_newest = meter.at == sample.ts and meter.received_at == self.now and meter.device_ts is None
        at = min(sample.ts, self.now)  # a clock that is ahead is held against the relay by ours
        settled = breaker.relay_since is not None and at >= breaker.relay_since + 2_000
        if breaker.relay == "open" and is_newest and settled:
            told = "open_but_power_flows" in breaker.incidents
            if told != (sample.d["power_w"] >= 5):
                raise Violation(f"{sample.d['power_w']} W through an open breaker, and the alarm is {told}")

    def _judge_lock(self, effect: fx.LockChanged, before: Group) -> None:
        self.reason_to_move["open" if effect.active else "closed"] += 1
        person = effect.who == "lin"
        if effect.active and not person:
            fired = [one for one in self.stream if isinstance(one, fx.RuleChanged) and one.rule == effect.rule]
            state = self._rule_state(effect.rule)
            if not fired and state is None:
                raise Violation(f"lock {effect.lock} by {effect.rule}, which never fired")
            if effect.lock == "credit" and self.group.tenant.balance_nano > 0:
                raise Violation("cut off with money left")
            owed = self.proved_balance() - self.books.credits_nano + self.group.tenant.credits_nano
            if effect.lock == "credit" and owed > 20_000_000:
                raise Violation(f"cut off though the credits it knew and the register prove {owed}")
        if not effect.active and effect.who == "rule" and effect.lock not in ("credit", "schedule", "warning"):
            placed = before.breakers[BREAKER].locks.get(effect.lock)
            if placed is None or placed.rule != effect.rule:
                raise Violation(f"{effect.rule} released {effect.lock}")
        if not effect.active and effect.lock in ("manual", "maintenance") and effect.who not in ("lin", "platform"):
            raise Violation(f"{effect.who} released a person's lock")

    def _rule_state(self, rule: str):
        owners = (self.group.tenant, self.group.meters[METER])
        return next((owner.rules[rule] for owner in owners if rule in owner.rules), None)

    def proved_balance(self) -> int:
        """What the credits in SQL and the device's own register leave, at 1 CNY a kWh (1 Wh = 1e6 nano)."""
        return self.books.credits_nano - self.device.register.counted * 1_000_000

    def _judge_execution(self, messages) -> None:
        for message in messages:
            if message.verb != "ack" or message.body["st"] != "executed":
                continue
            command = self.issued.get(message.body["cmd"])
            if command is None:
                raise Violation("the device executed a command that was never issued")
            if command.cmd in self.done:
                continue  # a repeat, answered from memory
            self.done.add(command.cmd)
            if command.target == "open":
                self.executed_open_fence = max(self.executed_open_fence, command.fence)
                continue
            if command.fence < self.executed_open_fence:
                raise Violation("a late closing undid a later opening")
            for kind, lock in self.group.breakers[BREAKER].locks.items():
                if lock.since < command.issued and (kind, command.target) != ("warning", "armed"):
                    raise Violation(f"the device closed under {kind}")

    def judge_peace(self) -> None:
        """The breaker is where the policy wants it; what a hand has moved is left, and told."""
        breaker = self.group.breakers[BREAKER]
        self._judge_policy(breaker)
        position = self.contactor.position
        by_hand = breaker.incidents.keys() & {"closed_locally_under_lock", "opened_locally"}
        # A device that claims to have closed, and tells only later that it is open, looks like one opened by hand.
        # So does one that is found open without a lock by twins made anew: nobody knows any more who moved it.
        # So may one whose birth of a session before the last is told again, when the broker has lost our session.
        claimed = (self.has_lied or self.has_lost) and by_hand == {"opened_locally"}
        if by_hand and self.moved_by != "hand" and not claimed:
            raise Violation(f"{sorted(by_hand)} is told, but {self.moved_by} moved the contacts last")
        kept_on = self._kept_on(self.now)
        for alarm in breaker.incidents.keys() & {"open_but_power_flows", "command_unverified", "command_failing"}:
            waits = kept_on and breaker.locks  # it is tried again when the hours of its rule begin
            if not by_hand and not waits:
                raise Violation(f"{alarm} still stands: {breaker.incidents[alarm]}")
        if breaker.locks and position == "closed" and "closed_locally_under_lock" not in by_hand and not kept_on:
            raise Violation(f"still closed under {sorted(breaker.locks)}: {breaker.command}")
        ready = position == "closed" or (position == "armed" and not self.remote_close)  # the key is the consumer's
        if not breaker.locks and not ready and "opened_locally" not in by_hand:
            raise Violation(f"still {position} and nothing locks it: {breaker.command}, wish {breaker.close}")
        if breaker.relay != position:
            raise Violation(f"the twin says {breaker.relay}, the contacts are {position}")

    def _judge_policy(self, breaker) -> None:
        people = {kind for kind, lock in self.books.standing().items() if lock.who == "lin"}
        standing = {kind for kind, lock in breaker.locks.items() if lock.who == "lin"}
        if people != standing:
            raise Violation(f"people have locked {sorted(people)}, the twin holds {sorted(standing)}")
        contract, tenant = self.group.contract, self.group.tenant
        until = contract.protected_until
        kept = (
            (until is not None and until > self.now) or contract.mode != "prepaid" or "prepaid_since" in tenant.params
        )
        kept = kept or not self.policy.bound("tenant", "arrears-cutoff").rule.active.is_open(self.now, self.policy.zone)
        balance = self.proved_balance()
        rule_locked = "credit" in breaker.locks and breaker.locks["credit"].who == "rule"
        if balance < -60_000_000 and not kept and "credit" not in breaker.locks:
            raise Violation(f"in debt by {balance} and not cut off: {tenant.rules}")
        if rule_locked and (balance >= 80_000_000 or (kept and contract.mode == "postpaid")):
            raise Violation(f"paid ({balance}) and still cut off")

"""What happens in a running park, counted from its effects: alarms, cutoffs, reconnections, commands, recharges.

The effect stream is the truth of what was decided, so the counts are those of the ledger and not of a log. A cutoff
counts when a tenant's supply is reported open for arrears, a reconnection when it is supplied again after that.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec

from api.cli.language import name_in_use, tell
from billing.money import cents_half_up
from twin.core.effects import AlarmChanged, CommandChanged, IncidentOpened, LockChanged, SupplyStateChanged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twin.core.effects import Effect

SUPPLIED = frozenset({"NORMAL", "LOW1", "LOW2", "EMERGENCY"})
ENDED = frozenset({"verified", "rejected", "expired", "failed", "unverified", "superseded", "cancelled"})
EVENTS_SHOWN = 12


class Happening(msgspec.Struct, frozen=True):
    """One line for people; `mood` is good, bad or plain."""

    ts: int
    text: str
    mood: str = "plain"


class ParkWatch:
    """Counts and the latest happenings of one park."""

    def __init__(self, names: dict[str, dict[str, str]]) -> None:
        self.names = names
        self.low_balance_alarms = 0
        self.cutoffs = 0
        self.reconnections = 0
        self.recharges = 0
        self.recharged_nano = 0
        self.overloads = 0
        self.happenings: deque[Happening] = deque(maxlen=EVENTS_SHOWN)
        self._under_way: dict[str, str] = {}
        self._ended: Counter[str] = Counter()
        self._cut: set[str] = set()
        self._alarms: set[tuple[str, int]] = set()
        self._payments: set[str] = set()

    def name(self, tenant: str) -> str:
        """A tenant's name in the language in use."""
        return name_in_use(self.names.get(tenant, {}), tenant)

    def take(self, effects: Iterable[Effect]) -> None:
        """Take note of the effects of one entry."""
        for effect in effects:
            if isinstance(effect, AlarmChanged):
                self._alarm(effect)
            elif isinstance(effect, SupplyStateChanged):
                self._supply(effect)
            elif isinstance(effect, CommandChanged):
                self._command(effect)
            elif isinstance(effect, LockChanged):
                self._lock(effect)
            elif isinstance(effect, IncidentOpened):
                text = tell(f"{effect.device} 异常：{effect.kind}", f"{effect.device} incident: {effect.kind}")
                self._happened(effect.since, text)

    def paid(self, payment: str, tenant: str, amount_nano: int, ts: int) -> bool:
        """Take note of a payment; False for one that is known."""
        if self.knows(payment):
            return False
        self._payments.add(payment)
        self.recharges += 1
        self.recharged_nano += amount_nano
        amount = yuan(amount_nano)
        self._happened(
            ts, tell(f"{self.name(tenant)} 充值 {amount}", f"{self.name(tenant)} recharged {amount}"), "good"
        )
        return True

    def knows(self, payment: str) -> bool:
        """Whether a payment was counted."""
        return payment in self._payments

    def commands(self) -> dict[str, int]:
        """Commands by the state they are in."""
        return dict(Counter(self._under_way.values()) + self._ended)

    def _alarm(self, effect: AlarmChanged) -> None:
        if effect.rule != "low-balance" or not effect.active or (effect.twin, effect.since) in self._alarms:
            return
        self._alarms.add((effect.twin, effect.since))
        self.low_balance_alarms += 1
        name = self.name(effect.tenant)
        self._happened(effect.ts, tell(f"{name} 余额不足提醒", f"{name}: balance is low"))

    def _supply(self, effect: SupplyStateChanged) -> None:
        tenant, name, balance = effect.tenant, self.name(effect.tenant), yuan(effect.balance_nano)
        if effect.after == "OFF_ARREARS" and tenant not in self._cut:
            self._cut.add(tenant)
            self.cutoffs += 1
            self._happened(effect.ts, tell(f"{name} 欠费断供，余额 {balance}", f"{name} cut off at {balance}"), "bad")
        elif effect.after in SUPPLIED and tenant in self._cut:
            self._cut.discard(tenant)
            self.reconnections += 1
            self._happened(
                effect.ts, tell(f"{name} 恢复供应，余额 {balance}", f"{name} reconnected at {balance}"), "good"
            )
        elif effect.after == "HELD":
            why = ", ".join(effect.held)
            self._happened(effect.ts, tell(f"{name} 暂缓断供（{why}）", f"{name}: cutoff held ({why})"))

    def _command(self, effect: CommandChanged) -> None:
        if effect.state in ENDED:
            self._under_way.pop(effect.cmd, None)
            self._ended[effect.state] += 1
        else:
            self._under_way[effect.cmd] = effect.state

    def _lock(self, effect: LockChanged) -> None:
        if not effect.active or effect.lock not in ("overload", "malignant"):
            return
        self.overloads += 1
        what = {"overload": tell("过载", "overload"), "malignant": tell("恶性负载", "malignant load")}[effect.lock]
        self._happened(effect.ts, tell(f"{effect.breaker} {what}跳闸", f"{effect.breaker} opened: {what}"), "bad")

    def _happened(self, ts: int, text: str, mood: str = "plain") -> None:
        self.happenings.append(Happening(ts, text, mood))


def yuan(amount_nano: int) -> str:
    """An amount in the currency's cents, for screens."""
    cents = cents_half_up(amount_nano)
    sign = "-" if cents < 0 else ""
    return f"{sign}¥{abs(cents) // 100:,}.{abs(cents) % 100:02d}"

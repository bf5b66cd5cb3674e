"""Replay: recorded history through the very same `decide()`, with twins in memory and time as it was recorded.

Theory of operation. A `Replay` holds the twins of one or two *sides*: the active rules, and perhaps a candidate. Every
recorded message is decided on by each side at the instant of its receipt; between messages, twins are woken at exactly
the instants at which they want to be, as the timer pump does live. Acts (payments, locks, contracts) come from SQL at
their instants. Nothing leaves: of the effects only what a person would ask about is noted as a `Finding`.

What devices said is taken as it was recorded, whatever a side would have commanded: registers, relays and connections
are facts. So both sides see the same consumption, and what differs is what the rules made of it. Nobody answers the
commands of a replay: each waits until the recorded relay stands where it wanted it, and is never given up or repeated.

Guards count over the whole site. Where groups are shared out to several processes, each sees its own count only, and
`guards_exceeded` over all of them tells whether that made a difference.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.telemetry import ContractError, decode_message, decode_telemetry
from twin.core.acts import ActOutOfOrderError
from twin.core.decide import NO_GUARDS, UnknownDeviceError, decide
from twin.core.effects import CommandChanged
from twin.core.messages import ConnectionChanged, ContractsChanged, LinkChanged, Tick
from twin.core.model import Group
from twin.flows import translate
from twin.flows.replay_findings import findings_of
from twin.recorded import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twin.core.effects import AnyEffect
    from twin.core.messages import Message
    from twin.core.policy import SitePolicy
    from twin.core.traces import Traced
    from twin.ports import PendingAct
    from twin.recorded import Recorded

TICK = Tick()
NEVER = 1 << 60
"""An instant that no replay reaches."""
MOST_FAILURES_KEPT = 20


class SideState:
    """One version of the rules over one set of twins."""

    def __init__(self, policies: Sequence[tuple[int, SitePolicy]], groups: Mapping[str, Group]) -> None:
        self.policies = list(policies)
        """(from which instant, policy), in order; the first holds from the beginning."""
        self.policy = self.policies[0][1]
        self.groups = dict(groups)
        self.findings: list[Finding] = []
        self.guards: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """Rule -> (instant, cutoffs) that were counted against its guard."""
        self.traces: list[Traced] = []
        """Evaluations put aside under a policy that traces; whoever wants them takes them away."""
        self.failures: list[str] = []
        self.failed = 0
        self._wakes: list[tuple[int, str]] = []
        self._next_policy = self._following()
        for group in self.groups.values():
            self._remember_wake(group)

    def fork(self, policies: Sequence[tuple[int, SitePolicy]]) -> SideState:
        """Another side that starts with the same twins under other rules, as an activation would."""
        other = SideState(policies, self.groups)
        other.guards = defaultdict(list, {rule: list(rows) for rule, rows in self.guards.items()})
        return other

    def change_policy(self, policy: SitePolicy) -> None:
        """From now on this side works by another policy."""
        self.policies, self.policy, self._next_policy = [(0, policy)], policy, None

    def apply(self, name: str, message: Message, now: int) -> Group | None:
        """Decide on a message at an instant; None for a group that is not here."""
        group = self.groups.get(name)
        return None if group is None else self._decide(group, message, now)

    def advance(self, until: int) -> None:
        """Wake every group that wants to be woken up to an instant, in the order of time."""
        while self._next_policy is not None and self._next_policy <= until:
            self._wake_until(self._next_policy - 1)
            self.policies.pop(0)
            self.policy = self.policies[0][1]
            self._next_policy = self._following()
        self._wake_until(until)

    def _wake_until(self, until: int) -> None:
        wakes = self._wakes
        while wakes and wakes[0][0] <= until:
            at, name = heapq.heappop(wakes)
            group = self.groups.get(name)
            if group is not None and group.wake == at:
                after = self._decide(group, TICK, at)
                if after is not None and after.wake is not None and after.wake <= at:
                    raise RuntimeError(f"group {name} wants to be woken at {at} again and again")

    def _following(self) -> int | None:
        return self.policies[1][0] if len(self.policies) > 1 else None

    def _decide(self, group: Group, message: Message, now: int) -> Group | None:
        policy = self.policy
        guards = self.guards_used(now) if policy.guard_windows else NO_GUARDS
        try:
            decision = decide(group, message, now, policy, guards)
        except (UnknownDeviceError, ActOutOfOrderError) as error:
            self._note_failure(error, message)
            return None
        after = decision.group
        self.groups[after.id] = after
        if decision.traces:
            self.traces += decision.traces
        if decision.effects:
            self.findings += findings_of(group, decision.effects)
            _let_commands_wait(after, decision.effects)
        for rule, count in decision.guards_spent.items():
            self.guards[rule].append((now, count))
        if after.wake is not None and after.wake != group.wake:
            self._remember_wake(after)
        return after

    def guards_used(self, now: int) -> Mapping[str, int]:
        """Cutoffs counted against each guard inside its window at an instant."""
        used = {}
        for rule, window in self.policy.guard_windows.items():
            rows = self.guards.get(rule)
            if rows and rows[-1][0] > now - window:
                used[rule] = sum(count for at, count in rows[-1_000:] if at > now - window)
        return used

    def _remember_wake(self, group: Group) -> None:
        if group.wake is not None:
            heapq.heappush(self._wakes, (group.wake, group.id))

    def _note_failure(self, error: Exception, message: Message) -> None:
        self.failed += 1
        if len(self.failures) < MOST_FAILURES_KEPT:
            self.failures.append(f"{type(error).__name__}: {error} ({type(message).__name__})")


class Replay:
    """Feeds recorded messages and acts, in the order of time, to one side or two."""

    def __init__(self, site: str, active: SideState, groups: Mapping[str, Group], acts: Iterable[PendingAct]) -> None:
        self.site = site
        self.sides = [active]
        self.messages = 0
        self.undecodable = 0
        self._acts = _latest_first(acts)
        self._directory: dict[str, str] = {}
        self._behind: defaultdict[str, set[str]] = defaultdict(set)
        for group in groups.values():
            self._place(group)

    def split(self, policies: Sequence[tuple[int, SitePolicy]]) -> SideState:
        """From here on a candidate goes beside the active side, starting from its twins."""
        candidate = self.sides[0].fork(policies)
        self.sides.append(candidate)
        return candidate

    def add_acts(self, acts: Iterable[PendingAct]) -> None:
        """More acts of people, which are to be decided on at their instants."""
        self._acts = _latest_first([*self._acts, *acts])

    def feed(self, messages: Sequence[Recorded]) -> None:
        """Decide on recorded messages, and on the acts that came in between."""
        directory = self._directory
        for recorded in messages:
            now = recorded.received_at
            self._advance(now)
            name = directory.get(recorded.device)
            if name is None:
                continue
            self.messages += 1
            for message in self._read(recorded):
                self._apply(name, message, now)

    def finish(self, until: int) -> None:
        """Let time pass up to the end."""
        self._advance(until)

    def _advance(self, now: int) -> None:
        acts = self._acts
        while acts and acts[-1].act.ts <= now:
            pending = acts.pop()
            for side in self.sides:
                side.advance(pending.act.ts)
            self._act(pending)
        for side in self.sides:
            side.advance(now)

    def _act(self, pending: PendingAct) -> None:
        name, act = pending.group, pending.act
        for side in self.sides:
            if name not in side.groups and isinstance(act, ContractsChanged):
                side.groups[name] = Group(self.site, name, acts_seq=act.seq - 1)
            after = side.apply(name, act, act.ts)
            if after is not None and isinstance(act, ContractsChanged):
                self._place(after)

    def _apply(self, name: str, message: Message, now: int) -> None:
        for side in self.sides:
            after = side.apply(name, message, now)
            if after is None or not isinstance(message, ConnectionChanged) or after.gateway is None:
                continue
            if after.gateway.id == message.device and after.gateway.conn.state in ("online", "offline"):
                conn = after.gateway.conn
                link = LinkChanged(message.device, conn.state, conn.sid, message.ts)  # type: ignore[arg-type]
                for behind in sorted(self._behind[message.device]):
                    side.apply(behind, link, now)

    def _read(self, recorded: Recorded) -> Sequence[Message]:
        device, verb, now = recorded.device, recorded.verb, recorded.received_at
        try:
            if verb == "tele":
                envelopes = decode_telemetry(recorded.payload)
                return [translate.telemetry(device, envelope, now) for envelope in envelopes]
            message = translate.message(verb, device, decode_message(verb, recorded.payload), now)  # type: ignore[arg-type]
        except ContractError:
            self.undecodable += 1
            return ()
        return () if message is None else (message,)

    def _place(self, group: Group) -> None:
        """Keep the directory of devices true to the group's contracts."""
        mine = {*group.meter_contracts, *group.breaker_contracts}
        if group.gateway is not None:
            mine.add(group.gateway.id)
        for device in [device for device, owner in self._directory.items() if owner == group.id]:
            if device not in mine:
                del self._directory[device]
        self._directory.update(dict.fromkeys(mine, group.id))
        for found in self._behind.values():
            found.discard(group.id)
        for gateway in gateways_of(group):
            self._behind[gateway].add(group.id)


def _latest_first(acts: Iterable[PendingAct]) -> list[PendingAct]:
    return sorted(acts, key=lambda pending: (pending.act.ts, pending.group, pending.act.seq), reverse=True)


def _let_commands_wait(group: Group, effects: Sequence[AnyEffect]) -> None:
    """Take the expiry from commands that were just issued; the breakers they are for are this decision's own copies."""
    for effect in effects:
        if not isinstance(effect, CommandChanged) or effect.state not in ("created", "queued"):
            continue
        breaker = group.breakers.get(effect.device)
        if breaker is not None and breaker.command is not None and breaker.command.id == effect.cmd:
            breaker.command = msgspec.structs.replace(breaker.command, exp=NEVER)


def gateways_of(group: Group) -> set[str]:
    """Gateways in front of a group's devices."""
    contracts: list[Any] = [*group.meter_contracts.values(), *group.breaker_contracts.values()]
    return {contract.gateway for contract in contracts if contract.gateway}


def devices_of(group: Group) -> set[str]:
    """Devices whose messages a group needs, the gateways in front of it included."""
    own = {*group.meter_contracts, *group.breaker_contracts, *gateways_of(group)}
    return own | ({group.gateway.id} if group.gateway is not None else set())


def guards_exceeded(
    spent: Iterable[Mapping[str, Sequence[tuple[int, int]]]], rules: Mapping[str, tuple[int, int]]
) -> list[str]:
    """Rules whose guard (most, window ms) was reached when the counts of all parts are put together."""
    together: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for part in spent:
        for rule, rows in part.items():
            together[rule] += [(at, count) for at, count in rows]
    reached = []
    for rule, (most, window) in rules.items():
        rows = sorted(together.get(rule, ()))
        first = total = 0
        for at, count in rows:
            total += count
            while rows[first][0] <= at - window:
                total -= rows[first][1]
                first += 1
            if total >= most:
                reached.append(rule)
                break
    return reached


def guards_of(policy: SitePolicy) -> dict[str, tuple[int, int]]:
    """Rule -> (most, window ms) of every guard of a policy."""
    return {
        rule.id: (rule.guard.max, rule.guard.per_ms)
        for ruleset in policy.rulesets
        for rule in ruleset.rules
        if rule.guard is not None
    }


class ReplayPart(msgspec.Struct):
    """What one process found about its groups."""

    active: list[Finding]
    candidate: list[Finding]
    active_guards: dict[str, list[tuple[int, int]]]
    candidate_guards: dict[str, list[tuple[int, int]]]
    charges: dict[str, tuple[int, int]]
    """Tenant -> charged inside the span by the active side and by the candidate, nano-units."""
    messages: int
    undecodable: int
    failed: int
    failures: list[str]
    cpu_ms: int = 0

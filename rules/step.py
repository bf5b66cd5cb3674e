"""The one evaluator: live, in replay, in a dry run and in tests.

Theory of operation. `step` takes a rule, an environment, what the rule remembers about the twin, the time and what
happened, and gives the new memory with what is to be done. Gates stand in this order, and the first closed one is
named: where, when, pending (`for`), active, inhibited_by, what the platform itself keeps a lock back for (`held_back`:
a supply guarantee, a warning not delivered, water), guard, cooldown.

    normal --when--> pending --for--> [gates] --> fired --clear--> recovering --clear.for--> normal
                        \\--a gate is closed--> deferred --gate opens, when still true--/

- Time is event time: `now` is the time of the sample that triggered. Passing time (a timer, trigger None or `clock`)
  is evidence only for rules that list `clock` in `on`; for others a `for` is satisfied by a sample at or after its
  end, so a meter that falls silent is never cut off for what it might have gone on doing. Ends of calendars, guards
  and cooldowns, and automatic releases, need no sample.
- Unknown neither starts, satisfies nor resets a `for` (`on_unknown: reset` resets it, `fire` counts as true), and
  neither clears a fired rule.
- A rule with `charge` or `unlock` repeats: it acts on every trigger whose condition holds and has no fired state. An
  unlock that a gate stops is deferred and made up for when the gate opens; a charge is not, the next one covers it.
- A ladder (`levels`) moves its severity in place; while it is held only by `clear`, it stands on its lowest rung.
- Without `clear`, a rule clears when its condition is false; with `retry`, only by a release or by a person; a
  release waits while the condition is known to hold still, except of an event, which does not last. A rule
  with a lock `until: calendar` ends besides when its calendar closes, and is due again when it opens.
- A person's approval lets a waiting rule through its guard, once, until the approval ends.
"""

from datetime import timedelta
from typing import Any

import msgspec

from rules.actions import Action, Alarm, Notify, Unlock
from rules.language.compiler import Run
from rules.language.flips import RECHECK_MS
from rules.language.values import Failure
from rules.literals import EPOCH
from rules.rule import CLOCK, Rule
from rules.state import (
    DEFERRED,
    ERROR,
    FIRED,
    NORMAL,
    PENDING,
    QUIET,
    RECOVERING,
    UNKNOWN,
    RuleState,
    Step,
    remembered,
)

__all__ = ["RuleState", "Step", "approved_by_operator", "released_by_operator", "step"]

_WAITING = (PENDING, DEFERRED)


def step(rule: Rule, env: Any, state: RuleState | None, now: int, trigger: str | None) -> Step:
    """Evaluate one rule for one twin; `env.now` must equal `now` (ms), `trigger` is None for a timer."""
    evidence = rule.clocked or (trigger is not None and trigger != CLOCK)
    if state is not None and state.state in _WAITING and state.fingerprint != rule.fingerprint:
        state = msgspec.structs.replace(state, state=NORMAL, since_ms=0, due_ms=0, gate="")
    inside = True if rule.run_where is None else rule.run_where(env)
    if inside is False:
        return _outside(state, now)
    run_when = rule.run_when
    if inside is not True:
        level, absent, absent_level = -1, inside, -1
    elif run_when is not None:
        holds = run_when(env)
        if holds is False and state is None:
            return QUIET["when"] if rule.flip is None or not rule.clocked else _quiet(rule, env)
        if holds is True and state is None and evidence and rule.ready is not None:
            return rule.ready
        level, absent, absent_level = _single(holds)
    else:
        level, absent, absent_level = _evaluated(rule.run_levels, env)
    if state is not None and (state.state == FIRED or state.state == RECOVERING) and not rule.repeats:
        return _Fired(rule, env, state, now, evidence).step(level, absent, absent_level)
    if inside is True and absent is not None and rule.on_unknown == "fire" and level < 0:
        level = 0
    if level >= 0:
        return _holds(rule, env, state, now, evidence, level)
    if absent is not None:
        return _absent(rule, env, state, now, absent)
    if state is None or state.state == NORMAL:
        return _quiet(rule, env)
    return Step(remembered(state, now), True, NORMAL, wake_ms=_flip(rule, env), gate="when")


def _quiet(rule: Rule, env: Any) -> Step:
    """Nothing holds and nothing was: only a timer may be needed."""
    if rule.flip is None or not rule.clocked:
        return QUIET["when"]
    return Step(wake_ms=rule.flip(env), gate="when")


def _single(holds: Any) -> tuple[int, Any, int]:
    """What `_evaluated` gives for a rule without a ladder."""
    if holds is True:
        return 0, None, -1
    return (-1, None, -1) if holds is False else (-1, holds, 0)


def _evaluated(runs: tuple[Run, ...], env: Any) -> tuple[int, Any, int]:
    """The highest rung that holds (-1: none), and an absent value with its rung, if one lies above."""
    absent: Any = None
    absent_level = -1
    index = len(runs)
    for run in reversed(runs):
        index -= 1
        holds = run(env)
        if holds is False:
            continue
        if holds is True:
            return index, absent, absent_level
        if absent is None:
            absent, absent_level = holds, index
    return -1, absent, absent_level


def released_by_operator(state: RuleState, now: int) -> RuleState | None:
    """The state after a person has released what the rule locked: normal, with the day's retries given back."""
    return remembered(msgspec.structs.replace(state, retries=0, retry_day=0), now)


def approved_by_operator(state: RuleState, until: int) -> RuleState | None:
    """The state after a person has let a rule that waits pass its guard until an instant; None where none waits."""
    if state.state not in _WAITING:
        return None
    return msgspec.structs.replace(state, approved_until=until)


def _flip(rule: Rule, env: Any) -> int | None:
    return rule.flip(env) if rule.clocked and rule.flip is not None else None


def _sooner(*instants: int | None) -> int | None:
    return min((instant for instant in instants if instant is not None), default=None)


def _outside(state: RuleState | None, now: int) -> Step:
    """The twin is outside the rule's scope: normal, whatever was before."""
    if state is None or state.state == NORMAL:
        return QUIET["where"]
    transition = "cleared" if state.state in (FIRED, RECOVERING) else NORMAL
    return Step(remembered(state, now), True, transition, gate="where")


def _absent(rule: Rule, env: Any, state: RuleState | None, now: int, absent: Any) -> Step:
    """The condition has no value. A running `for` is held unless the rule says `reset`."""
    kind = ERROR if isinstance(absent, Failure) else UNKNOWN
    waits = state is not None and state.state in _WAITING
    if (rule.repeats and not waits) or (state is not None and state.state == kind):
        wake_ms = _flip(rule, env)
        return QUIET[kind] if wake_ms is None else Step(wake_ms=wake_ms, gate=kind)
    if state is not None and state.state in _WAITING and rule.on_unknown != "reset":
        return Step(wake_ms=_waiting_wake(rule, env, state, now), gate=kind)
    kept = remembered(state, now) or RuleState()
    return Step(msgspec.structs.replace(kept, state=kind), True, kind, wake_ms=_flip(rule, env), gate=kind)


def _waiting_wake(rule: Rule, env: Any, state: RuleState, now: int) -> int | None:
    """When to look again at a pending or deferred rule whose turn has not come."""
    if state.state == DEFERRED:
        return _sooner(_gate_wake(rule, env, state, state.gate, now), _flip(rule, env))
    if not rule.clocked:
        return None
    return _sooner(state.due_ms if state.due_ms > now else now + RECHECK_MS, _flip(rule, env))


def _holds(rule: Rule, env: Any, state: RuleState | None, now: int, evidence: bool, level: int) -> Step:
    """The condition holds and the rule is not fired: start or continue its `for`, pass the gates, fire."""
    waiting = state is not None and state.state in _WAITING
    if not waiting and not evidence:
        return QUIET["trigger"]
    if rule.repeats:
        return _repeat(rule, env, state, now, level)
    since = state.since_ms if state is not None and waiting else now
    for_ms = rule.for_(env) if rule.for_ is not None else 0
    if isinstance(for_ms, msgspec.Struct):
        return _absent(rule, env, state, now, for_ms)
    due = since + int(for_ms)
    deferred = state is not None and state.state == DEFERRED
    if now < due or not (evidence or deferred):
        return _waits(rule, env, state, now, PENDING, since, due, "")
    gate = _closed_gate(rule, env, state, now)
    if gate:
        return _waits(rule, env, state, now, DEFERRED, since, due, gate)
    return _fire(rule, env, state, now, level)


def _waits(rule: Rule, env: Any, state: RuleState | None, now: int, name: str, since: int, due: int, gate: str) -> Step:
    """Pending or deferred; unchanged if it already was so for the same reason."""
    kept = remembered(state, now) or RuleState()
    fresh = msgspec.structs.replace(
        kept,
        state=name,
        since_ms=since,
        due_ms=due,
        gate=gate,
        fingerprint=rule.fingerprint,
        approved_until=state.approved_until if state is not None and state.approved_until > now else 0,
    )
    wake_ms = _waiting_wake(rule, env, fresh, now)
    gate = gate or PENDING
    if fresh == state:
        return Step(wake_ms=wake_ms, gate=gate)
    told = state is not None and state.state == name and state.gate == fresh.gate
    return Step(fresh, True, None if told else name, wake_ms=wake_ms, gate=gate)


def _closed_gate(rule: Rule, env: Any, state: RuleState | None, now: int) -> str:
    """The first gate behind `for` that is closed, or an empty text."""
    if rule.active is not None and not rule.active.is_open(now, env.zone):
        return "active"
    if rule.inhibited_by and inhibitor(rule, env):
        return "inhibited_by"
    promise = env.held_back(rule) if rule.locks else ""
    if promise:
        return str(promise)
    if rule.guard is not None and env.guard_used(rule.id) >= rule.guard.max and not _is_approved(state, now):
        return "guard"
    if state is not None and state.cooldown_until > now:
        return "cooldown"
    return ""


def _is_approved(state: RuleState | None, now: int) -> bool:
    return state is not None and now < state.approved_until


def inhibitor(rule: Rule, env: Any) -> str:
    """The name of what inhibits the rule now, or an empty text. A flag that is not known inhibits."""
    for one in rule.inhibited_by:
        holds = env.peer_fired(one.name) if one.flag is None else one.flag(env) is not False
        if holds:
            return one.name
    return ""


def _gate_wake(rule: Rule, env: Any, state: RuleState | None, gate: str, now: int) -> int:
    if gate == "active" and rule.active is not None:
        return rule.active.next_change(now, env.zone)
    if gate == "cooldown" and state is not None and state.cooldown_until > now:
        return state.cooldown_until
    return now + RECHECK_MS


def _repeat(rule: Rule, env: Any, state: RuleState | None, now: int, level: int) -> Step:
    """A rule that acts on every trigger: it passes, or waits for its gate, or (a charge) leaves it to the next one."""
    gate = _closed_gate(rule, env, state, now)
    if gate and rule.defers:
        since = state.since_ms if state is not None and state.state == DEFERRED else now
        return _waits(rule, env, state, now, DEFERRED, since, since, gate)
    if gate:
        opens_ms = _gate_wake(rule, env, state, gate, now) if rule.clocked else None
        return Step(wake_ms=_sooner(_flip(rule, env), opens_ms), gate=gate)
    actions, notified = _edge_actions(rule, env, state, now, level)
    kept = _after_acting(rule, env, state, now, level, notified)
    fresh = kept if kept != RuleState() else None
    return Step(fresh, fresh != state, FIRED, actions, wake_ms=_flip(rule, env))


def _edge_actions(
    rule: Rule, env: Any, state: RuleState | None, now: int, level: int
) -> tuple[tuple[Action, ...], tuple[int, ...]]:
    """The actions of entering a rung, and which of the rule's actions are notifications with a cooldown among them."""
    given: list[Action] = []
    notified: list[int] = []
    for number, plan in enumerate(rule.actions):
        action = plan.given(env)
        if isinstance(action, Alarm) and rule.levels[level].severity:
            action = Alarm(rule.levels[level].severity, action.text)
        if isinstance(action, Notify) and action.cooldown_ms:
            if state is not None and _already_told(state, number, action, now, level):
                continue
            notified.append(number)
        given.append(action)
    return tuple(given), tuple(notified)


def _already_told(state: RuleState, number: int, action: Notify, now: int, level: int) -> bool:
    highest, at = state.notified, state.notified_at
    for other, rung, instant in state.told:
        if other == number:
            highest, at = rung, instant
    return highest >= level and 0 < at <= now < at + action.cooldown_ms


def _noted(rule: Rule, state: RuleState | None, now: int, level: int, notified: tuple[int, ...]) -> dict[str, Any]:
    """What is remembered of notifications just given out; each action of several has a cooldown of its own."""
    if not notified:
        return {}
    notifying = [plan for plan in rule.actions if isinstance(plan.action, Notify)]
    if len(notifying) == 1:
        return {"notified": level, "notified_at": now}
    others = () if state is None else tuple(one for one in state.told if one[0] not in notified)
    return {"told": (*others, *((number, level, now) for number in notified))}


def _after_acting(
    rule: Rule, env: Any, state: RuleState | None, now: int, level: int, notified: tuple[int, ...]
) -> RuleState:
    """What is remembered of an action: cooldowns and who was told."""
    kept = remembered(state, now) or RuleState()
    changes: dict[str, Any] = _noted(rule, state, now, level, notified)
    if rule.cooldown is not None:
        cooldown_ms = rule.cooldown(env)
        if isinstance(cooldown_ms, int):
            changes["cooldown_until"] = now + cooldown_ms
    return msgspec.structs.replace(kept, **changes) if changes else kept


def _fire(rule: Rule, env: Any, state: RuleState | None, now: int, level: int) -> Step:
    actions, notified = _edge_actions(rule, env, state, now, level)
    kept = _after_acting(rule, env, state, now, level, notified)
    fired = msgspec.structs.replace(kept, state=FIRED, fired_at=now, level=level if rule.has_ladder else -1)
    if rule.retry is not None:
        fired = _with_release(rule, env, fired, now)
    return Step(fired, True, FIRED, actions, wake_ms=_Fired(rule, env, fired, now, True).wake(fired))


def _with_release(rule: Rule, env: Any, state: RuleState, now: int) -> RuleState:
    """When the rule will release its locks by itself; never once the day's releases are used up."""
    assert rule.retry is not None
    day = (EPOCH + timedelta(milliseconds=now)).astimezone(env.zone).toordinal()
    retries = state.retries if state.retry_day == day else 0
    wait_ms = rule.retry.auto_release(env)
    may_release = retries < rule.retry.max_per_day and isinstance(wait_ms, int)
    release_ms = now + max(wait_ms, 1) if may_release else 0
    return msgspec.structs.replace(state, retries=retries, retry_day=day, release_ms=release_ms)


class _Fired:
    """A step of a rule that has fired: release, clear, recover, or move on its ladder."""

    __slots__ = ("env", "evidence", "now", "rule", "state")

    def __init__(self, rule: Rule, env: Any, state: RuleState, now: int, evidence: bool) -> None:
        self.rule = rule
        self.env = env
        self.state = state
        self.now = now
        self.evidence = evidence

    def step(self, level: int, absent: Any, absent_level: int) -> Step:
        """`level` is the highest rung that holds (-1: none), `absent_level` a rung above it that has no value."""
        rule, state = self.rule, self.state
        if state.release_ms and self.now >= state.release_ms and (level < 0 or rule.momentary):
            return self.release()
        active = rule.active
        if rule.ends_with_calendar and active is not None and not active.is_open(self.now, self.env.zone):
            return self.end()
        clearing = self.clearing(level, absent)
        if clearing is True and self.evidence:
            return self.recover()
        locks = rule.lock_actions(self.env) if level >= 0 and rule.locks else ()
        if clearing is False and state.state == RECOVERING and self.evidence:
            fired = msgspec.structs.replace(state, state=FIRED, clear_since=0)
            return Step(fired, True, "relapsed", (), locks, self.wake(fired))
        rung = self.rung(level, absent, absent_level) if rule.has_ladder and self.evidence else state.level
        if rung != state.level:
            return self.move(rung)
        return Step(None, False, None, (), locks, self.wake(state))

    def clearing(self, level: int, absent: Any) -> Any:
        """Whether the rule's end condition holds: true, false or absent."""
        clear = self.rule.clear
        if clear is not None and clear.when is not None:
            return clear.when.run(self.env)
        if self.rule.retry is not None:
            return False
        return level < 0 if level >= 0 or absent is None else absent

    def recover(self) -> Step:
        clear, state = self.rule.clear, self.state
        for_ms = clear.for_(self.env) if clear is not None and clear.for_ is not None else 0
        since = state.clear_since or self.now
        if isinstance(for_ms, int) and self.now - since >= for_ms:
            return Step(remembered(state, self.now), True, "cleared", wake_ms=_flip(self.rule, self.env), gate="when")
        if state.state == RECOVERING:
            return Step(wake_ms=self.wake(state))
        recovering = msgspec.structs.replace(state, state=RECOVERING, clear_since=since)
        return Step(recovering, True, RECOVERING, wake_ms=self.wake(recovering))

    def release(self) -> Step:
        """The automatic release: unlock what the rule locked, and count it."""
        unlocks = tuple(Unlock(lock.target, lock.lock) for lock in self.rule.lock_actions(self.env))
        counted = msgspec.structs.replace(self.state, retries=self.state.retries + 1)
        return Step(remembered(counted, self.now), True, "released", unlocks, wake_ms=_flip(self.rule, self.env))

    def end(self) -> Step:
        """The calendar closed: take the rule's locks off. What still holds is due again when the calendar opens."""
        unlocks = tuple(Unlock(lock.target, lock.lock) for lock in self.rule.lock_actions(self.env))
        after = remembered(self.state, self.now)
        again = step(self.rule, self.env, after, self.now, CLOCK if self.rule.clocked else None)
        kept = again.state if again.changed else after
        return Step(kept, True, "ended", unlocks, wake_ms=again.wake_ms, gate="active")

    def rung(self, level: int, absent: Any, absent_level: int) -> int:
        """The rung to stand on. An unknown rung above neither lifts nor lets fall; none true: the lowest."""
        current = self.state.level
        if absent is not None and (absent_level < 0 or level < current <= absent_level):
            return current
        return max(level, 0)

    def move(self, rung: int) -> Step:
        rule, env, state, now = self.rule, self.env, self.state, self.now
        rises = rung > state.level
        actions, notified = _edge_actions(rule, env, state, now, rung)
        if not rises:
            actions, notified = tuple(action for action in actions if isinstance(action, Alarm)), ()
        else:
            actions = tuple(action for action in actions if isinstance(action, (Alarm, Notify)))
        moved = msgspec.structs.replace(state, level=rung, **_noted(rule, state, now, rung, notified))
        return Step(moved, True, "level_up" if rises else "level_down", actions, (), self.wake(moved))

    def wake(self, state: RuleState) -> int | None:
        """When time alone may change something about a fired rule."""
        rule = self.rule
        release_ms = state.release_ms or None
        if release_ms is not None and release_ms <= self.now:
            release_ms = self.now + RECHECK_MS  # due, but what it locked for is still so
        if rule.ends_with_calendar and rule.active is not None:
            release_ms = _sooner(release_ms, rule.active.next_change(self.now, self.env.zone))
        if not rule.clocked:
            return release_ms
        explicit = rule.clear is not None and rule.clear.when is not None
        flips = [_flip(rule, self.env)] if rule.has_ladder or not explicit else []
        if rule.clear_flip is not None:
            flips.append(rule.clear_flip(self.env))
        if state.state == RECOVERING and rule.clear is not None and rule.clear.for_ is not None:
            for_ms = rule.clear.for_(self.env)
            due = state.clear_since + for_ms if isinstance(for_ms, int) else 0
            flips.append(due if due > self.now else self.now + RECHECK_MS)
        return _sooner(release_ms, *flips)

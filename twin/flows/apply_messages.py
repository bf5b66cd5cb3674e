"""Apply messages to groups: load, decide, commit, and decide again where somebody else was quicker.

This is the only way by which anything changes a twin: readings, answers, people's acts and timers all come through
here. Inside a process one site is decided by one caller at a time; between processes the revision check of the
commit is the fence.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import structlog

from twin.core.acts import ActOutOfOrderError
from twin.core.decide import NO_GUARDS, Decision, UnknownDeviceError, decide_all
from twin.core.effects import Caused
from twin.core.model import Group
from twin.journeys import wanted_ids
from twin.ports import GroupChange, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twin.core.messages import Message
    from twin.core.policy import SitePolicy
    from twin.journeys import Journeys
    from twin.ports import Clock, Policies, TwinStore

log = structlog.get_logger(__name__)

MOST_ATTEMPTS = 50
FULL_PAUSE_S = 0.2

Timed = tuple["Message", int]


class Failure(msgspec.Struct, frozen=True):
    """A message that could not be decided on, and why. The twin is as if it had never come."""

    group: str
    message: Message
    error: Exception


class Outcome(msgspec.Struct, frozen=True):
    """What came of a call: the groups as they were committed, and the messages that failed."""

    groups: dict[str, Group]
    failures: list[Failure]


class ContendedError(RuntimeError):
    """Other writers changed a group again and again; the caller should give the messages back and retry later."""


class Applier:
    """Applies messages to the twins of any site."""

    def __init__(self, store: TwinStore, policies: Policies, clock: Clock, journeys: Journeys | None = None) -> None:
        self._store = store
        self._policies = policies
        self._clock = clock
        self._journeys = journeys
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def point_of(self, site: str, device: str) -> str | None:
        """The metering point that a device of another id speaks for; None where it is nobody's."""
        try:
            return (await self._policies.policy(site)).aliases.get(device)
        except LookupError:
            return None

    async def device_of(self, site: str, point: str) -> str:
        """The id under which the device at a metering point listens: the newest of those that speak for it."""
        aliases = (await self._policies.policy(site)).aliases
        return next((device for device, known in reversed(list(aliases.items())) if known == point), point)

    async def apply(
        self,
        site: str,
        messages: Mapping[str, Sequence[Message]],
        *,
        wait_for_room: bool = True,
        beyond_bound: bool = False,
    ) -> Outcome:
        """Apply each group's messages, all at the clock's now."""
        now = self._clock.now()
        timed = {group: [(message, now) for message in wanted] for group, wanted in messages.items()}
        return await self.apply_timed(site, timed, wait_for_room=wait_for_room, beyond_bound=beyond_bound)

    async def apply_timed(
        self,
        site: str,
        messages: Mapping[str, Sequence[Timed]],
        *,
        wait_for_room: bool = True,
        beyond_bound: bool = False,
    ) -> Outcome:
        """Apply each group's messages, each at its own instant (Unix ms). Groups that do not exist are failures.

        Waits while the effect stream is full, so back-pressure reaches whoever feeds us; without `wait_for_room` it
        raises StoreFullError instead, for whoever must not wait for a ledger that does not run yet. Who reads the
        stream would wait for himself, and everybody with him: he writes `beyond_bound`, little for each entry that he
        reads. Raises StoreLostError when the store must be rebuilt, ContendedError when other writers never let us
        through.
        """
        policy = await self._policies.policy(site)
        outcome = Outcome({}, [])
        waiting = dict(messages)
        attempt = 0  # the lock is not held while we wait for room: who makes it may need it
        while attempt < MOST_ATTEMPTS:
            told = len(outcome.failures)
            try:
                async with self._locks[site]:
                    waiting = await self._attempt(site, policy, waiting, outcome, beyond_bound)
            except StoreFullError:
                if not wait_for_room:
                    raise
                del outcome.failures[told:]  # it is decided again
                log.warning("effect stream is full, waiting for the ledger", site=site)
                await asyncio.sleep(FULL_PAUSE_S)
                continue
            if not waiting:
                return outcome
            await asyncio.sleep(0.001 * attempt)
            attempt += 1
        raise ContendedError(
            f"{site}: {', '.join(sorted(waiting)[:5])} changed {MOST_ATTEMPTS} times while being decided"
        )

    async def _attempt(
        self,
        site: str,
        policy: SitePolicy,
        messages: dict[str, Sequence[Timed]],
        outcome: Outcome,
        beyond_bound: bool,
    ) -> dict[str, Sequence[Timed]]:
        """One round of load, decide and commit; returns what has to be decided again."""
        groups = await self._store.load(site, list(messages))
        now = max((timed[-1][1] for timed in messages.values() if timed), default=0)
        guards: Mapping[str, int] | None = None
        changes: list[GroupChange] = []
        decided: set[str] = set()
        for name, timed in messages.items():
            group = groups.get(name)
            if group is None:
                outcome.failures.extend(Failure(name, message, LookupError(f"no group {name}")) for message, _ in timed)
                continue
            began_ns = time.time_ns() if self._journeys is not None else 0
            decision, guards = await self._decide(site, policy, group, timed, guards, now, outcome)
            if decision is None:
                # Perhaps only because what this process remembers is old: the commit asks whether the revision holds.
                changes.append(GroupChange(group, group))
            else:
                decided.add(name)
                change = _change(group, decision)
                changes.append(change if self._journeys is None else self._with_cause(site, change, timed, began_ns))
                guards = _spend(guards, decision)
        began_ns = time.time_ns() if self._journeys is not None else 0
        refused = frozenset[str]()
        if changes:
            refused = await self._store.commit(site, changes, now=now, beyond_bound=beyond_bound)
        if self._journeys is not None:
            self._tell_committed(changes, refused, began_ns)
        for change in changes:
            if change.after.id in decided and change.after.id not in refused:
                outcome.groups[change.after.id] = change.after
        if refused:  # these are decided again, and fail again if they must
            outcome.failures[:] = [failure for failure in outcome.failures if failure.group not in refused]
        return {name: messages[name] for name in refused}

    async def _decide(
        self,
        site: str,
        policy: SitePolicy,
        group: Group,
        timed: Sequence[Timed],
        guards: Mapping[str, int] | None,
        now: int,
        outcome: Outcome,
    ) -> tuple[Decision | None, Mapping[str, int] | None]:
        """The decision, and how far the guards of the site's rules are used up, where that is known. It is asked for
        when a decision depends on it, which is then made anew: hardly any does, and asking costs a round trip."""
        told = len(outcome.failures)
        decision = _decide_isolated(group, timed, policy, NO_GUARDS if guards is None else guards, outcome)
        if guards is None and decision is not None and decision.guards_asked:
            guards = await self._store.guards_used(site, policy.guard_windows, now=now)
            del outcome.failures[told:]
            decision = _decide_isolated(group, timed, policy, guards, outcome)
        return decision, guards

    def _with_cause(self, site: str, change: GroupChange, timed: Sequence[Timed], began_ns: int) -> GroupChange:
        """The change with the messages that led to it, where they led to anything and somebody follows them."""
        assert self._journeys is not None
        ids = wanted_ids(self._journeys, site, change.after.id, timed) if change.effects else ()
        if not ids:
            return change
        told = ",".join(dict.fromkeys(str(effect.__struct_config__.tag) for effect in change.effects))
        facts = {"group": change.after.id, "effects": told}
        self._journeys.step("decided", ids, began_ns=began_ns, ended_ns=time.time_ns(), **facts)
        return msgspec.structs.replace(change, effects=(*change.effects, Caused(ids)))

    def _tell_committed(self, changes: Sequence[GroupChange], refused: frozenset[str], began_ns: int) -> None:
        assert self._journeys is not None
        ended_ns = time.time_ns()
        for change in changes:
            cause = change.effects[-1] if change.effects else None
            if isinstance(cause, Caused) and change.after.id not in refused:
                facts = {"group": change.after.id, "follows_revision": change.before.revision}
                self._journeys.step("committed", cause.ids, began_ns=began_ns, ended_ns=ended_ns, **facts)


def _decide_isolated(
    group: Group, timed: Sequence[Timed], policy: SitePolicy, guards: Mapping[str, int], outcome: Outcome
) -> Decision | None:
    """Decide on all messages; where one cannot be decided on, set just that one aside and go on without it."""
    failed: set[int] = set()
    while len(failed) < len(timed):
        good = [entry for index, entry in enumerate(timed) if index not in failed]
        try:
            return decide_all(group, good, policy, guards)
        except Exception as error:
            index = _first_bad(group, timed, failed, policy, guards)
            failed.add(index)
            outcome.failures.append(Failure(group.id, timed[index][0], error))
            if not isinstance(error, UnknownDeviceError | ActOutOfOrderError):
                log.exception("message could not be decided on", group=group.id, message=repr(timed[index][0])[:500])
    return None


def _first_bad(
    group: Group, timed: Sequence[Timed], failed: set[int], policy: SitePolicy, guards: Mapping[str, int]
) -> int:
    for index, entry in enumerate(timed):
        if index in failed:
            continue
        try:
            group = decide_all(group, (entry,), policy, guards).group
        except Exception:
            return index
    return next(index for index in range(len(timed)) if index not in failed)


def _change(before: Group, decision: Decision) -> GroupChange:
    after = decision.group
    return GroupChange(
        before=before,
        after=after,
        effects=decision.effects,
        wake=after.wake if decision.wake_moved else None,
        drop_wake=decision.wake_moved and after.wake is None,
        guards=decision.guards_spent,
    )


def _spend(guards: Mapping[str, int] | None, decision: Decision) -> Mapping[str, int] | None:
    if guards is None or not decision.guards_spent:
        return guards
    spent = dict(guards)
    for rule, count in decision.guards_spent.items():
        spent[rule] = spent.get(rule, 0) + count
    return spent

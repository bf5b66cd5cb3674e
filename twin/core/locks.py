"""Locks: the reasons for a breaker to be open. It closes only when none is left.

A top-up takes away the `credit` lock and nothing else; an overload or a person's lock stays until it is released by
its own rule or by a person. Order of weight and who may release which: `lock_kinds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin.core.causes import BY_ITSELF, opened_there
from twin.core.commands import reconcile
from twin.core.effects import LockChanged
from twin.core.incidents import resolve_incident
from twin.core.lock_kinds import ARREARS, BELOW_GUARANTEE, KINDS, SAFETY, guaranteed, weight
from twin.core.model import CloseIntent, Lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.draft import Draft

__all__ = [
    "KINDS",
    "SAFETY",
    "give_way",
    "in_weight",
    "insist",
    "note_over",
    "outlasts",
    "pass_on",
    "place",
    "release",
    "release_ended",
]


def place(draft: Draft, device: str, kind: str, lock: Lock, now: int) -> bool:
    """Place a lock and open the breaker; False where a lock of the kind stands already and lasts as long.

    A new reason is a new decision: it opens also what somebody on site had closed under the old ones. One that lasts
    longer than what stands takes its place, or the breaker would close when the first one ends.
    """
    standing = draft.group.breakers[device].locks.get(kind)
    if standing is not None and outlasts(standing, lock.until):
        return False
    breaker = draft.breaker(device)
    resolve_incident(draft, breaker, "closed_locally_under_lock", now)
    _set(draft, device, kind, lock, now)
    breaker.retry_at = None
    reconcile(draft, device)
    return True


def in_weight(locks: Mapping[str, Lock]) -> dict[str, Lock]:
    """Locks in the order of their weight."""
    return {name: locks[name] for name in sorted(locks, key=weight)}


def pass_on(draft: Draft, device: str, kind: str, lock: Lock, now: int) -> None:
    """A lock that stands is another rule's from now on; the breaker stays as it is."""
    _set(draft, device, kind, lock, now)


def _set(draft: Draft, device: str, kind: str, lock: Lock, now: int) -> None:
    breaker, heard = draft.breaker(device), draft.group.acts_seq
    breaker.locks = in_weight({**breaker.locks, kind: lock})
    said = (lock.who, lock.why, now, lock.until, lock.rule, lock.rule_version, heard)
    draft.emit(LockChanged(device, kind, True, *said))
    draft.wake_dirty = draft.supply_dirty = True


def outlasts(standing: Lock, until: int | None) -> bool:
    """Whether a lock that stands lasts at least as long as another one would."""
    return standing.until is None or (until is not None and standing.until >= until)


def release_ended(draft: Draft, device: str, now: int) -> None:
    """Locks with an end are gone when it comes."""
    for kind, lock in list(draft.group.breakers[device].locks.items()):
        if lock.until is not None and now >= lock.until:
            release(draft, device, kind, "platform", "the lock has ended", now)


def release(
    draft: Draft,
    device: str,
    kind: str,
    who: str,
    why: str,
    now: int,
    more: dict[str, Any] | None = None,
    timing: dict[str, int] | None = None,
) -> bool:
    """Release one lock; with the last one gone a wish to close is recorded and carried out as soon as it is safe.

    What a hand or the device's own protection had opened before the lock came stays open, unless a person releases it:
    a schedule, a top-up or the end of a lock is no reason to close onto a fault, or onto somebody who works there. To
    arm it closes nothing, and without that a device that was told to open might refuse the key.
    `timing` may give the closing command its `expires_ms` and `verify_ms`.
    """
    if kind not in draft.group.breakers[device].locks:
        return False
    breaker = draft.breaker(device)
    breaker.locks = {name: lock for name, lock in breaker.locks.items() if name != kind}
    details = more or {}
    rule = (details.get("rule", ""), details.get("ver", 0))
    draft.emit(LockChanged(device, kind, False, who, why, now, None, *rule, draft.group.acts_seq))
    draft.wake_dirty = draft.supply_dirty = True
    resolve_incident(draft, breaker, "unlock_refused", now)  # told anew where it is refused again
    breaker.retry_at = None
    if not breaker.locks:
        resolve_incident(draft, breaker, "closed_locally_under_lock", now)  # nothing says any more that it must be open
        timing = {name: value for name, value in (timing or {}).items() if value}
        arms = not draft.group.breaker_contracts[device].remote_close
        if arms or who not in BY_ITSELF or not opened_there(breaker):
            breaker.close = CloseIntent({"who": who, "reason": why, **details}, now, **timing)
    reconcile(draft, device)
    return True


def note_over(draft: Draft, device: str, kind: str, lock: Lock, now: int) -> None:
    """A lock came after its own end, as when it could not be delivered before: it is recorded and moves nothing."""
    if kind in draft.group.breakers[device].locks:
        return
    heard = draft.group.acts_seq
    draft.emit(LockChanged(device, kind, True, lock.who, lock.why, now, lock.until, acts_seq=heard))
    draft.emit(LockChanged(device, kind, False, "platform", "the lock has ended", now, None, acts_seq=heard))


def insist(draft: Draft, device: str, now: int) -> None:
    """A person asks again for what is locked already, as after repairing a relay that did not move: it is tried afresh,
    also against what somebody on site has closed."""
    breaker = draft.breaker(device)
    breaker.retry_at = None
    resolve_incident(draft, breaker, "closed_locally_under_lock", now)
    reconcile(draft, device)


def give_way(draft: Draft, now: int) -> list[tuple[str, str]]:
    """What the contract no longer lets stand: arrears and schedules under a supply guarantee, arrears of a tenant that
    pays afterwards. Returns (breaker, rule) of what was released."""
    contract = draft.group.contract
    if guaranteed(contract, now):
        kinds, why = BELOW_GUARANTEE, "the supply is guaranteed"
    elif contract is not None and contract.mode == "postpaid":
        kinds, why = frozenset(ARREARS), "the tenant pays afterwards"
    else:
        return []
    gone: list[tuple[str, str]] = []
    for name, breaker in list(draft.group.breakers.items()):
        for kind, lock in list(breaker.locks.items()):
            if kind in kinds:
                gone.append((name, lock.rule))
                release(draft, name, kind, "platform", why, now)
    return gone

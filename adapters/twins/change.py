"""What a decision does to the stored group: shared by the Redis store and the one in memory, so both mean the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from twin.core.effects import MeterReleased

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from twin.core.effects import AnyEffect
    from twin.core.model import Group
    from twin.ports import GroupChange

CHANGES_MAX: Final = 10_000
"""Most groups one commit may hold: Redis does nothing else meanwhile."""

GUARD_SPAN_MS: Final = 31 * 86_400_000
"""How long cutoffs are remembered for guards; no guard window may be longer."""

REVISIONS_PER_GENERATION: Final = 1_000_000_000
"""Revisions of a generation start at a multiple of this, so a revision read before a rebuild never fits after it."""


def check_changes(site: str, changes: Sequence[GroupChange]) -> None:
    """Raise ValueError for a batch that no store could commit as it is meant: the caller's mistake."""
    if len(changes) > CHANGES_MAX:
        raise ValueError(f"{len(changes)} groups in one commit; at most {CHANGES_MAX}")
    seen: set[str] = set()
    for change in changes:
        before, after = change.before, change.after
        if before.site != site or after.site != site or before.id != after.id:
            raise ValueError(
                f"commit at site {site!r}: {before.site}/{before.id} cannot become {after.site}/{after.id}"
            )
        if before.id in seen:
            raise ValueError(f"group {before.id!r} is twice in one commit: fold its changes into one")
        seen.add(before.id)


def check_windows(windows: Mapping[str, int]) -> None:
    """Raise ValueError for a guard window longer than cutoffs are remembered."""
    for rule, window in windows.items():
        if not 0 < window <= GUARD_SPAN_MS:
            raise ValueError(f"guard of rule {rule!r}: window {window} ms, must be between 1 ms and {GUARD_SPAN_MS} ms")


def outcome(change: GroupChange, now: int) -> Group:
    """The group as it will be stored if nobody was faster; `before` itself when there is nothing to write.

    Its revision is the next one, and not below `now` (Unix ms): where the store loses its last second, and two
    processes write on from there, a number that was given before is not given to something else.
    """
    before, after = change.before, change.after
    wake = change.wake if change.wake is not None else None if change.drop_wake else before.wake
    if wake == before.wake and not change.effects and not change.guards and _same(before, after):
        return before
    return msgspec.structs.replace(after, revision=max(before.revision + 1, now), wake=wake)


def newborn(group: Group, *, generation: int, wake: int) -> Group:
    """A group as it is first stored under a generation. What it owes is carried out before anything else happens to it,
    whatever the clock says by then."""
    if group.owed or any(meter.owed for meter in group.meters.values()):
        wake = min(wake, 0)
    return msgspec.structs.replace(group, revision=generation * REVISIONS_PER_GENERATION, wake=wake)


def _same(before: Group, after: Group) -> bool:
    return (
        after.acts_seq == before.acts_seq
        and after.tenant is before.tenant
        and after.contract is before.contract
        and after.gateway is before.gateway
        and after.owed is before.owed
        and _same_twins(before.meters, after.meters)
        and _same_twins(before.breakers, after.breakers)
        and _same_twins(before.meter_contracts, after.meter_contracts)
        and _same_twins(before.breaker_contracts, after.breaker_contracts)
    )


def _same_twins(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if before is after:
        return True
    return len(before) == len(after) and all(before.get(key) is value for key, value in after.items())


def devices_of(group: Group) -> set[str]:
    """Ids of every device that messages may name and that this group holds."""
    devices = {*group.meter_contracts, *group.meters, *group.breaker_contracts, *group.breakers}
    if group.gateway is not None:
        devices.add(group.gateway.id)
    return devices


def travelling(effects: Iterable[AnyEffect]) -> set[str]:
    """Ids of the devices that a group lets go of for the next one to take. The directory leads to the old one until
    then: a device that its group does not hold is on its way, and what it says is to be held."""
    released = [effect for effect in effects if isinstance(effect, MeterReleased)]
    return {twin.id for effect in released for twin in (effect.meter, effect.breaker) if twin is not None}


def gateways_of(group: Group) -> set[str]:
    """Ids of the gateways in front of this group's devices."""
    return {gateway for gateway in _gateways(group) if gateway}


def _gateways(group: Group) -> Iterator[str | None]:
    for meter in group.meter_contracts.values():
        yield meter.gateway
    for breaker in group.breaker_contracts.values():
        yield breaker.gateway


def moves_devices(before: Group, after: Group) -> bool:
    """True when a change may touch the directory: other contracts, or other devices. Readings never do."""
    return (
        after.meter_contracts is not before.meter_contracts
        or after.breaker_contracts is not before.breaker_contracts
        or (after.gateway is None) != (before.gateway is None)
        or after.meters.keys() != before.meters.keys()
        or after.breakers.keys() != before.breakers.keys()
    )

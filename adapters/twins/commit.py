"""Decisions as the arguments of the one script call that commits them; see `script.COMMIT` for the layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.twins.change import GUARD_SPAN_MS, devices_of, gateways_of, moves_devices, travelling
from adapters.twins.codec import REVISION, changed_fields, encode_effects, encode_group
from twin.core.model import Group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.twins.keys import SiteKeys
    from adapters.twins.trust import Fence, Trust
    from twin.core.effects import AnyEffect


NEVER = "+inf"
"""Score of a group that wants no waking: it stays in the timers, which are also the list of all groups."""


class Arguments:
    """KEYS and ARGV of one commit call: first all groups that it is about, then one `add_...` for each, in order."""

    def __init__(self, names: SiteKeys, trust: Trust, groups: Sequence[str], *, now: int, stream_max: int) -> None:
        self._names = names
        self._places: dict[str, int] = {}
        self.keys = [
            *(names.generation, names.effects, names.timers, names.directory, names.gateways),
            *(names.group(group) for group in groups),
        ]
        self.values: list[str | bytes | int] = [
            *(trust.builder, trust.last, stream_max, now, now - GUARD_SPAN_MS, len(groups))
        ]

    def add_change(
        self, before: Group, after: Group, *, effects: tuple[AnyEffect, ...], guards: Mapping[str, int]
    ) -> None:
        """One change; `after` is `before` itself when only the revision is to be checked."""
        wake = "" if after.wake == before.wake else NEVER if after.wake is None else after.wake
        writes, gone = changed_fields(before, after)
        if after is not before:
            writes = [REVISION, str(after.revision), *writes]
        operations = self._relocations(before, after, effects)
        for rule, cutoffs in guards.items():
            operations += ("G", self._place(self._names.guard(rule)), cutoffs)
        encoded = encode_effects(effects) if effects else ""
        self.values += (before.id, before.revision, wake, encoded, len(writes), len(gone), len(operations) // 3)
        self.values += writes
        self.values += gone
        self.values += operations

    def add_fence(self, fence: Fence) -> None:
        """The lease under which all of it is committed; after every change."""
        self.values += (fence.field, fence.token)

    def add_creation(self, group: Group) -> None:
        """A group that must not exist yet."""
        writes = [part for field in encode_group(group).items() for part in field]
        operations = self._relocations(Group(site=group.site, id=group.id), group)
        wake = NEVER if group.wake is None else group.wake
        self.values += (group.id, "", wake, "", len(writes), 0, len(operations) // 3)
        self.values += writes
        self.values += operations

    def _place(self, key: str) -> int:
        """Index in KEYS, counted from 1, of a key that is not there for every call."""
        place = self._places.get(key)
        if place is None:
            self.keys.append(key)
            place = self._places[key] = len(self.keys)
        return place

    def _relocations(self, before: Group, after: Group, effects: tuple[AnyEffect, ...] = ()) -> list[str | int]:
        """Directory and gateway operations, for the few changes that touch contracts or the set of devices."""
        operations: list[str | int] = []
        if not moves_devices(before, after):
            return operations
        old, new = devices_of(before), devices_of(after)
        for device in sorted(new - old):
            operations += ("D", 0, device)
        for device in sorted((old - new) - travelling(effects)):
            operations += ("d", 0, device)
        old, new = gateways_of(before), gateways_of(after)
        for gateway in sorted(new - old):
            operations += ("W", self._place(self._names.gateway(gateway)), gateway)
        for gateway in sorted(old - new):
            operations += ("w", self._place(self._names.gateway(gateway)), gateway)
        return operations

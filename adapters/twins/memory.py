"""The twin store and effect stream in the memory of one process: for tests, dry runs and simulations in virtual time.

Same meaning as the Redis adapters, held to it by the conformance suite and a property test that drives both at once:
revision conflicts, builder tokens, bounds, generations, consumer groups. Values are kept as they are given: no copies,
because nobody may change them.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from itertools import count as counting
from typing import TYPE_CHECKING

import msgspec

from adapters.twins.change import (
    GUARD_SPAN_MS,
    check_changes,
    check_windows,
    devices_of,
    gateways_of,
    moves_devices,
    newborn,
    outcome,
    travelling,
)
from adapters.twins.entry_id import BEGINNING, newest, order
from adapters.twins.keys import site_keys
from adapters.twins.letters import MemoryLetters
from twin.core.model import Group
from twin.ports import Entry, StoreFullError, StoreLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from twin.ports import DeadLetter, GroupChange, HeldMessage


class ConsumerGroup(msgspec.Struct):
    """How far one named group of consumers is: the last id handed out, and what each id is pending for."""

    delivered: str = BEGINNING
    pending: dict[str, str] = {}


class MemorySite(msgspec.Struct):
    """Everything one site keeps; the fields match the Redis keys of the site."""

    generation: int | None = None
    builder: int = 0
    last: str = BEGINNING
    trimmed: str = BEGINNING
    base: str = BEGINNING
    mark: str = ""
    groups: dict[str, Group] = {}
    timers: dict[str, int] = {}
    directory: dict[str, str] = {}
    gateways: dict[str, set[str]] = {}
    guards: dict[str, list[tuple[int, int]]] = {}
    effects: list[Entry] = []
    consumers: dict[str, ConsumerGroup] = {}
    dead: list[DeadLetter] = []
    held: list[HeldMessage] = []
    held_count: int = 0
    changed: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def announce(self) -> None:
        """Wake everybody who waits for entries."""
        self.changed.set()
        self.changed = asyncio.Event()


class MemoryRedis:
    """What several stores and streams (of several processes, as it were) share."""

    def __init__(self) -> None:
        self.sites: dict[str, MemorySite] = {}
        self.tokens = counting(1)

    def site(self, site: str) -> MemorySite:
        """State of a site, made when first asked for. Raises ValueError for an impossible id."""
        site_keys(site)
        if site not in self.sites:
            self.sites[site] = MemorySite()
        return self.sites[site]

    def flush(self) -> None:
        """Lose everything, as FLUSHALL does."""
        for state in self.sites.values():
            state.announce()
        self.sites = {}


class MemoryTwinStore(MemoryLetters):
    """TwinStore in memory. Two stores over one MemoryRedis behave as two processes."""

    def __init__(self, redis: MemoryRedis | None = None, *, stream_max: int = 1_000_000) -> None:
        self.redis = redis or MemoryRedis()
        super().__init__(self.redis.site)
        self._stream_max = stream_max
        self._builders: dict[str, int] = {}

    async def close(self) -> None:
        """Nothing to close."""

    def _recognised(self, site: str) -> MemorySite:
        """State of a site for reading. Raises StoreLostError when its twins are not those worked on before."""
        state = self.redis.site(site)
        known = self._builders.get(site)
        if known is None and state.generation is not None:
            self._builders[site] = state.builder
        elif known is not None and (state.generation is None or state.builder != known):
            raise StoreLostError(f"site {site!r}: the store has other twins than this process works on")
        return state

    def _built(self, site: str) -> MemorySite:
        """State of a site for writing. Raises StoreLostError for one without a generation, too."""
        state = self._recognised(site)
        if state.generation is None:
            raise StoreLostError(f"site {site!r} has no generation in the store: its twins must be built first")
        return state

    async def load(self, site: str, groups: Sequence[str]) -> dict[str, Group]:
        """Groups by id; ids that do not exist are left out."""
        state = self._recognised(site)
        return {group: state.groups[group] for group in groups if group in state.groups}

    async def groups(self, site: str) -> AsyncIterator[Group]:
        """Every group of a site."""
        return self._stream(self._recognised(site))

    async def _stream(self, state: MemorySite) -> AsyncIterator[Group]:
        for group in list(state.groups.values()):
            yield group

    async def group_of(self, site: str, device: str) -> str | None:
        """Group that holds a device."""
        return self._recognised(site).directory.get(device)

    async def groups_of(self, site: str, devices: Iterable[str]) -> dict[str, str]:
        """Groups that hold devices; devices that nobody knows are left out."""
        directory = self._recognised(site).directory
        return {device: directory[device] for device in devices if device in directory}

    def forget_holder(self, site: str, device: str) -> None:
        """Nothing is remembered here."""

    async def devices_behind(self, site: str, gateway: str) -> Sequence[str]:
        """Ids of the groups with a device behind this gateway, sorted."""
        return sorted(self.redis.site(site).gateways.get(gateway, ()))

    async def due(self, site: str, *, now: int, limit: int) -> list[str]:
        """Groups whose timer entry is at or before `now`, earliest first."""
        timers = self._recognised(site).timers
        return sorted((group for group, at in timers.items() if at <= now), key=lambda g: (timers[g], g))[:limit]

    async def next_due(self, site: str) -> int | None:
        """Instant of the earliest timer entry."""
        return min(self._recognised(site).timers.values(), default=None)

    async def guards_used(self, site: str, windows: Mapping[str, int], *, now: int) -> dict[str, int]:
        """Cutoffs counted per rule later than `now - window`."""
        check_windows(windows)
        guards = self.redis.site(site).guards
        return {
            rule: sum(cutoffs for at, cutoffs in guards.get(rule, ()) if at > now - window)
            for rule, window in windows.items()
        }

    async def commit(
        self, site: str, changes: Sequence[GroupChange], *, now: int, beyond_bound: bool = False
    ) -> frozenset[str]:
        """Commit every change whose group still has the revision of `before`; returns the ids of the others."""
        if not changes:
            return frozenset()
        check_changes(site, changes)
        state = self._built(site)
        accepted: list[GroupChange] = []
        refused: list[GroupChange] = []
        for change in changes:
            stored = state.groups.get(change.before.id)
            fits = stored is not None and stored.revision == change.before.revision
            (accepted if fits else refused).append(change)
        full = len(state.effects) >= self._stream_max and not beyond_bound
        if full and any(change.effects for change in accepted):
            raise StoreFullError(f"the effect stream of site {site!r} holds {len(state.effects)} entries")
        for change in accepted:
            self._apply(state, change, now)
        if any(change.effects for change in accepted):
            state.announce()
        return frozenset(change.before.id for change in refused)

    def _apply(self, state: MemorySite, change: GroupChange, now: int) -> None:
        after = outcome(change, now)
        state.groups[after.id] = after
        if after.wake is None:
            state.timers.pop(after.id, None)
        else:
            state.timers[after.id] = after.wake
        if moves_devices(change.before, after):
            _relocate(state, change.before, after, on_the_way=travelling(change.effects))
        for rule, cutoffs in change.guards.items():
            kept = [row for row in state.guards.get(rule, ()) if row[0] >= now - GUARD_SPAN_MS]
            state.guards[rule] = [*kept, (now, cutoffs)]
        if change.effects:
            ms, serial = order(state.last)
            state.last = f"{now}-0" if now > ms else f"{ms}-{serial + 1}"
            state.effects.append(Entry(id=state.last, group=after.id, effects=change.effects))

    async def add_groups(self, site: str, groups: Sequence[Group], *, wake: int) -> None:
        """Create the groups that do not exist yet, due at `wake`; put the devices of all into the directory."""
        state = self._built(site)
        assert state.generation is not None
        for group in groups:
            if group.id not in state.groups:
                state.groups[group.id] = newborn(group, generation=state.generation, wake=wake)
                state.timers[group.id] = wake
            _relocate(state, Group(site=site, id=group.id), group)

    async def generation(self, site: str) -> tuple[int, str] | None:
        """(generation number, id of the last effect written), or None where the site has no twins at all."""
        state = self.redis.site(site)
        if state.generation is None:
            return None
        self._builders[site] = state.builder
        return state.generation, state.last

    async def act_mark(self, site: str) -> str:
        """The mark of SQL's newest act that was noted last; an empty text for none."""
        return self.redis.site(site).mark

    async def note_act_mark(self, site: str, mark: str) -> None:
        """Note a mark of SQL's newest act in place of the one before."""
        self.redis.site(site).mark = mark

    async def replace_site(
        self, site: str, generation: int, groups: AsyncIterator[Group], *, wake: int, position: str = BEGINNING
    ) -> int:
        """Write all twins of a site anew, each due at `wake`; effect ids go on behind `position`."""
        state = self.redis.site(site)
        builder = state.builder = next(self.redis.tokens)
        state.generation = None
        state.last, state.trimmed = newest(position, state.last), BEGINNING
        state.base = state.last
        state.groups, state.timers, state.directory, state.gateways = {}, {}, {}, {}
        state.effects, state.consumers = [], {name: ConsumerGroup() for name in state.consumers}
        state.announce()
        async for group in groups:
            if group.site != site:
                raise ValueError(f"group {group.id!r} belongs to site {group.site!r}, not to {site!r}")
            if self.redis.site(site) is not state or state.builder != builder:
                raise StoreLostError(f"site {site!r}: another rebuild took over, or the store was wiped meanwhile")
            state.groups[group.id] = newborn(group, generation=generation, wake=wake)
            state.timers[group.id] = wake
            _relocate(state, Group(site=site, id=group.id), group)
        state.generation = generation
        self._builders[site] = builder
        return len(state.groups)

    async def sites(self) -> list[str]:
        """Sites that have twins here, sorted."""
        return sorted(site for site, state in self.redis.sites.items() if state.generation is not None)


def _relocate(state: MemorySite, before: Group, after: Group, *, on_the_way: Collection[str] = ()) -> None:
    old, new = devices_of(before), devices_of(after)
    for device in new - old:
        state.directory[device] = after.id
    for device in (old - new).difference(on_the_way):
        if state.directory.get(device) == after.id:
            del state.directory[device]
    old, new = gateways_of(before), gateways_of(after)
    for gateway in new - old:
        state.gateways.setdefault(gateway, set()).add(after.id)
    for gateway in old - new:
        state.gateways.get(gateway, set()).discard(after.id)


class MemoryEffectStream:
    """EffectStream over the same MemoryRedis as the store that writes it."""

    def __init__(self, redis: MemoryRedis) -> None:
        self.redis = redis

    async def close(self) -> None:
        """Nothing to close."""

    async def join(self, site: str, consumers: str, *, after: str | None = None) -> None:
        """Make sure the consumer group exists; `after` starts it anew just behind that entry."""
        state = self.redis.site(site)
        if after is not None or consumers not in state.consumers:
            state.consumers[consumers] = ConsumerGroup(delivered=after or BEGINNING)

    async def read(
        self, site: str, consumers: str, consumer: str, *, count: int, block_ms: int, pending: bool = False
    ) -> list[Entry]:
        """The next entries; with `pending`, those handed to this consumer and never acknowledged."""
        if pending:
            group = await self._group(site, consumers)
            entries = self.redis.site(site).effects
            return [entry for entry in entries if group.pending.get(entry.id) == consumer][:count]
        deadline = asyncio.get_running_loop().time() + block_ms / 1000
        while True:
            group = await self._group(site, consumers)
            state = self.redis.site(site)
            entries = state.effects[_place_behind(state.effects, group.delivered) :][:count]
            if entries:
                group.delivered = entries[-1].id
                group.pending.update((entry.id, consumer) for entry in entries)
                return entries
            if not await _until(state.changed, deadline):
                return []

    async def _group(self, site: str, consumers: str) -> ConsumerGroup:
        await self.join(site, consumers)
        return self.redis.site(site).consumers[consumers]

    async def acknowledge(self, site: str, consumers: str, ids: Sequence[str]) -> None:
        """Done with these entries, for the whole group."""
        group = self.redis.site(site).consumers.get(consumers)
        if group is not None:
            for entry_id in ids:
                group.pending.pop(entry_id, None)

    async def lag(self, site: str, consumers: str) -> int:
        """Entries that this consumer group has not acknowledged."""
        state = self.redis.site(site)
        group = state.consumers.get(consumers, ConsumerGroup())
        return len(group.pending) + len(state.effects) - _place_behind(state.effects, group.delivered)

    async def trim(self, site: str, *, ledger_position: str, keep: int) -> int:
        """Drop the entries that the ledger has and no consumer group still needs, except the newest `keep`."""
        state = self.redis.site(site)
        places = [_place_behind(state.effects, ledger_position)]
        for group in state.consumers.values():
            place = _place_behind(state.effects, group.delivered)
            oldest = min(group.pending, key=order, default=None)
            places.append(place if oldest is None else min(place, _place_behind(state.effects, oldest) - 1))
        dropped = max(0, min(*places, len(state.effects) - keep))
        if dropped:
            state.trimmed = state.effects[dropped - 1].id
            del state.effects[:dropped]
        return dropped

    async def acknowledged_to(self, site: str, consumers: str) -> str:
        """Id up to which a consumer group has acknowledged everything; '0-0' while anything is pending."""
        group = self.redis.site(site).consumers.get(consumers)
        return BEGINNING if group is None or group.pending else group.delivered

    async def peek(self, site: str, after: str, count: int) -> list[Entry]:
        """Up to `count` entries newer than `after`, oldest first, for nobody in particular."""
        behind = order(after)
        return [entry for entry in self.redis.site(site).effects if order(entry.id) > behind][:count]

    async def knows(self, site: str, entry_id: str) -> bool:
        """Whether an entry of this id is in the stream, or was: dropped by `trim`, or before the last rebuild."""
        state = self.redis.site(site)
        if any(entry.id == entry_id for entry in state.effects):
            return True
        return order(entry_id) <= max(order(state.trimmed), order(state.base))

    async def trimmed_to(self, site: str) -> str:
        """Id up to which entries were dropped by `trim`; '0-0' when none were since the last rebuild."""
        return self.redis.site(site).trimmed

    async def follow(self, site: str, after: str | None) -> AsyncIterator[Entry]:
        """Live feed of entries newer than `after`; None means from the first step of the iteration on. Never ends."""
        cursor = after if after is not None else self.redis.site(site).last
        while True:
            state = self.redis.site(site)
            changed = state.changed
            for entry in state.effects[_place_behind(state.effects, cursor) :]:
                cursor = entry.id
                yield entry
            if changed is state.changed:
                await changed.wait()


def _place_behind(entries: list[Entry], entry_id: str) -> int:
    """Index of the first entry newer than the id."""
    return bisect_right(entries, order(entry_id), key=lambda entry: order(entry.id))


async def _until(changed: asyncio.Event, deadline: float) -> bool:
    """Wait for an event up to an instant of the running loop's clock; False when that has passed."""
    try:
        async with asyncio.timeout_at(deadline):
            await changed.wait()
    except TimeoutError:
        return False
    return True

"""RedisTwinStore: the twins of every site, committed atomically with their timers and effects.

Theory of operation. A process decides on values it read or committed before, mostly from its own memory, and commits
them with one script call per batch. Three fences make that safe, all checked inside the script before its first write:

- the *revision* of each group: whoever was slower is refused, reads again and decides again;
- the *builder token* of the site: a rebuild gives all twins of a site a new random token, so nobody can go on with
  twins from before it, whatever the generation numbers are (a restored SQL database may count them a second time);
- the *newest effect id* this process has seen: if the site's own newest is older, or is newer and that one is unknown,
  Redis went back in time (restored from a backup, or lost its last second in a power cut, and perhaps another process
  wrote on) and the twins must be compared with SQL. Where what was lost had no effect, the revision tells: it follows
  the clock, so that two histories do not give one number to two states of a group.

The first is ordinary and answered with the refused ids; the other two raise StoreLostError. Reading checks the token
too: a device that is missing from a wiped store is not an unknown device.

Work that is divided among processes by leases commits through `fenced`: each site remembers the newest token of every
lease, and whoever comes with an older one is refused as a whole with LeaseLostError.

A process that only reads, or that shares a site with another writer, should keep no groups in memory
(`cache_groups=0`): a decision that changes nothing has nothing to commit, hence no fence. Where that matters, commit it
all the same: a change whose `after` is its `before` writes nothing and asks only whether the revision still holds.
"""

from __future__ import annotations

import math
import time
from copy import copy
from typing import TYPE_CHECKING, Any

from adapters.twins.cache import Memory
from adapters.twins.change import check_changes, check_windows, devices_of, moves_devices, newborn, outcome
from adapters.twins.codec import decode_group
from adapters.twins.commit import Arguments
from adapters.twins.connection import Reaching
from adapters.twins.entry_id import BEGINNING, newest
from adapters.twins.keys import SITES, site_keys
from adapters.twins.letters import RedisLetters
from adapters.twins.rebuild import Rebuild, place_groups
from adapters.twins.script import COMMIT, RAISE_FENCE, Script
from adapters.twins.trust import HEAD, Fence, Trusts
from twin.leases import LeaseLostError
from twin.ports import StoreFullError, StoreLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from adapters.twins.keys import SiteKeys
    from adapters.twins.trust import Trust
    from twin.core.model import Group
    from twin.ports import GroupChange

PAGE = 500
UNBOUNDED = 2**53
"""No stream is longer."""


class RedisTwinStore(RedisLetters):
    """TwinStore on Redis 6.2 or newer, or Valkey. One instance a process; safe for any number of its tasks.

    `stream_max` bounds the effect stream of a site, `cache_groups` and `cache_devices` the memory of this process, and
    `absent_s` says for how long a device that is not there is not asked for again. `seconds` is a monotonic clock.
    """

    def __init__(
        self,
        client: Redis,
        *,
        stream_max: int = 1_000_000,
        cache_groups: int = 200_000,
        cache_devices: int = 500_000,
        absent_s: float = 2.0,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client: Any = client  # redis-py types its answers for every protocol and encoding at once
        self._reaching = Reaching(client)
        self._script = Script(client, COMMIT)
        self._fencing = Script(client, RAISE_FENCE)
        self._fence: Fence | None = None
        self._stream_max = stream_max
        self._trusts = Trusts()
        self._memory = Memory(groups=cache_groups, devices=cache_devices, absent_s=absent_s, seconds=seconds)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._client.aclose()

    def unremembered(self) -> RedisTwinStore:
        """This very store with its trust, always read from Redis. A store of its own would go on trusting twins that
        have been replaced by a rebuild, which nobody tells it of. Close only the store itself."""
        view = copy(self)
        view._memory = self._memory.nothing()
        return view

    def fenced(self, lease: str, token: int) -> RedisTwinStore:
        """This very store, its memory and its trust, for commits under a lease. Close only the store itself."""
        view = copy(self)
        view._fence = Fence(lease, token)
        return view

    async def raise_fence(self, sites: Sequence[str]) -> None:
        """From now on nobody commits to these sites under an older token of this view's lease; and what this process
        remembers of them may be from before somebody else's time, so it is forgotten."""
        fence = self._fence
        for site in sites if fence is not None else ():
            with self._reaching:
                await self._fencing([site_keys(site).generation], [fence.field, fence.token])  # type: ignore[union-attr]
            self._memory.drop_site(site)

    # --- reading ---------------------------------------------------------------------------------------------------

    async def load(self, site: str, groups: Sequence[str]) -> dict[str, Group]:
        """Groups by id, those not in memory with one round trip; ids that do not exist are left out.

        Raises StoreLostError when the store no longer has the twins this process works on.
        """
        found: dict[str, Group] = {}
        cold: list[str] = []
        for group in groups:
            known = self._memory.group(site, group)
            if known is None:
                cold.append(group)
            else:
                found[group] = known
        if cold:
            found.update(await self._read(site_keys(site), cold))
        return found

    async def _read(self, keys: SiteKeys, groups: Sequence[str]) -> dict[str, Group]:
        pipe = self._client.pipeline(transaction=False)
        for group in groups:
            pipe.hgetall(keys.group(group))
        # Asked last: a rebuild takes the generation away before it touches a group, so if the generation is there now,
        # everything read before belongs to it.
        *rows, trust = await self._ask(keys, pipe)
        found = {name: decode_group(keys.site, name, row) for name, row in zip(groups, rows, strict=True) if row}
        if trust is not None and self._trusts.get(keys.site) is trust:
            for read in found.values():
                self._memory.keep(read)
        return found

    async def groups(self, site: str) -> AsyncIterator[Group]:
        """Every group of a site, in no order, a page at a time, always from Redis. Groups may come twice."""
        return self._scan(site_keys(site))

    async def _scan(self, keys: SiteKeys) -> AsyncIterator[Group]:
        cursor = 0
        while True:
            with self._reaching:
                cursor, members = await self._client.zscan(keys.timers, cursor, count=PAGE)
            ids = [member.decode() for member, _ in members]
            if ids:
                for group in (await self._read(keys, ids)).values():
                    yield group
            if not cursor:
                return

    async def group_of(self, site: str, device: str) -> str | None:
        """Group that holds a device; None for a device (or site) nobody knows. Raises StoreLostError."""
        return (await self.groups_of(site, (device,))).get(device)

    async def groups_of(self, site: str, devices: Iterable[str]) -> dict[str, str]:
        """Groups that hold devices, those not in memory with one round trip; devices that nobody knows are left out.

        Raises StoreLostError.
        """
        memory, found, cold = self._memory, {}, []
        for device in devices:
            known = memory.holder(site, device)
            if known is not None:
                found[device] = known
            elif not memory.is_absent(site, device):
                cold.append(device)
        if cold:
            found.update(await self._look_up(site_keys(site), cold))
        return found

    async def _look_up(self, keys: SiteKeys, devices: Sequence[str]) -> dict[str, str]:
        pipe = self._client.pipeline(transaction=False)
        pipe.hmget(keys.directory, *devices)
        holders, trust = await self._ask(keys, pipe)
        told = {device: holder and holder.decode() for device, holder in zip(devices, holders, strict=True)}
        if self._trusts.get(keys.site) is trust:
            for device, group in told.items():
                self._memory.learn_holder(keys.site, device, group)
        return {device: group for device, group in told.items() if group is not None}

    def forget_holder(self, site: str, device: str) -> None:
        """Ask Redis again where a device is: it is not where this process remembers it."""
        self._memory.forget_holder(site, device)

    async def directory(self, site: str) -> dict[str, str]:
        """Group of every device of a site, always from Redis, a page at a time."""
        found: dict[str, str] = {}
        with self._reaching:
            async for device, group in self._client.hscan_iter(site_keys(site).directory, count=PAGE):
                found[device.decode()] = group.decode()
        return found

    async def directory_mark(self, site: str) -> str:
        """What differs, almost always, once the directory of a site has changed."""
        keys = site_keys(site)
        pipe = self._client.pipeline(transaction=False)
        pipe.hlen(keys.directory)
        pipe.hget(keys.generation, "builder")
        with self._reaching:
            length, builder = await pipe.execute()
        return f"{length} {(builder or b'').decode()}"

    async def devices_behind(self, site: str, gateway: str) -> Sequence[str]:
        """Ids of the groups with a device behind this gateway, sorted."""
        with self._reaching:
            members = await self._client.smembers(site_keys(site).gateway(gateway))
        return sorted(member.decode() for member in members)

    async def _ask(self, keys: SiteKeys, pipe: Pipeline) -> list[Any]:
        """Run a pipeline of questions and make sure of whom they were asked: answers, then the trust they belong to."""
        asked = self._trusts.get(keys.site)
        pipe.hmget(keys.generation, *HEAD)
        with self._reaching:
            *answers, head = await pipe.execute()
        try:
            return [*answers, self._trusts.recognise(keys.site, head, asked)]
        except StoreLostError:
            self._memory.drop_site(keys.site)
            raise

    async def due(self, site: str, *, now: int, limit: int) -> list[str]:
        """Groups whose timer entry is at or before `now`, earliest first. Raises StoreLostError."""
        keys = site_keys(site)
        pipe = self._client.pipeline(transaction=False)
        pipe.zrangebyscore(keys.timers, "-inf", now, start=0, num=limit)
        members, _ = await self._ask(keys, pipe)
        return [member.decode() for member in members]

    async def next_due(self, site: str) -> int | None:
        """Instant of the earliest timer entry, Unix ms. Raises StoreLostError."""
        keys = site_keys(site)
        pipe = self._client.pipeline(transaction=False)
        pipe.zrange(keys.timers, 0, 0, withscores=True)
        first, _ = await self._ask(keys, pipe)
        return int(first[0][1]) if first and first[0][1] != math.inf else None

    async def guards_used(self, site: str, windows: Mapping[str, int], *, now: int) -> dict[str, int]:
        """Cutoffs counted per rule later than `now - window`. Those of a later clock count too: a clock that was set
        back must not open a guard. Raises ValueError for a window longer than cutoffs are remembered (31 days)."""
        check_windows(windows)
        keys = site_keys(site)
        pipe = self._client.pipeline(transaction=False)
        for rule, window in windows.items():
            pipe.zrangebyscore(keys.guard(rule), f"({now - window}", "+inf")
        if not windows:
            return {}
        with self._reaching:
            rows = await pipe.execute()
        return {rule: sum(_counted(m) for m in row) for rule, row in zip(windows, rows, strict=True)}

    # --- writing ---------------------------------------------------------------------------------------------------

    async def commit(
        self, site: str, changes: Sequence[GroupChange], *, now: int, beyond_bound: bool = False
    ) -> frozenset[str]:
        """Commit every change whose group still has the revision of `before`; returns the ids of the others.

        A change's `wake` and `drop_wake` decide the stored `wake`. With `beyond_bound` the stream is never full. Raises
        StoreFullError, StoreLostError (nothing was written), StoreUnavailableError (it may have been written: load
        again), ValueError for a group given twice.
        """
        if not changes:
            return frozenset()
        check_changes(site, changes)
        keys, trust = site_keys(site), await self._trusted(site)
        stream_max = UNBOUNDED if beyond_bound else self._stream_max
        arguments = Arguments(keys, trust, [change.before.id for change in changes], now=now, stream_max=stream_max)
        results = [outcome(change, now) for change in changes]
        for change, result in zip(changes, results, strict=True):
            arguments.add_change(change.before, result, effects=change.effects, guards=change.guards)
        if self._fence is not None:
            arguments.add_fence(self._fence)
        try:
            refused = await self._run(site, trust, arguments)
        except BaseException:
            for change in changes:
                self._memory.drop(change.before)
            raise
        for place, (change, result) in enumerate(zip(changes, results, strict=True)):
            if place in refused:
                self._memory.drop(change.before)
            elif self._trusts.get(site) is trust:
                self._remember(change.before, result)
        return frozenset(changes[place].before.id for place in refused)

    def _remember(self, before: Group, after: Group) -> None:
        self._memory.keep(after)
        if not moves_devices(before, after):
            return
        old, new = devices_of(before), devices_of(after)
        for device in new - old:
            self._memory.learn_holder(after.site, device, after.id)
        for device in old - new:
            self._memory.forget_holder(after.site, device)

    async def _run(self, site: str, trust: Trust, arguments: Arguments) -> set[int]:
        """Run the commit script; returns the places of the refused changes."""
        with self._reaching:
            reply = await self._script(arguments.keys, arguments.values)
        status, detail, *refused = reply
        if status == b"LOST":
            self._memory.drop_site(site)
            raise StoreLostError(f"the twins of site {site!r} are not those this process works on: {detail.decode()}")
        if status == b"FENCED":
            raise LeaseLostError(
                f"site {site!r}: a commit under lease {self._fence and self._fence.name!r} with token "
                f"{self._fence and self._fence.token} is refused, its owner has {detail.decode()} by now"
            )
        if status == b"FULL":
            raise StoreFullError(
                f"the effect stream of site {site!r} holds {detail.decode()} entries, its bound is {self._stream_max}: "
                "the ledger is behind"
            )
        trust.last = newest(trust.last, detail.decode())
        return {place - 1 for place in refused}

    async def add_groups(self, site: str, groups: Sequence[Group], *, wake: int) -> None:
        """Create the groups that do not exist yet, due at `wake`; for those that do, put their devices into the
        directory. Raises StoreLostError for a site without a generation: `replace_site` makes the first one."""
        keys, trust = site_keys(site), await self._trusted(site)
        for first in range(0, len(groups), PAGE):
            page = [newborn(g, generation=trust.generation, wake=wake) for g in groups[first : first + PAGE]]
            arguments = Arguments(keys, trust, [g.id for g in page], now=0, stream_max=self._stream_max)
            for group in page:
                arguments.add_creation(group)
            existing = await self._run(site, trust, arguments)
            await self._refresh_directory(keys, [page[place] for place in existing])
            for group in page:
                for device in devices_of(group):
                    self._memory.learn_holder(site, device, group.id)

    async def _refresh_directory(self, keys: SiteKeys, groups: Sequence[Group]) -> None:
        pipe = self._client.pipeline(transaction=True)
        place_groups(pipe, keys, groups)
        with self._reaching:
            await pipe.execute()

    # --- the site as a whole ---------------------------------------------------------------------------------------

    async def generation(self, site: str) -> tuple[int, str] | None:
        """(generation number, id of the last effect written), or None where the site has no twins to go on with.

        The caller compares both with SQL; from here on this process works on these twins. Twins that went back in time
        under this very process are none to go on with, although SQL alone might find nothing wrong with them.
        """
        asked = self._trusts.get(site)
        seen = asked.last if asked is not None else BEGINNING
        with self._reaching:
            head = await self._client.hmget(site_keys(site).generation, *HEAD)
        trust = self._trusts.accept(site, head, asked, seen)
        if trust is not asked:
            self._memory.drop_site(site)
        return None if trust is None else (trust.generation, trust.last)

    async def act_mark(self, site: str) -> str:
        """The mark of SQL's newest act that was noted last; an empty text for none."""
        with self._reaching:
            mark = await self._client.hget(site_keys(site).generation, "mark")
        return mark.decode() if mark else ""

    async def note_act_mark(self, site: str, mark: str) -> None:
        """Note a mark of SQL's newest act in place of the one before."""
        with self._reaching:
            await self._client.hset(site_keys(site).generation, "mark", mark)

    async def _trusted(self, site: str) -> Trust:
        trust = self._trusts.get(site)
        if trust is None:
            await self.generation(site)
            trust = self._trusts.get(site)
        if trust is None:
            raise StoreLostError(f"site {site!r} has no generation in the store: its twins must be built first")
        return trust

    async def replace_site(
        self, site: str, generation: int, groups: AsyncIterator[Group], *, wake: int, position: str = BEGINNING
    ) -> int:
        """Write all twins of a site anew, each due at `wake`; returns how many. `position` is the ledger's.

        Effect ids go on behind `position` and behind every id the site had. Revisions start at `generation` times
        10**9. Raises StoreLostError when another rebuild of the site took over.
        """
        asked = self._trusts.get(site)
        floor = newest(position, asked.last if asked is not None else BEGINNING)
        with self._reaching:
            count, trust = await Rebuild(self._client, site_keys(site), generation).run(groups, wake=wake, floor=floor)
        self._trusts.put(site, trust)
        self._memory.drop_site(site)
        return count

    async def sites(self) -> list[str]:
        """Sites that have twins here, sorted; one whose rebuild did not finish has none."""
        with self._reaching:
            known = sorted(member.decode() for member in await self._client.smembers(SITES))
            pipe = self._client.pipeline(transaction=False)
            for site in known:
                pipe.hexists(site_keys(site).generation, "gen")
            present = await pipe.execute() if known else []
        return [site for site, here in zip(known, present, strict=True) if here]


def _counted(member: bytes) -> int:
    return int(member.rpartition(b":")[2])

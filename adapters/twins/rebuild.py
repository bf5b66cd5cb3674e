"""Writing all twins of a site anew.

Theory of operation. A rebuild first takes the site's generation away and puts a random builder token in its place: from
then on no commit passes, and every page is written in a transaction that holds only while the token is still there
(WATCH). The generation is set last. So a crash half way leaves a site without a generation, which is rebuilt again; and
of two rebuilds at once the later one wins, the earlier fails at its next page.

The effect stream is dropped in the step that stops all commits: what twins wrote that are not to be used must not be
posted, also where this rebuild dies at once and a ledger writer finds a site between two rebuilds. Its successor goes
on behind every id the ledger, the old stream or this process has seen, and gets the old consumer groups back, so that
nothing written to it can be trimmed before they had it. Guard counts and dead letters stay: they are about the past,
which a rebuild does not change.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError, WatchError

from adapters.twins.change import devices_of, gateways_of, newborn
from adapters.twins.cluster import client_of_key, close_client_of_key
from adapters.twins.codec import encode_group
from adapters.twins.entry_id import BEGINNING, newest
from adapters.twins.keys import SITES, SiteKeys
from adapters.twins.trust import Trust
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from twin.core.model import Group

PAGE = 500


class Rebuild:
    """One rebuild of one site; used once."""

    def __init__(self, client: Redis, keys: SiteKeys, generation: int) -> None:
        self._everywhere: Any = client
        self._client: Any = client
        self._keys = keys
        self._generation = generation
        self._builder = secrets.token_hex(8)

    async def run(self, groups: AsyncIterator[Group], *, wake: int, floor: str) -> tuple[int, Trust]:
        """Replace the site's twins; returns how many groups there are now, and the trust in them.

        `floor` is an effect id that all new ones must be behind. Raises StoreLostError when another rebuild took over.
        """
        self._client = await client_of_key(self._everywhere, self._keys.generation)
        try:
            return await self._replace(groups, wake, floor)
        finally:
            await close_client_of_key(self._everywhere, self._client)

    async def _replace(self, groups: AsyncIterator[Group], wake: int, floor: str) -> tuple[int, Trust]:
        last = await self._take_over(floor)
        await self._clear()
        count = await self._write(groups, wake)
        trust = Trust(builder=self._builder, generation=self._generation, last=last)
        await self._everywhere.sadd(SITES, self._keys.site)
        await self._guarded(lambda pipe: pipe.hset(self._keys.generation, mapping={"gen": self._generation}))
        return count, trust

    async def _take_over(self, floor: str) -> str:
        """Stop all commits and begin an empty effect stream; returns the id that it starts behind."""
        keys = self._keys
        consumers = await consumer_groups(self._client, keys)
        old = await self._client.hget(keys.generation, "last")
        last = newest(floor, old.decode() if old else BEGINNING)
        pipe = self._client.pipeline(transaction=True)
        pipe.hdel(keys.generation, "gen", "trimmed")
        pipe.hset(keys.generation, mapping={"builder": self._builder, "last": last, "base": last, "count": 0})
        pipe.unlink(keys.effects)
        if last != BEGINNING:
            pipe.xadd(keys.effects, {"n": 0}, id=last)
            pipe.xdel(keys.effects, last)
        for name in consumers:
            pipe.xgroup_create(keys.effects, name, id="0-0", mkstream=True)
        await pipe.execute()
        return last

    async def _clear(self) -> None:
        """Delete the old twins together with their place in the lists, so that a crash leaves nothing that cannot be
        found by the next rebuild."""
        keys = self._keys
        while groups := await self._client.zrange(keys.timers, 0, PAGE - 1):
            await self._drop([keys.group(group.decode()) for group in groups], "ZREM", keys.timers, groups)
        while gateways := await self._client.srandmember(keys.gateways, PAGE):
            await self._drop([keys.gateway(name.decode()) for name in gateways], "SREM", keys.gateways, gateways)
        await self._guarded(lambda pipe: pipe.unlink(keys.directory))

    async def _drop(self, names: Sequence[str], remove: str, listed: str, members: Sequence[bytes]) -> None:
        def drop(pipe: Any) -> None:
            pipe.unlink(*names)
            pipe.execute_command(remove, listed, *members)

        await self._guarded(drop)

    async def _write(self, groups: AsyncIterator[Group], wake: int) -> int:
        count = 0
        page: list[Group] = []
        async for group in groups:
            if group.site != self._keys.site:
                raise ValueError(f"group {group.id!r} belongs to site {group.site!r}, not to {self._keys.site!r}")
            page.append(newborn(group, generation=self._generation, wake=wake))
            if len(page) == PAGE:
                count += await self._write_page(page, wake)
                page = []
        if page:
            count += await self._write_page(page, wake)
        return count

    async def _write_page(self, page: Sequence[Group], wake: int) -> int:
        keys = self._keys

        def write(pipe: Any) -> None:
            pipe.zadd(keys.timers, {group.id: wake for group in page})
            for group in page:
                pipe.hset(keys.group(group.id), mapping=encode_group(group))
            place_groups(pipe, keys, page)

        await self._guarded(write)
        return len(page)

    async def _guarded(self, write: Callable[[Pipeline], Any]) -> None:
        """Run a transaction that holds only while this rebuild is the latest one of its site."""
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(self._keys.generation)
            builder = await pipe.hget(self._keys.generation, "builder")
            try:
                if builder != self._builder.encode():
                    raise WatchError
                pipe.multi()
                write(pipe)
                await pipe.execute()
            except WatchError:
                raise StoreLostError(
                    f"site {self._keys.site!r}: another rebuild took over, or the store was wiped meanwhile"
                ) from None


def place_groups(pipe: Any, keys: SiteKeys, groups: Sequence[Group]) -> None:
    """Put the devices of groups into the directory, and the groups behind their gateways."""
    holders = {device: group.id for group in groups for device in devices_of(group)}
    behind: defaultdict[str, list[str]] = defaultdict(list)
    for group in groups:
        for gateway in gateways_of(group):
            behind[gateway].append(group.id)
    if holders:
        pipe.hset(keys.directory, mapping=holders)
    if behind:
        pipe.sadd(keys.gateways, *behind)
    for gateway, members in behind.items():
        pipe.sadd(keys.gateway(gateway), *members)


async def consumer_groups(client: Any, keys: SiteKeys) -> list[bytes]:
    """Names of the consumer groups on a site's effect stream; none when there is no stream."""
    try:
        return [row["name"] for row in await client.xinfo_groups(keys.effects)]
    except ResponseError as error:
        if "no such key" in str(error):
            return []
        raise

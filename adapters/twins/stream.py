"""RedisEffectStream: what the twins decided, delivered at least once and in order to every named group of consumers.

Theory of operation. Each consumer group of a site's stream gets every entry. An entry handed out stays pending for the
consumer *by name* until it is acknowledged; so consumers keep their names over a restart, and read their pending
entries first. A read whose answer was lost (connection broken, task cancelled) may have handed out entries that nobody
received: the next read of that consumer returns what is pending before anything new, so order holds without the
caller's help.

A rebuild replaces the stream and gives its consumer groups back; a group that is missing all the same (a wiped Redis)
is made again at the beginning of the new stream.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from adapters.twins.codec import decode_effects
from adapters.twins.connection import Reaching
from adapters.twins.entry_id import BEGINNING, order
from adapters.twins.keys import site_keys
from adapters.twins.script import TRIM, Script
from twin.ports import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from redis.asyncio import Redis

SLICE_MS = 2_000
"""Longest single wait inside Redis; must stay well below the connection's time limit for an answer."""

FOLLOW_COUNT = 200


class RedisEffectStream:
    """EffectStream on Redis. Give it a client made with `retries=0`: repeating a read by itself would skip entries."""

    def __init__(self, client: Redis, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._client: Any = client
        self._reaching = Reaching(client)
        self._trim = Script(client, TRIM)
        self._seconds = seconds
        self._doubtful: dict[tuple[str, str, str], str] = {}

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._client.aclose()

    async def join(self, site: str, consumers: str, *, after: str | None = None) -> None:
        """Make sure the consumer group exists; a new one starts with the oldest entry there is.

        `after` starts the group anew just behind that entry: nothing is pending for it any more.
        """
        key = site_keys(site).effects
        with self._reaching:
            try:
                await self._client.xgroup_create(key, consumers, id=after or BEGINNING, mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
                if after is not None:
                    pipe = self._client.pipeline(transaction=True)
                    pipe.xgroup_destroy(key, consumers)
                    pipe.xgroup_create(key, consumers, id=after, mkstream=True)
                    await pipe.execute()

    async def read(
        self, site: str, consumers: str, consumer: str, *, count: int, block_ms: int, pending: bool = False
    ) -> list[Entry]:
        """The next entries, waiting up to `block_ms` for the first; empty when there are none.

        With `pending`, the oldest `count` of those handed to this consumer and never acknowledged; never waits.
        """
        name = (site, consumers, consumer)
        if pending:
            return await self._read(name, BEGINNING, count)
        if (cursor := self._doubtful.get(name)) is not None:
            entries = await self._read(name, cursor, count)
            if entries:
                self._doubtful[name] = entries[-1].id
                return entries
            del self._doubtful[name]
        deadline = self._seconds() + block_ms / 1000
        while True:
            left_ms = int((deadline - self._seconds()) * 1000)
            entries = await self._read(name, ">", count, block_ms=min(left_ms, SLICE_MS))
            if entries or left_ms <= SLICE_MS:
                return entries

    async def _read(
        self, name: tuple[str, str, str], start: str, count: int, *, block_ms: int | None = None
    ) -> list[Entry]:
        site, consumers, consumer = name
        key = site_keys(site).effects
        block = block_ms if block_ms is not None and block_ms > 0 else None
        try:
            with self._reaching:
                reply = await self._client.xreadgroup(consumers, consumer, {key: start}, count=count, block=block)
        except ResponseError as error:
            if not _group_is_gone(error):
                raise
            await self.join(site, consumers)
            return await self._read(name, start, count, block_ms=block_ms)
        except BaseException:
            self._doubtful[name] = BEGINNING
            raise
        rows = reply[0][1] if reply else []
        dropped = [entry_id for entry_id, fields in rows if not fields]
        if dropped:
            await self.acknowledge(site, consumers, [entry_id.decode() for entry_id in dropped])
        return [_entry(entry_id, fields) for entry_id, fields in rows if fields]

    async def acknowledge(self, site: str, consumers: str, ids: Sequence[str]) -> None:
        """Done with these entries, for the whole group; unknown ids are passed over."""
        if ids:
            with self._reaching:
                await self._client.xack(site_keys(site).effects, consumers, *ids)

    async def lag(self, site: str, consumers: str) -> int:
        """Entries that this consumer group has not acknowledged, those never handed out included."""
        keys = site_keys(site)
        with self._reaching:
            delivered, pending = await self._progress(keys.effects, consumers)
            pipe = self._client.pipeline(transaction=True)
            pipe.xrange(keys.effects, min=f"({delivered}", count=1)
            pipe.hget(keys.generation, "count")
            following, written = await pipe.execute()
        if not following:
            return pending
        return pending + int(written or 0) - int(following[0][1][b"n"]) + 1

    async def _progress(self, key: str, consumers: str) -> tuple[str, int]:
        """(last id handed out, entries pending) of a consumer group; the beginning where there is none."""
        try:
            rows = await self._client.xinfo_groups(key)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            rows = []
        for row in rows:
            if row["name"] == consumers.encode():
                return row["last-delivered-id"].decode(), row["pending"]
        return BEGINNING, 0

    async def trim(self, site: str, *, ledger_position: str, keep: int) -> int:
        """Drop the entries that the ledger has and no consumer group still needs, except the newest `keep`.

        Returns how many were dropped. A consumer group that stopped reading holds everything behind it.
        """
        keys = site_keys(site)
        with self._reaching:
            return int(await self._trim([keys.generation, keys.effects], [ledger_position, keep]))

    async def peek(self, site: str, after: str, count: int) -> list[Entry]:
        """Up to `count` entries newer than `after`, oldest first, handed out to nobody."""
        with self._reaching:
            rows = await self._client.xrange(site_keys(site).effects, min=f"({after}", count=count)
        return [_entry(entry_id, fields) for entry_id, fields in rows if b"e" in fields]

    async def knows(self, site: str, entry_id: str) -> bool:
        """Whether an entry of this id is in the stream, or was: dropped by `trim`, or before the last rebuild."""
        keys = site_keys(site)
        pipe = self._client.pipeline(transaction=True)
        pipe.xrange(keys.effects, min=entry_id, max=entry_id, count=1)
        pipe.hmget(keys.generation, "trimmed", "base")
        with self._reaching:
            found, marks = await pipe.execute()
        return bool(found) or order(entry_id) <= max(order(mark.decode()) if mark else (0, 0) for mark in marks)

    async def trimmed_to(self, site: str) -> str:
        """Id up to which entries were dropped by `trim`; '0-0' when none were since the last rebuild."""
        return await self._head(site_keys(site).generation, "trimmed")

    async def acknowledged_to(self, site: str, consumers: str) -> str:
        """Id up to which a consumer group has acknowledged everything; '0-0' while anything is pending."""
        with self._reaching:
            delivered, pending = await self._progress(site_keys(site).effects, consumers)
        return BEGINNING if pending else delivered

    async def follow(self, site: str, after: str | None) -> AsyncIterator[Entry]:
        """Live feed of entries newer than `after`; None means from the first step of the iteration on. Never ends."""
        keys = site_keys(site)
        cursor = after if after is not None else await self._head(keys.generation, "last")
        while True:
            with self._reaching:
                reply = await self._client.xread({keys.effects: cursor}, count=FOLLOW_COUNT, block=SLICE_MS)
            for entry_id, fields in reply[0][1] if reply else []:
                cursor = entry_id.decode()
                yield _entry(entry_id, fields)

    async def _head(self, key: str, field: str) -> str:
        with self._reaching:
            entry_id = await self._client.hget(key, field)
        return entry_id.decode() if entry_id is not None else BEGINNING


def _entry(entry_id: bytes, fields: dict[bytes, Any]) -> Entry:
    return Entry(entry_id.decode(), fields[b"g"].decode(), decode_effects(fields[b"e"]), int(fields[b"n"]))


def _group_is_gone(error: ResponseError) -> bool:
    """The stream was deleted or replaced; waiting readers are told so with UNBLOCKED."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))

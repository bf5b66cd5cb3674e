"""The live feed: one reader of each site's effect stream, fanned out to any number of followers.

Theory of operation. A site's stream is read once a process, however many screens watch it. Each follower has a queue of
its own with a bound: whoever does not drain it is let go, and comes back with the id of the last entry it saw; nobody
else waits for it. A follower that resumes behind an older entry first reads the stream by itself up to where the common
reader was when it joined, then takes over its queue, so nothing is missed and nothing comes twice.

A reader that fails (the store is away) ends the feeds of its site; clients reconnect and resume.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twin.ports import EffectStream, Entry, TwinStore

log = structlog.get_logger(__name__)

QUEUE_MAX: Final = 1_000
"""Entries a follower may be behind before it is let go."""
BREATH: Final = 100
"""Entries after which everybody else gets a turn."""
CATCH_UP_S: Final = 5.0
"""Longest wait for an entry that must already be in the stream."""
BEGINNING: Final = "0-0"


def order(entry_id: str) -> tuple[int, int]:
    """Stream ids `ms-n` in their order. Raises ValueError for a text that is no id."""
    ms, separator, serial = entry_id.partition("-")
    if not (ms.isascii() and ms.isdigit() and (not separator or (serial.isascii() and serial.isdigit()))):
        raise ValueError(f"{entry_id!r} is not an id of the stream, such as 1763778000000-0")
    return int(ms), int(serial or 0)


class FeedCounters(msgspec.Struct):
    """What the feeds of a process count, for metrics."""

    let_go: int = 0
    """Followers that were too slow."""


class Subscription:
    """What one follower has still to see."""

    def __init__(self, reader: SiteReader, queue_max: int, counters: FeedCounters) -> None:
        self.reader = reader
        self.joined_at = reader.position
        """Everything behind this entry comes by the queue."""
        self._queue_max = queue_max
        self._counters = counters
        self._entries: deque[Entry] = deque()
        self._changed = asyncio.Event()
        self.ended = False

    def offer(self, entry: Entry) -> None:
        """Take an entry into the queue; a follower that is too far behind is let go."""
        if self.ended:
            return
        if len(self._entries) >= self._queue_max:
            self._counters.let_go += 1
            self._entries.clear()
            self.end()
            return
        self._entries.append(entry)
        self._changed.set()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self._changed.set()

    async def take(self) -> list[Entry]:
        """Everything that waits, or the next that comes; empty when the feed has ended. Cancelling loses nothing."""
        while not self._entries and not self.ended:
            self._changed.clear()
            await self._changed.wait()
        taken = list(self._entries)
        self._entries.clear()
        return taken


class SiteReader:
    """The one reader of a site's stream in this process."""

    def __init__(self, stream: EffectStream, site: str, position: str) -> None:
        self.position = position
        """Id of the last entry handed to the followers."""
        self.followers: set[Subscription] = set()
        self._site = site
        self._stream = stream
        self._handed = 0
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._end_all)  # also where it is cancelled before it ever ran

    @property
    def alive(self) -> bool:
        """Whether entries still come."""
        return not self._task.done()

    async def _run(self) -> None:
        try:
            async with contextlib.aclosing(self._stream.follow(self._site, self.position)) as entries:  # type: ignore[type-var]
                async for entry in entries:
                    self.position = entry.id
                    for follower in tuple(self.followers):
                        follower.offer(entry)
                    self._handed += 1
                    if self._handed % BREATH == 0:
                        await asyncio.sleep(0)  # a burst must not outrun followers that do read
        except Exception as error:
            log.warning("the live feed ends, followers will resume", site=self._site, error=repr(error)[:500])

    def _end_all(self, _task: asyncio.Task[None]) -> None:
        for follower in self.followers:
            follower.end()

    def stop(self) -> None:
        """Stop reading; every follower's feed ends."""
        self._task.cancel()


class LiveFeed:
    """Live entries of all sites for any number of followers."""

    def __init__(self, stream: EffectStream, store: TwinStore, *, queue_max: int = QUEUE_MAX) -> None:
        self.counters = FeedCounters()
        self._stream = stream
        self._store = store
        self._queue_max = queue_max
        self._readers: dict[str, SiteReader] = {}
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def followers(self) -> int:
        """Feeds that are open now."""
        return sum(len(reader.followers) for reader in self._readers.values())

    async def can_resume(self, site: str, after: str) -> bool:
        """Whether everything behind this entry is still in the stream; False also for an id that is none of ours."""
        try:
            wanted = order(after)
        except ValueError:
            return False
        known = await self._store.generation(site)
        newest = order(known[1]) if known is not None else (0, 0)
        return order(await self._stream.trimmed_to(site)) <= wanted <= newest

    async def join(self, site: str) -> Subscription:
        """Follow a site from now on. Whoever joins must leave."""
        async with self._starting:
            reader = self._readers.get(site)
            if reader is None or not reader.alive:
                known = await self._store.generation(site)
                reader = SiteReader(self._stream, site, known[1] if known is not None else BEGINNING)
                self._readers[site] = reader
            subscription = Subscription(reader, self._queue_max, self.counters)
            reader.followers.add(subscription)
            if self._closed:
                subscription.end()
            return subscription

    def leave(self, subscription: Subscription) -> None:
        """Follow no longer. A reader without followers stops; the next follower starts another."""
        reader = subscription.reader
        reader.followers.discard(subscription)
        if not reader.followers:
            self._readers = {site: other for site, other in self._readers.items() if other is not reader}
            reader.stop()

    async def missed(self, site: str, after: str, subscription: Subscription) -> AsyncIterator[Entry]:
        """Entries behind `after` up to where the subscription takes over, read on an own connection."""
        end = order(subscription.joined_at)
        entries = self._stream.follow(site, after)
        latest = order(after)
        while latest < end:
            try:
                async with asyncio.timeout(CATCH_UP_S):
                    entry = await anext(entries)
            except TimeoutError:
                return  # a rebuild has replaced the stream: there is nothing to catch up with
            latest = order(entry.id)
            if latest <= end:
                yield entry

    async def close(self) -> None:
        """End every feed; new ones end at once."""
        self._closed = True
        for reader in list(self._readers.values()):
            reader.stop()

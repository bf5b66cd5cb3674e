"""Consumers of the effect stream: at least once, in order, one loop for each of them.

The ledger writer owns the stream's length: what it has written to SQL, and nobody else still needs, may be dropped.
Its position is kept in SQL in the same transaction as the rows, so at the start the consumer group is set to that
position and not the other way round.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from twin.journeys import ids_of
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twin.flows.vitals import LagHistogram
    from twin.journeys import Journeys
    from twin.ports import EffectStream, Entry, Ledger

log = structlog.get_logger(__name__)

BATCH = 500
BLOCK_MS = 200
GATHER_S = 0.05
"""So long whoever is not in a hurry lets entries gather: many at once cost him and everybody beside him less."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
KEEP_ENTRIES = 20_000
"""So many of the newest entries stay for live feeds that reconnect."""
TRIM_EVERY_S = 5.0


class Consumer(Protocol):
    """Something that is done with every entry of a site's stream."""

    name: str

    async def start(self, site: str) -> None:
        """Join the stream."""
        ...

    async def consume(self, site: str, entries: Sequence[Entry]) -> None:
        """Deal with entries; when this returns they are acknowledged, when it raises they come again."""
        ...

    async def idle(self, site: str) -> None:
        """There was nothing to read for a moment."""
        ...


class ConsumerLoop:
    """Feeds one consumer with one site's stream until told to stop."""

    def __init__(self, stream: EffectStream, consumer: Consumer, worker: str, *, gather_s: float = 0.0) -> None:
        self._stream = stream
        self._consumer = consumer
        self._worker = worker
        self._gather_s = gather_s
        self.consumed = 0

    async def run(self, site: str, stop: asyncio.Event) -> None:
        """Consume; a failure of the world behind the consumer is waited out with back-off, never skipped."""
        pause_s = FIRST_PAUSE_S
        started = False
        pending = True
        while not stop.is_set():
            try:
                if not started:
                    await self._consumer.start(site)
                    started = True
                entries = await self._stream.read(
                    site, self._consumer.name, self._worker, count=BATCH, block_ms=BLOCK_MS, pending=pending
                )
                pending = pending and bool(entries)
                if entries:
                    await self._consumer.consume(site, entries)
                    await self._stream.acknowledge(site, self._consumer.name, [entry.id for entry in entries])
                    self.consumed += len(entries)
                    if self._gather_s and len(entries) < BATCH:
                        await asyncio.sleep(self._gather_s)
                else:
                    await self._consumer.idle(site)
                pause_s = FIRST_PAUSE_S
            except asyncio.CancelledError:
                raise
            except StoreLostError:
                raise
            except Exception as error:
                log.warning(
                    "consumer waits", consumer=self._consumer.name, site=site, error=repr(error)[:500], pause_s=pause_s
                )
                started, pending = False, True
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


class EntriesMissingError(RuntimeError):
    """Entries were handed to somebody else who read as the same consumer group, or SQL lacks some that it had; read
    again from SQL's position."""


class LedgerWriter:
    """Writes what the twins decided into SQL, and lets the stream forget what SQL has.

    What it posts must follow SQL's position without a gap, or the position would pass over entries that another
    process has read and may never post (one that was frozen, say, and woke up when its lease was another's). So a gap
    sends it back to SQL's position, and several of them at once are slow but lose nothing.
    """

    name = "ledger"

    def __init__(
        self,
        stream: EffectStream,
        ledger: Ledger,
        posted: LagHistogram | None = None,
        wall: Callable[[], int] | None = None,
        journeys: Journeys | None = None,
    ) -> None:
        self._stream = stream
        self._ledger = ledger
        self._posted = posted
        self._wall = wall
        self._journeys = journeys
        self._trimmed_at: dict[str, float] = {}
        self._posted_to: dict[str, int] = {}
        self._posted_id: dict[str, str] = {}

    async def start(self, site: str) -> None:
        """Take up reading just behind SQL's own position."""
        self._posted_to.pop(site, None)
        position = await self._ledger.position(site)
        await self._check_same_story(site, position)
        self._posted_id[site] = position
        await self._stream.join(site, self.name, after=position)

    async def _check_same_story(self, site: str, position: str) -> None:
        """What is read next must follow what SQL has. Raises StoreLostError where SQL went back behind what was dropped
        here, or where the store went back and wrote other effects since."""
        trimmed = await self._stream.trimmed_to(site)
        if _order(trimmed) > _order(position):
            raise StoreLostError(f"site {site!r}: effects up to {trimmed} were dropped, SQL has only {position}")
        if not await self._stream.knows(site, position):
            raise StoreLostError(f"site {site!r}: SQL has effect {position}, the store does not know it")

    async def consume(self, site: str, entries: Sequence[Entry]) -> None:
        """One transaction for the whole batch. Raises EntriesMissingError."""
        position = await self._ledger.position(site)
        if _order(position) < _order(self._posted_id.get(site, position)):
            raise EntriesMissingError(f"{site}: SQL went back to {position} from {self._posted_id[site]}")
        await self._check_gapless(site, entries)
        began_ns = time.time_ns() if self._journeys is not None else 0
        journals = await self._ledger.post(site, entries)
        if self._journeys is not None:
            self._tell_posted(entries, journals or {}, began_ns)
        self._posted_to[site] = entries[-1].serial
        self._posted_id[site] = entries[-1].id
        if self._posted is not None and self._wall is not None:
            now = self._wall()
            for entry in entries:
                self._posted.observe(now - int(entry.id.partition("-")[0]))
        await self._trim(site)

    async def idle(self, site: str) -> None:
        """Let go of what another consumer still needed at the last trim: where the stream is full, nothing comes that
        would remind us of it."""
        await self._trim(site)

    async def _trim(self, site: str) -> None:
        loop_time = asyncio.get_running_loop().time()
        if loop_time - self._trimmed_at.get(site, 0.0) >= TRIM_EVERY_S:
            self._trimmed_at[site] = loop_time
            await self._stream.trim(site, ledger_position=await self._ledger.position(site), keep=KEEP_ENTRIES)

    async def _check_gapless(self, site: str, entries: Sequence[Entry]) -> None:
        before = self._posted_to.get(site)
        if before is None:
            position = await self._ledger.position(site)
            first = await self._stream.peek(site, position, 1)
            if first and _order(first[0].id) < _order(entries[0].id):
                raise EntriesMissingError(f"{site}: {first[0].id} comes before {entries[0].id} and was not read")
            before = entries[0].serial - 1
        for entry in entries:
            if entry.serial and entry.serial != before + 1:
                raise EntriesMissingError(f"{site}: entry {before + 1} before {entry.id} was handed to somebody else")
            before = entry.serial

    def _tell_posted(self, entries: Sequence[Entry], journals: Mapping[str, Sequence[int]], began_ns: int) -> None:
        """The entry's id and the numbers of its journals, for each message that led to it."""
        assert self._journeys is not None
        ended_ns = time.time_ns()
        for entry in entries:
            ids = ids_of(entry)
            if ids:
                numbers = ",".join(map(str, journals.get(entry.id, ())))
                facts = {"entry": entry.id, "journals": numbers}
                self._journeys.step("posted", ids, began_ns=began_ns, ended_ns=ended_ns, **facts)


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)

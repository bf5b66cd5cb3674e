"""Recorded history in SQL: compressed blocks, read back in the order of receipt.

Theory of operation. What comes in is written at once, as one block of all devices of a site with the next number of the
site. When enough has gathered, or a day has passed, those blocks become one *window*: a block for each device, all
under the number of the newest, in one transaction. So a site is replayed window by window, in bounded memory, and a
single device is found without reading its neighbours. A message that came twice (the broker repeats what it got no
confirmation for) is kept once in a window where it is telemetry or an event, because those carry their own number.
"""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING

from adapters.store.engine.bulk import BulkInsert
from adapters.store.past.history_codec import QUICK, SMALL, pack, unpack
from adapters.store.sites.rebuild import in_list
from twin.recorded import HistoryExtent, Recorded, Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from adapters.store.engine.database import Database, Row, Transaction

WINDOW_MESSAGES = 100_000
"""So many messages make a window; what a reader holds in memory at once."""
WINDOW_MS = 24 * 3_600_000
"""A window is made after this time at the latest."""
MIXED = ""
NUMBERED = frozenset({"tele", "event"})

_NEXT = "SELECT COALESCE(MAX(seq), 0) + 1 FROM history_block WHERE site = ?"
_BLOCKS = BulkInsert("history_block", "site device seq:bigint from_ts:bigint to_ts:bigint count:bigint blob:bytea")
_LOOSE = "SELECT seq, from_ts, to_ts, count FROM history_block WHERE site = ? AND device = '' ORDER BY seq"
_LOOSE_BLOBS = "SELECT blob FROM history_block WHERE site = ? AND device = '' AND seq BETWEEN ? AND ? ORDER BY seq"
_EXTENT = "SELECT MIN(from_ts), MAX(to_ts), SUM(count), SUM(length(blob)), count(*) FROM history_block WHERE site = ?"
_SEQS = "SELECT DISTINCT seq FROM history_block WHERE site = ? AND to_ts >= ? AND from_ts < ?{devices} ORDER BY seq"
_WINDOW = "SELECT blob FROM history_block WHERE site = ? AND seq = ?{devices}"


class SqlHistory:
    """The `History` port over SQL."""

    def __init__(
        self, database: Database, *, window_messages: int = WINDOW_MESSAGES, window_ms: int = WINDOW_MS
    ) -> None:
        self._database = database
        self._window_messages = window_messages
        self._window_ms = window_ms

    async def append(self, site: str, messages: Sequence[Recorded]) -> None:
        """Write messages in the order of their receipt; they are safe when this returns."""
        if not messages:
            return
        ordered = sorted(messages, key=attrgetter("received_at"))
        blob = pack(ordered, QUICK)
        async with self._database.write() as tx:
            seq = (await tx.fetch(_NEXT, site))[0][0]
            row = (site, MIXED, seq, ordered[0].received_at, ordered[-1].received_at, len(ordered), blob)
            await _BLOCKS.run(tx, [row])

    async def compact(self, site: str, *, now: int) -> int:
        """Make one window of what has gathered, if it is enough or old enough; returns how many messages it holds."""
        rows = await self._database.fetch(_LOOSE, site)
        total = 0
        for place, (_, _, to_ts, count) in enumerate(rows):
            total += count
            full = total >= self._window_messages
            if full or (place == len(rows) - 1 and now - rows[0]["from_ts"] >= self._window_ms and to_ts < now):
                return await self._make_window(site, rows[0]["seq"], rows[place]["seq"])
        return 0

    async def _make_window(self, site: str, first: int, last: int) -> int:
        blobs = await self._database.fetch(_LOOSE_BLOBS, site, first, last)
        by_device: defaultdict[str, list[Recorded]] = defaultdict(list)
        for (blob,) in blobs:
            for message in unpack(bytes(blob)):
                by_device[message.device].append(message)
        rows = []
        for device, messages in sorted(by_device.items()):
            kept = _once(messages)
            times = kept[0].received_at, kept[-1].received_at
            rows.append((site, device, last, *times, len(kept), pack(kept, SMALL)))
        async with self._database.write() as tx:
            await tx.execute(
                "DELETE FROM history_block WHERE site = ? AND device = '' AND seq BETWEEN ? AND ?", site, first, last
            )
            await _BLOCKS.run(tx, rows)
        return sum(row[5] for row in rows)

    async def forget(self, site: str, *, before: int) -> int:
        """Delete blocks that ended before an instant; the newest is kept, so that numbers go on. Returns how many."""
        sql = (
            "DELETE FROM history_block WHERE site = ? AND to_ts < ? AND seq < (SELECT MAX(seq) FROM history_block"
            " WHERE site = ?) RETURNING id"
        )
        async with self._database.write() as tx:
            return len(await tx.fetch(sql, site, before, site))

    async def extent(self, site: str) -> HistoryExtent | None:
        """What is recorded of a site; None where nothing is."""
        row = (await self._database.fetch(_EXTENT, site))[0]
        if row[0] is None:
            return None
        return HistoryExtent(row[0], row[1], int(row[2]), int(row[3]), row[4])

    async def windows(
        self, site: str, from_ts: int, to_ts: int, devices: Collection[str] | None = None
    ) -> AsyncIterator[Window]:
        """Messages received in `[from_ts, to_ts)` in the order of receipt, a window at a time, as the database is now:
        what is sorted meanwhile is neither missed nor read twice."""
        async with self._database.snapshot() as tx:
            condition, values = _of_devices(tx, devices)
            for (seq,) in await tx.fetch(_SEQS.format(devices=condition), site, from_ts, to_ts, *values):
                window = await _window(tx, site, seq, devices)
                wanted = [message for message in window.messages if from_ts <= message.received_at < to_ts]
                if wanted:
                    yield Window(seq, wanted)

    async def tail(self, site: str, after: int) -> AsyncIterator[Window]:
        """Windows with a number above `after`, as far as there are any now."""
        sql = "SELECT DISTINCT seq FROM history_block WHERE site = ? AND seq > ? ORDER BY seq"
        for (seq,) in await self._database.fetch(sql, site, after):
            async with self._database.snapshot() as tx:
                yield await _window(tx, site, seq, None)


async def _window(tx: Transaction, site: str, seq: int, devices: Collection[str] | None) -> Window:
    condition, values = _of_devices(tx, devices)
    rows: Sequence[Row] = await tx.fetch(_WINDOW.format(devices=condition), site, seq, *values)
    messages: list[Recorded] = []
    for (blob,) in rows:
        messages += unpack(bytes(blob))
    if devices is not None:
        wanted = frozenset(devices)
        messages = [message for message in messages if message.device in wanted]
    messages.sort(key=attrgetter("received_at"))
    return Window(seq, messages)


def _of_devices(tx: Transaction, devices: Collection[str] | None) -> tuple[str, tuple[object, ...]]:
    if devices is None:
        return "", ()
    listed, value = in_list(tx, [MIXED, *devices])
    return f" AND device {listed}", (value,)


def _once(messages: list[Recorded]) -> list[Recorded]:
    """Without repeats of messages that carry a number of their own; in the order of receipt."""
    seen: set[tuple[str, bytes]] = set()
    kept = []
    for message in sorted(messages, key=attrgetter("received_at")):
        if message.verb in NUMBERED:
            key = (message.verb, message.payload)
            if key in seen:
                continue
            seen.add(key)
        kept.append(message)
    return kept

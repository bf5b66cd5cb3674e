"""What every effect stream must do, on the fake and on every Redis of this machine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conformance.backends import Backend
from tests.conformance.twin_values import a_group, charge, notice, stream_of
from twin.flows.rebuild_twins import why_rebuild
from twin.ports import Entry

NOW = 1_750_000_000_000


class Writer:
    """Writes numbered effects to a site's stream."""

    def __init__(self, store: Any, site: str) -> None:
        self.store, self.site, self.written = store, site, 0

    async def write(self, count: int) -> None:
        """Write so many entries, one commit each."""
        for _ in range(count):
            group = (await self.store.load(self.site, ["t-1"]))["t-1"]
            await self.store.commit(self.site, [charge(group, effects=(notice(self.written),))], now=NOW + self.written)
            self.written += 1


@pytest.fixture
async def writer(backend: Backend, site: str) -> Writer:
    """A writer on a site with one group."""
    store = backend.store()
    await store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW)
    return Writer(store, site)


def numbers(entries: list[Entry]) -> list[int]:
    """Which effects these are."""
    return [entry.effects[0].ts for entry in entries]  # type: ignore[union-attr]


def ids(entries: list[Entry]) -> list[str]:
    """Their ids."""
    return [entry.id for entry in entries]


async def test_every_group_gets_every_entry_in_order(backend: Backend, site: str, writer: Writer) -> None:
    stream = backend.stream()
    await stream.join(site, "ledger")
    await writer.write(5)
    for consumers in ("ledger", "late-comer"):
        first = await stream.read(site, consumers, "w", count=3, block_ms=0)
        rest = await stream.read(site, consumers, "w", count=9, block_ms=0)
        assert numbers(first + rest) == [0, 1, 2, 3, 4]
        assert await stream.read(site, consumers, "w", count=9, block_ms=0) == []


async def test_entries_carry_group_and_effects(backend: Backend, site: str, writer: Writer) -> None:
    group = (await writer.store.load(site, ["t-1"]))["t-1"]
    effects = (notice(1), notice(2))
    await writer.store.commit(site, [charge(group, effects=effects)], now=NOW)
    (entry,) = await backend.stream().read(site, "ledger", "w", count=1, block_ms=0)
    assert (entry.group, entry.effects) == ("t-1", effects)


async def test_unacknowledged_entries_come_again(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(5)
    stream = backend.stream()
    taken = await stream.read(site, "ledger", "w", count=4, block_ms=0)
    await stream.acknowledge(site, "ledger", [taken[0].id, taken[2].id, "1-1"])
    restarted = backend.stream()
    again = await restarted.read(site, "ledger", "w", count=9, block_ms=0, pending=True)
    assert numbers(again) == [1, 3]
    assert numbers(await restarted.read(site, "ledger", "w", count=1, block_ms=0, pending=True)) == [1]
    assert await restarted.read(site, "ledger", "other", count=9, block_ms=0, pending=True) == []
    await restarted.acknowledge(site, "ledger", ids(again))
    assert await restarted.read(site, "ledger", "w", count=9, block_ms=0, pending=True) == []
    assert numbers(await restarted.read(site, "ledger", "w", count=9, block_ms=0)) == [4]


async def test_consumers_of_one_group_share_the_work(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(4)
    stream = backend.stream()
    left = await stream.read(site, "notify", "a", count=2, block_ms=0)
    right = await stream.read(site, "notify", "b", count=2, block_ms=0)
    assert numbers(left) + numbers(right) == [0, 1, 2, 3]


async def test_join_twice_changes_nothing(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(3)
    stream = backend.stream()
    await stream.join(site, "ledger")
    await stream.read(site, "ledger", "w", count=2, block_ms=0)
    await stream.join(site, "ledger")
    assert numbers(await stream.read(site, "ledger", "w", count=9, block_ms=0)) == [2]
    assert await stream.lag(site, "ledger") == 3


async def test_join_behind_the_ledgers_own_position(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(6)
    stream = backend.stream()
    taken = await stream.read(site, "ledger", "w", count=5, block_ms=0)
    # SQL has the first three, whatever the group thinks: the two others must come again, and as new.
    await stream.join(site, "ledger", after=taken[2].id)
    assert await stream.read(site, "ledger", "w", count=9, block_ms=0, pending=True) == []
    assert await stream.lag(site, "ledger") == 3
    assert numbers(await stream.read(site, "ledger", "w", count=9, block_ms=0)) == [3, 4, 5]
    # Forward too: SQL may have more than was acknowledged here.
    await stream.join(site, "ledger", after=taken[4].id)
    assert numbers(await stream.read(site, "ledger", "w", count=9, block_ms=0)) == [5]
    await stream.join(site, "new", after=taken[3].id)
    assert numbers(await stream.read(site, "new", "w", count=9, block_ms=0)) == [4, 5]


async def test_read_waits_for_the_next_entry(backend: Backend, site: str, writer: Writer) -> None:
    stream = backend.stream()
    await stream.join(site, "ledger")
    reading = asyncio.create_task(stream.read(site, "ledger", "w", count=9, block_ms=120_000))
    await asyncio.sleep(0.1)
    assert not reading.done()
    await writer.write(1)
    assert numbers(await asyncio.wait_for(reading, 60)) == [0]


async def test_read_gives_up_after_its_time(backend: Backend, site: str, writer: Writer) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await backend.stream().read(site, "ledger", "w", count=9, block_ms=150) == []
    assert 0.1 < loop.time() - started < 60


async def test_cancelled_read_loses_nothing(backend: Backend, site: str, writer: Writer) -> None:
    stream = backend.stream()
    await stream.join(site, "ledger")
    seen: list[int] = []
    for turn in range(20):
        reading = asyncio.create_task(stream.read(site, "ledger", "w", count=9, block_ms=1_000))
        writing = asyncio.create_task(writer.write(1))
        await asyncio.sleep(0.0004 * turn)
        reading.cancel()
        for result in await asyncio.gather(reading, return_exceptions=True):
            if isinstance(result, list):
                seen += numbers(result)
                await stream.acknowledge(site, "ledger", ids(result))
        await writing
    while entries := await stream.read(site, "ledger", "w", count=3, block_ms=0):
        seen += numbers(entries)
        await stream.acknowledge(site, "ledger", ids(entries))
    assert seen == list(range(20)), "each once here, and in order"
    assert await stream.lag(site, "ledger") == 0


async def test_lag_counts_what_is_not_acknowledged(backend: Backend, site: str, writer: Writer) -> None:
    stream = backend.stream()
    assert await stream.lag(site + "-unknown", "ledger") == 0
    assert await stream.lag(site, "ledger") == 0
    await writer.write(5)
    assert await stream.lag(site, "ledger") == 5, "a group that never joined has seen nothing"
    taken = await stream.read(site, "ledger", "w", count=3, block_ms=0)
    assert await stream.lag(site, "ledger") == 5
    await stream.acknowledge(site, "ledger", ids(taken)[:2])
    assert await stream.lag(site, "ledger") == 3
    await stream.trim(site, ledger_position=taken[1].id, keep=0)
    assert await stream.lag(site, "ledger") == 3
    taken += await stream.read(site, "ledger", "w", count=9, block_ms=0)
    await stream.acknowledge(site, "ledger", ids(taken))
    assert await stream.lag(site, "ledger") == 0
    await stream.trim(site, ledger_position=taken[-1].id, keep=0)
    await writer.write(2)
    assert await stream.lag(site, "ledger") == 2


# --- trim ---------------------------------------------------------------------------------------------------------


async def _consumed(stream: Any, site: str, consumers: str, count: int) -> list[str]:
    entries = await stream.read(site, consumers, "w", count=count, block_ms=0)
    await stream.acknowledge(site, consumers, ids(entries))
    return ids(entries)


async def test_trim_stops_at_the_ledger(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(10)
    stream = backend.stream()
    known = await _consumed(stream, site, "ledger", 10)
    assert await stream.trim(site, ledger_position="0-0", keep=0) == 0
    assert await stream.trimmed_to(site) == "0-0"
    assert await stream.trim(site, ledger_position=known[3], keep=0) == 4
    assert await stream.trimmed_to(site) == known[3]
    assert await stream.trim(site, ledger_position=known[3], keep=0) == 0
    assert numbers(await stream.read(site, "audit", "w", count=99, block_ms=0)) == [4, 5, 6, 7, 8, 9]


async def test_trim_stops_at_every_group(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(10)
    stream = backend.stream()
    known = await _consumed(stream, site, "ledger", 10)
    await _consumed(stream, site, "slow", 6)
    pending = await stream.read(site, "stuck", "w", count=8, block_ms=0)
    await stream.acknowledge(site, "stuck", [known[0], known[1], known[2], known[5]])
    assert await stream.trim(site, ledger_position=known[9], keep=0) == 3, "`stuck` still needs its fourth"
    assert await stream.trimmed_to(site) == known[2]
    await stream.acknowledge(site, "stuck", ids(pending))
    assert await stream.trim(site, ledger_position=known[9], keep=0) == 3, "`slow` was given six"
    await stream.join(site, "new")
    assert await stream.trim(site, ledger_position=known[9], keep=0) == 0, "`new` has seen nothing"
    assert numbers(await stream.read(site, "new", "w", count=99, block_ms=0)) == [6, 7, 8, 9]


async def test_trim_keeps_the_newest(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(10)
    stream = backend.stream()
    known = await _consumed(stream, site, "ledger", 10)
    assert await stream.trim(site, ledger_position=known[9], keep=10) == 0
    assert await stream.trim(site, ledger_position=known[9], keep=7) == 3
    assert await stream.trimmed_to(site) == known[2]
    assert await stream.trim(site, ledger_position=known[4], keep=1) == 2
    assert await stream.trimmed_to(site) == known[4]
    assert await stream.trim(site, ledger_position=known[9], keep=0) == 5
    assert await stream.trimmed_to(site) == known[9]
    await writer.write(2)
    assert numbers(await stream.read(site, "ledger", "w", count=99, block_ms=0)) == [10, 11]


async def test_trim_of_nothing(backend: Backend, site: str, writer: Writer) -> None:
    assert await backend.stream().trim(site, ledger_position="9-9", keep=0) == 0
    assert await backend.stream().trim(site + "-unknown", ledger_position="9-9", keep=0) == 0
    assert await backend.stream().trimmed_to(site + "-unknown") == "0-0"


# --- rebuilds and loss --------------------------------------------------------------------------------------------


async def test_groups_survive_a_rebuild(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(4)
    stream = backend.stream()
    known = await _consumed(stream, site, "ledger", 4)
    await stream.trim(site, ledger_position=known[1], keep=0)
    await writer.store.replace_site(site, 2, stream_of([a_group(site)]), wake=NOW, position=known[3])
    assert await stream.trimmed_to(site) == "0-0"
    await writer.write(3)
    # The ledger may trim before the others came back: `ledger` was there before and needs all three.
    assert await stream.trim(site, ledger_position="99999999999999-0", keep=0) == 0
    assert numbers(await stream.read(site, "ledger", "w", count=9, block_ms=0)) == [4, 5, 6]


async def test_reader_goes_on_after_the_stream_was_lost(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(2)
    stream = backend.stream()
    assert numbers(await stream.read(site, "ledger", "w", count=9, block_ms=0)) == [0, 1]
    waiting = asyncio.create_task(stream.read(site, "ledger", "w", count=9, block_ms=400))
    await asyncio.sleep(0.05)
    await backend.wipe(site)
    assert await asyncio.wait_for(waiting, 60) == []
    assert await stream.read(site, "ledger", "w", count=9, block_ms=0, pending=True) == []
    await writer.store.replace_site(site, 2, stream_of([a_group(site)]), wake=NOW)
    await writer.write(1)
    assert numbers(await stream.read(site, "ledger", "w", count=9, block_ms=0)) == [2]


# --- live feed ----------------------------------------------------------------------------------------------------


async def _next(feed: Any, count: int) -> list[Entry]:
    return [await asyncio.wait_for(anext(feed), 60) for _ in range(count)]


async def test_follow_from_an_id(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(4)
    stream = backend.stream()
    known = ids(await stream.read(site, "ledger", "w", count=9, block_ms=0))
    feed = stream.follow(site, known[1])
    assert numbers(await _next(feed, 2)) == [2, 3]
    await writer.write(2)
    assert numbers(await _next(feed, 2)) == [4, 5]
    assert await stream.lag(site, "ledger") == 6, "a follower acknowledges nothing"
    await feed.aclose()


async def test_follow_from_now_on_and_over_a_rebuild(backend: Backend, site: str, writer: Writer) -> None:
    await writer.write(2)
    feed = backend.stream().follow(site, None)
    first = asyncio.create_task(anext(feed))
    await asyncio.sleep(0.1)
    while not first.done():  # it follows from its first question on, which may come late
        await writer.write(1)
        await asyncio.wait({first}, timeout=1)
    (begins,) = numbers([await first])
    assert begins >= 2, "what was written before is not followed"
    assert numbers(await _next(feed, writer.written - begins - 1)) == list(range(begins + 1, writer.written))
    await writer.store.replace_site(site, 2, stream_of([a_group(site)]), wake=NOW)
    await writer.write(1)
    assert numbers(await _next(feed, 1)) == [writer.written - 1]
    await feed.aclose()


async def test_what_a_group_has_acknowledged_is_known_once_nothing_is_pending(
    backend: Backend, site: str, writer: Writer
) -> None:
    stream = backend.stream()
    await stream.join(site, "ledger")
    assert await stream.acknowledged_to(site, "ledger") == "0-0"
    await writer.write(3)
    entries = await stream.read(site, "ledger", "w", count=3, block_ms=0)
    await stream.acknowledge(site, "ledger", ids(entries[:2]))
    assert await stream.acknowledged_to(site, "ledger") == "0-0", "one is pending: it may be in SQL or not"
    await stream.acknowledge(site, "ledger", ids(entries[2:]))
    assert await stream.acknowledged_to(site, "ledger") == entries[2].id


async def three_read(backend: Backend, site: str, writer: Writer) -> tuple[Any, list[Entry]]:
    """A stream of which the ledger has read three entries, and these."""
    stream = backend.stream()
    await stream.join(site, "ledger")
    await writer.write(3)
    return stream, list(await stream.read(site, "ledger", "w", count=3, block_ms=0))


async def test_sql_that_lacks_what_the_ledger_once_acknowledged_is_older_than_the_store(
    backend: Backend, site: str, writer: Writer
) -> None:
    stream, entries = await three_read(backend, site, writer)
    await stream.acknowledge(site, "ledger", ids(entries))
    assert await why_rebuild(Position(entries[2].id), writer.store, stream, site) == ""
    assert "SQL is older" in await why_rebuild(Position(entries[1].id), writer.store, stream, site)
    assert "older than SQL" in await why_rebuild(Position("9999999999999-0"), writer.store, stream, site)


async def test_a_ledger_that_goes_on_while_it_is_asked_is_no_reason_to_rebuild(
    backend: Backend, site: str, writer: Writer
) -> None:
    stream, entries = await three_read(backend, site, writer)

    class Posting(Position):
        """Whoever asks hears the answer late: by then the ledger has posted and acknowledged the rest."""

        async def generation(self, site: str) -> tuple[int, str]:
            before = await super().generation(site)
            self.position = entries[2].id
            await stream.acknowledge(site, "ledger", ids(entries))
            return before

    assert await why_rebuild(Posting(entries[0].id), writer.store, stream, site) == ""


class Position:
    """A registry that knows one thing: how far SQL is."""

    def __init__(self, position: str) -> None:
        self.position = position

    async def generation(self, site: str) -> tuple[int, str]:
        """Generation 1, and the position."""
        return 1, self.position

"""Leases in a real Redis, and what stops those who go on without theirs: the fence of the commit script, revisions, and
the ledger's refusal of gaps."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from adapters.embedded import RunningServer, start_redis
from adapters.twins import RedisEffectStream, RedisLeases, RedisTwinStore, connect
from tests.conformance.twin_values import a_group, charge, charged, notice, stream_of
from tests.integration.installation import TWINMETER
from tests.integration.servers import fresh_name
from twin.flows import keep_leases
from twin.flows.consume_effects import EntriesMissingError, LedgerWriter
from twin.flows.keep_leases import Held, LeaseKeeper
from twin.leases import LayoutError, LeaseLostError
from twin.ports import GroupChange

SHORT_MS = 400
"""A lease that is to end while we wait."""
LONG_MS = 600_000
"""One that must not: whoever is not scheduled for seconds still has it."""


@pytest.fixture
async def client(redis_server: RunningServer) -> AsyncIterator[Redis]:
    client = connect(redis_server.url, retries=0)
    yield client
    await client.aclose()


@pytest.fixture
async def redis_stream(client: Redis) -> tuple[RedisTwinStore, RedisEffectStream, str]:
    """A site with one group, and its stream."""
    store, site = RedisTwinStore(client), fresh_name("s")
    await store.replace_site(site, 1, stream_of([a_group(site)]), wake=1)
    return store, RedisEffectStream(client), site


async def test_a_token_only_grows_and_a_lease_is_taken_over_after_its_time(client: Redis):
    leases, kind = RedisLeases(client), fresh_name("k")
    first = await leases.take(kind, "00", "one", ttl_ms=LONG_MS)
    assert first > 0
    assert await leases.take(kind, "00", "two", ttl_ms=LONG_MS) == 0
    began = time.monotonic()
    await leases.beat(kind, "one", "one", {"00": first}, ttl_ms=SHORT_MS, layout="")
    while not (second := await leases.take(kind, "00", "two", ttl_ms=LONG_MS)):
        assert time.monotonic() - began < 30, "a lease that nobody renews is free after its time"
        await asyncio.sleep(0.05)
    assert time.monotonic() - began > 0.9 * SHORT_MS / 1000, "and not before"
    assert second > first
    view = await leases.beat(kind, "one", "one", {"00": first}, ttl_ms=LONG_MS, layout="")
    assert view.holders() == {"00": "two"}, "a late beat takes nothing back"
    await leases.give(kind, "00", "one", first)
    assert (await leases.view(kind)).holders() == {"00": "two"}, "nor does it give away what is another's"
    await leases.give(kind, "00", "two", second)
    assert await leases.take(kind, "00", "one", ttl_ms=LONG_MS) > second
    assert (await leases.view(kind)).leases[0].changes == 3
    await client.delete("{$lease}:" + kind)
    assert await leases.take(kind, "00", "two", ttl_ms=LONG_MS) > second, "also in a Redis that was wiped"


async def test_who_divides_otherwise_waits_until_the_others_have_gone(client: Redis):
    leases, kind = RedisLeases(client), fresh_name("k")
    await leases.beat(kind, "old", "old", {}, ttl_ms=LONG_MS, layout="4/0")
    with pytest.raises(LayoutError, match=r"old divides .* as 4/0, this one as 8/0"):
        await leases.beat(kind, "new", "new", {}, ttl_ms=LONG_MS, layout="8/0")
    await leases.beat(kind, "old", "old", {}, ttl_ms=LONG_MS, layout="4/0")
    await leases.leave(kind, "old")
    assert [
        member.owner for member in (await leases.beat(kind, "new", "new", {}, ttl_ms=LONG_MS, layout="8/0")).members
    ] == ["new"]


async def test_an_older_token_is_refused_although_no_revision_stands_against_it(redis_stream: tuple):
    """The zombie decided on a twin that nobody changed since: only the fence can tell."""
    store, stream, site = redis_stream
    zombie, heir = store.fenced("ingest-03", 5), store.fenced("ingest-03", 6)
    group = (await zombie.load(site, ["t-1"]))["t-1"]
    await heir.raise_fence([site])
    with pytest.raises(LeaseLostError, match="token 5 is refused, its owner has 6"):
        await zombie.commit(site, [charge(group, effects=(notice(1),))], now=1)
    assert (await store.load(site, ["t-1"]))["t-1"].revision == group.revision
    assert await stream.lag(site, "ledger") == 0
    assert await heir.commit(site, [charge(group)], now=1) == frozenset()
    assert await store.fenced("ingest-04", 1).commit(site, [charge(await one(store, site))], now=1) == frozenset()
    assert await store.commit(site, [charge(await one(store, site))], now=1) == frozenset(), "no lease, no fence"
    await store.fenced("ingest-03", 4).raise_fence([site])
    assert await heir.commit(site, [charge(await one(store, site))], now=1) == frozenset(), "a fence never sinks"


async def test_a_commit_without_raising_leaves_its_token_behind_too(redis_stream: tuple):
    store, _, site = redis_stream
    assert await store.fenced("ingest-03", 9).commit(site, [charge(await one(store, site))], now=1) == frozenset()
    with pytest.raises(LeaseLostError):
        await store.fenced("ingest-03", 8).commit(site, [charge(await one(store, site))], now=1)


async def test_without_a_fence_the_revision_refuses_the_zombie(client: Redis, redis_stream: tuple):
    """Timers and acts commit without a lease's token: what they decided on an old twin is refused and decided again."""
    store, stream, site = redis_stream
    zombie = RedisTwinStore(client)
    group = await one(zombie, site)
    await store.commit(site, [charge(group, 700, effects=(notice(1),))], now=1)
    change = GroupChange(before=group, after=charged(group, 700), effects=(notice(1),))
    assert await zombie.commit(site, [change], now=1) == {"t-1"}
    tenant = (await one(RedisTwinStore(client), site)).tenant
    assert tenant is not None
    assert tenant.charges_nano == 700
    assert len(await stream.peek(site, "0-0", 9)) == 1


async def test_a_keeper_that_cannot_renew_stops_at_once_and_one_that_ends_finishes_first(
    client: Redis, monkeypatch: pytest.MonkeyPatch
):
    """It beats as often as with a short lease; but only another process takes this one away, and never the pace of the
    machine."""
    monkeypatch.setattr(keep_leases, "BEATS_A_LIFE", 10 * LONG_MS // 1000)
    leases, kind = RedisLeases(client), fresh_name("k")
    ended: list[str] = []

    async def work(held: Held) -> None:
        try:
            await held.ending.wait()
            await asyncio.sleep(0.2)
            ended.append("finished")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def names() -> list[str]:
        return ["00"]

    keeper = LeaseKeeper(leases, kind, owner="one", host="one", ttl_s=LONG_MS / 1000)
    stop = asyncio.Event()
    running = asyncio.create_task(keeper.run(names, work, stop))
    counters = keeper.counters
    await until(lambda: counters.held == 1)
    other = await client.hset("{$lease}:" + kind, "00", f"two {2**45} {2**45} 0 9")
    assert other == 0
    await until(lambda: ended and counters.held == 0)
    assert (ended, counters.lost, counters.taken) == (["cancelled"], 1, 1)
    await client.hdel("{$lease}:" + kind, "00")
    await until(lambda: counters.held == 1)
    assert counters.taken == 2
    stop.set()
    await asyncio.wait_for(running, 60)
    assert ended == ["cancelled", "finished"]
    view = await leases.view(kind)
    assert (view.holders(), view.members) == ({}, ())


async def until(holds: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not happen within {within_s:g} s"
        await asyncio.sleep(0.02)


async def one(store: RedisTwinStore, site: str):
    return (await store.load(site, ["t-1"]))["t-1"]


class Books:
    """Notes what is posted, as SQL does with its position."""

    def __init__(self) -> None:
        self.at = "0-0"
        self.posted: list[int] = []

    async def position(self, site: str) -> str:
        return self.at

    async def post(self, site: str, entries: list) -> None:
        self.posted += [entry.serial for entry in entries]
        self.at = entries[-1].id


async def test_what_a_woken_reader_took_away_sends_the_writer_back(redis_stream: tuple) -> None:
    """A frozen ledger wakes up and reads once more as the same consumer group, between two reads of its successor."""
    store, stream, site = redis_stream
    books = Books()
    writer = LedgerWriter(stream, books)  # type: ignore[arg-type]
    await writer.start(site)
    await write(store, site, 2)
    await writer.consume(site, await stream.read(site, "ledger", "owner", count=10, block_ms=0))
    await write(store, site, 2)
    stolen = await stream.read(site, "ledger", "zombie", count=10, block_ms=0)
    await write(store, site, 2)
    behind = await stream.read(site, "ledger", "owner", count=10, block_ms=0)
    assert (len(stolen), len(behind)) == (2, 2)
    with pytest.raises(EntriesMissingError):
        await writer.consume(site, behind)
    await writer.start(site)
    await writer.consume(site, await stream.read(site, "ledger", "owner", count=10, block_ms=0))
    assert books.posted == [1, 2, 3, 4, 5, 6]


async def test_a_theft_before_the_first_read_is_noticed_too(redis_stream: tuple) -> None:
    store, stream, site = redis_stream
    books = Books()
    writer = LedgerWriter(stream, books)  # type: ignore[arg-type]
    await writer.start(site)
    await write(store, site, 1)
    await stream.read(site, "ledger", "zombie", count=10, block_ms=0)
    await write(store, site, 1)
    with pytest.raises(EntriesMissingError):
        await writer.consume(site, await stream.read(site, "ledger", "owner", count=10, block_ms=0))
    assert books.posted == []


async def write(store, site: str, count: int) -> None:
    for _ in range(count):
        group = (await store.load(site, ["t-1"]))["t-1"]
        await store.commit(site, [charge(group, effects=(notice(1),))], now=1)
        await asyncio.sleep(0)


async def test_the_command_line_shows_owners_and_what_has_none(tmp_path: Path):
    with start_redis(tmp_path / "redis") as server:
        assert "no work is divided here" in shards_of(server.url, code=0)
        client = connect(server.url)
        leases = RedisLeases(client)
        await leases.beat("ingest", "one-ab12", "one", {}, ttl_ms=LONG_MS, layout="2/0")
        await leases.beat("ingest", "two-cd34", "two", {}, ttl_ms=LONG_MS, layout="2/0")
        token = await leases.take("ingest", "00", "one-ab12", ttl_ms=LONG_MS)
        shown = shards_of(server.url, code=0)
        assert "one-ab12" in shown
        assert "two-cd34 stand by" in shown
        await leases.give("ingest", "00", "one-ab12", token)
        told = json.loads(shards_of(server.url, "--json", code=1))
        assert told["ingest"]["leases"][0]["owner"] is None
        assert [process["host"] for process in told["ingest"]["processes"]] == ["one", "two"]
        await client.aclose()


def shards_of(redis_url: str, *options: str, code: int) -> str:
    done = subprocess.run(
        [TWINMETER, "shards", "--redis-url", redis_url, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout

"""What the simulation has found in the product, each reduced to its few steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

import api.services
import twin.flows.consume_effects as consuming
from adapters.store.engine.database import open_database
from adapters.store.engine.migrate import migrate
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.act_marks import SqlActMarks
from adapters.store.sites.registry import SqlRegistry
from adapters.twins.memory import MemoryEffectStream, MemoryRedis, MemoryTwinStore
from adapters.twins.store import RedisTwinStore
from adapters.twins.stream import RedisEffectStream
from api.services import Services
from tests.simulation.redis_client import SimRedis, SimRedisServer
from tests.unit.adapters.store.park import NOW, SITE, document
from twin.core.acts import ActOutOfOrderError
from twin.core.effects import IncidentOpened
from twin.core.messages import CreditsPosted
from twin.core.model import Group
from twin.core.policy import SitePolicy
from twin.flows.apply_messages import Applier, Outcome
from twin.flows.consume_effects import ConsumerLoop, EntriesMissingError, LedgerWriter
from twin.flows.deliver_acts import ActDelivery
from twin.flows.find_lost_acts import why_went_back
from twin.ports import (
    Entry,
    GroupChange,
    LedgerUnavailableError,
    PendingAct,
    StoreFullError,
    StoreLostError,
    TopUp,
)


async def _groups(*names: str) -> AsyncIterator[Group]:
    for name in names:
        yield Group(SITE, name)


class _Posts:
    """A ledger that only keeps its position."""

    def __init__(self) -> None:
        self.at = "0-0"

    async def position(self, _site: str) -> str:
        return self.at

    async def post(self, _site: str, entries: list[Entry]) -> None:
        self.at = entries[-1].id


async def test_a_full_stream_empties_once_the_slowest_reader_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 11: at the last trim somebody else still needed the entries; then nothing came that would trim again."""
    monkeypatch.setattr(consuming, "TRIM_EVERY_S", 0.05)
    monkeypatch.setattr(consuming, "KEEP_ENTRIES", 0)
    monkeypatch.setattr(consuming, "BLOCK_MS", 10)
    redis = MemoryRedis()
    store, stream, ledger = MemoryTwinStore(redis, stream_max=2), MemoryEffectStream(redis), _Posts()
    await store.replace_site(SITE, 1, _groups("t-001"), wake=0)
    await stream.join(SITE, "notices")
    stop = asyncio.Event()
    running = asyncio.create_task(ConsumerLoop(stream, LedgerWriter(stream, ledger), "w").run(SITE, stop))  # type: ignore[arg-type]

    async def change(now: int) -> None:
        before = (await store.load(SITE, ["t-001"]))["t-001"]
        effect = IncidentOpened("em-001", "doubt", now)
        await store.commit(SITE, [GroupChange(before, before, (effect,))], now=now)

    await change(1)
    await change(2)
    while await stream.lag(SITE, "ledger"):  # noqa: ASYNC110 - a stream has no event
        await asyncio.sleep(0.01)
    with pytest.raises(StoreFullError):
        await change(3)
    late = await stream.read(SITE, "notices", "w", count=10, block_ms=0)
    await stream.acknowledge(SITE, "notices", [entry.id for entry in late])
    async with asyncio.timeout(60):
        while True:
            try:
                await change(3)
                break
            except StoreFullError:
                await asyncio.sleep(0.01)
    stop.set()
    await running


async def test_who_reads_afresh_goes_on_after_a_rebuild() -> None:
    """Seed 12: commands were dispatched from a store of their own, which went on trusting twins that were replaced."""
    server = SimRedisServer(lambda: NOW)
    store = RedisTwinStore(SimRedis(server))  # type: ignore[arg-type]
    await store.replace_site(SITE, 1, _groups("t-001"), wake=0)
    fresh = store.unremembered()
    assert set(await fresh.load(SITE, ["t-001"])) == {"t-001"}
    other = RedisTwinStore(SimRedis(server))  # type: ignore[arg-type]
    await other.replace_site(SITE, 2, _groups("t-001", "t-002"), wake=0)
    await store.generation(SITE)  # as every process does that finds its twins replaced
    assert set(await fresh.load(SITE, ["t-001", "t-002"])) == {"t-001", "t-002"}


async def test_the_ledger_does_not_go_on_over_a_hole_in_sql() -> None:
    """Seeds 22 and 68: SQL was restored from a backup under a running ledger. What was posted since and dropped from
    the stream left a gap, and every later charge of those meters was refused for ever."""
    redis = MemoryRedis()
    store, stream, ledger = MemoryTwinStore(redis), MemoryEffectStream(redis), _Posts()
    await store.replace_site(SITE, 1, _groups("t-001"), wake=0)
    writer = LedgerWriter(stream, ledger)  # type: ignore[arg-type]
    await writer.start(SITE)
    for now in (1, 2, 3):
        before = (await store.load(SITE, ["t-001"]))["t-001"]
        await store.commit(SITE, [GroupChange(before, before, (IncidentOpened("em-001", "doubt", now),))], now=now)
        entries = await stream.read(SITE, "ledger", "w", count=9, block_ms=0)
        if now < 3:
            await writer.consume(SITE, entries)
            await stream.acknowledge(SITE, "ledger", [entry.id for entry in entries])
    ledger.at = "0-0"
    with pytest.raises(EntriesMissingError):
        await writer.consume(SITE, entries)
    await writer.start(SITE)  # nothing was dropped: it is all read and posted once more
    again = await stream.read(SITE, "ledger", "w", count=9, block_ms=0)
    assert [entry.id for entry in again] == ["1-0", "2-0", "3-0"]
    await stream.acknowledge(SITE, "ledger", [entry.id for entry in again])
    assert await stream.trim(SITE, ledger_position="3-0", keep=0) == 3
    with pytest.raises(StoreLostError, match="were dropped"):
        await writer.start(SITE)


async def test_a_store_that_went_back_and_wrote_on_is_noticed() -> None:
    """Seed 26: Redis lost its last second; another process wrote newer effects before anybody compared the ends."""
    server = SimRedisServer(lambda: NOW)
    store, stream = RedisTwinStore(SimRedis(server)), RedisEffectStream(SimRedis(server, retries=0))  # type: ignore[arg-type]
    await store.replace_site(SITE, 1, _groups("t-001"), wake=0)

    async def change() -> str:
        before = (await store.load(SITE, ["t-001"]))["t-001"]
        await store.commit(SITE, [GroupChange(before, before, (IncidentOpened("em-001", "doubt", NOW),))], now=NOW)
        head = await store.generation(SITE)
        assert head is not None
        return head[1]

    await change()
    backup = server.data.copy()
    posted = await change()
    assert await stream.knows(SITE, posted)
    server.data.restore(backup)
    server.data._clock = lambda: NOW + 1
    store = RedisTwinStore(SimRedis(server))  # type: ignore[arg-type]
    newer = await change()
    assert newer > posted
    assert not await stream.knows(SITE, posted)
    await store.replace_site(SITE, 2, _groups("t-001"), wake=0, position=posted)
    assert await stream.knows(SITE, posted)


async def test_what_older_twins_wrote_is_not_posted_after_a_rebuild_that_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 38: the rebuild of twins that were older than SQL broke off after its first step, and the ledger, which
    joined the stream in between, read what those had still charged."""
    server = SimRedisServer(lambda: NOW)
    client = SimRedis(server)
    store, stream = RedisTwinStore(client), RedisEffectStream(SimRedis(server, retries=0))  # type: ignore[arg-type]
    await store.replace_site(SITE, 1, _groups("t-001"), wake=0)
    await stream.join(SITE, "ledger")
    before = (await store.load(SITE, ["t-001"]))["t-001"]
    await store.commit(SITE, [GroupChange(before, before, (IncidentOpened("em-001", "doubt", NOW),))], now=NOW)

    async def cut_off(*_: object) -> None:
        raise ConnectionError("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(client, "zrange", cut_off)
        with pytest.raises(ConnectionError):
            await store.replace_site(SITE, 2, _groups("t-001"), wake=0)
    await stream.join(SITE, "ledger")
    assert await stream.read(SITE, "ledger", "w", count=9, block_ms=0) == []
    assert await store.replace_site(SITE, 3, _groups("t-001"), wake=0) == 1


class _Applied:
    """An applier that only hands the acts on."""

    def __init__(self) -> None:
        self.acts: list[int] = []


async def test_acts_that_redis_lost_without_a_trace_are_delivered_again(tmp_path: Path) -> None:
    """Seed 30: a top-up leaves no effect; Redis restored to before it had no older end than SQL expected, and every
    later act of the tenant came too early for ever."""
    url = f"sqlite:///{tmp_path / 'acts.sqlite3'}"
    await migrate(url)
    database = await open_database(url)
    await SqlRegistry(database).apply(document(), who="test", now=NOW)
    ledger, marks = SqlLedger(database), SqlActMarks(database)
    redis = MemoryRedis()
    store = MemoryTwinStore(redis)
    await store.replace_site(SITE, 1, _groups("t-001"), wake=0)
    told = {pending.group: pending.act.seq for pending in await ledger.undelivered(SITE, limit=100)}
    await ledger.delivered(SITE, told)
    await store.note_act_mark(SITE, await marks.newest())
    delivery = ActDelivery(store, ledger, _Applied(), marks)  # type: ignore[arg-type]
    assert await delivery.doubt_lost() == 0
    receipt = await ledger.top_up(SITE, TopUp("t-001", 5_000_000_000, "cash", "", "k-1", "bob", NOW))
    await ledger.delivered(SITE, {"t-001": receipt.seq})  # and Redis forgets it, with the mark that would follow
    assert await ledger.undelivered(SITE, limit=100) == []
    assert await delivery.doubt_lost() == 1
    assert [pending.act.seq for pending in await ledger.undelivered(SITE, limit=100)] == [receipt.seq]
    await database.close()


async def test_acts_that_redis_lost_are_missed_also_where_it_went_back_to_a_mark_of_ours(
    tmp_path: Path,
) -> None:
    """Seed 646: one process noted a mark, another delivered an act and noted the next, Redis went back to the first
    mark, and the first process took it for its own and noted SQL's newest act over it."""
    url = f"sqlite:///{tmp_path / 'acts.sqlite3'}"
    await migrate(url)
    database = await open_database(url)
    await SqlRegistry(database).apply(document(), who="test", now=NOW)
    ledger, marks = SqlLedger(database), SqlActMarks(database)
    known = await ledger.undelivered(SITE, limit=100)
    heads = {pending.group: pending.act.seq for pending in known}
    store = MemoryTwinStore(MemoryRedis())
    await store.replace_site(SITE, 1, _all_at(heads), wake=0)
    await ledger.delivered(SITE, heads)
    delivery = ActDelivery(store, ledger, Applier(store, _NoRules(), _Clock()), marks)  # type: ignore[arg-type]
    one, other = "t-001", "t-002"
    first = await ledger.top_up(SITE, TopUp(one, 5_000_000_000, "cash", "", "k-1", "bob", NOW))
    await delivery.deliver([PendingAct(SITE, one, CreditsPosted(first.seq, 5_000_000_000, 5_000_000_000, NOW))])
    lost = await ledger.top_up(SITE, TopUp(one, 7_000_000_000, "cash", "", "k-2", "bob", NOW))
    await ledger.delivered(SITE, {one: lost.seq})  # by another process; then Redis forgets that, and its mark
    third = await ledger.top_up(SITE, TopUp(other, 1_000_000_000, "cash", "", "k-3", "bob", NOW))
    await delivery.deliver([PendingAct(SITE, other, CreditsPosted(third.seq, 1_000_000_000, 1_000_000_000, NOW))])
    waiting = {(pending.group, pending.act.seq) for pending in await ledger.undelivered(SITE, limit=100)}
    assert waiting == {(one, lost.seq)}
    await database.close()


async def _all_at(heads: dict[str, int]) -> AsyncIterator[Group]:
    for name, seq in heads.items():
        yield Group(SITE, name, acts_seq=seq)


async def test_acts_that_sql_loses_on_their_way_to_the_twins_are_noticed(tmp_path: Path) -> None:
    """A hand-over, then a replica that lacked the last second: the acts had been read from SQL and were delivered when
    it did not have them any more, and a mark of the older history was noted over the one that would have told."""
    url = f"sqlite:///{tmp_path / 'acts.sqlite3'}"
    await migrate(url)
    database = await open_database(url)
    await SqlRegistry(database).apply(document(), who="test", now=NOW)
    ledger, marks = SqlLedger(database), SqlActMarks(database)
    store = MemoryTwinStore(MemoryRedis())
    known = [pending for pending in await ledger.undelivered(SITE, limit=100) if pending.group == "t-001"]
    head = known[-1].act.seq
    await store.replace_site(SITE, 1, _at_act("t-001", head), wake=0)
    await store.note_act_mark(SITE, await marks.newest())
    delivery = ActDelivery(store, ledger, Applier(store, _NoRules(), _Clock()), marks)  # type: ignore[arg-type]
    lost = PendingAct(SITE, "t-001", CreditsPosted(head + 1, 7_000_000_000, 7_000_000_000, NOW))
    with pytest.raises(StoreLostError, match="t-001"):
        await delivery.deliver([lost])
    assert await why_went_back(marks, store, SITE)
    await database.close()


async def _at_act(name: str, acts_seq: int) -> AsyncIterator[Group]:
    yield Group(SITE, name, acts_seq=acts_seq)


class _Clock:
    """A clock that stands."""

    def now(self) -> int:
        return NOW


class _NoRules:
    """Policies of a site without any rule."""

    async def policy(self, _site: str) -> SitePolicy:
        return SitePolicy(site=SITE, zone=ZoneInfo("UTC"), currency="CNY", interval_ms=900_000, tariffs={}, rulesets=())


async def test_an_act_is_not_too_early_only_because_we_remember_an_old_twin() -> None:
    """Seed 19: another process had delivered the act before; ours was refused by the twin in its memory, again and
    again, until something else changed that twin. Seeds 48, 59 and 62 ended so, too."""
    server = SimRedisServer(lambda: NOW)
    ours, theirs = (RedisTwinStore(SimRedis(server)) for _ in range(2))  # type: ignore[arg-type]
    await ours.replace_site(SITE, 1, _groups("t-001"), wake=0)
    await ours.load(SITE, ["t-001"])

    async def deliver(store: RedisTwinStore, seq: int) -> Outcome:
        act = CreditsPosted(seq, 1_000 * seq, 1_000, NOW)
        return await Applier(store, _NoRules(), _Clock()).apply(SITE, {"t-001": [act]})  # type: ignore[arg-type]

    assert (await deliver(theirs, 1)).groups["t-001"].acts_seq == 1
    later = await deliver(ours, 2)
    assert (later.failures, later.groups["t-001"].acts_seq) == ([], 2)
    early = await deliver(ours, 4)  # this one is too early indeed
    assert [type(failure.error) for failure in early.failures] == [ActOutOfOrderError]
    assert early.groups == {}


class _Registry:
    """A registry that cannot be asked at first."""

    def __init__(self) -> None:
        self.asked = 0

    async def sites(self) -> list[str]:
        self.asked += 1
        if self.asked == 1:
            raise LedgerUnavailableError("the server is away")
        return [SITE]


async def test_a_consumer_outlives_a_database_that_is_away_when_it_looks_for_sites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seeds 42 and 125: the error ended one service and cancelled the others, which waited for each other for ever: a
    process that still ran, read nothing and was never started again."""
    monkeypatch.setattr(api.services, "RESTART_PAUSE_S", 0.01)
    services = Services(_Platform(_Registry()), ())  # type: ignore[arg-type]
    consumed = asyncio.Event()

    async def consume(_site: str, stop: asyncio.Event) -> None:
        consumed.set()
        await stop.wait()

    services.loops["ledger"] = SimpleNamespace(run=consume)  # type: ignore[assignment]
    running = asyncio.create_task(services._consume("ledger"))
    await asyncio.wait_for(consumed.wait(), 60)
    assert "the server is away" in services.failures["ledger"]
    running.cancel()  # as where another service of the process has ended for good
    await asyncio.wait({running}, timeout=60)
    assert running.cancelled()


class _Platform:
    """As much of a platform as a consumer's service looks at."""

    def __init__(self, registry: _Registry) -> None:
        self.registry = registry
        self.settings = SimpleNamespace(ingest_shards=0)
        self.loops: dict[str, object] = {}
        self.service_failures: Counter[str] = Counter()

"""The live feed: fan-out, resuming, slow followers, and what goes over the wire."""

from __future__ import annotations

import asyncio
import json

import pytest

from adapters.twins.memory import MemoryEffectStream, MemoryRedis, MemoryTwinStore
from api.http.problems import Problem
from api.http.routes.events import Follower, OpenFeeds, read_types
from api.stream.feed import LiveFeed, Subscription, order
from api.stream.sse import TYPES, effect_document, entry_events
from tests.conformance.twin_values import a_group, charge, stream_of
from twin.core.effects import ChargePosted, CommandChanged, NotificationWanted, SupplyStateChanged
from twin.ports import Entry

SITE = "park-1"
AT = 1_000


class World:
    """A site with one tenant, whose twin can be made to say something."""

    def __init__(self) -> None:
        redis = MemoryRedis()
        self.store, self.stream = MemoryTwinStore(redis), MemoryEffectStream(redis)
        self.said = 0

    async def build(self, position: str = "0-0") -> None:
        await self.store.replace_site(SITE, 1, stream_of([a_group(SITE)]), wake=0, position=position)

    async def say(self, count: int = 1) -> list[str]:
        """Some entries; returns their ids."""
        ids = []
        for _ in range(count):
            self.said += 1
            group = (await self.store.load(SITE, ["t-1"]))["t-1"]
            notice = NotificationWanted("t-1", "low_balance", AT + self.said)
            await self.store.commit(SITE, [charge(group, effects=(notice,))], now=AT + self.said)
            ids.append(f"{AT + self.said}-0")
        return ids


@pytest.fixture
async def world() -> World:
    made = World()
    await made.build()
    return made


async def taken(subscription: Subscription, count: int) -> list[str]:
    """Ids of the next entries."""
    got: list[str] = []
    while len(got) < count:
        entries = await asyncio.wait_for(subscription.take(), 60)
        assert entries, "the feed has ended"
        got += [entry.id for entry in entries]
    return got


async def test_everybody_gets_everything_from_one_reader(world: World) -> None:
    feed = LiveFeed(world.stream, world.store)
    await world.say(2)
    followers = [await feed.join(SITE) for _ in range(3)]
    assert len({id(follower.reader) for follower in followers}) == 1
    ids = await world.say(3)
    assert [await taken(follower, 3) for follower in followers] == [ids] * 3
    assert feed.followers == 3
    for follower in followers:
        feed.leave(follower)
    assert feed.followers == 0
    await asyncio.sleep(0)
    assert not followers[0].reader.alive
    await feed.close()


async def test_a_follower_resumes_without_gap_or_repeat(world: World) -> None:
    feed = LiveFeed(world.stream, world.store)
    ids = await world.say(5)
    subscription = await feed.join(SITE)
    ids += await world.say(2)
    missed = [entry.id async for entry in feed.missed(SITE, ids[1], subscription)]
    assert missed + await taken(subscription, 2) == ids[2:]
    assert [entry async for entry in feed.missed(SITE, ids[-1], subscription)] == []
    feed.leave(subscription)


async def test_a_slow_follower_is_let_go_alone(world: World) -> None:
    feed = LiveFeed(world.stream, world.store, queue_max=3)
    slow, quick = await feed.join(SITE), await feed.join(SITE)
    ids = await world.say(3)
    assert await taken(quick, 3) == ids
    for _ in range(2):
        entry_id = (await world.say())[0]
        assert await taken(quick, 1) == [entry_id]
    assert await asyncio.wait_for(slow.take(), 60) == []
    assert not quick.ended
    assert feed.counters.let_go == 1
    feed.leave(slow)
    feed.leave(quick)


async def test_what_can_be_resumed(world: World) -> None:
    feed = LiveFeed(world.stream, world.store)
    ids = await world.say(5)
    assert await feed.can_resume(SITE, ids[0])
    assert await feed.can_resume(SITE, ids[-1])
    assert not await feed.can_resume(SITE, "9999999-0")
    assert not await feed.can_resume(SITE, "nonsense")
    assert await world.stream.trim(SITE, ledger_position=ids[-1], keep=2) == 3
    assert not await feed.can_resume(SITE, ids[0])
    assert await feed.can_resume(SITE, ids[2])


async def test_the_end_reaches_everybody(world: World) -> None:
    feed = LiveFeed(world.stream, world.store)
    subscription = await feed.join(SITE)
    await feed.close()
    assert await asyncio.wait_for(subscription.take(), 60) == []
    late = await feed.join(SITE)
    assert await asyncio.wait_for(late.take(), 60) == []


async def test_a_reader_that_fails_ends_its_feeds_and_the_next_one_works(world: World) -> None:
    class Failing(MemoryEffectStream):
        async def follow(self, site: str, after: str | None):
            raise ConnectionError("away")
            yield

    feed = LiveFeed(Failing(world.stream.redis), world.store)
    subscription = await feed.join(SITE)
    assert await asyncio.wait_for(subscription.take(), 60) == []
    feed._stream = world.stream
    again = await feed.join(SITE)
    ids = await world.say(1)
    assert await taken(again, 1) == ids
    feed.leave(again)


def test_order_of_ids() -> None:
    assert order("10-2") > order("10-1") > order("9-9")
    assert order("10") == (10, 0)
    for text in ("", "x-1", "1-x", "-1", "1-", "１-0"):
        with pytest.raises(ValueError, match="not an id"):
            order(text)


CHARGE = ChargePosted(
    "em-001", 1, 10, 20, 1, 2, "t-1", "tenant:t-1:wallet", "electricity", "flat", 0, 202601, 850_000, 8_500_000
)
COMMAND = CommandChanged("em-001", "c-1", "breaker.set", "open", 3, "created", 5, 5, 9)


def test_money_is_text_on_the_feed() -> None:
    document = effect_document(CHARGE)
    assert (document["amount"], document["price"]) == ("0.008500000", "0.850000")
    assert not [name for name in document if name.endswith(("_nano", "_micro"))]
    moved = effect_document(SupplyStateChanged("t-1", "NORMAL", "DUE", 5, -1_500_000_000))
    assert moved["balance"] == "-1.500000000"


def test_only_the_last_event_of_an_entry_bears_its_id() -> None:
    entry = Entry("7-1", "t-1", (CHARGE, COMMAND))
    first, second, rest = entry_events(SITE, entry, None).split(b"\n\n")
    assert rest == b""
    assert first.startswith(b"event: charge\ndata: ")
    assert second.startswith(b"id: 7-1\nevent: command\ndata: ")
    body = json.loads(second.partition(b"data: ")[2])
    assert (body["site"], body["group"], body["entry"], body["cmd"]) == (SITE, "t-1", "7-1", "c-1")
    only = entry_events(SITE, entry, {"charge"})
    assert only.startswith(b"id: 7-1\nevent: charge\n")
    assert entry_events(SITE, entry, {"alarm"}) == b""


def test_a_tenant_sees_its_own_group_only() -> None:
    mine, other = Entry("7-1", "t-1", (CHARGE,)), Entry("7-2", "t-2", (CHARGE,))
    tenant = Follower(SITE, None, None, "t-1", False)
    assert tenant.shown(mine)
    assert tenant.shown(other) == b""
    assert Follower(SITE, None, None, None, False).shown(other)


def test_types_that_exist() -> None:
    assert read_types(None) is None
    assert read_types("alarm, command") == {"alarm", "command"}
    assert "charge" in TYPES
    for text in ("", ",", "alarm,nonsense"):
        with pytest.raises(Problem) as refused:
            read_types(text)
        assert refused.value.code == "validation"


def test_one_feed_too_many() -> None:
    feeds = OpenFeeds(most=1)
    feeds.check("lin")
    with feeds.one_more("lin"):
        feeds.check("wang")
        with pytest.raises(Problem) as refused:
            feeds.check("lin")
        assert refused.value.code == "too_many_feeds"
    feeds.check("lin")

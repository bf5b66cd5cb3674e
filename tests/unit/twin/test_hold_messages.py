"""A meter on its way from one payer to the next: what it says meanwhile is held, and heard by whoever has it then."""

from __future__ import annotations

import asyncio

import msgspec
import orjson
import pytest

from adapters.mqtt.reader import Delivery
from adapters.twins import letters
from adapters.twins.memory import MemoryRedis, MemoryTwinStore
from tests.unit.twin.scene import MINUTE, Scene, make_policy
from twin.core.effects import MeterReleased
from twin.core.messages import ContractsChanged, Handed
from twin.core.model import Contract, Group
from twin.core.policy import SitePolicy
from twin.flows.apply_messages import Applier
from twin.flows.hold_messages import HeldMessages
from twin.flows.ingest_batch import Ingest

SITE, GIVER, TAKER = "park-1", "t-001", "t-002"


class Policies:
    """One policy, in which a device of another id speaks for the meter."""

    def __init__(self) -> None:
        self.known = make_policy()
        self.known.aliases = {"em-new": "em-001"}

    async def policy(self, _site: str) -> SitePolicy:
        return self.known


class Clock:
    """A clock that a test sets."""

    now_ms = 0

    def now(self) -> int:
        return self.now_ms

    def observe(self, _ts: int) -> None:
        """Samples do not move it."""

    async def sleep(self, _seconds: float) -> None:
        """No time passes."""


async def groups(*each: Group):
    for group in each:
        yield group


class Move:
    """A charged meter with a relay, its tenant, and the next one."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.scene.now += MINUTE
        self.scene.sample(100)
        self.clock = Clock()
        self.clock.now_ms = self.scene.now
        self.store = MemoryTwinStore(MemoryRedis())
        self.applier = Applier(self.store, Policies(), self.clock)
        self.ingest = Ingest(self.store, self.applier, self.clock)
        self.held = HeldMessages(self.store, self.applier, self.ingest.handle)

    async def open(self) -> None:
        await self.store.replace_site(SITE, 1, groups(self.scene.group, Group(SITE, TAKER)), wake=10**15)

    async def release(self) -> MeterReleased:
        contract = self.scene.group.contract
        act = ContractsChanged(self.scene.next_act(), self.clock.now_ms, contract, released={"em-001": "H1"})
        await self.applier.apply(SITE, {GIVER: [act]})
        effects = [effect for entry in self.store.redis.site(SITE).effects for effect in entry.effects]
        return next(effect for effect in effects if isinstance(effect, MeterReleased))

    async def take(self, released: MeterReleased) -> None:
        meters, breakers = self.scene.contracts["meters"], self.scene.contracts["breakers"]
        contract = Contract(TAKER, account=TAKER)
        handed = (Handed("H1", released.meter, released.breaker),)
        act = ContractsChanged(1, self.clock.now_ms, contract, meters, breakers, handed=handed)
        await self.applier.apply(SITE, {TAKER: [act]})

    async def say(self, wh: int, *, device: str = "em-001", verb: str = "tele", **more: object) -> None:
        self.scene.seq += 1
        self.clock.now_ms += MINUTE
        body = {"v": 1, "sid": "s1", "seq": self.scene.seq, "ts": self.clock.now_ms, "d": {"import_wh": wh}}
        if verb == "state":
            body = {"v": 1, "sid": "s1", "ts": self.clock.now_ms, "relay": "closed", **more}
        topic = f"twinmeter/v1/{SITE}/{device}/{verb}"
        await self.ingest.handle([Delivery(topic, orjson.dumps(body), False, False, 1)])

    async def seen(self) -> int:
        group = (await self.store.load(SITE, [TAKER]))[TAKER]
        return group.meters["em-001"].register.seen

    @property
    def dead(self) -> list[str]:
        return [letter.reason for letter in self.store.redis.site(SITE).dead]


@pytest.fixture
async def move() -> Move:
    made = Move()
    await made.open()
    return made


@pytest.mark.parametrize("device", ["em-001", "em-new"])
async def test_what_a_meter_says_on_its_way_is_heard_by_the_next_group(move: Move, device: str) -> None:
    await move.say(1_105)
    released = await move.release()
    for wh in (1_110, 1_120):
        await move.say(wh, device=device)
    await move.say(0, verb="state")
    assert await move.held.look() == 0, "it has not arrived"
    assert (move.dead, move.ingest.counters.held) == ([], 3)
    await move.take(released)
    assert await move.held.look() == 3
    assert await move.seen() == 1_120
    assert await move.held.look() == 0
    assert move.dead == []


async def test_a_message_decided_by_a_group_that_let_go_meanwhile_goes_the_same_way(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ingest remembers of the directory is from before the hand-over."""
    await move.take(await move.release())

    async def remembered(_site: str, devices: list[str]) -> dict[str, str]:
        return dict.fromkeys(devices, GIVER)

    with monkeypatch.context() as patch:
        patch.setattr(move.store, "groups_of", remembered)
        await move.say(1_130)
    assert move.dead == []
    assert await move.held.look() == 1
    assert await move.seen() == 1_130


async def test_a_meter_without_a_relay_is_no_traveller(move: Move) -> None:
    """`state` of a device that its group holds as a meter alone is no message to wait with."""
    group = (await move.store.load(SITE, [GIVER]))[GIVER]
    bare = msgspec.structs.replace(group, breakers={}, breaker_contracts={})
    await move.store.replace_site(SITE, 2, groups(bare), wake=10**15)
    move.store._builders.clear()
    await move.say(0, verb="state")
    assert (len(move.dead), move.ingest.counters.held) == (1, 0)


async def test_what_is_too_much_is_told_and_not_held(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "HELD_MAX", 2)
    await move.release()
    for wh in (1_110, 1_120, 1_130):
        await move.say(wh)
    assert move.dead == ["too many messages wait"]
    assert [one.id for one in await move.store.held(SITE, limit=9)] == ["1-0", "2-0"]


async def test_held_messages_outlive_who_hands_them_on(move: Move) -> None:
    """Killed between hearing and forgetting: heard twice, charged once."""
    released = await move.release()
    await move.say(1_150)
    await move.take(released)
    page = await move.store.held(SITE, limit=9)
    await move.ingest.handle(page)
    assert await move.held.look() == 1
    assert await move.seen() == 1_150
    stop = asyncio.Event()
    stop.set()
    await move.held.run(stop)

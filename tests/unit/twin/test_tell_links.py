"""A gateway goes or comes while a meter behind it is on its way from one payer to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import pytest

from adapters.mqtt.reader import Delivery
from tests.unit.twin.test_hold_messages import GIVER, SITE, TAKER, Move, groups
from twin.core.connection import reachable
from twin.core.messages import Act, ContractsChanged, Handed
from twin.core.model import Contract, GatewayTwin, Group
from twin.flows.deliver_acts import ActDelivery
from twin.flows.tell_links import Links
from twin.ports import PendingAct


class Books:
    """SQL as far as a delivery asks it: nothing is ever lost here."""

    def __init__(self) -> None:
        self.reached: dict[str, int] = {}

    async def delivered(self, _site: str, reached: Mapping[str, int]) -> None:
        self.reached |= reached

    async def newest(self) -> str:
        return "1:x"

    async def has(self, _mark: str) -> bool:
        return True

    async def behind(self, _site: str, _reached: Mapping[str, int]) -> Sequence[str]:
        return ()

    async def doubt_after(self, _site: str, _mark: str) -> int:
        return 0


class Behind(Move):
    """The meter of a move, and its gateway in a group of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.links = Links(self.store, self.applier)
        self.delivery = ActDelivery(self.store, self.books, self.applier, self.books, self.links)

    async def open(self) -> None:
        alone = Group(SITE, "gw-01", gateway=GatewayTwin("gw-01"))
        each = (self.scene.group, Group(SITE, TAKER), alone)
        await self.store.replace_site(SITE, 1, groups(*each), wake=10**15)

    async def gateway(self, state: str, sid: str) -> None:
        self.clock.now_ms += 1_000
        body = {"v": 1, "sid": sid, "ts": self.clock.now_ms, "s": state}
        topic = f"twinmeter/v1/{SITE}/gw-01/conn"
        await self.ingest.handle([Delivery(topic, orjson.dumps(body), False, False, 1)])
        assert self.dead == []

    def arrival(self, released) -> Act:
        meters, breakers = self.scene.contracts["meters"], self.scene.contracts["breakers"]
        handed = (Handed("H1", released.meter, released.breaker),)
        contract = Contract(TAKER, account=TAKER)
        return ContractsChanged(1, self.clock.now_ms, contract, meters, breakers, handed=handed)

    async def reachable(self) -> tuple[bool, bool]:
        group = (await self.store.load(SITE, [TAKER]))[TAKER]
        meter, breaker = group.meters["em-001"], group.breakers["em-001"]
        return reachable(meter.conn, meter.link), reachable(breaker.conn, breaker.link)


@pytest.fixture
async def behind() -> Behind:
    made = Behind()
    await made.open()
    return made


async def test_a_gateway_that_went_meanwhile_is_known_to_the_next_group(behind: Behind) -> None:
    await behind.gateway("online", "g1")
    assert (await behind.store.load(SITE, [GIVER]))[GIVER].breakers["em-001"].link.state == "online"
    released = await behind.release()
    await behind.gateway("offline", "g1")
    await behind.delivery.deliver([PendingAct(SITE, TAKER, behind.arrival(released))])
    assert await behind.reachable() == (False, False)
    assert behind.books.reached == {TAKER: 1}
    await behind.gateway("online", "g2")
    assert await behind.reachable() == (True, True)


async def test_a_gateway_that_came_back_meanwhile_is_not_waited_for(behind: Behind) -> None:
    await behind.gateway("online", "g1")
    await behind.gateway("offline", "g1")
    released = await behind.release()
    await behind.gateway("online", "g2")
    await behind.delivery.deliver([PendingAct(SITE, TAKER, behind.arrival(released))])
    assert await behind.reachable() == (True, True)


async def test_a_word_said_while_we_tell_the_old_one_is_the_last_one(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest tells the group that its gateway has gone, just before what was asked a moment ago is told."""
    await behind.gateway("online", "g1")
    released = await behind.release()
    act = behind.arrival(released)
    await behind.applier.apply(SITE, {TAKER: [act]})
    apply = behind.applier.apply

    async def after_news(site, messages, **more):
        monkeypatch.undo()
        await behind.gateway("offline", "g1")
        return await apply(site, messages, **more)

    monkeypatch.setattr(behind.applier, "apply", after_news)
    await behind.links.tell_arrived(SITE, {TAKER: [act]})
    assert await behind.reachable() == (False, False)

"""The service that works off marked meters: quiet ones only, acts delivered, what fails is told and left."""

from __future__ import annotations

import asyncio

from adapters.store.engine.database import Database
from adapters.store.meters.rerating import SqlReratings
from adapters.store.sites.rerate_marks import mark, marks_of
from billing.points import Point
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import SITE
from tests.unit.adapters.store.recorded import HOUR_MS, METER, TENANT, chain
from tests.unit.adapters.store.test_rerating import START, WHO, late, post, samples, shop  # noqa: F401 -- a fixture
from twin.core.messages import CreditsPosted
from twin.flows.rerate import QUIET_MS, Rerater


class Clock:
    """A clock that tests turn."""

    def __init__(self, now: int) -> None:
        self.time = now

    def now(self) -> int:
        return self.time


class Delivery:
    """Takes what would go to the twins."""

    def __init__(self) -> None:
        self.acts: list = []

    async def deliver(self, acts) -> int:
        self.acts += acts
        return len(acts)


async def test_a_burst_is_waited_for_and_rated_once(shop: Database) -> None:  # noqa: F811 -- a fixture
    clock, delivery = Clock(START + 13 * HOUR_MS), Delivery()
    rerater = Rerater(SqlReratings(shop), delivery, clock)
    await post(shop, chain(samples((0, 100), (12, 1300)), WHO))
    async with shop.write() as tx:
        for second in range(3):
            await mark(tx, SITE, METER, START, "a burst", clock.time + second * 1000)
    await post(shop, [late(Point(START + 8 * HOUR_MS, 1250))])
    clock.time += 2_000
    assert await rerater.work() == 0
    clock.time += QUIET_MS
    assert await rerater.work() == 1
    assert await rerater.work() == 0
    assert (rerater.done, rerater.adjusted, rerater.troubled) == (1, 1, 0)
    assert [(pending.group, type(pending.act)) for pending in delivery.acts] == [(TENANT, CreditsPosted)]


async def test_trouble_is_counted_and_does_not_stop_the_others(shop: Database) -> None:  # noqa: F811 -- a fixture
    clock, delivery = Clock(START + 20 * HOUR_MS), Delivery()
    rerater = Rerater(SqlReratings(shop), delivery, clock)
    await post(shop, chain(samples((0, 100), (12, 1300)), WHO))
    async with shop.write() as tx:
        await tx.execute("UPDATE supply SET tariff = 'lost' WHERE site = ? AND meter = ?", SITE, METER)
        await mark(tx, SITE, METER, START, "a test", START)
        await mark(tx, SITE, "wm-001", START, "a test", START)
        await mark(tx, SITE, "nothing", START, "a test", START)
    assert await rerater.work() == 3
    assert rerater.troubled == 1
    assert [one.meter for one in await marks_of(shop, SITE) if one.due] == [METER]
    outcomes = [one async for one in rerater.site(SITE, meters=[METER], from_ts=START)]
    assert "tariff 'lost'" in outcomes[0].trouble
    stop = asyncio.Event()
    running = asyncio.create_task(rerater.run(stop))
    await asyncio.sleep(0.05)
    stop.set()
    running.cancel()
    assert await asyncio.gather(running, return_exceptions=True)

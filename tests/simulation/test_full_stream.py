"""A process starts while the effect stream is full, and acts wait for their twins."""

from __future__ import annotations

import pytest

from tests.simulation.park import MINUTE, SECOND, SITE
from tests.simulation.people import People
from tests.simulation.plan import Plan
from tests.simulation.world import World

FULL = 8
"""Entries; the ledger of the simulation keeps five of them for live feeds (`wiring.py`)."""


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("layout", ["one", "split"])
def test_the_ledger_starts_although_acts_wait_for_room_that_only_it_can_make(layout: str, linked: bool) -> None:
    """Seed 417: whoever starts delivers what people did meanwhile. With the stream full that waited for the ledger, and
    the ledger of the same process waited for that."""
    with World(Plan(0, meters=1, layout=layout, stream_max=FULL)) as world:
        world.open()
        (house,) = world.houses
        if not linked:
            house.unlink()
        world.run_for(10 * SECOND)
        for worker in list(world.workers.values()):
            world.kill(worker.process)
        people = People(world)
        for number in range(3 * FULL):
            people.lock(house.id, "manual", None, place=number % 2 == 0)
            world.run_for(10 * SECOND)
        undelivered = "SELECT count(*) FROM act WHERE NOT delivered"
        ((waiting,),) = world.sql.reader.execute(undelivered).fetchall()
        assert waiting
        assert len(world.redis.data.keys[f"{{{SITE}}}:fx"].entries) == FULL
        for name in list(world.workers):
            world.start(name)
        world.run_for(2 * MINUTE)
        ((waiting,),) = world.sql.reader.execute(undelivered).fetchall()
        assert not waiting

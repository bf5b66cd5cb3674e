"""Acts of many groups are confirmed in one transaction: an import of a park must not cost one a tenant."""

from __future__ import annotations

from contextlib import asynccontextmanager

from adapters.store.engine.database import Database
from tests.unit.api.parks import SITE
from tests.unit.api.stage import START, Stage


async def test_a_sweep_of_many_groups_writes_once(stage: Stage, monkeypatch) -> None:
    for number, breaker in enumerate(("em-001", "br-001", "wm-001")):
        await stage.ledger.place_lock(
            SITE, breaker=breaker, lock="manual", who="lin", why="x", ts=START, key=f"{number}"
        )
    assert len({act.group for act in await stage.ledger.undelivered(SITE, limit=100)}) == 2
    written = []
    original = Database.write

    @asynccontextmanager
    async def counted(self: Database):
        async with original(self) as tx:
            yield tx
        written.append(1)

    monkeypatch.setattr(Database, "write", counted)
    assert await stage.delivery.sweep() == 3
    assert len(written) == 1
    assert await stage.ledger.undelivered(SITE, limit=100) == []

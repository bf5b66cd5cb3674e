"""S1: Redis was set back to before it had a payment, and the next payment comes before anybody has looked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adapters.store.engine.database import open_database
from adapters.store.engine.migrate import migrate
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.act_marks import SqlActMarks
from adapters.store.sites.registry import SqlRegistry
from adapters.twins.memory import MemoryRedis, MemoryTwinStore
from tests.unit.adapters.store.park import NOW, SITE, document
from twin.core.model import Group
from twin.flows.deliver_acts import ActDelivery
from twin.ports import TopUp


class _Twins:
    """An applier that believes everything it is told."""

    async def apply(self, site: str, messages: dict[str, list[Any]], **_: Any) -> Any:
        groups = {group: Group(site, group, acts_seq=acts[-1].seq) for group, acts in messages.items()}
        return SimpleNamespace(failures=[], groups=groups)


async def groups(*names: str) -> AsyncIterator[Group]:
    """Twins of which nothing is known."""
    for name in names:
        yield Group(SITE, name)


async def test_a_delivery_does_not_hide_acts_that_redis_lost(tmp_path: Path) -> None:
    """Found by the nemesis: the delivery moved the mark beyond the lost act, and every later act of that tenant came
    too early for ever."""
    url = f"sqlite:///{tmp_path / 'acts.sqlite3'}"
    await migrate(url)
    database = await open_database(url)
    try:
        await SqlRegistry(database).apply(document(), who="test", now=NOW)
        ledger, store = SqlLedger(database), MemoryTwinStore(MemoryRedis())
        delivery = ActDelivery(store, ledger, _Twins(), SqlActMarks(database))  # type: ignore[arg-type]

        async def pay(tenant: str, key: str) -> int:
            receipt = await ledger.top_up(SITE, TopUp(tenant, 10**9, "cash", key, key, "bob", NOW))
            return receipt.seq

        await store.replace_site(SITE, 1, groups("t-001", "t-002"), wake=0)
        await delivery.sweep()
        old = await store.act_mark(SITE)
        assert old
        lost = await pay("t-001", "k-1")
        await delivery.sweep()
        assert await ledger.undelivered(SITE, limit=9) == []
        await store.note_act_mark(SITE, old)  # what a restored copy says
        await pay("t-002", "k-2")
        await delivery.sweep()
        assert [(one.group, one.act.seq) for one in await ledger.undelivered(SITE, limit=9)] == [("t-001", lost)]
        assert await delivery.sweep() == 1
        assert await ledger.undelivered(SITE, limit=9) == []
        assert await store.act_mark(SITE) != old
    finally:
        await database.close()

"""A rebuild reads a site page by page; a page costs the same on a site of any size."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from adapters.store.sites import rebuild
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import SITE


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("table", ["tenant", "device"])
async def test_an_index_leads_to_a_page(database: Database, table: str) -> None:
    sql = {"tenant": rebuild._TENANTS, "device": rebuild._DEVICES}[table]
    rows = await database.fetch(f"EXPLAIN QUERY PLAN {sql}", SITE, "", rebuild.PAGE)
    steps = [str(tuple(row)[-1]) for row in rows]
    assert [step for step in steps if f"SEARCH {table} USING INDEX" in step]
    assert not [step for step in steps if "B-TREE" in step], f"the whole site is sorted for each page: {steps}"


async def test_small_pages_miss_nobody(park: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {group.id: group async for group in rebuild.rebuilt_groups(park, SITE)}
    monkeypatch.setattr(rebuild, "PAGE", 1)
    paged = [group async for group in rebuild.rebuilt_groups(park, SITE)]
    assert len(paged) == len(whole) > 2
    assert {group.id: group for group in paged} == whole

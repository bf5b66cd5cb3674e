"""Verification reads a site page by page; a page costs the same on a site of any size."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.store.engine.database import Database, SQLiteTransaction
from adapters.store.proofs.anchors import take_anchor
from adapters.store.proofs.verify import verify_sql
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE

DAY_MS = 86_400_000


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_no_page_of_a_proof_sorts_the_whole_site(park: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, tuple[Any, ...]] = {}
    fetch = SQLiteTransaction.fetch

    async def noted(tx: SQLiteTransaction, sql: str, *values: Any) -> Any:
        if "ORDER BY" in sql:
            asked[sql] = values
        return await fetch(tx, sql, *values)

    with monkeypatch.context() as patched:
        patched.setattr(SQLiteTransaction, "fetch", noted)
        await take_anchor(park, SITE, NOW + 2 * DAY_MS)
        assert [finding async for finding in verify_sql(park, SITE) if finding.severity == "error"] == []
    paged = {sql: values for sql, values in asked.items() if "LIMIT" in sql}
    assert sum("FROM payment" in sql for sql in paged) >= 3  # its two checks, and its seal
    assert sum("FROM energy" in sql or "FROM rating" in sql for sql in paged) >= 2
    sorted_anew = []
    for sql, values in paged.items():
        steps = [str(tuple(row)[-1]) for row in await park.fetch(f"EXPLAIN QUERY PLAN {sql}", *values)]
        sorted_anew += [(sql, steps) for step in steps if "TEMP B-TREE FOR ORDER BY" in step]
    assert sorted_anew == []

"""Lines of the ledger explained from SQL, on both engines."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.store.engine.database import Database
from adapters.store.meters.explained_lines import SqlExplanations
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.registry import SqlRegistry
from billing.derivation import Node
from billing.derivation_text import render
from billing.history import Epoch, rate_history
from billing.points import Point
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE
from tests.unit.adapters.store.recorded import HOUR_MS, TENANT, chain, park_document
from tests.unit.adapters.store.test_rerating import LATER, START, WALLET, WHO, late, post, rerate, samples
from twin.ports import TopUp


@pytest.fixture
async def shop(database: Database) -> Database:
    await SqlRegistry(database).apply(park_document(), who="test", now=NOW)
    return database


def find(node: Node, kind: str) -> list[Node]:
    return [*([node] if node.kind == kind else []), *(one for child in node.children for one in find(child, kind))]


async def lines(database: Database, kind: str) -> list[Any]:
    rows = await database.fetch("SELECT seq FROM journal WHERE site = ? AND kind = ? ORDER BY seq", SITE, kind)
    found = [await SqlExplanations(database).line(SITE, row[0]) for row in rows]
    assert all(found)
    return found


async def test_a_charge_leads_to_its_readings_and_the_parts_sum_to_the_journal(shop: Database) -> None:
    await post(shop, chain(samples((0, 0), (12, 12_000), (24, 20_000)), WHO))
    charged = await lines(shop, "charge")
    for line in charged:
        amounts = [node.facts["amount_nano"] for node in find(line.tree, "charge")]
        assert sum(amounts) == -line.accounts[WALLET]
        assert all(node.facts["agrees"] for node in find(line.tree, "proof"))
        told = render(line.tree, "zh", ZoneInfo(line.timezone))
        assert "由读数重算：一致" in told
        assert "{" not in told
    assert sum(-line.accounts[WALLET] for line in charged) == sum(one.priced.amount_nano for one in _owed())


def _owed() -> list[Any]:
    return rate_history([Epoch(1, samples((0, 0), (12, 12_000), (24, 20_000)))], WHO).charges


async def test_after_a_late_reading_the_row_is_told_as_it_holds_and_the_adjustment_as_a_difference(shop: Database):
    await post(shop, chain(samples((0, 100), (12, 1300), (24, 2000)), WHO))
    await post(shop, [late(Point(START + 8 * HOUR_MS, 1250))])
    await rerate(shop)
    adjusted = await lines(shop, "adjustment")
    differences = find(adjusted[0].tree, "adjustment")
    assert sum(node.facts["amount_nano"] for node in differences) == -adjusted[0].accounts[WALLET]
    assert "a reading came late" in render(adjusted[0].tree, "en", ZoneInfo(adjusted[0].timezone))
    charged = await lines(shop, "charge")
    proofs = [node.facts["agrees"] for line in charged for node in find(line.tree, "proof")]
    assert proofs
    assert all(proofs)
    assert any(node.facts["adjusted"] for line in charged for node in find(line.tree, "posted"))


async def test_a_price_that_is_not_what_was_posted_is_found_out(shop: Database) -> None:
    await post(shop, chain(samples((0, 0), (12, 12_000)), WHO))
    await post(shop, [late(Point(START + 8 * HOUR_MS, 11_000))])  # known, and not yet rated again
    proofs = [node.facts["agrees"] for line in await lines(shop, "charge") for node in find(line.tree, "proof")]
    assert not all(proofs)


async def test_money_that_people_moved_says_who_and_a_journal_that_is_not_there_is_none(shop: Database) -> None:
    wish = TopUp(TENANT, 50 * 10**9, "cash", "R-1", "k-1", "cashier", LATER)
    await SqlLedger(shop).top_up(SITE, wish)
    line = (await lines(shop, "topup"))[0]
    assert line.accounts == {WALLET: 50 * 10**9, "clearing:cash": -50 * 10**9}
    told = render(line.tree, "zh", ZoneInfo(line.timezone))
    assert "充值" in told
    assert "cashier" in told
    assert await SqlExplanations(shop).line(SITE, 10_000) is None
    with pytest.raises(LookupError):
        await SqlExplanations(shop).line("nowhere", 1)

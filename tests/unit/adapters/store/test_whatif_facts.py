"""What-if from SQL on both engines: the recorded month by its own tariff and by another."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.meters.whatif_facts import SqlWhatIfs
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.registry import SqlRegistry
from billing.tariff import TariffError
from billing.whatif import Comparison
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE
from tests.unit.adapters.store.recorded import TENANT, at, chain, park_document
from tests.unit.adapters.store.test_rerating import WHO, owed, post, samples
from twin.ports import TopUp

YUAN = 10**9


def flat(price: str, start: str = "2026-01-01T00:00:00", **keys: Any) -> dict[str, Any]:
    version = {"from": start, "mode": "flat", "price": price, **keys}
    return {"apiVersion": "twinmeter.tariff/v1", "tariff": "shop-tou", "utility": "electricity", "versions": [version]}


async def ask(database: Database, document: dict[str, Any], month: int = 202603, **options: Any) -> list[Comparison]:
    _, answers = await SqlWhatIfs(database).ask(SITE, month, document, **options)
    return [one async for one in answers]


@pytest.fixture
async def march(database: Database) -> Database:
    """20 kWh on the first of March, 10 CNY recharged on the second."""
    await SqlRegistry(database).apply(park_document(), who="test", now=NOW)
    await post(database, chain(samples((0, 0), (12, 12_000), (24, 20_000)), WHO))
    wish = TopUp(TENANT, 10 * YUAN, "cash", "R-1", "k-1", "cashier", at("2026-03-02T09:00:00"))
    await SqlLedger(database).top_up(SITE, wish)
    return database


async def test_the_side_of_now_is_what_was_posted_and_the_other_is_the_new_price(march: Database):
    found = await ask(march, flat("2"))
    assert [one.tenant for one in found] == [TENANT]
    now, then = found[0].now, found[0].then
    assert now.energy_nano == owed(samples((0, 0), (12, 12_000), (24, 20_000)))
    assert then.energy_nano == 40 * YUAN
    assert now.quantity == then.quantity == 20_000
    assert then.closing_nano - now.closing_nano == now.total_nano - then.total_nano
    posted = await march.fetch("SELECT credits_nano - charges_nano FROM account WHERE tenant = ?", TENANT)
    assert now.closing_nano + now.fees_nano + now.minimum_nano + now.demand_nano == posted[0][0]


async def test_nothing_is_written(march: Database):
    tables = ("journal", "adjustment", "fee_line", "act", "audit")
    before = [(await march.fetch(f"SELECT count(*) FROM {table}"))[0][0] for table in tables]
    await ask(march, flat("2"))
    assert [(await march.fetch(f"SELECT count(*) FROM {table}"))[0][0] for table in tables] == before


async def test_a_tariff_that_begins_later_is_taken_as_valid_before_and_says_so(march: Database):
    question, _ = await SqlWhatIfs(march).ask(SITE, 202603, flat("2", "2027-01-01T00:00:00"))
    assert question.since_ever
    assert (await ask(march, flat("2", "2027-01-01T00:00:00")))[0].then.energy_nano == 40 * YUAN


async def test_a_month_without_use_costs_its_fees_alone(march: Database):
    found = await ask(march, flat("2", fixed=[{"name": "service", "per_month": "30"}]), 202604)
    assert (found[0].then.energy_nano, found[0].then.fees_nano) == (0, 30 * YUAN)


async def test_questions_that_cannot_be_asked_say_why(march: Database):
    with pytest.raises(LookupError, match="shop-tou"):
        await SqlWhatIfs(march).ask(SITE, 202603, {**flat("2"), "tariff": "other"})
    with pytest.raises(TariffError, match="electricity"):
        await SqlWhatIfs(march).ask(SITE, 202603, {**flat("2"), "utility": "water"})
    with pytest.raises(LookupError):
        await SqlWhatIfs(march).ask("nowhere", 202603, flat("2"))
    question, _ = await SqlWhatIfs(march).ask(SITE, 202603, flat("2"), instead_of="shop-tou")
    assert question.replaced == "shop-tou"

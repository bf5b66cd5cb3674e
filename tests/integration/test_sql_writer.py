"""The ledger writer under repetition, other cuts of the stream, and crashes: always the result of one clean run."""

from __future__ import annotations

import random

import pytest

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.posting.operations_posting import OperationsPosting
from adapters.store.proofs.verify import verify_sql
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import SITE, charge, entry
from twin.core.effects import ChargePosted, IncidentOpened
from twin.ports import Entry


def chain(rng: random.Random) -> list[ChargePosted]:
    """Some intervals of em-002 that follow each other, at changing prices."""
    ends = sorted(rng.sample(range(1, 1000), rng.randint(3, 12)))
    spans = zip([0, *ends], ends, strict=False)
    return [charge(a, b, price_micro=rng.choice([0, 1, 850_000, 1_203_400])) for a, b in spans]


def delivered(rng: random.Random, charges: list[ChargePosted]) -> list[list[Entry]]:
    """Batches of entries in which every charge comes in order at least once, and some come again, under new ids."""
    stream: list[ChargePosted] = []
    for number, one in enumerate(charges):
        stream.append(one)
        stream += rng.choices(charges[: number + 1], k=rng.randint(0, 2))
    batches, number = [], 0
    while stream:
        batch = []
        for _ in range(rng.randint(1, 4)):
            size = rng.randint(0, 3)
            number += 1
            batch.append(entry(number, *stream[:size]))
            stream = stream[size:]
        batches.append(batch)
    return batches


@pytest.mark.parametrize("seed", range(6))
async def test_repetition_changes_nothing(park: Database, ledger: SqlLedger, seed: int) -> None:
    rng = random.Random(seed)
    charges = chain(rng)
    for batch in delivered(rng, charges):
        await ledger.post(SITE, batch)
        if rng.random() < 0.5:
            await ledger.post(SITE, batch)
    sql = "SELECT from_qty, to_qty FROM energy WHERE meter = 'em-002' AND from_qty IS NOT NULL ORDER BY from_qty"
    rows = await park.fetch(sql)
    assert [tuple(row) for row in rows] == [(one.from_qty, one.to_qty) for one in charges]
    totals = await park.fetch("SELECT charges_nano FROM account WHERE tenant = 't-002'")
    assert totals[0][0] == sum(one.amount_nano for one in charges)
    assert [finding async for finding in verify_sql(park, SITE)] == []


async def test_a_crash_inside_a_batch_leaves_nothing_of_it(
    park: Database, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise ConnectionError("the server went away")

    batch = [entry(1, charge(0, 100), IncidentOpened("em-002", "clock_skew", 1))]
    with monkeypatch.context() as broken:
        broken.setattr(OperationsPosting, "post", crash)
        with pytest.raises(ConnectionError):
            await ledger.post(SITE, batch)
    assert await ledger.position(SITE) == "0-0"
    for table in ("rating", "incident", "refused_effect"):
        assert await park.fetch(f"SELECT 1 FROM {table}") == []
    await ledger.post(SITE, batch)
    assert await ledger.position(SITE) != "0-0"
    assert [finding async for finding in verify_sql(park, SITE)] == []


async def test_five_hundred_charges_are_one_batch(park: Database, ledger: SqlLedger) -> None:
    await ledger.post(SITE, [entry(n, charge((n - 1) * 10, n * 10)) for n in range(1, 501)])
    assert len(await park.fetch("SELECT 1 FROM journal WHERE kind = 'charge'")) == 500
    assert [finding async for finding in verify_sql(park, SITE)] == []


async def test_a_poison_among_many_costs_nobody_else(park: Database, ledger: SqlLedger) -> None:
    entries = [entry(n, charge((n - 1) * 10, n * 10)) for n in range(1, 41)]
    entries.insert(20, entry(41, IncidentOpened("em-002", "x", 2**64)))
    await ledger.post(SITE, entries)
    totals = await park.fetch("SELECT charges_nano FROM account WHERE tenant = 't-002'")
    assert totals[0][0] == 400 * 850_000
    assert [finding.code async for finding in verify_sql(park, SITE)] == ["refused_effect"]

"""The database itself refuses: raw SQL of a plain client against every rule of the ledger, on both engines."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import asyncpg
import pytest

from adapters.store.engine.bulk import BulkInsert
from adapters.store.engine.database import Database, InexactValueError
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.engines import Attack
from tests.unit.adapters.store.park import NOW, SITE, charge, entry
from twin.ports import TopUp

REFUSED = (sqlite3.IntegrityError, asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)

ENERGY = (
    "INSERT INTO energy (site, meter, epoch, from_qty, to_qty, from_ts, to_ts, tenant, estimated)"
    " VALUES ('park-1', 'em-002', 1, {span}, 0, 0, 't-002', FALSE)"
)
RATING = (
    "INSERT INTO rating (site, meter, epoch, from_qty, to_qty, revision, active, account, utility, tariff, version,"
    " month, price_micro, amount_nano) VALUES ('park-1', 'em-002', 1, {span}, {revision}, {active}, 'a', 'electricity',"
    " 'x', 0, 202601, {price}, {amount})"
)
LEG = "INSERT INTO leg (site, seq, place, account, amount_nano) VALUES ('park-1', {seq}, {place}, 'a', {amount})"
JOURNAL = (
    "INSERT INTO journal (site, seq, kind, ts, reference, actor, memo, prev_hash, hash)"
    " SELECT 'park-1', {seq}, 'topup', 1, 'x{seq}', 'me', '', hash, hash FROM journal WHERE seq = {prev}"
)
SUPPLY = (
    "INSERT INTO supply (site, tenant, meter, tariff, from_ts, to_ts, settings)"
    " VALUES ('park-1', 't-001', 'em-002', 'shop-flat', {span}, '{{}}')"
)


@pytest.fixture
async def posted(park: Database) -> Database:
    """The park with a chain 0-100-200-300 of em-002, two charge journals, an opening credit and a payment."""
    ledger = SqlLedger(park)
    await ledger.post(SITE, [entry(1, charge(0, 100), charge(100, 200)), entry(2, charge(200, 300))])
    await ledger.top_up(SITE, TopUp("t-002", 5, "cash", "R-1", "k-1", "bob", NOW))
    return park


ATTACKS = {
    "a gap in the chain": ENERGY.format(span="301, 400"),
    "an overlap": ENERGY.format(span="250, 400"),
    "a fork": ENERGY.format(span="200, 350"),
    "an interval posted twice": ENERGY.format(span="200, 300"),
    "an interval that ends where another does": ENERGY.format(span="100, 300"),
    "a falling interval": ENERGY.format(span="300, 250"),
    "an empty interval": ENERGY.format(span="300, 300"),
    "a second opening row": ENERGY.format(span="NULL, 400"),
    "text in the register": ENERGY.format(span="300, 'many'"),
    "an edit of energy": "UPDATE energy SET to_qty = 301 WHERE to_qty = 300",
    "an edit of the tenant of energy": "UPDATE energy SET tenant = 't-001' WHERE to_qty = 300",
    "a deleted interval": "DELETE FROM energy WHERE to_qty = 300",
    "a second active price": RATING.format(span="200, 300", revision=2, active="TRUE", price=1, amount=100),
    "the same revision again": RATING.format(span="200, 300", revision=1, active="FALSE", price=1, amount=100),
    "a price without its interval": RATING.format(span="200, 250", revision=2, active="FALSE", price=1, amount=50),
    "a price for no energy": RATING.format(span="300, 400", revision=1, active="TRUE", price=1, amount=100),
    "an amount that is not quantity times price": (
        "UPDATE rating SET active = FALSE WHERE from_qty = 200;"
        + RATING.format(span="200, 300", revision=2, active="TRUE", price=2, amount=100)
    ),
    "an edited amount": "UPDATE rating SET amount_nano = 1, price_micro = 0 WHERE from_qty = 200",
    "an edited price while it is superseded": "UPDATE rating SET active = FALSE, price_micro = 1 WHERE from_qty = 200",
    "a superseded price made active again": (
        "UPDATE rating SET active = FALSE WHERE from_qty = 200; UPDATE rating SET active = TRUE WHERE from_qty = 200"
    ),
    "a deleted price": "DELETE FROM rating WHERE from_qty = 200",
    "an edited journal": "UPDATE journal SET memo = 'x' WHERE seq = 1",
    "a deleted journal": "DELETE FROM journal WHERE seq = 4",
    "an edited leg": "UPDATE leg SET amount_nano = amount_nano + 1 WHERE seq = 1",
    "a deleted leg": "DELETE FROM leg WHERE seq = 1",
    "a leg added to a posted journal": LEG.format(seq=1, place=9, amount=5),
    "balanced legs added to a posted journal": (
        LEG.format(seq=1, place=8, amount=5) + ";" + LEG.format(seq=1, place=9, amount=-5)
    ),
    "a journal without legs": JOURNAL.format(seq=5, prev=4),
    "a journal with one leg": LEG.format(seq=5, place=1, amount=1) + ";" + JOURNAL.format(seq=5, prev=4),
    "an unbalanced journal": (
        LEG.format(seq=5, place=1, amount=7) + ";" + LEG.format(seq=5, place=2, amount=-6) + ";"
        + JOURNAL.format(seq=5, prev=4)
    ),
    "a journal with a skipped number": (
        LEG.format(seq=6, place=1, amount=7) + ";" + LEG.format(seq=6, place=2, amount=-7) + ";"
        + JOURNAL.format(seq=6, prev=4)
    ),
    "a journal that follows another than the last": (
        LEG.format(seq=5, place=1, amount=7) + ";" + LEG.format(seq=5, place=2, amount=-7) + ";"
        + JOURNAL.format(seq=5, prev=3)
    ),
    "a leg of nothing": LEG.format(seq=9, place=1, amount=0),
    "an edited payment": "UPDATE payment SET amount_nano = 500",
    "a deleted payment": "DELETE FROM payment",
    "a second tenant on an occupied meter": SUPPLY.format(span="NULL, NULL"),
    "a second tenant for an hour": SUPPLY.format(span="1000, 2000"),
    "an occupancy that ends before it starts": SUPPLY.format(span="2000, 1000"),
    "an edited tariff version": "UPDATE tariff_version SET document = '{}'",
    "an edited ruleset version": "UPDATE ruleset_version SET document = '{}'",
    "an edited audit": "UPDATE audit SET who = 'nobody'",
    "a deleted audit": "DELETE FROM audit",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
async def test_the_database_refuses(posted: Database, attack: Attack, name: str) -> None:
    with pytest.raises(REFUSED):
        await attack(ATTACKS[name])
    assert [finding async for finding in verify_sql(posted, SITE)] == []


@pytest.mark.parametrize("table", ["energy", "rating", "journal", "leg", "payment", "audit"])
async def test_nothing_posted_can_be_replaced_or_emptied(
    posted: Database, url: str, attack: Attack, table: str
) -> None:
    """`INSERT OR REPLACE` deletes without firing delete triggers; TRUNCATE fires none of the row triggers."""
    sqlite = url.startswith("sqlite")
    statement = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}" if sqlite else f"TRUNCATE {table} CASCADE"
    with pytest.raises(REFUSED):
        await attack(statement)
    assert [finding async for finding in verify_sql(posted, SITE)] == []


FRACTIONS = {
    "in the register": ENERGY.format(span="300, 400.5"),
    "in an amount": LEG.format(seq=5, place=1, amount="0.5"),
    "in a price": RATING.format(span="200, 300", revision=2, active="FALSE", price="0.5", amount=50),
}


@pytest.mark.parametrize("name", FRACTIONS)
async def test_sqlite_refuses_a_fraction(posted: Database, url: str, attack: Attack, name: str) -> None:
    """SQLite's columns would take it; STRICT tables do not.

    PostgreSQL cannot refuse a literal with a fraction: it rounds it to the column's type before any trigger sees it.
    There a fraction never reaches a column; floats from our own code are stopped before the driver (the next test).
    """
    if not url.startswith("sqlite"):
        pytest.skip("PostgreSQL rounds a literal to the column's integer type by itself")
    with pytest.raises(sqlite3.IntegrityError, match="REAL"):
        await attack(FRACTIONS[name])


@pytest.mark.parametrize("value", [0.5, 1.9, 2.0, Decimal("2.7"), float("nan")])
async def test_no_float_reaches_the_driver(posted: Database, value: object) -> None:
    """asyncpg would store 1 for 1.9, alone and in an array, and say nothing."""
    one = "INSERT INTO register_epoch (site, meter, epoch, opening, reason, head_qty, month, month_use)"
    one += " VALUES ('park-1', 'em-spare', 1, ?, 'x', 9, 0, 0)"
    async with posted.write() as tx:
        with pytest.raises(InexactValueError):
            await tx.execute(one, value)
        with pytest.raises(InexactValueError):
            await tx.execute_many(one, [(1,), (value,)])
        with pytest.raises(InexactValueError):
            await BulkInsert("act_head", "site group_id seq:bigint").run(tx, [("s", "a", 1), ("s", "b", value)])
    assert await posted.fetch("SELECT 1 FROM register_epoch WHERE meter = 'em-spare'") == []


async def test_what_the_attacks_spoil_is_accepted_when_it_is_whole(posted: Database, attack: Attack) -> None:
    """The attacks fail by their one flaw and not by anything else in them."""
    legs = LEG.format(seq=5, place=1, amount=7) + ";" + LEG.format(seq=5, place=2, amount=-7)
    await attack(f"{legs};{JOURNAL.format(seq=5, prev=4)}")
    await attack(ENERGY.format(span="300, 400"))
    await attack(RATING.format(span="300, 400", revision=1, active="TRUE", price=1, amount=100))
    await attack(RATING.format(span="200, 300", revision=2, active="FALSE", price=1, amount=100))
    assert (await posted.fetch("SELECT count(*) FROM leg WHERE seq = 5"))[0][0] == 2
    assert (await posted.fetch("SELECT count(*) FROM energy WHERE from_qty = 300 AND to_qty = 400"))[0][0] == 1


async def test_a_move_of_occupancy_onto_another_is_refused(posted: Database, attack: Attack) -> None:
    await attack("UPDATE supply SET to_ts = 1000 WHERE meter = 'em-002'")
    await attack(SUPPLY.format(span="1000, NULL"))
    with pytest.raises(REFUSED):
        await attack("UPDATE supply SET to_ts = 1001 WHERE meter = 'em-002' AND tenant = 't-002'")


async def test_a_price_can_be_superseded_once(posted: Database, attack: Attack) -> None:
    await attack(
        "UPDATE rating SET active = FALSE WHERE from_qty = 200;"
        + RATING.format(span="200, 300", revision=2, active="TRUE", price=2, amount=200)
    )
    rows = await posted.fetch("SELECT revision FROM rating WHERE from_qty = 200 AND active")
    assert [tuple(row) for row in rows] == [(2,)]

"""Verification finds every kind of tampering, once the triggers that refuse it are out of the way."""

from __future__ import annotations

import sqlite3

import asyncpg
import pytest

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import AccountTotals, MeterHead, ledger_heads, verify_sql
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, charge, entry, opened
from twin.ports import TopUp


@pytest.fixture
async def posted(park: Database) -> Database:
    """Chain 0-100-200-300 of em-002 over two epochs, journals 1 to 5, one payment."""
    ledger = SqlLedger(park)
    await ledger.post(SITE, [entry(1, charge(0, 100), charge(100, 200)), entry(2, charge(200, 300))])
    await ledger.post(SITE, [entry(3, opened("em-002", 4, epoch=2)), entry(4, charge(4, 9, epoch=2))])
    await ledger.top_up(SITE, TopUp("t-002", 5_000, "cash", "R-1", "k-1", "bob", NOW))
    return park


async def tamper(url: str, statements: str) -> None:
    """What somebody with all rights can do: switch triggers and foreign keys off, then edit."""
    if url.startswith("sqlite://"):
        connection = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'uq_%'"
        ).fetchall():
            connection.execute(f"DROP INDEX {name}")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(statements)
        connection.close()
        return
    connection = await asyncpg.connect(url.replace("asyncpg://", "postgresql://"))
    await connection.execute("SET session_replication_role = replica")
    for name in ("uq_energy_opening", "uq_rating_active"):
        await connection.execute(f"DROP INDEX {name}")
    checks = await connection.fetch(
        "SELECT conrelid::regclass::text AS home, conname FROM pg_constraint WHERE contype IN ('c', 'f')"
        " AND connamespace = 'public'::regnamespace AND conrelid <> 0"
    )
    for row in checks:
        await connection.execute(f'ALTER TABLE {row["home"]} DROP CONSTRAINT "{row["conname"]}"')
    await connection.execute(statements)
    await connection.close()


OPENING = (
    "INSERT INTO energy (site, meter, epoch, from_qty, to_qty, tenant, estimated)"
    " VALUES ('park-1', 'em-002', 1, NULL, 150, '', FALSE)"
)
FORK = (
    "INSERT INTO energy (site, meter, epoch, from_qty, to_qty, tenant, estimated)"
    " VALUES ('park-1', 'em-002', 1, 50, 250, 't-002', FALSE)"
)
TAMPERED = {
    "an interval is gone": (
        "DELETE FROM energy WHERE from_qty = 100",
        {"gap", "energy", "orphan_rating", "charge_digest"},
    ),
    "the last interval is gone": ("DELETE FROM energy WHERE from_qty = 200", {"head", "energy", "orphan_rating"}),
    "the opening is gone": (
        "DELETE FROM energy WHERE from_qty IS NULL AND epoch = 2 AND meter = 'em-002'", {"no_opening"},
    ),
    "a whole chain is gone": (
        "DELETE FROM energy WHERE meter = 'em-002' AND epoch = 2",
        {"no_opening", "orphan_rating"},
    ),
    "an epoch is gone": ("DELETE FROM register_epoch WHERE meter = 'em-002' AND epoch = 2", {"no_epoch"}),
    "a second opening": (OPENING, {"second_opening"}),
    "a fork": (FORK, {"overlap", "energy", "active_ratings"}),
    "a longer interval": ("UPDATE energy SET to_qty = 350 WHERE from_qty = 200", {"head", "rating_interval"}),
    "another tenant for an interval": ("UPDATE energy SET tenant = 't-001' WHERE from_qty = 200", {"charge_digest"}),
    "a head moved": ("UPDATE register_epoch SET head_qty = 999 WHERE meter = 'em-002' AND epoch = 1", {"head"}),
    "the use of the month": ("UPDATE register_epoch SET month_use = 1 WHERE meter = 'em-002'", {"month_use"}),
    "a price gone": ("DELETE FROM rating WHERE from_qty = 200", {"active_ratings", "charge_digest"}),
    "no price active": ("UPDATE rating SET active = FALSE WHERE from_qty = 200", {"active_ratings"}),
    "two prices active": (
        "INSERT INTO rating (site, meter, epoch, from_qty, to_qty, revision, active, account, utility, tariff, version,"
        " month, price_micro, amount_nano)"
        " VALUES ('park-1', 'em-002', 1, 200, 300, 2, TRUE, 'a', 'electricity', 'x', 0, 202601, 1, 100)",
        {"active_ratings"},
    ),
    "a cheaper price": (
        "UPDATE rating SET price_micro = 1, amount_nano = 100 WHERE from_qty = 200", {"charge_amount", "charge_digest"},
    ),
    "an amount off": (
        "UPDATE rating SET amount_nano = amount_nano - 1 WHERE from_qty = 200",
        {"amount", "charge_amount"},
    ),
    "a price whose product leaves 64 bits": (
        "UPDATE rating SET price_micro = 9223372036854775807 WHERE from_qty = 200", {"amount", "charge_digest"},
    ),
    "an empty interval at the end of another": (
        "INSERT INTO energy (site, meter, epoch, from_qty, to_qty, tenant, estimated)"
        " VALUES ('park-1', 'em-002', 1, 400, 400, 't-002', FALSE)", {"gap", "head", "active_ratings"},
    ),
    "two prices for one interval, none for another": (
        "UPDATE rating SET active = FALSE WHERE from_qty = 200;"
        "INSERT INTO rating (site, meter, epoch, from_qty, to_qty, revision, active, account, utility, tariff, version,"
        " month, price_micro, amount_nano) SELECT site, meter, epoch, from_qty, to_qty, 2, TRUE, account, utility,"
        " tariff, version, month, price_micro, amount_nano FROM rating WHERE from_qty = 100",
        {"active_ratings"},
    ),
    "an energy row of a meter beyond all others": (
        "INSERT INTO energy (site, meter, epoch, from_qty, to_qty, tenant, estimated)"
        " VALUES ('park-1', 'zz-999', 1, 0, 5, 't-002', FALSE)", {"no_epoch", "no_opening", "active_ratings"},
    ),
    "a memo": ("UPDATE journal SET memo = 'x' WHERE seq = 1", {"journal_edited"}),
    "an actor": ("UPDATE journal SET actor = 'nobody' WHERE seq = 5", {"journal_edited"}),
    "a leg's amount": ("UPDATE leg SET amount_nano = amount_nano + 1 WHERE seq = 1 AND place = 1",
                       {"unbalanced", "journal_edited", "credits"}),
    "a leg's account": ("UPDATE leg SET account = 'tenant:t-001:wallet' WHERE seq = 2 AND place = 1",
                        {"journal_edited", "charge_amount", "charges"}),
    "the order of legs": ("UPDATE leg SET place = 9 WHERE seq = 1 AND place = 1", {"journal_edited"}),
    "a journal gone": ("DELETE FROM journal WHERE seq = 3", {"missing_journal", "uncharged"}),
    "a journal and its legs gone": (
        "DELETE FROM leg WHERE seq = 3; DELETE FROM journal WHERE seq = 3",
        {"missing_journal"},
    ),
    "the tail gone": ("DELETE FROM payment; DELETE FROM leg WHERE seq = 5; DELETE FROM journal WHERE seq = 5",
                      {"journal_tail", "credits"}),
    "journals exchanged": (
        "UPDATE journal SET seq = 99 WHERE seq = 2; UPDATE journal SET seq = 2 WHERE seq = 3;"
        "UPDATE journal SET seq = 3 WHERE seq = 99", {"chain_broken", "journal_edited"},
    ),
    "a hash made up": ("UPDATE journal SET hash = prev_hash WHERE seq = 5", {"journal_edited", "journal_tail"}),
    "credits": (
        "UPDATE account SET credits_nano = credits_nano + 1 WHERE tenant = 't-002'",
        {"credits", "credits_told"},
    ),
    "charges": ("UPDATE account SET charges_nano = 0 WHERE tenant = 't-002'", {"charges"}),
    "an account gone": ("DELETE FROM account WHERE tenant = 't-002'", {"no_account"}),
    "a payment's amount": ("UPDATE payment SET amount_nano = 500", {"payment"}),
    "a payment gone": ("DELETE FROM payment", {"topup_without_payment"}),
    "a payment of another": ("UPDATE payment SET tenant = 't-001'", {"payment"}),
    "an act gone": ("DELETE FROM act WHERE group_id = 't-002' AND seq = 1", {"outbox"}),
    "an act's counter": ("UPDATE act_head SET seq = 7 WHERE group_id = 't-002'", {"outbox"}),
    "a counter gone": ("DELETE FROM act_head WHERE group_id = 't-002'", {"outbox"}),
    "acts delivered out of order": (
        "UPDATE act SET delivered = TRUE WHERE group_id = 't-002' AND seq = 2", {"outbox_order"},
    ),
}  # fmt: skip


async def test_a_sound_ledger_has_no_findings(posted: Database) -> None:
    seen: dict[str, int] = {}
    assert [finding async for finding in verify_sql(posted, SITE, lambda name, rows: seen.update({name: rows}))] == []
    assert seen["journals"] == 5
    assert seen["register chains"] == 8


@pytest.mark.parametrize("name", TAMPERED)
async def test_tampering_is_found(posted: Database, url: str, name: str) -> None:
    statements, expected = TAMPERED[name]
    await tamper(url, statements)
    found = {finding.code async for finding in verify_sql(posted, SITE) if finding.severity == "error"}
    assert expected <= found


async def test_the_place_of_a_finding_is_named(posted: Database, url: str) -> None:
    await tamper(url, "DELETE FROM energy WHERE from_qty = 100")
    findings = {finding.code: finding async for finding in verify_sql(posted, SITE)}
    assert findings["gap"].where == "meter em-002 epoch 1"
    assert findings["gap"].detail == "nothing covers 100 to 200"


async def test_the_rest_of_the_findings_can_be_left(posted: Database, url: str) -> None:
    await tamper(url, "UPDATE journal SET memo = 'x'")
    findings = verify_sql(posted, SITE)
    first = await anext(findings)
    await findings.aclose()  # type: ignore[attr-defined]
    assert first.code == "journal_edited"
    assert await posted.fetch("SELECT 1 FROM journal WHERE seq = 1")


async def test_an_unknown_site_is_a_finding(posted: Database) -> None:
    assert [finding.code async for finding in verify_sql(posted, "nowhere")] == ["unknown_site"]


async def test_heads_for_the_comparison_with_twins(posted: Database) -> None:
    heads = [head async for head in ledger_heads(posted, SITE)]
    assert MeterHead("em-002", 2, 9) in heads
    assert MeterHead("em-001", 1, 120_000) in heads
    assert AccountTotals("t-002", 5_000, 305 * 850_000) in heads
    assert len(heads) == 5


async def test_pages_are_crossed(posted: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("chains", "journals", "totals"):
        monkeypatch.setattr(f"adapters.store.proofs.verify_{module}.PAGE", 2)
    monkeypatch.setattr("adapters.store.proofs.verify._PAGE", 1)
    monkeypatch.setattr("adapters.store.proofs.meter_ranges.METERS", 1)
    monkeypatch.setattr("adapters.store.engine.database._STREAMED", 1)
    assert [finding async for finding in verify_sql(posted, SITE)] == []
    assert len([head async for head in ledger_heads(posted, SITE)]) == 5

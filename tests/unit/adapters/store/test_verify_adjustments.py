"""Verification finds what was done to adjustments, and proves a meter's whole past on demand."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from adapters.store.meters.rerating import rerate_site
from adapters.store.posting.adjustment_posting import COLUMNS
from adapters.store.proofs.verify import verify_sql
from adapters.store.proofs.verify_history import spread
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.rerate_marks import mark
from billing.points import Point
from tests.integration.test_sql_verify import tamper
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE
from tests.unit.adapters.store.recorded import HOUR_MS, METER, chain, park_document
from tests.unit.adapters.store.test_rerating import LATER, START, WHO, late, post, samples


@pytest.fixture
async def adjusted(database: Database) -> Database:
    """Two batches of adjustments on one row, the second on top of the first."""
    await SqlRegistry(database).apply(park_document(), who="test", now=NOW)
    await post(database, chain(samples((0, 100), (12, 1300), (24, 2000)), WHO))
    for hour, qty in ((8, 1250), (4, 200)):
        await post(database, [late(Point(START + hour * HOUR_MS, qty), seq=hour)])
        assert [one.trouble async for one in rerate_site(database, SITE, now=LATER)] == [""]
    await post(database, [late(Point(START + 10 * HOUR_MS, 1260), seq=10)])
    async with database.write() as tx:
        await tx.execute("UPDATE supply SET to_ts = ? WHERE site = ? AND meter = ?", START + 5 * HOUR_MS, SITE, METER)
        await mark(tx, SITE, METER, START, "the tenant left", START)
    assert [one.trouble async for one in rerate_site(database, SITE, now=LATER)] == [""]
    return database


async def codes(database: Database, deep: int | None = None) -> set[str]:
    return {finding.code async for finding in verify_sql(database, SITE, deep=deep)}


async def test_sound_adjustments_and_a_sound_past(adjusted: Database) -> None:
    assert await codes(adjusted, deep=0) == set()
    rows = await adjusted.fetch("SELECT count(*), count(DISTINCT batch), count(supersedes) FROM adjustment")
    assert rows[0][1] == 2
    assert rows[0][2] > 0


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "UPDATE adjustment SET amount_nano = amount_nano + 1, reason = 'none' WHERE number = 1",
            {"adjustment_amount", "adjustment_booked", "adjustment_digest"},
        ),
        (
            "UPDATE adjustment SET supersedes = NULL WHERE number = (SELECT max(number) FROM adjustment"
            " WHERE supersedes IS NOT NULL)",
            {"adjustment_order", "adjustment_digest"},
        ),
        ("UPDATE adjustment SET old_month = 202602 WHERE number = 1", {"adjustment_order", "adjustment_digest"}),
        ("UPDATE adjustment SET original_from = 5, to_qty = 99999 WHERE number = 1", {"adjustment_place"}),
        ("UPDATE adjustment SET account = 'tenant:t-001:wallet' WHERE number = 1", {"adjustment_account"}),
        ("DELETE FROM adjustment WHERE number = 1", {"missing_adjustment"}),
        ("DELETE FROM adjustment", {"adjustment_gone"}),
    ],
)
async def test_whatever_is_done_to_an_adjustment_is_found(
    adjusted: Database, url: str, statement: str, found: set[str]
) -> None:
    await tamper(url, statement)
    assert found <= await codes(adjusted)


async def test_a_charge_that_does_not_follow_from_the_samples_is_found_by_the_deep_proof(adjusted: Database) -> None:
    async with adjusted.write() as tx:
        await tx.execute("UPDATE supply SET to_ts = ? WHERE site = ? AND meter = ?", START + 3 * HOUR_MS, SITE, METER)
    assert await codes(adjusted) == set()
    assert await codes(adjusted, deep=0) == {"history"}
    async with adjusted.write() as tx:
        await mark(tx, SITE, METER, START, "a test", LATER)
    findings = [finding async for finding in verify_sql(adjusted, SITE, deep=0)]
    assert {finding.severity for finding in findings} == {"warning"}


async def test_the_database_refuses_adjustments_that_cannot_be(adjusted: Database, attack) -> None:
    for statement in (
        "UPDATE adjustment SET tenant = 'x'",
        "DELETE FROM adjustment",
        "DELETE FROM supply_tariff WHERE 1 = 0; DELETE FROM adjustment WHERE number = 1",
        _copy("from_qty = 5, to_qty = 6"),
        _copy("to_qty = 99999999"),
        _copy("supersedes = 999"),
        _copy("amount_nano = 1"),
    ):
        with pytest.raises(Exception, match=r"posted for good|must lie|must take over|CHECK|check"):
            await attack(statement)


def _copy(change: str) -> str:
    """One more adjustment like the first, with something that cannot be."""
    names = COLUMNS
    changed = dict(part.split(" = ") for part in change.split(", "))
    values = ["number + 1000" if name == "number" else changed.get(name, name) for name in names]
    return f"INSERT INTO adjustment ({', '.join(names)}) SELECT {', '.join(values)} FROM adjustment WHERE number = 1"


def test_a_sample_is_spread_over_all_meters() -> None:
    meters = [f"m{number}" for number in range(10)]
    assert spread(meters, None) == spread(meters, 99) == meters
    assert spread(meters, 3) == ["m0", "m3", "m6"]

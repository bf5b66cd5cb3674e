"""Re-rating from SQL: what came late, whoever it belongs to, ends in adjustments that balance, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.meters.meter_history import tariff_spans
from adapters.store.meters.rerating import SqlReratings, rerate_site
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.rerate_marks import mark, marks_of
from billing.history import Epoch, Occupancy, Tenancy, rate_history
from billing.points import Point
from billing.tariff import compile_tariff
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, charge, entry, tariff
from tests.unit.adapters.store.recorded import (
    HOUR_MS,
    METER,
    TENANT,
    ZONE,
    at,
    chain,
    occupancy,
    park_document,
    payer,
    tiered,
)  # fmt: skip
from twin.core.effects import AnyEffect, LateReading
from twin.core.samples import keep
from twin.rerated import Rerated

WALLET = f"tenant:{TENANT}:wallet"
START = at("2026-03-01T00:00:00")
LATER = at("2026-03-20T00:00:00")
WHO = occupancy([tiered()], Tenancy(payer(TENANT, "shop-tou")))


def samples(*pairs: tuple[int, int]) -> list[Point]:
    """Samples by the hour of March."""
    return [Point(START + hour * HOUR_MS, qty) for hour, qty in pairs]


def late(point: Point, seq: int = 1) -> LateReading:
    """A sample that came when newer ones had been charged."""
    return LateReading(METER, 1, point.qty, point.ts, "s1", seq)


async def post(database: Database, *batches: list[AnyEffect]) -> None:
    """Each batch as one entry of the stream, after those before."""
    ledger = SqlLedger(database)
    done = int((await ledger.position(SITE)).partition("-")[2] or 0)
    await ledger.post(SITE, [entry(done + number, *batch) for number, batch in enumerate(batches, 1)])


async def rerate(database: Database, **options: Any) -> list[Rerated]:
    """Everything that is marked, now."""
    return [one async for one in rerate_site(database, SITE, now=options.pop("now", LATER), **options)]


async def balances(database: Database) -> dict[str, int]:
    """credits - charges of every account."""
    rows = await database.fetch("SELECT account, credits_nano - charges_nano FROM account WHERE site = ?", SITE)
    return {row[0]: row[1] for row in rows}


async def findings(database: Database) -> list[str]:
    return [finding.code async for finding in verify_sql(database, SITE)]


def owed(points: list[Point], who: Occupancy = WHO) -> int:
    return sum(one.priced.amount_nano for one in rate_history([Epoch(1, points)], who).charges)


@pytest.fixture
async def shop(database: Database) -> Database:
    """The park with the meter on day, night and tiers; the tenant has no other money."""
    await SqlRegistry(database).apply(park_document(), who="test", now=NOW)
    return database


async def test_a_late_sample_moves_use_from_day_to_night_and_the_wallet_gets_the_difference(shop: Database) -> None:
    known = samples((0, 100), (12, 1300), (24, 2000))
    await post(shop, chain(known, WHO))
    missing = Point(START + 8 * HOUR_MS, 1250)
    before = await balances(shop)
    await post(shop, [late(missing)])

    done = await rerate(shop)

    everything = sorted([*known, missing], key=lambda point: point.ts)
    after = await balances(shop)
    assert after[WALLET] == -owed(everything)
    assert after[WALLET] - before[WALLET] == owed(known) - owed(everything) == (1150 - 800) * 600_000
    assert [(one.meter, one.adjustments, one.moved) for one in done] == [(METER, 1, {WALLET: 350 * 600_000})]
    assert len(done[0].acts) == 1
    assert await findings(shop) == []
    rows = await shop.fetch("SELECT number, batch, original_from, from_qty, to_qty, reason FROM adjustment")
    assert [tuple(row) for row in rows] == [(1, 1, 900, 900, 1250, "a reading came late")]
    kinds = await shop.fetch("SELECT kind, reference FROM journal WHERE kind = 'adjustment'")
    assert [tuple(row) for row in kinds] == [("adjustment", f"adjustment:1:{WALLET}")]


async def test_twice_adjusts_nothing(shop: Database) -> None:
    await post(shop, chain(samples((0, 0), (12, 12_000), (24, 20_000)), WHO))
    await post(shop, [late(Point(START + 8 * HOUR_MS, 11_000))])
    first = await rerate(shop)
    assert first[0].adjustments > 1  # the tier moves too
    assert [one.adjustments for one in await rerate(shop, from_ts=START)] == [0] * len(await meters(shop))
    assert await findings(shop) == []


async def test_a_late_sample_told_again_is_passed_over_and_nothing_beside_it_is_refused(shop: Database) -> None:
    known, missing = samples((0, 100), (12, 1300), (24, 2000)), late(Point(START + 8 * HOUR_MS, 1250))
    charges = chain(known, WHO)
    await post(shop, [*charges[:-1], missing], [missing, charges[-1]])
    assert [tuple(row) for row in await shop.fetch("SELECT qty FROM late_reading")] == [(1250,)]
    assert await shop.fetch("SELECT reason FROM refused_effect") == []
    assert (await shop.fetch("SELECT max(to_qty) FROM energy WHERE meter = ?", METER))[0][0] == 2000
    assert await findings(shop) == []


async def meters(database: Database) -> list[str]:
    return [row[0] for row in await database.fetch("SELECT DISTINCT meter FROM register_epoch WHERE site = ?", SITE)]


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(shop: Database) -> None:
    await post(shop, chain(samples((0, 100), (12, 1300)), WHO), [late(Point(START + 8 * HOUR_MS, 1250))])
    before = await balances(shop)
    told = await rerate(shop, dry_run=True)
    assert (told[0].adjustments, told[0].batch, told[0].acts) == (1, 0, ())
    assert await balances(shop) == before
    assert [one.due for one in await marks_of(shop, SITE)] == [True]


async def test_many_at_once_adjust_once(shop: Database) -> None:
    await post(shop, chain(samples((0, 100), (12, 1300)), WHO), [late(Point(START + 8 * HOUR_MS, 1250))])
    done = await asyncio.gather(*(rerate(shop, from_ts=START, meters=[METER]) for _ in range(5)))
    assert sorted(one[0].adjustments for one in done) == [0, 0, 0, 0, 1]
    assert len(await shop.fetch("SELECT 1 FROM adjustment")) == 1
    assert await findings(shop) == []


async def test_over_the_end_of_the_month_both_months_are_right_and_so_are_their_tiers(shop: Database) -> None:
    midnight = 31 * 24
    known = samples((0, 0), (midnight - 1, 9_000), (midnight + 2, 12_000), (midnight + 3, 20_000))
    await post(shop, chain(known, WHO))
    missing = Point(START + midnight * HOUR_MS, 11_500)
    await post(shop, [late(missing)])
    done = await rerate(shop, now=START + (midnight + 3) * HOUR_MS)
    everything = sorted([*known, missing], key=lambda point: point.ts)
    assert (await balances(shop))[WALLET] == -owed(everything)
    months = await shop.fetch("SELECT DISTINCT old_month, month FROM adjustment ORDER BY old_month")
    assert (202604, 202603) in [tuple(row) for row in months]
    assert done[0].trouble == ""
    assert await findings(shop) == []
    # The live twin counts on with what it charged for April, so April stays under watch until May.
    kept = await marks_of(shop, SITE)
    assert [(one.sticky, one.due, one.from_ts) for one in kept] == [(True, False, START)]


async def test_a_mark_goes_when_the_twin_counts_as_the_ledger_does(shop: Database) -> None:
    await post(shop, chain(samples((0, 100), (12, 1300)), WHO), [late(Point(START + 8 * HOUR_MS, 1250))])
    await rerate(shop, now=START + 12 * HOUR_MS)
    assert await marks_of(shop, SITE) == []


async def test_a_mark_made_before_the_last_charges_were_posted_is_looked_at_again(shop: Database) -> None:
    await post(shop, chain(samples((0, 100), (12, 1300)), WHO))
    async with shop.write() as tx:
        await mark(tx, SITE, METER, START, "a test", START + 13 * HOUR_MS)
    queue = SqlReratings(shop)
    assert [one.adjustments for one in await queue.work(now=LATER, quiet_before=LATER)] == [0]
    assert [(one.sticky, one.due) for one in await marks_of(shop, SITE)] == [(True, False)]
    assert await queue.work(now=LATER, quiet_before=LATER) == []
    more = chain(samples((0, 100), (12, 1300), (15, 1600)), WHO)[1:]
    await post(shop, [one for one in more if one.from_qty >= 1300])
    assert [one.meter for one in await queue.work(now=LATER, quiet_before=LATER)] == [METER]
    assert await marks_of(shop, SITE) == []


async def test_a_late_sample_that_contradicts_goes_to_review_and_changes_nothing(shop: Database) -> None:
    await post(shop, chain(samples((0, 100), (12, 1300), (24, 2000)), WHO))
    await post(shop, [late(Point(START + 8 * HOUR_MS, 1400))])
    rows = await shop.fetch("SELECT raw_qty, reason FROM quarantined_reading")
    assert [tuple(row) for row in rows] == [(1400, "contradicts_neighbours")]
    assert [one.adjustments for one in await rerate(shop, from_ts=START, meters=[METER])] == [0]


async def test_use_after_a_tenant_left_is_the_landlords_and_the_money_goes_back(shop: Database) -> None:
    known = samples((0, 0), (24, 2400), (48, 4800))
    await post(shop, chain(known, WHO))
    left = START + 24 * HOUR_MS
    async with shop.write() as tx:
        await tx.execute("UPDATE supply SET to_ts = ? WHERE site = ? AND meter = ?", left, SITE, METER)
        await mark(tx, SITE, METER, left, "the tenant had left", left)
    done = await rerate(shop)
    who = occupancy([tiered()], Tenancy(payer(TENANT, "shop-tou"), None, left))
    after = await balances(shop)
    assert after[WALLET] == -owed(known, who)
    assert "landlord:vacancy" not in after  # it costs nothing
    assert done[0].moved == {WALLET: owed(known) - owed(known, who)}
    assert await findings(shop) == []


async def test_what_cannot_be_rated_says_why_and_waits(shop: Database) -> None:
    await post(shop, chain(samples((0, 100), (12, 1300)), WHO))
    async with shop.write() as tx:
        await tx.execute("UPDATE supply SET tariff = 'lost' WHERE site = ? AND meter = ?", SITE, METER)
        await mark(tx, SITE, METER, START, "a test", START)
    done = await rerate(shop)
    assert "tariff 'lost' of tenant t-002 does not exist" in done[0].trouble
    assert [one.trouble for one in await marks_of(shop, SITE)] == [done[0].trouble]
    assert await SqlReratings(shop).work(now=LATER, quiet_before=LATER) == []


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_arrival_ends_with_the_same_balances(shop: Database, seed: int) -> None:
    """A few days of samples; some of them come late, in any order and twice, with ratings in between."""
    import random

    chosen = random.Random(seed)
    everything = samples((0, 0), *sorted((chosen.randrange(1, 96), 0) for _ in range(16)))
    qty = 0
    register = []
    for point in dict.fromkeys(one.ts for one in everything):
        register.append(Point(point, qty))
        qty += chosen.randrange(0, 2_500)
    in_time = [register[0], *(point for point in register[1:-1] if chosen.random() < 0.4), register[-1]]
    missing = [point for point in register if point not in in_time] * 2
    chosen.shuffle(missing)
    await post(shop, chain(in_time, WHO))
    for number, point in enumerate(missing):
        await post(shop, [late(point, seq=number)])
        if chosen.random() < 0.4:
            await rerate(shop)
    await rerate(shop)
    assert (await balances(shop))[WALLET] == -owed(register)
    assert await findings(shop) == []


@pytest.mark.parametrize(
    ("changes", "spans"),
    [
        ([], [(None, None, "now")]),
        ([(None, "a"), (5, "b")], [(None, 5, "a"), (5, None, "b")]),
        ([(None, "a"), (5, "b"), (9, "c"), (7, "d")], [(None, 5, "a"), (5, 7, "b"), (7, None, "d")]),
        ([(None, "a"), (5, "b"), (None, "c")], [(None, None, "c")]),
    ],
)
def test_the_tariffs_of_a_supply_over_time(changes: list[tuple[int | None, str]], spans: list[Any]) -> None:
    assert tariff_spans("now", changes) == spans


async def test_an_opening_of_which_nobody_knows_when_it_held_is_charged_at_the_first_sample(shop: Database) -> None:
    """The site file tells the register of em-002 and no instant: what was used since is rated at the first reading."""
    version = compile_tariff(tariff(), ZONE).versions[0].start_ms
    first, second = START, START + HOUR_MS
    await post(
        shop,
        [
            charge(0, 100, to_ts=first, from_ts=first, version=version, month=202602, points=keep([Point(first, 100)])),
            charge(
                100, 250, to_ts=second, from_ts=first, version=version, month=202603, points=keep([Point(second, 250)])
            ),
        ],
    )
    assert [one.adjustments for one in await rerate(shop, meters=["em-002"], from_ts=0)] == [0]
    assert [finding async for finding in verify_sql(shop, SITE, deep=0)] == []
    # What no sample covers is left as it was posted.
    await post(shop, [charge(250, 300, to_ts=second + HOUR_MS, from_ts=second, version=version, month=202603)])
    async with shop.write() as tx:
        await mark(tx, SITE, "em-002", second, "a test", second)
    assert [one.adjustments for one in await rerate(shop)] == [0]

"""Settlement of a month on both engines: bills that equal the ledger, whatever happens on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest_asyncio

from adapters.store.engine.database import Database
from billing.bill import Bill, check_bill, decode_bill
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.settling import DAY, HOUR, SITE, Park
from twin.core.effects import LateReading
from twin.flows.settle_month import Missing


@pytest_asyncio.fixture
async def site(database: Database) -> AsyncIterator[Park]:
    """The park, imported before the year begins."""
    made = Park(database)
    await made.import_site()
    yield made


async def bills(park: Park, month: int | None = None) -> dict[str, Bill]:
    """Bills by id, as they are stored."""
    rows = await park.database.fetch(
        "SELECT bill, document FROM bill WHERE site = ? AND month >= ? AND month <= ? ORDER BY id",
        *(SITE, month or 0, month or 999_999),
    )
    return {row[0]: decode_bill(row[1]) for row in rows}


async def january(park: Park) -> dict[str, Bill]:
    """January used, paid for and settled."""
    await park.month(202601)
    await park.pay("t-1", 500, "jan", park.start_of(202601) + 5 * DAY)
    park.clock.at = park.start_of(202602) + DAY
    settled = await park.settle(202601)
    assert settled.state == "done"
    return await bills(park, 202601)


def line(bill: Bill, kind: str, tenant: str | None = None) -> Any:
    found = [
        one for wallet in bill.wallets if tenant in (None, wallet.tenant) for one in wallet.lines if one.kind == kind
    ]
    assert len(found) == 1, found
    return found[0]


async def test_a_month_becomes_bills_that_equal_the_ledger(site: Park) -> None:
    made = await january(site)
    assert list(made) == ["202601-t-1", "202601-t-2"]
    first, second = made.values()
    assert [bill.number for bill in made.values()] == ["S-2026-000001", "S-2026-000002"]
    assert all(check_bill(bill) == [] for bill in made.values())
    assert [wallet.tenant for wallet in first.wallets] == ["t-1", "t-1-water"]
    # 31 nights of 2 kWh and 31 days of 8 kWh
    energy = {one.period: one for one in first.wallets[0].lines if one.kind == "energy"}
    assert energy["valley"].amount_nano == 62_000 * 415_000
    assert energy["peak"].amount_nano == 248_000 * 1_215_000
    assert [part.amount_nano for part in energy["peak"].parts] == [248_000 * 1_200_000, 248_000 * 15_000]
    assert (line(first, "fixed").amount_nano, line(first, "fixed").days) == (30 * 10**9, 31)
    assert line(first, "capacity").amount_nano == 50 * 10**9
    # 8 kWh in 16 hours is the highest mean
    assert (line(first, "demand").quantity, line(first, "demand").amount_nano) == (500, 19 * 10**9)
    assert line(second, "package").amount_nano == 10 * 10**9
    assert line(second, "minimum").amount_nano == 50 * 10**9 - 10 * 10**9 - 31_000 * 850_000
    lifts = [line(first, "share").quantity, line(second, "share").quantity]
    assert lifts == [66_667, 33_334]
    losses = line(first, "loss").quantity, line(second, "loss").quantity
    assert sum(losses) == 7_777
    reading = first.wallets[0].meters[0].readings[0]
    assert (reading.opening_qty, reading.closing_qty, reading.quantity) == (0, 310_000, 310_000)
    assert (reading.opening_ts, reading.closing_ts) == (site.start_of(202601), site.start_of(202602))
    for bill in made.values():
        for wallet in bill.wallets:
            assert wallet.closing_nano == await site.balance(wallet.tenant), wallet.tenant
    assert first.wallets[0].credits[0].amount_nano == 500 * 10**9
    assert first.wallets[0].opening_nano == 100 * 10**9


async def test_settling_again_changes_nothing(site: Park) -> None:
    made = await january(site)
    journals = await site.database.fetch("SELECT journal_seq FROM site")
    again = await site.settle(202601)
    assert again.state == "done"
    assert await bills(site) == made
    assert [row[0] for row in await site.database.fetch("SELECT journal_seq FROM site")] == [row[0] for row in journals]


async def test_the_next_month_opens_with_the_balance(site: Park) -> None:
    before = await january(site)
    await site.month(202602, 2)
    site.clock.at = site.start_of(202603) + DAY
    assert (await site.settle(202602)).state == "done"
    after = await bills(site, 202602)
    for holder in ("t-1", "t-2"):
        old, new = before[f"202601-{holder}"], after[f"202602-{holder}"]
        assert [wallet.opening_nano for wallet in new.wallets] == [wallet.closing_nano for wallet in old.wallets]
        assert not any(wallet.adjustments for wallet in new.wallets)
        for wallet in new.wallets:
            assert wallet.closing_nano == await site.balance(wallet.tenant)
    assert line(after["202602-t-1"], "fixed").days == 28


async def test_what_comes_late_is_on_the_next_bill_and_names_the_first(site: Park) -> None:
    """Water read only until the 20th: the rest of January is an adjustment on the bill of February."""
    await site.use("wm-1", "t-1-water", "water", site.start_of(202601) + 20 * DAY, 5_000)
    site.missing = []
    site.clock.at = site.start_of(202602) + DAY
    assert (await site.settle(202601)).state == "done"
    issued = (await bills(site, 202601))["202601-t-1"]
    await site.use("wm-1", "t-1-water", "water", site.start_of(202602), 3_000)
    await site.use("wm-1", "t-1-water", "water", site.start_of(202602) + 2 * DAY, 1_000)
    site.clock.at = site.start_of(202603) + DAY
    assert (await site.settle(202602)).state == "done"
    wallet = (await bills(site, 202602))["202602-t-1"].wallets[1]
    assert [(one.month, one.quantity, one.amount_nano) for one in wallet.adjustments] == [
        (202601, 3_000, 3_000 * 4_100_000)
    ]
    original = wallet.adjustments[0].original
    assert original is not None
    assert (original.bill, original.number) == (issued.id, issued.number)
    assert wallet.meters[0].quantity == 1_000
    assert wallet.closing_nano == await site.balance("t-1-water")


async def test_a_late_sample_that_shows_a_higher_demand_is_charged_on_the_next_bill(site: Park) -> None:
    """Of the 8 kWh in 16 hours, 3 had flowed in the first: 3 000 W, not the mean of 500 W."""
    await january(site)
    eight = site.start_of(202601) + 8 * HOUR
    contradicting = LateReading("em-1", 1, 1_000, eight + 2 * HOUR, "s1", 8)
    await site.post(LateReading("em-1", 1, 5_000, eight + HOUR, "s1", 9), contradicting)
    await site.month(202602)
    site.clock.at = site.start_of(202603) + DAY
    assert (await site.settle(202602)).state == "done"
    wallet = (await bills(site, 202602))["202602-t-1"].wallets[0]
    found = [(one.month, one.quantity, one.unit, one.amount_nano) for one in wallet.adjustments]
    assert found == [(202601, 2_500, "W", 2_500 * 38_000_000)]
    assert wallet.closing_nano == await site.balance("t-1")
    assert line((await bills(site, 202602))["202602-t-1"], "demand").quantity == 500


async def test_missing_readings_stop_a_settlement_that_waits(site: Park) -> None:
    await site.month(202601)
    site.clock.at = site.start_of(202602) + DAY
    site.missing = [Missing("wm-1", "t-1-water", site.start_of(202602) - HOUR)]
    waiting = await site.settle(202601)
    assert (waiting.state, [one.meter for one in waiting.missing]) == ("waiting", ["wm-1"])
    assert await bills(site) == {}
    assert (await site.settle(202601, policy="settle")).state == "done"
    bill = (await bills(site))["202601-t-1"]
    assert "wm-1" in bill.warnings[0]["en"]
    assert not bill.wallets[1].meters[0].complete


async def test_bills_are_json_that_says_what_they_say(site: Park) -> None:
    made = await january(site)
    rows = await site.database.fetch("SELECT bill, account, sum(amount_nano) FROM bill_line GROUP BY bill, account")
    lines = {(row[0], row[1]): int(row[2]) for row in rows}
    for bill in made.values():
        assert msgspec.json.decode(msgspec.json.encode(bill), type=Bill) == bill
        for wallet in bill.wallets:
            assert lines.get((bill.id, wallet.account), 0) == wallet.charges_nano


async def test_an_estimate_is_taken_back_when_the_reading_comes(site: Park) -> None:
    """Water read until the 24th, 100 l a day: 700 l are estimated; in February 1 000 l turn out to have been used."""
    for day in range(1, 25):
        await site.use("wm-1", "t-1-water", "water", site.start_of(202601) + day * DAY, 100)
    site.missing = [Missing("wm-1", "t-1-water", site.start_of(202601) + 24 * DAY)]
    site.clock.at = site.start_of(202602) + DAY
    assert (await site.settle(202601, policy="estimate")).state == "done"
    first = (await bills(site, 202601))["202601-t-1"]
    estimate = line(first, "estimate")
    assert (estimate.quantity, estimate.amount_nano, estimate.estimated) == (700, 700 * 4_100_000, True)
    await site.use("wm-1", "t-1-water", "water", site.start_of(202602), 1_000)
    site.missing = []
    site.clock.at = site.start_of(202603) + DAY
    assert (await site.settle(202602)).state == "done"
    wallet = (await bills(site, 202602))["202602-t-1"].wallets[1]
    assert sorted((one.quantity, one.amount_nano) for one in wallet.adjustments) == [
        (-700, -700 * 4_100_000),
        (1_000, 1_000 * 4_100_000),
    ]
    assert all(one.original is not None and one.original.number == first.number for one in wallet.adjustments)
    assert wallet.closing_nano == await site.balance("t-1-water")

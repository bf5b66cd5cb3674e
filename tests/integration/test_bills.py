"""Bills beyond the ordinary month: leaving, correcting, replaced meters, daylight saving, losses, prices, proofs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.store.engine.database import REFUSALS, Database
from adapters.store.proofs.verify import verify_sql
from billing.bill import Bill, check_bill, decode_bill
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.engines import Attack
from tests.unit.adapters.store.settling import DAY, HOUR, SITE, Park, document
from twin.flows.push_bills import push_bills
from twin.flows.settle_on_time import SettlementTimer
from twin.ports import MoneyRefusedError


async def bill(park: Park, name: str) -> Bill:
    """A stored bill."""
    rows = await park.database.fetch("SELECT document FROM bill WHERE site = ? AND bill = ?", SITE, name)
    return decode_bill(rows[0][0])


async def breaches(park: Park) -> list[str]:
    """What verification finds."""
    return [f"{one.code} {one.where}" async for one in verify_sql(park.database, SITE) if one.severity == "error"]


async def settled(park: Park, month: int = 202601, **options: Any) -> Any:
    """Settle a month the day after its end."""
    park.clock.at = park.start_of(month + 1) + DAY
    return await park.settle(month, **options)


def lines(made: Bill, kind: str) -> list[Any]:
    return [one for wallet in made.wallets for one in wallet.lines if one.kind == kind]


async def test_a_replaced_meter_shows_both_registers(database: Database) -> None:
    park = Park(database)
    await park.import_site()
    start, swap, end = park.start_of(202601), park.start_of(202601) + 10 * DAY, park.start_of(202602)
    await park.use("em-2", "t-2", "small", swap, 40_000)
    await park.open("em-2", swap, epoch=2, opening=5_000, reason="meter replaced")
    await park.use("em-2", "t-2", "small", end, 60_000)
    assert (await settled(park)).state == "done"
    section = (await bill(park, "202601-t-2")).wallets[0].meters[0]
    shown = [(one.epoch, one.opening_qty, one.closing_qty, one.quantity, one.reason) for one in section.readings]
    assert shown == [(1, 0, 40_000, 40_000, ""), (2, 5_000, 65_000, 60_000, "meter replaced")]
    assert section.readings[0].opening_ts == start
    assert [one.quantity for one in section.lines if one.kind == "energy"] == [100_000]
    assert await breaches(park) == []


@pytest.mark.parametrize("month", [202603, 202610])
async def test_months_in_which_the_clock_jumps(database: Database, month: int) -> None:
    """A month of 743 or 745 hours: every day is charged, every hour in its period, the balance proved."""
    if database.engine == "postgres":
        pytest.skip("the clock is the same on both engines")
    park = Park(database, "Europe/Berlin")
    park.clock.at = park.start_of(month) - DAY
    await park.import_site()
    for meter in park.heads:
        park.heads[meter] = (1, 0, park.start_of(month))
    await park.month(month)
    assert (await settled(park, month)).state == "done"
    made = await bill(park, f"{month}-t-1")
    assert check_bill(made) == []
    assert [one.days for one in lines(made, "fixed")] == [31]
    assert sum(one.amount_nano for one in lines(made, "fixed")) == 30 * 10**9
    assert made.wallets[0].closing_nano == await park.balance("t-1")
    assert await breaches(park) == []


async def test_a_tenant_change_in_the_middle_of_the_month(database: Database) -> None:
    """One leaves on the 16th with a final bill, another moves in: fees by days, nobody pays twice."""
    park = Park(database)
    half = park.start_of(202601) + 15 * DAY
    site = document()
    shop = site.site["tenants"][2]
    shop["supplies"] = [{"meter": "em-2", "tariff": "small", "to": "2026-01-16T00:00:00"}]
    following = {**shop, "id": "t-3", "name": "New shop"}
    following["supplies"] = [{"meter": "em-2", "tariff": "small", "from": "2026-01-16T00:00:00"}]
    await park.import_site(tenants=[*site.site["tenants"], following], apportionments=[])
    await park.use("em-2", "t-2", "small", half, 10_000)
    park.clock.at = half + HOUR
    final = await park.book.final(SITE, "t-2", half, who="desk", now=park.clock.at)
    assert final is not None
    assert (final.bill.kind, final.bill.number, final.bill.to_ts) == ("final", "S-2026-000001", half)
    assert [one.days for one in lines(final.bill, "package")] == [15]
    assert final.bill.closing_nano == await park.balance("t-2")
    await park.use("em-2", "t-3", "small", park.start_of(202602), 20_000)
    assert (await settled(park)).state == "done"
    rows = await park.database.fetch("SELECT bill FROM bill WHERE site = ? ORDER BY number", SITE)
    names = [row[0] for row in rows]
    assert "202601-t-2" not in names
    assert names[0] == "202601-t-2-F1"
    second = await bill(park, "202601-t-3")
    assert [one.days for one in lines(second, "package")] == [16]
    packages = sum(one.amount_nano for made in (final.bill, second) for one in lines(made, "package"))
    minimums = sum(one.amount_nano for made in (final.bill, second) for one in lines(made, "minimum"))
    assert packages == 10 * 10**9
    assert minimums == 50 * 10**9 - 10 * 10**9 - 30_000 * 850_000
    assert second.closing_nano == await park.balance("t-3")
    assert await breaches(park) == []


async def test_what_comes_after_a_final_bill_has_a_bill_of_its_own(database: Database) -> None:
    park = Park(database)
    await park.import_site(apportionments=[])
    half = park.start_of(202601) + 15 * DAY
    await park.use("em-2", "t-2", "small", half, 10_000)
    park.clock.at = half
    first = await park.book.final(SITE, "t-2", half, who="desk", now=park.clock.at)
    await park.pay("t-2", 5, "late", half + HOUR)
    assert (await settled(park)).state == "done"
    assert first is not None
    follow = await bill(park, "202601-t-2")
    assert follow.opening_nano == first.bill.closing_nano
    assert [credit.amount_nano for credit in follow.wallets[0].credits] == [5 * 10**9]
    assert not lines(follow, "energy")
    assert follow.closing_nano == await park.balance("t-2")
    assert await breaches(park) == []


async def test_a_correction_replaces_a_bill_and_takes_over_what_came_since(database: Database) -> None:
    park = Park(database)
    await park.import_site()
    await park.use("wm-1", "t-1-water", "water", park.start_of(202601) + 20 * DAY, 5_000)
    assert (await settled(park)).state == "done"
    old = await bill(park, "202601-t-1")
    await park.use("wm-1", "t-1-water", "water", park.start_of(202602), 2_000)
    made = await park.book.correct(SITE, old.id, who="finance", why="reading was missing", now=park.clock.at)
    assert (made.id, made.revision, made.corrects, made.number) == ("202601-t-1-R2", 2, old.id, "S-2026-000003")
    assert made.wallets[1].meters[0].quantity == 7_000
    assert made.opening_nano == old.opening_nano
    row = (await park.database.fetch("SELECT state, replaced_by FROM bill WHERE bill = ?", old.id))[0]
    assert (row[0], row[1]) == ("corrected", made.id)
    with pytest.raises(MoneyRefusedError) as refusal:
        await park.book.correct(SITE, old.id, who="finance", why="again", now=park.clock.at)
    assert refusal.value.code == "replaced"
    park.clock.at = park.start_of(202603) + DAY
    assert (await park.settle(202602)).state == "done"
    following = await bill(park, "202602-t-1")
    assert following.wallets[1].adjustments == ()
    assert following.opening_nano == made.closing_nano
    assert await breaches(park) == []
    with pytest.raises(MoneyRefusedError) as refusal:
        await park.book.correct(SITE, made.id, who="finance", why="too late", now=park.clock.at)
    assert refusal.value.code == "not_last"


async def test_a_negative_loss_is_an_incident_and_no_line(database: Database) -> None:
    park = Park(database)
    await park.import_site()
    end = park.start_of(202602)
    for meter, tenant, tariff in (("em-1", "t-1", "shop"), ("em-2", "t-2", "small"), ("em-lift", "", "small")):
        await park.use(meter, tenant, tariff, end, 10_000)
    await park.use("em-main", "", "small", end, 29_999)
    outcome = await settled(park)
    assert outcome.state == "done"
    assert any("nobody is charged" in trouble for trouble in outcome.troubles)
    rows = await park.database.fetch("SELECT device, kind FROM incident WHERE site = ?", SITE)
    assert [tuple(row) for row in rows] == [("em-main", "negative_loss")]
    first = await bill(park, "202601-t-1")
    assert not lines(first, "loss")
    assert lines(first, "share")


async def test_the_settlement_price_is_its_own_line_and_can_be_changed_before_issue(database: Database) -> None:
    park = Park(database)
    await park.import_site(settlement={"issue": "manual", "prefix": "M-"})
    await park.month(202601)
    assert (await settled(park)).state == "drafted"
    plain = await bill(park, "202601-t-2")
    for price in (900_000, 830_000):
        await park.book.enter_price(
            SITE, 202601, "tariff:small", price, who="housekeeper", why="invoice of the grid", now=park.clock.at
        )
    assert (await park.settle(202601, again=True)).state == "drafted"
    made = await bill(park, "202601-t-2")
    difference = lines(made, "settlement_price")[0]
    assert difference.amount_nano == 31_000 * (830_000 - 850_000)
    assert difference.facts["settlement_price_micro"] == 830_000
    assert made.closing_nano == plain.closing_nano - difference.amount_nano
    assert (await park.settle(202601, issue=True)).state == "done"
    assert (await bill(park, "202601-t-2")).number == "M-000002"
    assert await breaches(park) == []
    with pytest.raises(MoneyRefusedError) as refusal:
        await park.settle(202601, again=True)
    assert refusal.value.code == "already_issued"


async def test_order_of_months_and_previews(database: Database) -> None:
    park = Park(database)
    await park.import_site()
    await park.month(202601)
    park.clock.at = park.start_of(202601) + 20 * DAY
    with pytest.raises(MoneyRefusedError) as refusal:
        await park.settle(202601)
    assert refusal.value.code == "month_open"
    before = await park.database.fetch("SELECT journal_seq FROM site")
    forecast = await park.book.preview(SITE, 202601, ("t-1",), now=park.clock.at)
    assert [one.holder.id for one in forecast] == ["t-1"]
    assert [one.days for one in lines(forecast[0], "fixed")] == [20]
    assert [tuple(row) for row in await park.database.fetch("SELECT journal_seq FROM site")] == [tuple(before[0])]
    assert await park.book.runs(SITE) == []
    assert (await settled(park)).state == "done"
    for month, code in ((202603, "settle_earlier"), (202512, "settle_later")):
        park.clock.at = park.start_of(202604) + DAY
        with pytest.raises(MoneyRefusedError) as refusal:
            await park.settle(month)
        assert refusal.value.code == code


async def test_balances_from_before_the_first_settlement(database: Database) -> None:
    """A park that ran for a month before anybody settled begins with the balance that the ledger has."""
    park = Park(database)
    await park.import_site()
    await park.month(202601)
    await park.pay("t-1", 300, "jan", park.start_of(202601) + DAY)
    opening = await park.balance("t-1")
    await park.month(202602)
    park.clock.at = park.start_of(202603) + DAY
    assert (await park.settle(202602)).state == "done"
    made = await bill(park, "202602-t-1")
    assert made.wallets[0].opening_nano == opening
    assert made.wallets[0].closing_nano == await park.balance("t-1")
    assert not made.wallets[0].adjustments
    assert await breaches(park) == []


async def test_the_clock_settles_what_is_due_once(database: Database) -> None:
    park = Park(database)
    park.clock.at = park.start_of(202601)
    await park.import_site()
    timer = SettlementTimer(park.book, park.settlement, park.carrier, park.clock)
    park.clock.at = park.start_of(202601) + 3 * DAY + HOUR
    await timer.tick()
    rows = await park.database.fetch("SELECT DISTINCT day FROM fee_line WHERE tenant = 't-1' ORDER BY day")
    assert [row[0] for row in rows] == [20260101, 20260102, 20260103]
    await timer.tick()
    await park.month(202601)
    # Down until the middle of February: the fees of all days and one settlement, once.
    park.clock.at = park.start_of(202602) + 14 * DAY
    await SettlementTimer(park.book, park.settlement, park.carrier, park.clock).tick()
    await timer.tick()
    runs = await park.book.runs(SITE)
    assert [(run.month, run.state) for run in runs] == [(202601, "done")]
    made = await bill(park, "202601-t-1")
    assert [one.days for one in lines(made, "fixed")] == [31]
    rows = await park.database.fetch("SELECT max(day), count(*) FROM fee_line WHERE tenant = 't-1' AND kind = 'fixed'")
    assert (rows[0][0], rows[0][1]) == (20260214, 45)
    assert await breaches(park) == []


class Forgetful:
    """A notifier whose channel fails for one holder at first."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.broken = {"t-2"}

    async def notify(self, site: str, tenant: str, template: str, data: Any) -> str:
        assert (site, template) == (SITE, "bill_issued")
        assert data["zh"]
        assert data["number"] in data["en"]
        if tenant in self.broken:
            raise ConnectionError("no route to the channel")
        self.told.append(tenant)
        return f"proof-{tenant}"


async def test_bills_are_pushed_once_with_proof(database: Database) -> None:
    from adapters.store.bills.bill_reads import SqlBills

    park = Park(database)
    await park.import_site()
    await park.month(202601)
    await settled(park)
    bills, notifier = SqlBills(database), Forgetful()
    first = await push_bills(bills, notifier, park.clock, SITE, 202601, who="manager")
    assert (first.delivered, first.failed) == (1, 1)
    pushes = {one.bill: one for one in await bills.pushes(SITE, 202601)}
    assert (pushes["202601-t-1"].state, pushes["202601-t-1"].proof) == ("delivered", "proof-t-1")
    assert "no route" in pushes["202601-t-2"].trouble
    notifier.broken.clear()
    second = await push_bills(bills, notifier, park.clock, SITE, 202601, who="manager")
    assert (second.delivered, second.failed) == (1, 0)
    assert notifier.told == ["t-1", "t-2"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bill SET charges_nano = 0, closing_nano = opening_nano + credits_nano",
        "UPDATE bill SET document = '{}'",
        "UPDATE bill SET state = 'draft', number = NULL",
        "DELETE FROM bill",
        "UPDATE bill_line SET amount_nano = 0, quantity = NULL",
        "DELETE FROM bill_line",
        "DELETE FROM bill_wallet",
        "INSERT INTO bill_line (site, bill, place, account, kind, name_zh, name_en, meter, utility, tariff, month,"
        " period, unit, amount_nano)"
        " VALUES ('park-s', '202601-t-1', 99, 'a', 'fixed', '', '', '', '', '', 202601, '', '', 1)",
        "UPDATE fee_line SET amount_nano = 0, quantity = NULL",
        "DELETE FROM fee_line",
        "DELETE FROM settlement_price",
    ],
)
async def test_the_database_refuses_to_change_what_was_issued(
    database: Database, attack: Attack, statement: str
) -> None:
    park = Park(database)
    await park.import_site()
    await park.month(202601)
    now = park.start_of(202602)
    await park.book.enter_price(SITE, 202601, "utility:water", 4_000_000, who="h", why="w", now=now)
    await settled(park)
    with pytest.raises(REFUSALS):
        await attack(statement)


async def test_verification_names_what_somebody_changed_without_the_triggers(
    database: Database, attack: Attack
) -> None:
    park = Park(database)
    await park.import_site()
    await park.month(202601)
    await settled(park)
    assert await breaches(park) == []
    unlock = {
        "sqlite": "DROP TRIGGER bill_issued; DROP TRIGGER fee_line_no_update; DROP TRIGGER bill_line_update",
        "postgres": "ALTER TABLE bill DISABLE TRIGGER ALL; ALTER TABLE fee_line DISABLE TRIGGER ALL;"
        " ALTER TABLE bill_line DISABLE TRIGGER ALL",
    }[database.engine]
    await attack(unlock)
    await attack("UPDATE bill SET document = replace(document, 'Tea house', 'Sea house') WHERE bill = '202601-t-2'")
    await attack("UPDATE fee_line SET facts = '{}' WHERE kind = 'demand'")
    await attack("UPDATE bill_line SET amount_nano = amount_nano + 1, price_micro = NULL WHERE bill = '202601-t-1'")
    await attack("UPDATE bill SET number = 7 WHERE bill = '202601-t-1'")
    found = await breaches(park)
    for expected in ("bill_edited bill 202601-t-2", "bill_sum bill 202601-t-1", "bill_number series S-2026-"):
        assert expected in found
    assert any(one.startswith("fee_digest") for one in found)


def test_a_notice_in_two_languages() -> None:
    from billing.bill_notice import bill_notice
    from tests.unit.billing.bills import example_bill

    made = example_bill()
    owing = msgspec.structs.replace(
        made, wallets=(msgspec.structs.replace(made.wallets[1], closing_nano=-50_594_000_000),)
    )
    assert (
        bill_notice(owing, "zh")
        == "示范园区：您2026年1月的账单 P1-2026-000017 已出。本期费用 50.59 CNY，请缴 50.59 CNY。"
    )
    assert "for 2026-01 is out" in bill_notice(made, "en")

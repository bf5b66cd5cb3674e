"""Reports and statements on both engines: their totals are those of the ledger, by SQL of the tests' own."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from adapters.store.engine.database import Database
from adapters.store.journals.journal_book import open_book
from adapters.store.journals.wallet_booking import book_credit
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from adapters.store.reports.report_calendar import local_days, months_between, span_of_months
from adapters.store.reports.report_days import share_of
from adapters.store.reports.report_ledger import SqlStatements
from adapters.store.reports.report_models import Span
from adapters.store.reports.report_queries import SqlReports
from adapters.store.reports.report_sums import rebuild
from billing.local_time import DAY_MS
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, charge, entry, opened
from twin.ports import TopUp

HOUR = 3_600_000
DAYS = DAY_MS
FEB = int(datetime(2026, 1, 31, 16, tzinfo=UTC).timestamp()) * 1000
"""2026-02-01T00:00 in Shanghai."""
_FEE = (
    "INSERT INTO fee_line (site, kind, tenant, account, meter, utility, tariff, version, name, month, day, revision,"
    " quantity, unit, price_micro, amount_nano, estimated, facts, ts, journal_seq) VALUES (?, 'fixed', ?, ?, ?,"
    " 'electricity', 'shop-flat', 0, 'service', 202601, 0, 1, NULL, '', NULL, ?, ?, '{}', ?, ?)"
)
_ADJUSTMENT = (
    "INSERT INTO adjustment (site, number, batch, meter, epoch, from_qty, to_qty, from_ts, to_ts, original_from,"
    " supersedes, utility, old_tenant, old_account, old_tariff, old_version, old_month, old_period, old_tier,"
    " old_price_micro, old_amount_nano, tenant, account, tariff, version, month, period, tier, price_micro,"
    " amount_nano, estimated, reason, ts) VALUES (?, 1, 1, 'em-002', 1, 20, 30, ?, ?, 10, NULL, 'electricity', 't-002',"
    " 'tenant:t-002:wallet', 'shop-flat', 0, 202601, NULL, NULL, 850000, 8500000, 't-001', 'tenant:t-001:wallet',"
    " 'shop-flat', 0, 202601, 'peak', NULL, 900000, 9000000, ?, 'hand-over', ?)"
)


async def book(database: Database, tenant: str, amount_nano: int, kind: str, ts: int, contra: str) -> int:
    """A journal on a wallet."""
    async with database.write() as tx:
        ledger = await open_book(tx, SITE)
        credit = await book_credit(
            tx, ledger, tenant=tenant, amount_nano=amount_nano, kind=kind, contra=contra,
            reference=f"{kind}:{tenant}:{ts}:{contra}", actor="test", memo="=1+1", ts=ts,
        )  # fmt: skip
        await ledger.flush(tx)
        return credit.journal_seq


@pytest.fixture
async def busy(park: Database) -> Database:
    """Charges in two months, periods, a gap over midnight, water, a vacant supply, an adjustment, a fee, payments."""
    ledger = SqlLedger(park)
    await ledger.post(SITE, [entry(1, opened("em-spare", 0), opened("wm-001", 0, 1))])
    charges = [
        charge(0, 10, to_ts=NOW, period="valley"),
        charge(10, 40, to_ts=NOW + HOUR),
        charge(40, 1_040, from_ts=NOW + HOUR, to_ts=NOW + 49 * HOUR, estimated=True, period="peak"),
        charge(1_040, 1_140, from_ts=FEB, to_ts=FEB + HOUR, month=202602),
        charge(0, 7, meter="em-spare", tenant="", account="landlord:vacancy", to_ts=NOW + HOUR),
    ]
    water = charge(
        0, 500, meter="wm-001", tenant="t-001", utility="water", tariff="water", price_micro=4_100_000, to_ts=NOW + HOUR
    )
    for number, made in enumerate([*charges, water], 2):
        await ledger.post(SITE, [entry(number, made, group=made.tenant or "em-spare")])
    for number, (tenant, yuan, channel, ts) in enumerate([
        ("t-002", 3, "cash", NOW), ("t-002", 5, "wechat", NOW + 30 * HOUR), ("t-001", 2, "wechat", FEB + 1),
    ]):  # fmt: skip
        wish = TopUp(tenant, yuan * 10**9, channel, f"R-{number}", f"k-{number}", "bob", ts)
        await ledger.top_up(SITE, wish)
    await book(park, "t-002", 8_500_000, "adjustment", FEB + 5, "revenue:electricity")
    await book(park, "t-001", -9_000_000, "adjustment", FEB + 5, "revenue:electricity")
    fee_seq = await book(park, "t-002", -30 * 10**9, "fee", FEB + 6, "revenue:electricity")
    async with park.write() as tx:
        await tx.execute(_ADJUSTMENT, SITE, NOW, NOW + HOUR, False, FEB + 5)
        await tx.execute(_FEE, SITE, "t-002", "tenant:t-002:wallet", "em-002", 30 * 10**9, False, FEB + 6, fee_seq)
    return park


async def one(database: Database, sql: str, *values: object) -> int:
    """A number by plain SQL."""
    return int((await database.fetch(sql, *values))[0][0] or 0)


async def test_revenue_is_what_the_revenue_accounts_hold(busy: Database) -> None:
    reports = SqlReports(busy)
    rows = await reports.revenue(SITE, 0, 999_912)
    for utility in ("electricity", "water"):
        booked = await one(busy, "SELECT SUM(amount_nano) FROM leg WHERE account = ?", f"revenue:{utility}")
        assert sum(row.amount_nano for row in rows if row.utility == utility) == booked
    by = {(row.month, row.utility, row.period, row.source): (row.quantity, row.amount_nano) for row in rows}
    assert by == {
        (202601, "electricity", "", "charge"): (30, 30 * 850_000),
        (202601, "electricity", "valley", "charge"): (10, 8_500_000),
        (202601, "electricity", "peak", "charge"): (1_000, 850_000_000),
        (202602, "electricity", "", "charge"): (100, 85_000_000),
        (202601, "electricity", "", "vacancy"): (7, 7 * 850_000),
        (202601, "electricity", "", "adjustment"): (-10, -8_500_000),
        (202601, "electricity", "peak", "adjustment"): (10, 9_000_000),
        (202601, "electricity", "", "fixed"): (0, 30 * 10**9),
        (202601, "water", "", "charge"): (500, 500 * 4_100_000),
    }
    assert {row.month for row in await reports.revenue(SITE, 202602, 202602)} == {202602}


async def test_sums_follow_what_is_posted_and_can_be_built_again(busy: Database) -> None:
    reports = SqlReports(busy)
    before = await reports.revenue(SITE, 0, 999_912)
    assert await reports.revenue(SITE, 0, 999_912) == before
    await SqlLedger(busy).post(SITE, [entry(50, charge(1_140, 1_141, to_ts=FEB + 2 * HOUR, month=202602))])
    after = await reports.revenue(SITE, 0, 999_912)
    assert sum(row.quantity for row in after) == sum(row.quantity for row in before) + 1
    await rebuild(busy, SITE)
    assert await reports.revenue(SITE, 0, 999_912) == after


async def test_verify_names_a_sum_that_was_edited_and_building_it_again_heals_it(busy: Database) -> None:
    reports = SqlReports(busy)
    before = await reports.revenue(SITE, 0, 999_912)
    assert await _wrong_sums(busy) == []
    async with busy.write() as tx:
        await tx.execute("UPDATE report_month SET amount_nano = amount_nano - 1 WHERE source = 'fixed'")
        await tx.execute("DELETE FROM report_month WHERE utility = 'water'")
    wrong = await _wrong_sums(busy)
    assert len(wrong) == 2
    assert "fixed" in wrong[0] + wrong[1]
    assert "water" in wrong[0] + wrong[1]
    await reports.rebuild(SITE)
    assert await _wrong_sums(busy) == []
    assert await reports.revenue(SITE, 0, 999_912) == before
    with pytest.raises(LookupError):
        await reports.rebuild("nowhere")


async def _wrong_sums(database: Database) -> list[str]:
    return [str(found) async for found in verify_sql(database, SITE) if found.code == "report_sum"]


async def test_energy_goes_where_the_adjustment_put_it(busy: Database) -> None:
    reports = SqlReports(busy)
    rows = [row async for page in reports.energy_by_month(SITE, 202601, 202602) for row in page]
    used = {(row.time, row.tenant, row.meter, row.period): row.quantity for row in rows}
    assert used == {
        (202601, "", "em-spare", ""): 7,
        (202601, "t-001", "em-002", "peak"): 10,
        (202601, "t-001", "wm-001", ""): 500,
        (202601, "t-002", "em-002", ""): 20,
        (202601, "t-002", "em-002", "peak"): 1_000,
        (202601, "t-002", "em-002", "valley"): 10,
        (202602, "t-002", "em-002", ""): 100,
    }
    only = [row async for page in reports.energy_by_month(SITE, 202601, 202601, "t-001") for row in page]
    assert {row.tenant for row in only} == {"t-001"}
    assert only[0].name == {"und": "老王面馆"}
    charged = await one(busy, "SELECT SUM(to_qty - from_qty) FROM energy WHERE from_qty IS NOT NULL")
    assert sum(used.values()) == charged


async def test_days_sum_to_the_register_and_share_a_gap_by_time(busy: Database) -> None:
    reports = SqlReports(busy)
    zone = await reports.zone(SITE)
    span = span_of_months(zone, 202601, 202602)
    rows = [row async for page in reports.energy_by_day(SITE, span) for row in page]
    charged = await one(busy, "SELECT SUM(to_qty - from_qty) FROM energy WHERE from_qty IS NOT NULL")
    assert sum(row.quantity for row in rows) == charged
    charges_nano = await one(busy, "SELECT SUM(amount_nano) FROM rating")
    assert sum(row.amount_nano for row in rows) == charges_nano - 8_500_000 + 9_000_000
    gap = {row.time: row.quantity for row in rows if row.period == "peak" and row.tenant == "t-002"}
    # NOW is 08:00 in Shanghai: the gap of 48 h runs from 09:00 on the 1st to 09:00 on the 3rd.
    assert gap == {20260101: 312, 20260102: 500, 20260103: 188}
    mine = [row async for page in reports.energy_by_day(SITE, span, "t-001") for row in page]
    assert {(row.meter, row.quantity) for row in mine} == {("em-002", 10), ("wm-001", 500)}


async def test_recharge_is_what_the_channels_owe(busy: Database) -> None:
    reports = SqlReports(busy)
    await book(busy, "t-002", -(10**9), "refund", FEB + 7, "clearing:cash")
    rows = await reports.recharge(SITE, Span(0, FEB + DAYS))
    assert [(row.day, row.channel, row.kind, row.count, row.amount_nano // 10**9) for row in rows] == [
        (20260101, "cash", "topup", 1, 3),
        (20260102, "wechat", "topup", 1, 5),
        (20260201, "cash", "refund", 1, -1),
        (20260201, "wechat", "topup", 1, 2),
    ]
    booked = await one(busy, "SELECT -SUM(amount_nano) FROM leg WHERE account LIKE 'clearing:%'")
    assert sum(row.amount_nano for row in rows) == booked
    within = await reports.recharge(SITE, Span(FEB, FEB + 5))
    assert [row.amount_nano for row in within] == [2 * 10**9]


async def test_arrears_by_age_as_of_an_instant(busy: Database) -> None:
    reports = SqlReports(busy)
    rows = await reports.arrears(SITE, FEB + 10 * DAYS)
    balance = await one(busy, "SELECT SUM(amount_nano) FROM leg WHERE account = 'tenant:t-002:wallet'")
    assert [(row.tenant, row.balance_nano) for row in rows] == [("t-002", balance)]
    assert rows[0].days_0_30_nano == -balance
    later = (await reports.arrears(SITE, FEB + 70 * DAYS))[0]
    assert (later.days_0_30_nano, later.days_61_90_nano) == (0, -balance)
    older = (await reports.arrears(SITE, FEB + 6 + 91 * DAYS))[0]
    assert older.over_90_nano == -balance
    assert await reports.arrears(SITE, FEB) == []


async def test_arrears_pay_the_oldest_first_and_know_debts(busy: Database) -> None:
    reports = SqlReports(busy)
    await book(busy, "t-002", -(10**9), "fee", FEB + 40 * DAYS, "revenue:electricity")
    row = (await reports.arrears(SITE, FEB + 50 * DAYS))[0]
    assert row.days_0_30_nano == 10**9
    assert row.days_31_60_nano == -row.balance_nano - 10**9
    await book(busy, "t-001", 4 * 10**9, "debt", FEB + 40 * DAYS, "debt:t-001")
    owing = {row.tenant: row for row in await reports.arrears(SITE, FEB + 50 * DAYS)}
    assert owing["t-001"].debt_nano == 4 * 10**9
    assert owing["t-001"].balance_nano > 0


async def test_ranking(busy: Database) -> None:
    reports = SqlReports(busy)
    rows = await reports.ranking(SITE, 202601, 202602)
    assert [(row.place, row.tenant, row.electricity_wh, row.water_l) for row in rows] == [
        (1, "t-002", 1_130, 0),
        (2, "t-001", 10, 500),
    ]
    assert [row.tenant for row in await reports.ranking(SITE, 202601, 202601, by="water", limit=1)] == ["t-001"]


async def test_overview(busy: Database) -> None:
    seen = await SqlReports(busy).overview(SITE, FEB + 10 * DAYS)
    assert (seen.tenants, seen.devices, seen.in_arrears) == (2, 6, 1)
    assert seen.revenue_nano == await one(busy, "SELECT SUM(amount_nano) FROM leg WHERE account LIKE 'revenue:%'")
    assert seen.recharge_nano == 10 * 10**9
    assert seen.prepaid_nano + seen.arrears_nano == await one(
        busy, "SELECT SUM(amount_nano) FROM leg WHERE account LIKE 'tenant:%'"
    )
    assert [month.month for month in seen.months] == months_between(202503, 202602)
    january, february = seen.months[-2:]
    assert (january.electricity_wh, january.water_l, january.recharge_nano) == (1_047, 500, 8 * 10**9)
    assert (february.electricity_wh, february.recharge_nano) == (100, 2 * 10**9)
    assert february.revenue_nano == 85_000_000


@pytest.mark.parametrize("portion", [1, 2, 1_000])
async def test_a_statement_of_a_tenant_balances(busy: Database, portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.store.reports.report_ledger.PORTION", portion)
    statements = SqlStatements(busy)
    span = Span(NOW + HOUR, FEB + 6)
    head = await statements.head(SITE, "t-002", span)
    rows = [row async for page in statements.rows(SITE, "t-002", span, head) for row in page]
    assert head.count == len(rows)
    assert [row.seq for row in rows] == sorted(row.seq for row in rows)
    of_wallet = "SELECT SUM(l.amount_nano) FROM leg l JOIN journal j ON j.seq = l.seq WHERE l.account = ? AND j.ts < ?"
    assert head.opening_nano == await one(busy, of_wallet, "tenant:t-002:wallet", span.from_ts)
    assert head.closing_nano == await one(busy, of_wallet, "tenant:t-002:wallet", span.to_ts)
    assert rows[-1].balance_nano == head.closing_nano
    assert head.opening_nano + sum(row.amount_nano for row in rows) == head.closing_nano


async def test_a_statement_of_a_site_holds_every_leg_and_sums_to_zero(busy: Database) -> None:
    statements = SqlStatements(busy)
    span = Span(0, FEB + DAYS)
    head = await statements.head(SITE, None, span)
    rows = [row async for page in statements.rows(SITE, None, span, head) for row in page]
    assert len(rows) == head.count == await one(busy, "SELECT COUNT(*) FROM leg")
    assert sum(row.amount_nano for row in rows) == 0
    assert (head.in_nano, head.out_nano) == (-head.out_nano, -head.in_nano)
    nothing = await statements.head(SITE, None, Span(5, 6))
    assert [page async for page in statements.rows(SITE, None, Span(5, 6), nothing)] == []


def test_shares_of_an_interval_meet_at_every_edge() -> None:
    edges = [-5, 0, 3, 7, 50, 99, 100, 130]
    for quantity in (1, 7, 1_000, -13):
        parts = [share_of(0, 100, quantity, Span(a, b)) for a, b in itertools.pairwise(edges)]
        assert sum(parts) == quantity


async def test_days_of_a_zone_with_summer_time() -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Berlin")
    days = local_days(zone, span_of_months(zone, 202603, 202603))
    assert len(days) == 31
    assert {span.to_ts - span.from_ts for _, span in days} == {24 * HOUR, 23 * HOUR}
    assert all(one[1].to_ts == two[1].from_ts for one, two in itertools.pairwise(days))

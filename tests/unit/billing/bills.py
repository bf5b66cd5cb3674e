"""An example bill as a park would issue it, for the tests of whatever reads bills."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from billing.bill import Bill, Credit, Issuer, Line, MeterSection, Original, Party, PricePart, Reading, WalletSection

ZONE = ZoneInfo("Asia/Shanghai")
ELECTRIC_PRICES = {"peak": 1_203_400, "flat": 801_200, "valley": 392_100}
FUND_MICRO = 15_000


def ts(text: str) -> int:
    """Unix ms of a local instant of the example park."""
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


def energy_line(meter: str, period: str, quantity: int, *, tier: int | None = None, month: int = 202601) -> Line:
    """One price of electricity with a fund on top."""
    base = ELECTRIC_PRICES[period]
    return Line(
        kind="energy",
        name={"zh": "电费", "en": "Electricity"},
        amount_nano=(base + FUND_MICRO) * quantity,
        month=month,
        utility="electricity",
        meter=meter,
        tariff="shop-tou",
        version_ts=ts("2026-01-01"),
        version_from="2026-01-01T00:00:00",
        period=period,
        tier=tier,
        quantity=quantity,
        unit="Wh",
        price_micro=base + FUND_MICRO,
        parts=(PricePart("base", base, base * quantity), PricePart("fund", FUND_MICRO, FUND_MICRO * quantity)),
        estimated=period == "peak",
    )


def electric_section() -> MeterSection:
    """A meter that was replaced in the middle of the month."""
    lines = (
        energy_line("em-001", "peak", 412_330),
        energy_line("em-001", "flat", 388_120, tier=0),
        energy_line("em-001", "valley", 119_550, tier=1),
        Line(
            kind="fixed",
            name={"zh": "服务费", "en": "service"},
            amount_nano=30_000_000_000,
            month=202601,
            utility="electricity",
            meter="em-001",
            tariff="shop-tou",
            days=31,
        ),
        Line(
            kind="demand",
            name={"zh": "需量电费", "en": "Demand"},
            amount_nano=5_120 * 38_000_000,
            month=202601,
            utility="electricity",
            meter="em-001",
            tariff="shop-tou",
            quantity=5_120,
            unit="W",
            price_micro=38_000_000,
            facts={"demand_from_ts": ts("2026-01-17T11:15"), "demand_to_ts": ts("2026-01-17T11:30")},
        ),
        Line(
            kind="settlement_price",
            name={"zh": "结算单价差额", "en": "Difference to the settlement price"},
            amount_nano=-3_250_000_001,
            month=202601,
            utility="electricity",
            meter="em-001",
            tariff="shop-tou",
            facts={"settlement_price_micro": 830_000},
        ),
    )
    readings = (
        Reading(1, 120_000, 620_000, ts("2026-01-01"), ts("2026-01-16T10:30"), 500_000, estimated_qty=1_200),
        Reading(2, 0, 420_000, ts("2026-01-16T10:30"), ts("2026-02-01"), 420_000, reason="meter replaced"),
    )
    return MeterSection("em-001", "electricity", "Wh", "shop-tou", readings, lines, {"zh": "一楼电表"})


def water_section() -> MeterSection:
    """A water meter without a reading at the end of the month."""
    line = Line(
        kind="energy",
        name={"zh": "水费", "en": "Water"},
        amount_nano=12_340 * 4_100_000,
        month=202601,
        utility="water",
        meter="wm-001",
        tariff="water",
        version_ts=ts("2020-01-01"),
        version_from="2020-01-01T00:00:00",
        quantity=12_340,
        unit="l",
        price_micro=4_100_000,
    )
    reading = Reading(1, 0, 12_340, ts("2026-01-01"), ts("2026-01-30T18:00"), 12_340)
    return MeterSection("wm-001", "water", "l", "water", (reading,), (line,), complete=False)


def wallet_line(kind: str, zh: str, en: str, amount_nano: int, **changes: object) -> Line:
    """A line that belongs to no meter of the tenant."""
    return Line(kind=kind, name={"zh": zh, "en": en}, amount_nano=amount_nano, month=202601, **changes)  # type: ignore[arg-type]


def electric_wallet() -> WalletSection:
    """Electricity with a share of the lift, a share of the loss and a correction of December."""
    meters = (electric_section(),)
    fees = (
        wallet_line("share", "电梯公摊", "Lift", 41_237 * 550_000, quantity=41_237, unit="Wh", price_micro=550_000),
        wallet_line("loss", "线损", "Line loss", 1_500 * 550_000, quantity=1_500, unit="Wh", price_micro=550_000),
    )
    december = Original(202512, "202512-t-001", "P1-2025-000311", "em-001:1:118000")
    correction = Line(
        kind="adjustment",
        name={"zh": "补抄调整", "en": "Late readings"},
        amount_nano=-1_726_500_000,
        month=202512,
        utility="electricity",
        meter="em-001",
        tariff="shop-tou",
        quantity=0,
        unit="Wh",
        original=december,
    )
    payments = (
        Credit("topup", ts("2026-01-05T09:12"), 800_000_000_000, "WX-20260105-1", "wechat", "P17", journal_seq=311),
        Credit("topup", ts("2026-01-20T18:40"), 300_000_000_000, "", "cash", "P48", "=2+2 cash desk", 902),
        Credit("refund", ts("2026-01-21T10:00"), -50_000_000_000, "R-1", "wechat", journal_seq=940),
    )
    charges_nano = sum(line.amount_nano for line in (*meters[0].lines, *fees, correction))
    closing_nano = 57_123_456_789 + 1_050_000_000_000 - charges_nano
    return WalletSection(
        tenant="t-001",
        account="tenant:t-001:wallet",
        name={"und": "老王面馆"},
        mode="prepaid",
        opening_nano=57_123_456_789,
        meters=meters,
        fees=fees,
        adjustments=(correction,),
        credits=payments,
        closing_nano=closing_nano,
    )


def example_bill() -> Bill:
    """A January with a replaced meter, demand, shares, a correction, two wallets and a missing water reading."""
    water = water_section()
    water_wallet = WalletSection(
        tenant="t-001-water",
        account="tenant:t-001-water:wallet",
        name={"zh": "老王面馆（水）", "en": "Lao Wang noodles, water"},
        mode="prepaid",
        opening_nano=0,
        meters=(water,),
        fees=(),
        adjustments=(),
        credits=(),
        closing_nano=-water.amount_nano,
    )
    return Bill(
        id="202601-t-001",
        kind="monthly",
        state="issued",
        revision=1,
        number="P1-2026-000017",
        issuer=Issuer(
            site="park-1",
            name={"zh": "示范园区", "en": "Example park"},
            letterhead={
                "zh": "示范园区物业管理有限公司\n示范路 1 号",
                "en": "Example Park Property Ltd.\n1 Example Road",
            },
            currency="CNY",
            timezone="Asia/Shanghai",
        ),
        holder=Party("t-001", {"und": "老王面馆"}, {"person": "王师傅", "phone": "+86 139 0000 0000"}, "zh"),
        month=202601,
        from_ts=ts("2026-01-01"),
        to_ts=ts("2026-02-01"),
        wallets=(electric_wallet(), water_wallet),
        issued_ts=ts("2026-02-01T06:00:03"),
        journal_seq=1_204,
        anchor="9f2c" * 16,
        warnings=({"zh": "水表 wm-001 缺少月末读数", "en": "Meter wm-001 has no reading at the end of the month"},),
    )

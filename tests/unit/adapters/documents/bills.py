"""Bills to print: a holder with two wallets, every kind of line, long names; they add up."""

from __future__ import annotations

from typing import Any

import msgspec

from billing.bill import (
    Bill,
    Credit,
    Issuer,
    Line,
    MeterSection,
    Original,
    Party,
    PricePart,
    Reading,
    WalletSection,
    check_bill,
)

JAN = 1_767_196_800_000
"""2026-01-01T00:00:00+08:00."""
FEB = JAN + 31 * 86_400_000
DAY = 86_400_000


def energy(meter: str, period: str, tier: int | None, quantity: int, price: int, **more: Any) -> Line:
    """One energy line."""
    known: dict[str, Any] = {
        "kind": "energy",
        "name": {"zh": "电费", "en": "Electricity"},
        "amount_nano": quantity * price,
        "month": 202601,
        "utility": "electricity",
        "meter": meter,
        "tariff": "shop-tou",
        "version_from": "2026-01-01T00:00:00",
        "period": period,
        "tier": tier,
        "quantity": quantity,
        "unit": "Wh",
        "price_micro": price,
    }
    return Line(**{**known, **more})


def parts(quantity: int, **prices: int) -> tuple[PricePart, ...]:
    """The parts of a price."""
    return tuple(PricePart(name, price, quantity * price) for name, price in prices.items())


def electricity_meter(meter: str = "em-001") -> MeterSection:
    """A meter that was replaced in the month, with time-of-use, tiers, fees."""
    lines = (
        energy(meter, "peak", 0, 123_456, 1_218_400, parts=parts(123_456, base=1_203_400, fund=15_000)),
        energy(meter, "flat", 0, 96_544, 801_200, estimated=True),
        energy(meter, "flat", 1, 60_001, 851_200),
        energy(meter, "valley", 1, 30_333, 442_100),
        energy(meter, "deep", -1, 30_000, 0),
        Line("fixed", {"zh": "基本服务费", "en": "Service"}, 30_000_000_000, 202601, "electricity", meter, days=31),
        Line(
            "demand",
            {"zh": "需量电费", "en": "Demand charge"},
            21_337 * 38_000_000,
            202601,
            "electricity",
            meter,
            quantity=21_337,
            unit="W",
            price_micro=38_000_000,
            estimated=True,
        ),
    )
    readings = (
        Reading(1, 1_834_220, 2_034_220, JAN, JAN + 12 * DAY, 200_000, "", 1_234),
        Reading(2, 0, 140_334, JAN + 12 * DAY, FEB, 140_334, "换表 replaced"),
    )
    return MeterSection(
        meter, "electricity", "Wh", "shop-tou", readings, lines, {"zh": "一层总表", "en": "Ground floor"}
    )


def water_meter() -> MeterSection:
    """A water meter without a reading at the end."""
    line = Line(
        "energy",
        {"zh": "水费", "en": "Water"},
        18_250 * 4_100_000,
        202601,
        "water",
        "wm-001",
        "water",
        quantity=18_250,
        unit="l",
        price_micro=4_100_000,
    )
    reading = Reading(1, 1_000, 19_250, JAN, FEB - DAY, 18_250)
    return MeterSection("wm-001", "water", "l", "water", (reading,), (line,), complete=False)


def wallet(tenant: str, meters: tuple[MeterSection, ...], **more: Any) -> WalletSection:
    """A wallet whose closing follows from its lines."""
    known: dict[str, Any] = {
        "tenant": tenant,
        "account": f"tenant:{tenant}:wallet",
        "name": {"zh": "老王面馆", "en": "Lao Wang Noodles"},
        "mode": "prepaid",
        "opening_nano": 100_000_000_000,
        "meters": meters,
        "fees": (),
        "adjustments": (),
        "credits": (),
        "closing_nano": 0,
    }
    made = WalletSection(**{**known, **more})
    closing_nano = made.opening_nano + made.credits_nano - made.charges_nano
    return msgspec.structs.replace(made, closing_nano=closing_nano)


def full_bill(**more: Any) -> Bill:
    """A bill with everything in it."""
    fees = (
        Line(
            "share",
            {"zh": "公共照明分摊", "en": "Share of common lighting"},
            12_345_678_901,
            202601,
            "electricity",
            facts={"weight": 120},
        ),
        Line("loss", {"zh": "线损分摊", "en": "Line losses"}, 3_210_000_000, 202601, "electricity"),
    )
    adjustments = (
        Line(
            "adjustment",
            {"zh": "补抄读数重算", "en": "Late reading, re-rated"},
            -1_500_000_003,
            202512,
            "electricity",
            "em-001",
            "shop-tou",
            original=Original(202512, "B-17", "P1-2025-000017"),
        ),
    )
    paid = (
        Credit("topup", JAN + 3 * DAY, 500_000_000_000, "topup:t-001:k-1", "wechat", "P12", "wechat 4200001234202601"),
        Credit("topup", JAN + 20 * DAY, 200_000_000_000, "topup:t-001:k-2", "cash", "P99", "cash R-1"),
        Credit("refund", JAN + 25 * DAY, -20_000_000_000, "refund:R3", "wechat", "P12", "多充 paid too much"),
    )
    known: dict[str, Any] = {
        "id": "B-18",
        "kind": "monthly",
        "state": "issued",
        "revision": 1,
        "number": "P1-2026-000018",
        "issuer": Issuer(
            "park-1",
            {"zh": "示范园区", "en": "Example park"},
            {"zh": "示范园区物业管理有限公司", "en": "Example Park Property Management Co., Ltd."},
            "CNY",
            "Asia/Shanghai",
        ),
        "holder": Party(
            "t-001",
            {"zh": "老王面馆（示范路一百二十三号一层东侧临街商铺，含地下室冷库与后厨）", "en": "Lao Wang Noodles"},
            {"person": "王先生", "phone": "+86 139 0000 0000"},
        ),
        "month": 202601,
        "from_ts": JAN,
        "to_ts": FEB,
        "wallets": (
            wallet("t-001", (electricity_meter(),), fees=fees, adjustments=adjustments, credits=paid),
            wallet("t-001-w", (water_meter(),), opening_nano=-5_000_000_000, name={"zh": "老王面馆水费账户"}),
        ),
        "issued_ts": FEB + DAY,
        "journal_seq": 123_456,
        "anchor": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "warnings": ({"zh": "水表 wm-001 账期末没有读数", "en": "water meter wm-001 has no reading at the end"},),
    }
    bill = Bill(**{**known, **more})
    assert check_bill(bill) == []
    return bill


def long_bill(meters: int = 12) -> Bill:
    """A bill of several pages."""
    sections = tuple(electricity_meter(f"em-{number:03d}") for number in range(meters))
    return full_bill(wallets=(wallet("t-001", sections),), warnings=())

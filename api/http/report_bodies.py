"""Reports as the API answers them: money as decimal strings, quantities in Wh and litres."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from billing.money import format_nano

Amount = Annotated[str, msgspec.Meta(examples=["12.340000000"])]
Name = Annotated[dict[str, str], msgspec.Meta(description="By language; `und` where none was said.")]


class RevenueItem(msgspec.Struct):
    """Earned in a month by one kind of posting under one tariff and period."""

    month: Annotated[int, msgspec.Meta(description="yyyymm", examples=[202601])]
    utility: str
    tariff: str
    period: str
    source: Annotated[str, msgspec.Meta(description="charge, vacancy, adjustment, or the kind of a fee.")]
    quantity: Annotated[int, msgspec.Meta(description="Wh or litres.")]
    amount: Amount


class RevenueReport(msgspec.Struct):
    """What was earned, and its sum."""

    items: list[RevenueItem]
    total: Amount


class EnergyItem(msgspec.Struct):
    """Used by one payer on one meter; `tenant` is empty where the landlord pays."""

    time: Annotated[int, msgspec.Meta(description="yyyymm, or yyyymmdd by day.", examples=[202601])]
    tenant: str
    name: Name
    meter: str
    utility: str
    period: str
    quantity: Annotated[int, msgspec.Meta(description="Wh or litres.")]
    amount: Amount


class EnergyReport(msgspec.Struct):
    """Use by payer, meter and period. `complete` is false where there were more rows than one answer holds."""

    items: list[EnergyItem]
    complete: bool


class RechargeItem(msgspec.Struct):
    """Money through one channel on a local day."""

    day: Annotated[int, msgspec.Meta(description="yyyymmdd", examples=[20260131])]
    channel: str
    kind: str
    count: int
    amount: Amount


class RechargeReport(msgspec.Struct):
    """Payments and what went back, and their sum."""

    items: list[RechargeItem]
    total: Amount


class ArrearsItem(msgspec.Struct):
    """A tenant in arrears, by the age of what is unpaid."""

    tenant: str
    name: Name
    balance: Amount
    days_0_30: Amount
    days_31_60: Amount
    days_61_90: Amount
    over_90: Amount
    debt: Annotated[str, msgspec.Meta(description="Owed beside the wallet.", examples=["0.000000000"])]


class ArrearsReport(msgspec.Struct):
    """Who owes what as of an instant."""

    at: int
    items: list[ArrearsItem]
    total: Annotated[str, msgspec.Meta(description="Sum of the balances.", examples=["-12.340000000"])]


class RankingItem(msgspec.Struct):
    """A tenant among the others."""

    place: int
    tenant: str
    name: Name
    electricity_wh: int
    water_l: int
    amount: Amount


class RankingReport(msgspec.Struct):
    """Tenants, the greatest first."""

    items: list[RankingItem]


class MonthItem(msgspec.Struct):
    """One month of a site."""

    month: Annotated[int, msgspec.Meta(description="yyyymm", examples=[202601])]
    electricity_wh: int
    water_l: int
    revenue: Amount
    recharge: Amount


class OverviewBody(msgspec.Struct):
    """A site in a few numbers; balances as posted."""

    tenants: int
    devices: int
    revenue: Annotated[str, msgspec.Meta(description="Cumulative.", examples=["12.340000000"])]
    recharge: Annotated[str, msgspec.Meta(description="Cumulative.", examples=["12.340000000"])]
    prepaid: Annotated[str, msgspec.Meta(description="Sum of balances above zero.", examples=["12.340000000"])]
    arrears: Annotated[str, msgspec.Meta(description="Sum of balances below zero.", examples=["-1.000000000"])]
    in_arrears: Annotated[int, msgspec.Meta(description="Tenants below zero.")]
    months: Annotated[list[MonthItem], msgspec.Meta(description="The last twelve, the present one last.")]


def as_item(kind: type[Any], row: Any) -> Any:
    """A row of the store as an item of the API: `amount_nano` becomes `amount`, a decimal string."""
    values = {}
    for field in kind.__struct_fields__:
        nano = getattr(row, f"{field}_nano", None)
        values[field] = format_nano(nano) if nano is not None else getattr(row, field)
    return kind(**values)


def sum_of(rows: list[Any], field: str = "amount_nano") -> str:
    """The sum of a column of amounts."""
    return format_nano(sum(getattr(row, field) for row in rows))

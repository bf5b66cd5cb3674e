"""What reports read: plain values. Money in nano-units, quantities in Wh or litres, months yyyymm, days yyyymmdd."""

from __future__ import annotations

import msgspec


class Span(msgspec.Struct, frozen=True):
    """Real time `[from_ts, to_ts)`, Unix ms."""

    from_ts: int
    to_ts: int


class RevenueRow(msgspec.Struct, frozen=True):
    """Earned in a month by one kind of posting under one tariff and period."""

    month: int
    utility: str
    tariff: str
    period: str
    source: str
    quantity: int
    amount_nano: int


class EnergyRow(msgspec.Struct, frozen=True):
    """Used by one payer on one meter in a month or on a day. `time` is yyyymm or yyyymmdd."""

    time: int
    tenant: str
    name: dict[str, str]
    meter: str
    utility: str
    period: str
    quantity: int
    amount_nano: int


class RechargeRow(msgspec.Struct, frozen=True):
    """Money through one channel on a local day: payments positive, refunds and reversals negative."""

    day: int
    channel: str
    kind: str
    count: int
    amount_nano: int


class ArrearsRow(msgspec.Struct, frozen=True):
    """A tenant in arrears at an instant, by the age of what is unpaid. Payments pay the oldest charges first."""

    tenant: str
    name: dict[str, str]
    balance_nano: int
    days_0_30_nano: int
    days_31_60_nano: int
    days_61_90_nano: int
    over_90_nano: int
    debt_nano: int
    """Owed beside the wallet: debts in instalments, deposits."""


class RankingRow(msgspec.Struct, frozen=True):
    """A tenant among the others, by what it was charged."""

    place: int
    tenant: str
    name: dict[str, str]
    electricity_wh: int
    water_l: int
    amount_nano: int


class LedgerEntry(msgspec.Struct, frozen=True):
    """One movement of one account; `balance_nano` is what the account holds after it."""

    seq: int
    ts: int
    kind: str
    account: str
    reference: str
    memo: str
    actor: str
    amount_nano: int
    balance_nano: int | None = None


class LedgerHead(msgspec.Struct, frozen=True):
    """What a statement begins and ends with, and the journals it may hold."""

    opening_nano: int
    closing_nano: int
    in_nano: int
    out_nano: int
    count: int
    first_seq: int
    last_seq: int


class MonthSum(msgspec.Struct, frozen=True):
    """One month of a site."""

    month: int
    electricity_wh: int
    water_l: int
    revenue_nano: int
    recharge_nano: int


class Overview(msgspec.Struct, frozen=True):
    """A site in a few numbers. Balances are as posted."""

    tenants: int
    devices: int
    revenue_nano: int
    recharge_nano: int
    prepaid_nano: int
    """Sum of all balances above zero."""
    arrears_nano: int
    """Sum of all balances below zero, as a negative amount."""
    in_arrears: int
    months: tuple[MonthSum, ...]
    """The last twelve months, the present one last: revenue, and the trend of use."""

"""The tables of reports and statements: which columns, in which unit, called what."""

from typing import Final

from billing.tables import Column, Table

_UTILITY = Column("utility", "能源", "Utility", width=10, words="utility")
_UNIT = Column("utility", "单位", "Unit", width=7, words="unit")
_QUANTITY = Column("quantity", "用量", "Quantity", "quantity", 14)
_AMOUNT = Column("amount_nano", "金额", "Amount", "exact", 20)
_PERIOD = Column("period", "时段", "Period", width=9, words="period")
_TENANT = Column("tenant", "租户编号", "Tenant", width=14)
_NAME = Column("name", "租户", "Name", "name", 24)

REVENUE: Final = Table(
    "revenue",
    "收入报表",
    "Revenue",
    (
        Column("month", "月份", "Month", "month", 10),
        _UTILITY,
        Column("tariff", "电价/水价", "Tariff", width=16),
        _PERIOD,
        Column("source", "类别", "Source", width=16, words="source"),
        _QUANTITY,
        _UNIT,
        _AMOUNT,
    ),
)
_ENERGY = (_TENANT, _NAME, Column("meter", "表号", "Meter", width=14), _UTILITY, _PERIOD, _QUANTITY, _UNIT, _AMOUNT)
ENERGY_BY_MONTH: Final = Table(
    "energy", "用能报表（按月）", "Use by month", (Column("time", "月份", "Month", "month", 10), *_ENERGY)
)
ENERGY_BY_DAY: Final = Table(
    "energy-daily", "用能报表（按日）", "Use by day", (Column("time", "日期", "Day", "day", 12), *_ENERGY)
)
RECHARGE: Final = Table(
    "recharge",
    "充值报表",
    "Recharges",
    (
        Column("day", "日期", "Day", "day", 12),
        Column("channel", "渠道", "Channel", width=14, words="channel"),
        Column("kind", "类别", "Kind", width=16, words="kind"),
        Column("count", "笔数", "Count", "count", 10),
        _AMOUNT,
    ),
)
ARREARS: Final = Table(
    "arrears",
    "欠费报表",
    "Arrears",
    (
        _TENANT,
        _NAME,
        Column("balance_nano", "余额", "Balance", "exact", 20),
        Column("days_0_30_nano", "30 天内", "0-30 days", "money", 13),
        Column("days_31_60_nano", "31-60 天", "31-60 days", "money", 13),
        Column("days_61_90_nano", "61-90 天", "61-90 days", "money", 13),
        Column("over_90_nano", "90 天以上", "Over 90 days", "money", 13),
        Column("debt_nano", "账外欠款", "Other debts", "money", 13),
    ),
)
RANKING: Final = Table(
    "ranking",
    "租户排名",
    "Tenants by use",
    (
        Column("place", "名次", "Place", "count", 8),
        _TENANT,
        _NAME,
        Column("electricity_wh", "用电 kWh", "Electricity kWh", "quantity", 16),
        Column("water_l", "用水 m³", "Water m³", "quantity", 14),
        _AMOUNT,
    ),
)
TENANT_STATEMENT: Final = Table(
    "statement",
    "账户对账单",
    "Statement of account",
    (
        Column("ts", "时间", "Time", "instant", 20),
        Column("seq", "分录号", "Entry", "count", 10),
        Column("kind", "类别", "Kind", width=16, words="kind"),
        Column("memo", "说明", "Memo", width=34),
        Column("amount_nano", "金额", "Amount", "exact", 20),
        Column("balance_nano", "余额", "Balance", "exact", 20),
        Column("actor", "经办", "By", width=14),
        Column("reference", "流水号", "Reference", width=30),
    ),
)
SITE_LEDGER: Final = Table(
    "ledger",
    "总账明细",
    "General ledger",
    (
        Column("seq", "分录号", "Entry", "count", 10),
        Column("ts", "时间", "Time", "instant", 20),
        Column("kind", "类别", "Kind", width=16, words="kind"),
        Column("account", "科目", "Account", width=28),
        Column("amount_nano", "金额", "Amount", "exact", 20),
        Column("actor", "经办", "By", width=14),
        Column("memo", "说明", "Memo", width=34),
        Column("reference", "流水号", "Reference", width=30),
    ),
)

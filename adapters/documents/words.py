"""Words that printed documents use, in Chinese and English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Pair = tuple[str, str]

UTILITIES: Final[dict[str, Pair]] = {"electricity": ("电", "Electricity"), "water": ("水", "Water")}
METERS: Final[dict[str, Pair]] = {"electricity": ("电表", "Electricity meter"), "water": ("水表", "Water meter")}
USE: Final[dict[str, Pair]] = {"electricity": ("电费", "Electricity"), "water": ("水费", "Water")}
PERIODS: Final[dict[str, Pair]] = {
    "sharp": ("尖", "sharp"),
    "peak": ("峰", "peak"),
    "flat": ("平", "flat"),
    "valley": ("谷", "valley"),
    "deep": ("深谷", "deep"),
}
LINES: Final[dict[str, Pair]] = {
    "energy": ("用量", "Usage"),
    "fixed": ("基本费", "Standing charge"),
    "package": ("包月", "Package"),
    "demand": ("需量电费", "Demand charge"),
    "capacity": ("容量电费", "Capacity charge"),
    "minimum": ("最低消费补足", "Minimum charge"),
    "settlement_price": ("结算单价差额", "Settlement price difference"),
    "share": ("公摊", "Shared use"),
    "loss": ("损耗分摊", "Losses"),
    "estimate": ("估算", "Estimate"),
    "adjustment": ("调整", "Adjustment"),
}
KINDS: Final[dict[str, Pair]] = {
    "charge": ("实时扣费", "Charge"),
    "topup": ("充值", "Recharge"),
    "refund": ("退费", "Refund"),
    "refund_paid": ("退费已付", "Refund paid out"),
    "manual": ("人工调整", "Manual adjustment"),
    "handover": ("过户", "Hand-over"),
    "reversal": ("冲正", "Correction"),
    "correction": ("冲正", "Correction"),
    "opening": ("期初余额", "Opening credit"),
    "adjust": ("重算调整", "Re-rating"),
    "adjustment": ("重算调整", "Re-rating"),
    "fee": ("费用", "Fee"),
    "share": ("公摊", "Shared use"),
    "loss": ("损耗分摊", "Losses"),
    "debt": ("欠款", "Debt"),
    "recovery": ("欠款扣还", "Debt instalment"),
    "transfer": ("过户", "Transfer"),
    "write_off": ("核销", "Write-off"),
}
CHANNELS: Final[dict[str, Pair]] = {
    "cash": ("现金", "Cash"),
    "wechat": ("微信", "WeChat"),
    "alipay": ("支付宝", "Alipay"),
    "transfer": ("转账", "Bank transfer"),
    "bank": ("银行", "Bank"),
    "card": ("刷卡", "Card"),
    "pos": ("刷卡", "Card"),
}
STATES: Final[dict[str, Pair]] = {
    "draft": ("草稿", "DRAFT"),
    "issued": ("已出账", "Issued"),
    "corrected": ("已被更正", "REPLACED"),
}
SOURCES: Final[dict[str, Pair]] = {
    **LINES,
    "charge": ("实时扣费", "Charges"),
    "vacancy": ("空置（业主）", "Vacant (landlord)"),
    "adjustment": ("重算调整", "Adjustments"),
}
UNIT_OF: Final[dict[str, Pair]] = {"electricity": ("kWh", "kWh"), "water": ("m³", "m³")}
VOCABULARIES: Final[dict[str, dict[str, Pair]]] = {
    "utility": UTILITIES,
    "unit": UNIT_OF,
    "period": PERIODS,
    "source": SOURCES,
    "kind": KINDS,
    "channel": CHANNELS,
}
UNITS: Final = {"Wh": "kWh", "l": "m³", "W": "kW"}
CURRENCIES: Final = {"CNY": "元 CNY"}
TIER_ZERO: Final = ("免费量", "Free")


def both(pair: Pair, between: str = " ") -> str:
    """Chinese, then English; once where they are the same."""
    return pair[0] if pair[0] == pair[1] else f"{pair[0]}{between}{pair[1]}"


def named(words: Mapping[str, Pair], name: str, between: str = " ") -> str:
    """A known name in both languages, an unknown one as it is."""
    return both(words[name], between) if name in words else name


def people_call_it(words: Mapping[str, str], otherwise: str = "", between: str = " ") -> str:
    """A name given by language, Chinese first."""
    zh, en = words.get("zh", ""), words.get("en", "")
    if zh and en and zh != en:
        return f"{zh}{between}{en}"
    return zh or en or words.get("und", "") or next(iter(words.values()), "") or otherwise


def currency_words(currency: str) -> str:
    """A currency as a bill names it."""
    return CURRENCIES.get(currency, currency)

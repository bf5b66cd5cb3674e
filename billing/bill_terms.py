"""The words of a bill in Chinese and English: the one place where documents, screens and notices take them from."""

from __future__ import annotations

from billing.bill import Line, Words

TERMS: dict[str, Words] = {
    # headings
    "bill": {"zh": "账单", "en": "Bill"},
    "final_bill": {"zh": "结清账单", "en": "Final bill"},
    "corrected_bill": {"zh": "更正账单", "en": "Corrected bill"},
    "number": {"zh": "账单编号", "en": "Bill number"},
    "holder": {"zh": "客户", "en": "Customer"},
    "wallet": {"zh": "账户", "en": "Account"},
    "period": {"zh": "账期", "en": "Period"},
    "issued": {"zh": "出账日期", "en": "Issued"},
    "replaces": {"zh": "更正自", "en": "Replaces"},
    "replaced_by": {"zh": "已由下列账单更正", "en": "Replaced by"},
    "anchor": {"zh": "账本凭证", "en": "Ledger proof"},
    # readings
    "meter": {"zh": "表计", "en": "Meter"},
    "opening_reading": {"zh": "期初读数", "en": "Opening reading"},
    "closing_reading": {"zh": "期末读数", "en": "Closing reading"},
    "quantity": {"zh": "用量", "en": "Quantity"},
    "estimated": {"zh": "估算", "en": "Estimated"},
    "meter_replaced": {"zh": "换表", "en": "Meter replaced"},
    # balances
    "opening_balance": {"zh": "期初余额", "en": "Opening balance"},
    "charges": {"zh": "本期费用", "en": "Charges"},
    "payments": {"zh": "本期收款", "en": "Payments and credits"},
    "closing_balance": {"zh": "期末余额", "en": "Closing balance"},
    "due": {"zh": "应缴金额", "en": "Amount due"},
    # columns
    "item": {"zh": "项目", "en": "Item"},
    "price": {"zh": "单价", "en": "Price"},
    "amount": {"zh": "金额", "en": "Amount"},
    "tier": {"zh": "阶梯", "en": "Tier"},
    "surcharge": {"zh": "附加费", "en": "Surcharge"},
    "date": {"zh": "日期", "en": "Date"},
    "channel": {"zh": "渠道", "en": "Channel"},
    "reference": {"zh": "流水号", "en": "Reference"},
    # states
    "draft": {"zh": "草稿", "en": "Draft"},
    "state_issued": {"zh": "已出账", "en": "Issued"},
    "state_corrected": {"zh": "已更正", "en": "Corrected"},
}

KINDS: dict[str, Words] = {
    "energy": {"zh": "用量费", "en": "Use"},
    "fixed": {"zh": "固定费", "en": "Fixed fee"},
    "package": {"zh": "包月费", "en": "Monthly package"},
    "demand": {"zh": "需量电费", "en": "Demand"},
    "capacity": {"zh": "容量电费", "en": "Contracted capacity"},
    "minimum": {"zh": "最低消费补差", "en": "Difference to the minimum"},
    "settlement_price": {"zh": "结算单价差额", "en": "Difference to the settlement price"},
    "share": {"zh": "公摊", "en": "Share of common use"},
    "loss": {"zh": "损耗分摊", "en": "Share of losses"},
    "estimate": {"zh": "暂估", "en": "Estimate"},
    "adjustment": {"zh": "调整", "en": "Adjustment"},
}
"""Names of the kinds of charge lines."""

UTILITIES: dict[str, Words] = {
    "electricity": {"zh": "电费", "en": "Electricity"},
    "water": {"zh": "水费", "en": "Water"},
}
"""Names of energy lines by utility."""

PERIODS: dict[str, Words] = {
    "sharp": {"zh": "尖", "en": "sharp"},
    "peak": {"zh": "峰", "en": "peak"},
    "flat": {"zh": "平", "en": "flat"},
    "valley": {"zh": "谷", "en": "valley"},
    "deep": {"zh": "深谷", "en": "deep valley"},
}
"""Names of the usual time-of-use periods; a period of another name is shown as the tariff has it."""

CREDITS: dict[str, Words] = {
    "topup": {"zh": "充值", "en": "Payment"},
    "opening": {"zh": "期初余额转入", "en": "Opening credit"},
    "refund": {"zh": "退费", "en": "Refund"},
    "reversal": {"zh": "冲正", "en": "Reversal"},
    "correction": {"zh": "更正", "en": "Correction"},
    "transfer": {"zh": "转户", "en": "Transfer"},
    "debt": {"zh": "欠款分期", "en": "Debt instalment"},
    "write_off": {"zh": "核销", "en": "Write-off"},
}
"""Names of what else moves a wallet, by the kind of its journal."""

NO_READING: Words = {
    "zh": "{meter} 在账期结束后没有读数，其余用量计入下期账单",
    "en": "{meter} has no reading after the end of the period; the rest follows on the next bill",
}


def term(name: str, language: str) -> str:
    """A word of the bill in `zh` or `en`. Raises KeyError for a name that is none."""
    return TERMS[name][language]


def kind_name(kind: str, language: str) -> str:
    """The name of a kind of line, or of a credit; a kind that has none is shown as it is."""
    words = KINDS.get(kind) or CREDITS.get(kind)
    return words[language] if words else kind


def period_name(period: str, language: str) -> str:
    """The name of a time-of-use period."""
    return PERIODS[period][language] if period in PERIODS else period


def energy_name(utility: str) -> Words:
    """What energy lines of a utility are called."""
    return UTILITIES.get(utility, KINDS["energy"])


def line_name(line: Line, language: str) -> str:
    """What a line is called in a language: its own name, else that of its kind."""
    return line.name.get(language) or line.name.get("und") or kind_name(line.kind, language)

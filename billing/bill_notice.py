"""The notice of a bill (`bill_issued`) in Chinese and English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing.money import cents_half_up

if TYPE_CHECKING:
    from billing.bill import Bill

_TEXT = {
    "zh": "{site}：您{year}年{month}月的账单 {number} 已出。本期费用 {charges} {currency}，{standing}。",
    "en": "{site}: your bill {number} for {year}-{month:02d} is out. Charges {charges} {currency}; {standing}.",
}
_CREDIT = {"zh": "期末余额 {amount} {currency}", "en": "the balance is {amount} {currency}"}
_OWED = {"zh": "请缴 {amount} {currency}", "en": "please pay {amount} {currency}"}


def bill_notice(bill: Bill, language: str) -> str:
    """One sentence in `zh` or `en`: the number, the charges, and what is left or owed, in whole cents."""
    owed = bill.closing_nano < 0
    standing = (_OWED if owed else _CREDIT)[language]
    currency = bill.issuer.currency
    names = bill.issuer.name
    return _TEXT[language].format(
        site=names.get(language) or next(iter(names.values()), bill.issuer.site),
        year=bill.month // 100,
        month=bill.month % 100,
        number=bill.number,
        charges=_cents(bill.charges_nano),
        currency=currency,
        standing=standing.format(amount=_cents(abs(bill.closing_nano)), currency=currency),
    )


def _cents(amount_nano: int) -> str:
    cents = cents_half_up(amount_nano)
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"

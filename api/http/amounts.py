"""Amounts that people type: exact, positive, in whole cents, and bounded."""

from __future__ import annotations

from typing import Final

from api.http.problems import invalid
from billing.money import NANO_PER_CENT, NANO_PER_UNIT, MoneyError, format_nano, parse_money

MOST_NANO: Final = 1_000_000 * NANO_PER_UNIT
"""One act may not be larger than a million of the currency: more is a slip of the hand."""


def read_amount(text: str) -> int:
    """Nano-units of an amount. Raises Problem `amount` that says what is wrong with it."""
    try:
        amount_nano = parse_money(text)
    except MoneyError as error:
        raise invalid("amount", str(error), "amount") from None
    if amount_nano <= 0:
        raise invalid("amount", f"{text} is not more than zero", "amount")
    return _bounded(text, amount_nano)


def read_signed_amount(text: str) -> int:
    """Nano-units of an amount that may be negative, but not zero. Raises Problem `amount`."""
    try:
        amount_nano = parse_money(text)
    except MoneyError as error:
        raise invalid("amount", str(error), "amount") from None
    if amount_nano == 0:
        raise invalid("amount", f"{text} moves nothing", "amount")
    return _bounded(text, amount_nano)


def _bounded(text: str, amount_nano: int) -> int:
    if amount_nano % NANO_PER_CENT:
        raise invalid("amount", f"{text} is not in whole cents", "amount")
    if abs(amount_nano) > MOST_NANO:
        raise invalid("amount", f"{text} is more than {format_nano(MOST_NANO)[:-7]}, the most of one act", "amount")
    return amount_nano

"""Exact money: text to integers and back, without a float on the way.

Money is an int64 count of nano-units (1e-9 of the site currency), a price an int count of micro-units per
kWh, m3 or kW. A quantity in Wh (or litres, or W) times a price in micro-units is nano-units exactly, so an
amount never needs rounding and does not depend on where a register chain was cut.
"""

import re

INT64_MAX = 2**63 - 1
NANO_PER_UNIT = 10**9
NANO_PER_CENT = 10**7

_MONEY_DECIMALS = 9
_PRICE_DECIMALS = 6
_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_TEXT_LIMIT = 40


class MoneyError(ValueError):
    """A text that is no exact money or price, or an amount beyond int64."""


def parse_money(text: str) -> int:
    """Reads money such as `"50.00"` or `"-0.5"` as nano-units: at most nine decimals, within int64.

    Raises MoneyError for anything else: a number that is not text, an exponent, a sign `+`, blanks.
    """
    return _parse(text, _MONEY_DECIMALS, "money", signed=True)


def parse_price(text: str) -> int:
    """Reads a price such as `"0.8523"` (per kWh, m3 or kW) as micro-units: at most six decimals.

    A negative price is a discount to be added to another. Raises MoneyError for anything else.
    """
    return _parse(text, _PRICE_DECIMALS, "price", signed=True)


def parse_scaled(text: str, decimals: int, meaning: str) -> int:
    """Reads a non-negative decimal text as an integer of its `10**-decimals` parts; `meaning` names it in errors."""
    return _parse(text, decimals, meaning, signed=False)


def format_nano(amount_nano: int) -> str:
    """Writes nano-units with all nine decimals: `12340000000` is `"12.340000000"`."""
    whole, part = divmod(abs(amount_nano), NANO_PER_UNIT)
    sign = "-" if amount_nano < 0 else ""
    return f"{sign}{whole}.{part:09d}"


def cents_half_up(amount_nano: int) -> int:
    """Rounds nano-units to whole cents for a screen or a payout; a half goes away from zero.

    Away from zero, as in commercial rounding, so that a debt and a credit of one size show the same digits.
    """
    cents = (abs(amount_nano) + NANO_PER_CENT // 2) // NANO_PER_CENT
    return -cents if amount_nano < 0 else cents


def _parse(text: str, decimals: int, meaning: str, *, signed: bool) -> int:
    if not isinstance(text, str):
        raise MoneyError(f'{meaning} {text!r} is not text; write it as a quoted decimal such as "0.85"')
    match = _DECIMAL.fullmatch(text) if len(text) <= _TEXT_LIMIT else None
    if match is None:
        raise MoneyError(f'{meaning} {text[:_TEXT_LIMIT]!r} is not a plain decimal such as "0.85"')
    sign, whole, part = match[1], match[2], match[3] or ""
    if sign and not signed:
        raise MoneyError(f"{meaning} {text!r} is negative; it must be zero or more")
    if len(part) > decimals:
        raise MoneyError(f"{meaning} {text!r} has {len(part)} decimals; at most {decimals} are exact")
    # Joined as digits, so the integer is the text shifted by the decimals.
    value = int(whole + part.ljust(decimals, "0"))
    if value > INT64_MAX:
        raise MoneyError(f"{meaning} {text!r} is too large for a 64-bit integer")
    return -value if sign else value

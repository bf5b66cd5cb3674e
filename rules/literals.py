"""Reading and printing the values that people write: money, durations, instants, decimals.

Money is int64 nano (1e-9 of the currency), durations and instants are milliseconds. Nothing here passes through a
float. Every reader raises `ValueError` with a sentence that says what would be right.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

INT64_MAX = 2**63 - 1
MS_BY_UNIT = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MONEY = re.compile(r"(-?)([0-9]{1,10})(?:\.([0-9]{1,9}))?")
_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
_CLOCK_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")


def read_money(text: object) -> int:
    """Nano-units of a decimal string such as `"5.00"` (at most nine decimals)."""
    match = _MONEY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not money: write a quoted decimal such as "5.00"')
    sign, whole, fraction = match.groups()
    nano = int(whole) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    if nano > INT64_MAX:
        raise ValueError(f"{text!r} is more money than 64 bits of nano-units hold")
    return -nano if sign else nano


def is_duration(text: str) -> bool:
    """Whether the text is one duration, such as `90s`."""
    return _DURATION.fullmatch(text) is not None


def read_duration(text: object) -> int:
    """Milliseconds of `500ms`, `90s`, `15m`, `24h` or `5d`; a compound such as `1h30m` is refused."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 90s, 15m, 24h or 5d")
    return int(match[1]) * MS_BY_UNIT[match[2]]


def read_timestamp(text: object) -> int:
    """Unix ms of an ISO 8601 instant with an offset, such as `2026-01-01T00:00:00+08:00`."""
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.tzinfo is None:
            raise ValueError
        return (moment - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        message = f"{text!r} is not an instant: write ISO 8601 with an offset, such as 2026-01-01T00:00:00+08:00"
        raise ValueError(message) from None


def read_decimal(text: object) -> Decimal:
    """An exact decimal from a string or an int; a float is refused."""
    if isinstance(text, int) and not isinstance(text, bool):
        return Decimal(text)
    if not isinstance(text, str) or _DECIMAL.fullmatch(text) is None:
        raise ValueError(f'{text!r} is not an exact decimal: write a quoted decimal such as "1.5"')
    return Decimal(text)


def read_clock_time(text: object) -> int:
    """Minutes of the local day of `HH:MM`; `24:00` is its end."""
    if not isinstance(text, str) or _CLOCK_TIME.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a time of day: write HH:MM, such as 22:30")
    return int(text[:2]) * 60 + int(text[3:])


def print_money(nano: int | Decimal) -> str:
    """Nano-units as a decimal string with at least two decimals and no needless zeros: `5.00`, `0.123456789`."""
    sign = "-" if nano < 0 else ""
    whole, fraction = divmod(abs(int(nano)), 1_000_000_000)
    return f"{sign}{whole}.{f'{fraction:09d}'.rstrip('0').ljust(2, '0')}"


def print_duration(ms: int | Decimal) -> str:
    """Milliseconds in the largest unit that divides them: `90000` is `90s`, `3600000` is `1h`."""
    whole = int(ms)
    unit = next(name for name in ("d", "h", "m", "s", "ms") if whole % MS_BY_UNIT[name] == 0)
    return f"{whole // MS_BY_UNIT[unit]}{unit}" if whole else "0s"


def print_clock_time(minutes: int) -> str:
    """Minutes of the local day as `HH:MM`."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def print_timestamp(ms: int | Decimal, zone: tzinfo = UTC) -> str:
    """An instant as ISO 8601 in the zone, or the bare number when no calendar reaches it."""
    try:
        return (EPOCH + timedelta(milliseconds=int(ms))).astimezone(zone).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return str(int(ms))

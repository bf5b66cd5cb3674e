"""Reading single fields of a tariff file: each value or an error that names its path and what would be right.

The file has passed its JSON Schema before it comes here; these readers still trust nothing, since the core may be
given a document from elsewhere.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from billing.money import MoneyError, parse_money, parse_price, parse_scaled

_QUANTITY_DECIMALS = 3
_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
_DURATION_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class TariffError(ValueError):
    """A tariff file that cannot be meant, or an instant no version of it covers.

    `path` is the place in the file (`versions[0].tiers[1].upto`), `message` what is wrong there and what is right.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def required(table: Mapping[str, Any], key: str, path: str) -> Any:
    """The value of a key that must be there."""
    if key not in table:
        raise TariffError(join(path, key), "is missing")
    return table[key]


def mapping(value: Any, path: str) -> Mapping[str, Any]:
    """A value that must be a mapping."""
    if not isinstance(value, Mapping):
        raise TariffError(path, f"must be a mapping, found {value!r}")
    return value


def sequence(value: Any, path: str) -> Sequence[Any]:
    """A value that must be a list with at least one item."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise TariffError(path, f"must be a list with at least one item, found {value!r}")
    return value


def text(value: Any, path: str) -> str:
    """A value that must be a non-empty text."""
    if not isinstance(value, str) or not value:
        raise TariffError(path, f"must be a text, found {value!r}")
    return value


def flag(value: Any, path: str) -> bool:
    """A value that must be true or false."""
    if not isinstance(value, bool):
        raise TariffError(path, f"must be true or false, found {value!r}")
    return value


def one_of(value: Any, choices: Sequence[str], path: str) -> str:
    """A value that must be one of some words."""
    if value not in choices:
        raise TariffError(path, f"must be one of {', '.join(choices)}, found {value!r}")
    return str(value)


def price(value: Any, path: str) -> int:
    """A price of zero or more as micro-units per kWh, m3 or kW."""
    price_micro = price_change(value, path)
    if price_micro < 0:
        raise TariffError(path, f"price {value!r} is negative; it must be zero or more")
    return price_micro


def price_change(value: Any, path: str) -> int:
    """What comes on top of a price, as micro-units per kWh or m3; a discount is negative."""
    return _exact(parse_price, value, path)


def money(value: Any, path: str) -> int:
    """Money of zero or more as nano-units."""
    amount_nano = _exact(parse_money, value, path)
    if amount_nano < 0:
        raise TariffError(path, f"money {value!r} is negative; it must be zero or more")
    return amount_nano


def quantity(value: Any, path: str) -> int:
    """A quantity in kWh or m3 as whole Wh or litres."""
    return _exact(lambda found: parse_scaled(found, _QUANTITY_DECIMALS, "quantity"), value, path)


def duration(value: Any, path: str) -> int:
    """A duration such as `15m` in ms, above zero."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise TariffError(path, f"must be a duration above zero such as 90s, 15m, 24h or 5d, found {value!r}")
    return int(match[1]) * _DURATION_MS[match[2]]


def join(path: str, key: str | int) -> str:
    """The path of a key or an index below `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _exact(parse: Callable[[str], int], value: Any, path: str) -> int:
    try:
        return parse(value)
    except MoneyError as error:
        raise TariffError(path, str(error)) from None

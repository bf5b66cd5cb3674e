"""Parameters of a ruleset: typed, with a default and bounds, overridden site < tenant < device."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rules.errors import ParamError, did_you_mean
from rules.language.kinds import BOOL, DECIMAL, DURATION, INT, MONEY, STRING, TIME, Type
from rules.language.syntax import UNTYPED
from rules.literals import read_clock_time, read_decimal, read_duration, read_money, read_timestamp
from rules.power_bands import read_bands

PARAM_TYPES = {
    "money": MONEY,
    "int": INT,
    "decimal": DECIMAL,
    "duration": DURATION,
    "bool": BOOL,
    "string": STRING,
    "time": TIME,
}
FORMATS: dict[str, Callable[[str], object]] = {"power_bands": read_bands}
"""Texts that mean something: what reads them, and refuses with a `ValueError` those that mean nothing."""


class Param(msgspec.Struct, frozen=True):
    """One parameter. `default`, `least` and `most` are runtime values (money in nano, durations in ms)."""

    name: str
    type: Type
    default: Any
    least: Any = None
    most: Any = None
    choices: tuple[str, ...] = ()
    format: str = ""

    @property
    def unit(self) -> str | None:
        """The unit of a number, such as `W`."""
        return self.type.unit

    @property
    def range(self) -> tuple[Any, Any]:
        """The least and the greatest value that is allowed; None on a side without a bound."""
        return self.least, self.most


def _read_int(raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and len(raw) <= 20 and raw.removeprefix("-").isascii() and raw.removeprefix("-").isdigit():
        return int(raw)
    raise ValueError(f"{raw!r} is not a whole number")


def _read_bool(raw: object) -> bool:
    truth = {"true": True, "false": False}.get(raw) if isinstance(raw, str) else raw
    if not isinstance(truth, bool):
        raise ValueError(f"{raw!r} is neither true nor false")
    return truth


def _read_string(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r} is not a text")
    return raw


_READERS: dict[str, Callable[[object], Any]] = {
    "money": read_money,
    "int": _read_int,
    "decimal": read_decimal,
    "duration": read_duration,
    "timestamp": read_timestamp,
    "time": read_clock_time,
    "bool": _read_bool,
    "string": _read_string,
}


def read_value(kind: Type, raw: object) -> Any:
    """The runtime value of what somebody wrote for a type. Raises `ValueError` with a sentence."""
    if kind.item is not None:
        item = kind.item
        if not isinstance(raw, (list, tuple)):
            raise ValueError(f"{raw!r} is not a list")
        return tuple(read_value(item, element) for element in raw)
    return _READERS[kind.kind](raw)


def declared_type(declared: Mapping[str, Any]) -> Type:
    """The type that a declaration means, as far as it can be read, so that one mistake in it is reported once."""
    base = PARAM_TYPES.get(str(declared.get("type")), UNTYPED)
    return Type(base.kind, declared.get("unit"))


def read_param(name: str, declared: Mapping[str, Any]) -> Param:
    """A parameter from its declaration. Raises `ParamError`."""
    base = PARAM_TYPES.get(str(declared.get("type")))
    if base is None:
        hint = did_you_mean(str(declared.get("type")), PARAM_TYPES) or "known: " + ", ".join(PARAM_TYPES)
        raise ParamError(f"parameter {name}: unknown type {declared.get('type')!r} ({hint})")
    kind = Type(base.kind, declared.get("unit"))
    if kind.unit is not None and kind.kind not in ("int", "decimal"):
        raise ParamError(f"parameter {name}: a {kind.kind} has no unit")
    try:
        least, most = (read_value(kind, declared[side]) if side in declared else None for side in ("min", "max"))
        param = Param(name, kind, None, least, most, tuple(declared.get("enum", ())), declared.get("format", ""))
    except ValueError as error:
        raise ParamError(f"parameter {name}: {error}") from None
    if "default" not in declared:
        raise ParamError(f"parameter {name}: a default is missing")
    if param.format and (kind.kind != "string" or param.format not in FORMATS):
        raise ParamError(f"parameter {name}: format {param.format!r}: a string may be {', '.join(FORMATS)}")
    return msgspec.structs.replace(param, default=param_value(param, declared["default"]))


def param_value(param: Param, raw: object) -> Any:
    """The runtime value of an override, checked against type and bounds. Raises `ParamError` naming the parameter."""
    try:
        value = read_value(param.type, raw)
        if param.format:
            FORMATS[param.format](value)
    except ValueError as error:
        raise ParamError(f"parameter {param.name}: {error}") from None
    if param.least is not None and value < param.least:
        raise ParamError(f"parameter {param.name}: {raw!r} is below its minimum")
    if param.most is not None and value > param.most:
        raise ParamError(f"parameter {param.name}: {raw!r} is above its maximum")
    if param.choices and value not in param.choices:
        raise ParamError(f"parameter {param.name}: {raw!r} is none of {', '.join(param.choices)}")
    return value


def resolved(params: Mapping[str, Param], *overrides: Mapping[str, str | int]) -> dict[str, Any]:
    """The values in force: defaults, then each override on top of the one before it (site, tenant, device).

    An override may name parameters of other rulesets; those are passed over. Raises `ParamError`.
    """
    values = {name: param.default for name, param in params.items()}
    for layer in overrides:
        for name, raw in layer.items():
            param = params.get(name)
            if param is not None:
                values[name] = param_value(param, raw)
    return values

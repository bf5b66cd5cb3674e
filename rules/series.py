"""The series shorthand of rule tests, as in promtool: values apart by spaces.

`a` is one sample, `axn` n+1 samples of a, `a+bxn` and `a-bxn` a ramp of n+1 samples, `_` a missing sample, `stale` an
expired one, `_xn` and `stalexn` n of them. Lists are written `[a,b]` without spaces.
"""

import re
from typing import Any

from rules.language.kinds import INT, Type
from rules.language.values import CONTEXT, Unknown
from rules.params import read_value

MAX_SAMPLES = 100_000

_QUANTITY = r"[0-9][0-9.]*(?:ms|s|m|h|d)?"
_RAMP = re.compile(rf"(-?{_QUANTITY})([+-])({_QUANTITY})x([0-9]{{1,6}})")
_REPEAT = re.compile(r"(.+)x([0-9]{1,6})")
_ABSENT = {"_": Unknown("missing"), "stale": Unknown("stale")}


def read_series(kind: Type, text: str) -> list[Any]:
    """The samples of a series as runtime values of the type. Raises `ValueError`."""
    samples: list[Any] = []
    for word in text.split():
        samples.extend(_samples(kind, word, MAX_SAMPLES - len(samples)))
    return samples


def _samples(kind: Type, word: str, room: int) -> list[Any]:
    ramp = _RAMP.fullmatch(word)
    repeat = _REPEAT.fullmatch(word)
    if ramp is not None:
        count = _bounded(int(ramp[4]) + 1, room)
        first, rise = read_value(kind, ramp[1]), read_value(kind, ramp[3])
        rise = -rise if ramp[2] == "-" else rise
        exact = kind.kind == "decimal"
        return [CONTEXT.add(first, rise * n) if exact else first + rise * n for n in range(count)]
    if repeat is not None:
        absent = _ABSENT.get(repeat[1])
        count = int(repeat[2]) + (0 if absent is not None else 1)
        return [_sample(kind, repeat[1])] * _bounded(count, room)
    return [_sample(kind, word)] * _bounded(1, room)


def _bounded(count: int, room: int) -> int:
    if count > room:
        raise ValueError(f"a series has at most {MAX_SAMPLES} samples")
    return count


def _sample(kind: Type, word: str) -> Any:
    if word in _ABSENT:
        return _ABSENT[word]
    return read_sample(kind, word)


def read_sample(kind: Type, raw: object) -> Any:
    """One value as tests write it; lists also as `[a,b]`. Raises `ValueError`."""
    if kind.item is not None and isinstance(raw, str):
        inner = raw.removeprefix("[").removesuffix("]")
        return tuple(read_value(kind.item, part.strip()) for part in inner.split(",") if part.strip())
    return read_value(Type(kind.kind, None, kind.item), raw)


EVENT = INT
"""The type of a series that stands for an event: any sample of it is one occurrence."""

__all__ = ["EVENT", "MAX_SAMPLES", "read_sample", "read_series"]

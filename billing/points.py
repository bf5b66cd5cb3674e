"""Points: the accepted samples of one register, and how they are kept beside the rows they were charged by.

Theory of operation. A point is an instant and what the unwrapped register showed then. The points of an epoch, in the
order of `(ts, qty)`, are all that rating needs to know about the past of a register: the assignment of every Wh follows
from them, the tenancies and the tariffs. They are therefore kept with the posted rows, packed.

Packing. One byte names the layout, then the number of points, then for each point the change of the interval to the
point before it and the rise of the register, as variable-length integers (7 bits a byte, sign folded into the lowest
bit). Samples in step with their interval need one byte for the instant. With sub-registers each point also carries a
byte that says which of them it has, and the rise of each against the last point that had it.

Compressing. In a run of points with one register value only the first and the last say anything: nothing flowed between
them, so no split of any delta changes when the others are left out.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

RATE_NAMES = ("sharp", "peak", "flat", "valley", "deep")
"""Sub-registers of a time-of-use meter (尖 峰 平 谷 深谷), in the order of `Point.rates`."""

Rates = tuple[int | None, ...]
"""Unwrapped sub-registers in the order of `RATE_NAMES`; None for one that the meter did not tell."""

_PLAIN, _RATED = 1, 2


class PointsError(ValueError):
    """Bytes that are no packed points, or points that cannot be packed."""


class Point(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """A believed sample: at `ts` (Unix ms) the unwrapped register showed `qty` (Wh or litres).

    `rates` are the unwrapped sub-registers of the same sample, in the order of `RATE_NAMES`.
    """

    ts: int
    qty: int
    rates: Rates | None = None


def rates_of(values: Mapping[str, int]) -> Rates | None:
    """Sub-registers by name as a tuple in the order of `RATE_NAMES`; None where there are none. Other names are
    ignored."""
    rates = tuple(values.get(name) for name in RATE_NAMES)
    return rates if any(rate is not None for rate in rates) else None


def in_order(points: Iterable[Point]) -> list[Point]:
    """Points by `(ts, qty)`, each once; of two that differ only in their sub-registers the one that has more."""
    best: dict[tuple[int, int], Point] = {}
    for point in points:
        key = (point.ts, point.qty)
        known = best.get(key)
        if known is None or _told(point) > _told(known):
            best[key] = point
    return [best[key] for key in sorted(best)]


def compress(points: Sequence[Point]) -> list[Point]:
    """The points without those in the middle of a run of one register value. Points must be in order."""
    kept: list[Point] = []
    for point in points:
        if len(kept) >= 2 and _same(kept[-2], kept[-1]) and _same(kept[-1], point):
            kept[-1] = point
        else:
            kept.append(point)
    return kept


def pack(points: Sequence[Point]) -> bytes:
    """The points as bytes; `unpack` gives them back. No points are no bytes.

    Raises PointsError where sub-registers do not fit `RATE_NAMES`.
    """
    if not points:
        return b""
    rated = any(point.rates is not None for point in points)
    out = bytearray((_RATED if rated else _PLAIN,))
    _put(out, len(points))
    ts = qty = step = 0
    last = [0] * len(RATE_NAMES)
    for point in points:
        _put_signed(out, point.ts - ts - step)
        _put_signed(out, point.qty - qty)
        # The first interval is the distance to 1970: it says nothing about the next.
        step = point.ts - ts if ts else 0
        ts, qty = point.ts, point.qty
        if rated:
            _put_rates(out, point.rates, last)
    return bytes(out)


def unpack(packed: bytes) -> list[Point]:
    """The points that were packed. Raises PointsError for bytes that `pack` did not write."""
    if not packed:
        return []
    try:
        return _unpack(packed)
    except IndexError:
        raise PointsError(f"packed points end in the middle, after {len(packed)} bytes") from None


def _unpack(packed: bytes) -> list[Point]:
    if packed[0] not in (_PLAIN, _RATED):
        raise PointsError(f"packed points begin with {packed[0]}, no layout that is known")
    rated = packed[0] == _RATED
    count, at = _take(packed, 1)
    points: list[Point] = []
    ts = qty = step = 0
    last = [0] * len(RATE_NAMES)
    for _ in range(count):
        bend, at = _take_signed(packed, at)
        rise, at = _take_signed(packed, at)
        step, ts, qty = (step + bend if ts else 0), ts + step + bend, qty + rise
        rates: Rates | None = None
        if rated:
            rates, at = _take_rates(packed, at, last)
        points.append(Point(ts, qty, rates))
    if at != len(packed):
        raise PointsError(f"{len(packed) - at} bytes follow the last of {count} packed points")
    return points


def _same(before: Point, after: Point) -> bool:
    return before.qty == after.qty and before.rates == after.rates


def _told(point: Point) -> tuple[int, Sequence[int]]:
    """How much a point says; of two that say as much the greater sub-registers, so that no order of arrival counts."""
    rates = point.rates or ()
    return sum(rate is not None for rate in rates), [rate or 0 for rate in rates]


def _put_rates(out: bytearray, rates: Rates | None, last: list[int]) -> None:
    if rates is not None and len(rates) != len(RATE_NAMES):
        raise PointsError(
            f"a point has {len(rates)} sub-registers, {len(RATE_NAMES)} have names: {', '.join(RATE_NAMES)}"
        )
    told = rates or ()
    out.append(sum(1 << index for index, rate in enumerate(told) if rate is not None))
    for index, rate in enumerate(told):
        if rate is not None:
            _put_signed(out, rate - last[index])
            last[index] = rate


def _take_rates(packed: bytes, at: int, last: list[int]) -> tuple[Rates | None, int]:
    mask = packed[at]
    at += 1
    if mask >> len(RATE_NAMES):
        raise PointsError(f"packed points name sub-registers that are not known: {mask:#x}")
    if not mask:
        return None, at
    rates: list[int | None] = [None] * len(RATE_NAMES)
    for index in range(len(RATE_NAMES)):
        if mask >> index & 1:
            rise, at = _take_signed(packed, at)
            last[index] += rise
            rates[index] = last[index]
    return tuple(rates), at


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _put_signed(out: bytearray, number: int) -> None:
    _put(out, number << 1 if number >= 0 else (-number << 1) - 1)


def _take(packed: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = packed[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _take_signed(packed: bytes, at: int) -> tuple[int, int]:
    folded, at = _take(packed, at)
    return (folded >> 1 if not folded & 1 else -(folded + 1 >> 1)), at

"""Samples of a register that no posted row carries yet, as the twin keeps them: a few bytes each.

Theory of operation. Every accepted sample is appended as its distance to the sample before it, which is always the
last accepted reading of the register; nothing has to be unpacked for that. A posted row takes all of them along as they
are, and the ledger packs them by `billing.points`. In a run of one value only the first and the last are kept: the last
entry then ends in a zero byte, and its time alone grows.

An entry is the time since the entry before, then the rise with two bits of flags (sub-registers as before, told, or
gone), as variable-length integers; sub-registers follow as changes, and a one. The first entry is absolute and of fixed
width. This is on the way of every reading: the common case comes first everywhere.
"""

from __future__ import annotations

from billing.points import RATE_NAMES, Point, Rates

_SAME, _TOLD, _GONE = 0, 1, 2
_TS_BYTES, _FIRST_BYTES = 6, 14


def append(
    kept: bytes, last_ts: int | None, last_qty: int, last_rates: Rates | None, ts: int, qty: int, rates: Rates | None
) -> tuple[bytes, bool]:
    """The samples with one more, taken at `ts` (Unix ms, not before the last one) with the register at `qty` (Wh,
    litres); `last_...` is the last accepted one, whether it is still kept or not. Second: whether an entry was
    added."""
    if not kept or last_ts is None:
        flag = _SAME if rates is None else _TOLD
        first = ts.to_bytes(_TS_BYTES, "big") + (qty << 2 | flag).to_bytes(_FIRST_BYTES - _TS_BYTES, "big")
        return first if rates is None else first + _changes(None, rates), True
    span, rise = ts - last_ts, qty - last_qty
    if rates is not last_rates and rates != last_rates:
        return kept + _number(span) + _with_rates(rise, last_rates, rates), True
    if rise:
        return kept + _number(span) + _number(rise << 2), True
    if not span:
        return kept, False
    if not kept[-1] and len(kept) > _FIRST_BYTES:
        start, before = _last_span(kept)
        return kept[:start] + _number(before + span) + b"\0", False
    return kept + _number(span) + b"\0", True


def unpack(kept: bytes) -> list[Point]:
    """The samples, in order."""
    if not kept:
        return []
    ts = int.from_bytes(kept[:_TS_BYTES], "big")
    code = int.from_bytes(kept[_TS_BYTES:_FIRST_BYTES], "big")
    qty, at = code >> 2, _FIRST_BYTES
    rates: Rates | None = None
    if code & 3:
        rates, at = _take_rates(kept, at, None)
    points = [Point(ts, qty, rates)]
    while at < len(kept):
        span, at = _take(kept, at)
        code, at = _take(kept, at)
        ts, qty = ts + span, qty + (code >> 2)
        if code & 3 == _TOLD:
            rates, at = _take_rates(kept, at, rates)
        elif code & 3 == _GONE:
            rates = None
        points.append(Point(ts, qty, rates))
    return points


def keep(points: list[Point]) -> bytes:
    """Samples as `append` would have kept them one after the other."""
    kept = b""
    before = Point(0, 0)
    for point in points:
        kept, _ = append(kept, before.ts, before.qty, before.rates, point.ts, point.qty, point.rates)
        before = point
    return kept


def _with_rates(rise: int, before: Rates | None, rates: Rates | None) -> bytes:
    if rates is None:
        return _number(rise << 2 | _GONE)
    return _number(rise << 2 | _TOLD) + _changes(before, rates)


def _changes(before: Rates | None, rates: Rates) -> bytes:
    out = bytearray((sum(1 << index for index, rate in enumerate(rates) if rate is not None),))
    for index, rate in enumerate(rates):
        if rate is not None:
            change = rate - (before[index] or 0 if before else 0)
            out += _number(change << 1 if change >= 0 else (-change << 1) - 1)
    return bytes(out) + b"\1"


def _take_rates(kept: bytes, at: int, before: Rates | None) -> tuple[Rates, int]:
    mask = kept[at]
    at += 1
    rates: list[int | None] = [None] * len(RATE_NAMES)
    for index in range(len(RATE_NAMES)):
        if mask >> index & 1:
            folded, at = _take(kept, at)
            change = folded >> 1 if not folded & 1 else -(folded + 1 >> 1)
            rates[index] = (before[index] or 0 if before else 0) + change
    return tuple(rates), at + 1


def _last_span(kept: bytes) -> tuple[int, int]:
    """Where the last entry begins, of which the rise is one zero byte, and its span."""
    start = len(kept) - 2
    while start > _FIRST_BYTES and kept[start - 1] & 0x80:
        start -= 1
    return start, _take(kept, start)[0]


def _number(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _take(kept: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = kept[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7

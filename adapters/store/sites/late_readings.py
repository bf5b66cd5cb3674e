"""Late readings: placed in the epoch in whose time they lie, unwrapped against their neighbours, and marked.

Theory of operation. A reading that came after newer ones says nothing new of how much was used, only of when. It is
unwrapped so that it lies between its neighbours in time; then it is a sample like any other, and the meter is marked to
be rated again from the sample before it. One that cannot lie between its neighbours contradicts what was believed: it
goes to the review queue. Neighbours are samples that were accepted in their time, so that the order in which late ones
come does not matter; which of those that contradict each other count is decided by `billing.late_points`.

A person's reading is kept here as well when it comes in time: the twin takes it by an act, but the twin may be lost
before a row carries the sample.

A row may be posted later than a late reading that lies within its time. So whoever posts a row asks whether there are
any, and marks again; and a twin that charged across what only the ledger knows (`RatingDoubted`) has its meter marked
too.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.sites.register_points import Epoch, epoch_at, epochs_of, neighbours, points_around
from adapters.store.sites.rerate_marks import mark_all
from billing.points import Point, Rates, rates_of
from twin.core.effects import ChargePosted, LateReading, RatingDoubted
from twin.core.primary import unwrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction
    from twin.core.messages import ReadingEntered

CONTRADICTS = "contradicts_neighbours"
"""Reason in the review queue: no unwrapping puts the reading between the samples before and after it."""

_INSERT = BulkInsert(
    "late_reading",
    "site meter epoch:bigint raw_qty:bigint qty:bigint ts:bigint sid seq:bigint rates source",
    "DO NOTHING",
    once="site meter ts sid seq",
)
_QUARANTINE = BulkInsert(
    "quarantined_reading",
    "site meter epoch:bigint raw_qty:bigint ts:bigint sid seq:bigint reason head_qty:bigint",
    "DO NOTHING",
)
_MODULUS = "SELECT settings FROM device WHERE site = ? AND device = ?"
_AHEAD = "SELECT DISTINCT meter FROM late_reading WHERE site = ? AND ts > ? AND ts <= ?"
_DEFAULT_DIGITS = 1_000_000_000


async def post_late(tx: Transaction, site: str, effects: Sequence[Any]) -> None:
    """Write the late readings among the effects, and mark what must be rated again."""
    late: defaultdict[str, list[LateReading]] = defaultdict(list)
    for effect in effects:
        if isinstance(effect, LateReading):
            late[effect.meter].append(effect)
    marks: list[tuple[str, int | None]] = []
    now = 0
    for meter, readings in sorted(late.items()):
        marks += await place(tx, site, meter, readings)
        now = max(now, *(reading.ts for reading in readings))
    if marks:
        await mark_all(tx, site, marks, "a reading came late", now)
    doubts = [(effect.meter, effect.from_ts) for effect in effects if isinstance(effect, RatingDoubted)]
    if doubts:
        await mark_all(tx, site, doubts, "the payer changed between two readings", max(ts for _, ts in doubts))
    await _mark_overlapped(tx, site, [effect for effect in effects if isinstance(effect, ChargePosted)])


async def _mark_overlapped(tx: Transaction, site: str, charges: list[ChargePosted]) -> None:
    """Rows over the time of late readings that were there before them."""
    if not charges:
        return
    spans: dict[str, tuple[int, int]] = {}
    for charge in charges:
        begin = charge.to_ts if charge.from_ts is None else charge.from_ts
        low, high = spans.get(charge.meter, (begin, charge.to_ts))
        spans[charge.meter] = (min(low, begin), max(high, charge.to_ts))
    low, high = min(low for low, _ in spans.values()), max(high for _, high in spans.values())
    found = {row[0] for row in await tx.fetch(_AHEAD, site, low, high)}
    touched = [(meter, spans[meter][0]) for meter in sorted(found & spans.keys())]
    if touched:
        await mark_all(tx, site, touched, "a reading had come late", high)


async def place(
    tx: Transaction, site: str, meter: str, readings: Sequence[LateReading]
) -> list[tuple[str, int | None]]:
    """Place late readings of one meter; returns what to mark: the meter with the instant of the sample before each."""
    epochs = await epochs_of(tx, site, meter)
    by_epoch: defaultdict[int, list[LateReading]] = defaultdict(list)
    for reading in readings:
        epoch = epoch_at(epochs, reading.ts)
        if epoch is not None:
            by_epoch[epoch.epoch].append(reading)
    settings = await tx.fetch(_MODULUS, site, meter)
    digits = digits_of(msgspec.json.decode(settings[0][0])) if settings else _DEFAULT_DIGITS
    known = {epoch.epoch: epoch for epoch in epochs}
    marks: list[tuple[str, int | None]] = []
    for number, own in sorted(by_epoch.items()):
        epoch = known[number]
        span = (min(one.ts for one in own), max(one.ts for one in own))
        points = await points_around(tx, site, meter, number, *span)
        marks += await _place_in(tx, site, epoch, digits * epoch.ratio, points, own)
    return marks


async def _place_in(
    tx: Transaction, site: str, epoch: Epoch, modulus: int, points: list[Point], readings: Sequence[LateReading]
) -> list[tuple[str, int | None]]:
    rows: list[tuple[Any, ...]] = []
    doubtful: list[tuple[Any, ...]] = []
    marks: list[tuple[str, int | None]] = []
    for reading in sorted(readings, key=lambda one: (one.ts, one.raw)):
        before, after = neighbours(points, reading.ts)
        named = (site, reading.meter, epoch.epoch, reading.raw)
        qty = between(reading.raw * epoch.ratio, modulus, epoch.opening, before, after)
        if qty is None:
            doubtful.append((*named, reading.ts, reading.sid, reading.seq, CONTRADICTS, epoch.head_qty))
            continue
        told = {name: value * epoch.ratio for name, value in reading.rates.items()}
        point = Point(reading.ts, qty, _rates(before, told, modulus))
        if point in points or (before is not None and (before.ts, before.qty) == (point.ts, point.qty)):
            continue  # the same sample was accepted in its time
        rates = None if point.rates is None else msgspec.json.encode(point.rates).decode()
        rows.append((*named, qty, reading.ts, reading.sid, reading.seq, rates, reading.source))
        marks.append((reading.meter, before.ts if before is not None else epoch.opened_ts))
    await _INSERT.run(tx, rows)
    await _QUARANTINE.run(tx, doubtful)
    return marks


async def keep(tx: Transaction, site: str, act: ReadingEntered, epoch: Epoch, qty: int) -> None:
    """Keep a person's reading (`qty` unwrapped) beside the act that brings it to the twin, so that it is not lost with
    the twins. It lies beyond the end of the chain; where the twin has heard newer samples, history decides."""
    said = (act.ts, act.sid, act.number, None, act.source)
    await _INSERT.run(tx, [(site, act.meter, epoch.epoch, act.raw, qty, *said)])


def between(raw: int, modulus: int, opening: int, before: Point | None, after: Point | None) -> int | None:
    """The unwrapped quantity of a raw value that lies between its neighbours; None where there is none."""
    low = before.qty if before is not None else opening
    qty = low - low % modulus + raw
    if qty < low:
        qty += modulus
    if after is not None and qty > after.qty:
        return None
    if after is None and qty - low > modulus // 2:
        return None
    return qty


def _rates(before: Point | None, told: dict[str, int], modulus: int) -> Rates | None:
    if not told:
        return None
    return unwrap(before.rates if before is not None else None, told, modulus) or rates_of(told)


def digits_of(device: dict[str, Any]) -> int:
    """Where the display of a device wraps to zero, Wh or litres as shown."""
    key = "register_digits_wh" if device["kind"] == "electricity_meter" else "register_digits_l"
    return int(device.get(key, _DEFAULT_DIGITS))

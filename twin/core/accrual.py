"""Accrual and posting: a believed register value becomes money, exactly once.

Theory of operation. The head of the register marks what has been charged in the twin; a charge covers `[head,
seen)` and moves the head, so no reading can be charged twice and none can be skipped. Charges gather in one open
row, which has one price and lies in one posting interval. It is posted, that is sent to the ledger, when its
interval is complete, when the price changes, or on demand (a cutoff, a settlement, silence). The balance moves with
every reading; the ledger gets at most a few rows an interval.

Posted rows carry the samples they were charged by, so that the ledger can rate the same use again when it learns more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing.points import Point
from billing.posting import can_extend, cut_for_posting, extend
from billing.rating import Rated, rate
from twin.core import samples
from twin.core.effects import ChargePosted, EpochOpened, RatingDoubted
from twin.core.incidents import open_incident, resolve_incident
from twin.core.model import VACANCY_ACCOUNT

if TYPE_CHECKING:
    from billing.points import Rates
    from billing.rating import Slice
    from billing.tariff import Tariff
    from twin.core.draft import Draft
    from twin.core.model import MeterTwin, Register


def charge(draft: Draft, meter: MeterTwin, now: int) -> int:
    """Charge everything between the register's head and its last accepted reading; returns the amount in nano-units.

    Each pair of samples in between is rated by itself, so that what is charged late is charged as it would have been
    in time. Raises KeyError for an unknown tariff, TariffError or MoneyError where the tariff cannot rate the span. In
    every such case the head has not moved, so the energy is charged by a later reading, when the cause is mended.
    """
    register = meter.register
    if register.seen == register.head:
        if register.seen_ts is not None and (register.head_ts is None or register.seen_ts > register.head_ts):
            _advance_idle(draft, meter, register.seen_ts)
        return 0
    assert register.seen > register.head, "a register head is never ahead of what was seen"
    tariff_name = draft.group.meter_contracts[meter.id].tariff
    tariff = draft.policy.tariffs[tariff_name]
    to_ts = register.seen_ts if register.seen_ts is not None else now
    from_ts = register.head_ts if register.head_ts is not None else to_ts
    used = (register.month, register.month_use)
    if register.waiting > 1:
        rated = _rate_pairs(tariff, register, from_ts)
    elif register.seen_rates is None:
        rated = rate(tariff, from_ts, to_ts, register.head, register.seen, *used, year_use=register.year_use)
    else:
        rates = (register.head_rates, register.seen_rates)
        rated = rate(
            tariff, from_ts, to_ts, register.head, register.seen, *used, year_use=register.year_use, rates=rates
        )
    register = draft.register(meter)
    if register.row is not None and register.row_tariff != tariff_name:
        post(draft, meter)
    register.row_tariff = tariff_name
    register.waiting = 0
    amount_nano = 0
    for piece in cut_for_posting(rated.slices, draft.policy.grid):
        amount_nano += piece.amount_nano
        _add(draft, meter, register, piece)
    register.head = register.seen
    register.head_ts = to_ts
    register.head_rates = register.seen_rates
    register.month = rated.month
    register.month_use = rated.month_use
    register.year_use = rated.year_use
    _post_if_complete(draft, meter, register)
    if rated.note or "rates_mismatch" in meter.incidents:
        _tell_rates(draft, meter, rated.note, now)
    return amount_nano


def _rate_pairs(tariff: Tariff, register: Register, from_ts: int) -> Rated:
    """Rate what waits to be charged pair by pair: what a missing tariff held back has the profile it was read with."""
    slices: list[Slice] = []
    notes: list[str] = []
    counters = (register.month, register.month_use)
    year_use = register.year_use
    before = Point(from_ts, register.head, register.head_rates)
    for point in samples.unpack(register.points)[-register.waiting :]:
        pair = (before.ts, point.ts, before.qty, point.qty)
        rated = rate(tariff, *pair, *counters, year_use=year_use, rates=(before.rates, point.rates))
        slices += rated.slices
        notes += [rated.note] if rated.note else []
        counters, year_use, before = (rated.month, rated.month_use), rated.year_use, point
    return Rated(slices, *counters, year_use, "; ".join(dict.fromkeys(notes)))


def _tell_rates(draft: Draft, meter: MeterTwin, note: str, now: int) -> None:
    """Sub-registers that the tariff asks for could not be used: the total was billed by the calendar."""
    if note:
        open_incident(draft, meter, "rates_mismatch", now, note)
    else:
        resolve_incident(draft, meter, "rates_mismatch", now)


def post(draft: Draft, meter: MeterTwin) -> bool:
    """Post the open row as it is, complete or not; False where there is none. The meter's register must be private."""
    register = meter.register
    if register.row is None:
        return False
    _post_row(draft, meter, register, register.row)
    return True


def _advance_idle(draft: Draft, meter: MeterTwin, seen_ts: int) -> None:
    """Time passed without use: what comes next was used after this instant, and a finished interval can be posted."""
    register = draft.register(meter)
    row = register.row
    if row is not None and draft.policy.grid.bounds(seen_ts)[0] >= draft.policy.grid.bounds(row.to_ts - 1)[1]:
        post(draft, meter)
    register.head_ts = seen_ts
    register.head_rates = register.seen_rates
    register.waiting = 0


def _add(draft: Draft, meter: MeterTwin, register: Register, piece: Slice) -> None:
    row = register.row
    if row is None:
        register.row = piece
        draft.wake_dirty = True  # if no reading follows, the row is posted when its time has come
    elif can_extend(row, piece, draft.policy.grid):
        register.row = extend(row, piece)
    else:
        _post_row(draft, meter, register, row)
        register.row = piece


def _post_if_complete(draft: Draft, meter: MeterTwin, register: Register) -> None:
    row = register.row
    if row is not None and row.to_ts == draft.policy.grid.bounds(row.to_ts - 1)[1]:
        _post_row(draft, meter, register, row)


def _post_row(draft: Draft, meter: MeterTwin, register: Register, row: Slice) -> None:
    assert row.from_qty == register.posted, "posted rows tile the register"
    contract = draft.group.contract
    supplied = draft.group.meter_contracts[meter.id]
    if supplied.supply_from is not None and row.from_ts < supplied.supply_from:
        reason = "the tenant changed between two readings"
        draft.emit(RatingDoubted(meter.id, row.from_ts, reason))
    draft.emit(
        ChargePosted(
            meter=meter.id,
            epoch=register.epoch,
            from_qty=row.from_qty,
            to_qty=row.to_qty,
            from_ts=row.from_ts,
            to_ts=row.to_ts,
            tenant=contract.id if contract else "",
            account=contract.charged_account if contract else VACANCY_ACCOUNT,
            utility="electricity" if supplied.kind == "electricity" else "water",
            tariff=register.row_tariff,
            version=row.version,
            month=row.month,
            price_micro=row.price_micro,
            amount_nano=row.amount_nano,
            period=row.period,
            tier=row.tier,
            estimated=row.estimated,
            points=_take_points(register),
        )
    )
    register.posted = row.to_qty
    register.posted_ts = row.to_ts
    register.row = None


def _take_points(register: Register) -> bytes:
    """The samples that go along with a posted row: all that are charged. So the far end of a pair that the row's end
    cuts is in the ledger with the row, and a rebuild goes on as if nothing had happened."""
    if not register.waiting:
        taken, register.points = register.points, b""
        return taken
    points = samples.unpack(register.points)
    charged = max(len(points) - register.waiting, 0)
    register.points = samples.keep(points[charged:])
    return samples.keep(points[:charged])


def accept(register: Register, qty: int, ts: int, rates: Rates | None = None) -> None:
    """Take an accepted reading into a private register: its mark moves, and the sample is kept until it is posted."""
    register.points, added = samples.append(
        register.points, register.seen_ts, register.seen, register.seen_rates, ts, qty, rates
    )
    if added:
        register.waiting += 1
    elif not register.waiting:
        register.waiting = 1
    register.seen = qty
    register.seen_ts = ts
    register.seen_rates = rates


def open_epoch(
    draft: Draft,
    meter: MeterTwin,
    opening: int,
    ts: int,
    reason: str,
    rates: Rates | None = None,
    *,
    event: int = 0,
) -> None:
    """Start a register chain: the first of a meter, or the next after a reset or a replacement. What is not yet posted
    is posted first; the counters of use go on. `event` is the number of the person's act, where it was one."""
    register = draft.register(meter)
    if register.opened:
        post(draft, meter)
    epoch = register.epoch + 1 if register.opened else register.epoch
    fresh = type(register)(
        epoch=epoch, opening=opening, opened=True, month=register.month, month_use=register.month_use
    )
    fresh.year_use = register.year_use
    fresh.seen = fresh.head = fresh.posted = opening
    fresh.seen_ts = fresh.head_ts = fresh.posted_ts = fresh.since = ts
    fresh.seen_rates = fresh.head_rates = rates
    meter.register = fresh
    ratio = draft.group.meter_contracts[meter.id].ratio
    draft.emit(EpochOpened(meter.id, epoch, opening, ts, reason, ratio, rates, event))

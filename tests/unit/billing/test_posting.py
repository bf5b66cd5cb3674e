"""Posting: cutting bounds rows and never touches money; joining undoes nothing but the cut."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from billing.offline import rate_series
from billing.posting import PostingGrid, can_extend, cut_for_posting, extend
from billing.rating import Slice
from billing.tariff import compile_tariff
from tests.unit.billing.contract import SHANGHAI, at
from tests.unit.billing.oracle import wall_clock
from tests.unit.billing.strategies import PLACES, cases

MINUTE_MS = 60_000
QUARTER = PostingGrid(15 * MINUTE_MS, SHANGHAI)
NINE = at("2026-07-01T09:00")


def charge(from_min: float, to_min: float, quantity: int, from_qty: int = 0, price: int = 7) -> Slice:
    """A slice in minutes after nine o'clock."""
    times = NINE + int(from_min * MINUTE_MS), NINE + int(to_min * MINUTE_MS)
    return Slice(*times, from_qty, from_qty + quantity, 202607, 1, "flat", 0, price, price * quantity, estimated=False)


def spans(slices: list[Slice]) -> list[tuple[float, float, int]]:
    return [((piece.from_ts - NINE) / MINUTE_MS, (piece.to_ts - NINE) / MINUTE_MS, piece.quantity) for piece in slices]


@pytest.mark.parametrize(
    ("slice_", "pieces"),
    [
        (charge(1, 14, 100), [(1, 14, 100)]),
        (charge(0, 15, 100), [(0, 15, 100)]),
        (charge(14, 16, 5), [(14, 15, 3), (15, 16, 2)]),
        (charge(5, 30, 25), [(5, 15, 10), (15, 30, 15)]),
        (charge(5, 60, 55), [(5, 15, 10), (15, 45, 30), (45, 60, 15)]),
        (charge(15, 45, 4), [(15, 30, 2), (30, 45, 2)]),
        (charge(10, 125, 115), [(10, 15, 5), (15, 120, 105), (120, 125, 5)]),
        (charge(10, 125, 2), [(15, 120, 2)]),
        (charge(15, 15, 9), [(15, 15, 9)]),
    ],
)
def test_a_slice_is_cut_at_its_first_and_last_boundary_only(slice_, pieces):
    assert spans(cut_for_posting([slice_], QUARTER)) == pieces


def test_pieces_keep_price_and_flag():
    estimated = replace(charge(14, 16, 5), estimated=True)
    first, second = cut_for_posting([estimated], QUARTER)
    assert first == replace(estimated, to_ts=NINE + 15 * MINUTE_MS, to_qty=3, amount_nano=21)
    assert second == replace(estimated, from_ts=NINE + 15 * MINUTE_MS, from_qty=3, amount_nano=14)


def test_slices_of_one_price_join_within_an_interval():
    row, following = charge(0, 5, 10), charge(5, 15, 7, from_qty=10)
    assert can_extend(row, following, QUARTER)
    assert extend(row, following) == charge(0, 15, 17)


def test_time_without_use_between_two_slices_does_not_part_them():
    assert can_extend(charge(0, 5, 10), charge(9, 10, 1, from_qty=10), QUARTER)


def test_a_slice_without_duration_on_a_boundary_joins_the_interval_before_it():
    row, late = charge(10, 15, 10), charge(15, 15, 2, from_qty=10)
    assert can_extend(row, late, QUARTER)
    assert not can_extend(extend(row, late), charge(15, 16, 1, from_qty=12), QUARTER)


@pytest.mark.parametrize(
    "changed",
    [
        {"from_qty": 11, "to_qty": 12},
        {"from_ts": NINE + 4 * MINUTE_MS},
        {"from_ts": NINE + 15 * MINUTE_MS, "to_ts": NINE + 16 * MINUTE_MS},
        {"price_micro": 8},
        {"period": "peak"},
        {"period": None},
        {"tier": 1},
        {"version": 2},
        {"month": 202608},
        {"estimated": True},
    ],
)
def test_what_differs_in_register_price_or_interval_starts_a_row(changed):
    following = charge(5, 6, 2, from_qty=10)
    assert can_extend(charge(0, 5, 10), following, QUARTER)
    assert not can_extend(charge(0, 5, 10), replace(following, **changed), QUARTER)


@pytest.mark.parametrize("interval_ms", [0, -1, 7 * MINUTE_MS, 48 * 60 * MINUTE_MS])
def test_an_interval_must_divide_the_day(interval_ms):
    with pytest.raises(ValueError, match="must divide 24 hours"):
        PostingGrid(interval_ms, SHANGHAI)


@pytest.mark.parametrize(
    ("minutes", "zone", "ts", "bounds"),
    [
        (24 * 60, SHANGHAI, "2026-07-01T09:00", ("2026-07-01T00:00", "2026-07-02T00:00")),
        (60, "Asia/Kathmandu", "2026-07-01T09:10+05:45", ("2026-07-01T09:00+05:45", "2026-07-01T10:00+05:45")),
        (30, "Asia/Kathmandu", "2026-07-01T09:10+05:45", ("2026-07-01T09:00+05:45", "2026-07-01T09:30+05:45")),
        # The hour from 02:00 comes twice and is two intervals.
        (60, "Europe/Berlin", "2026-10-25T00:30Z", ("2026-10-25T00:00Z", "2026-10-25T01:00Z")),
        (60, "Europe/Berlin", "2026-10-25T01:30Z", ("2026-10-25T01:00Z", "2026-10-25T02:00Z")),
        # A day of 23 hours is two rows, cut where the clock jumps.
        (24 * 60, "Europe/Berlin", "2026-03-29T00:30Z", ("2026-03-28T23:00Z", "2026-03-29T01:00Z")),
        (24 * 60, "Europe/Berlin", "2026-03-29T12:00Z", ("2026-03-29T01:00Z", "2026-03-29T22:00Z")),
        # At 00:01 the clock goes back a whole hour: the hour goes on as if nothing had happened.
        (60, "America/St_Johns", "2009-11-01T02:40Z", ("2009-11-01T02:30Z", "2009-11-01T03:30Z")),
        # 02:00 becomes 01:30: the interval from 01:00 ends at the jump, the next one at 02:00.
        (60, "Australia/Lord_Howe", "2026-04-04T14:30Z", ("2026-04-04T14:00Z", "2026-04-04T15:00Z")),
        (60, "Australia/Lord_Howe", "2026-04-04T15:10Z", ("2026-04-04T15:00Z", "2026-04-04T15:30Z")),
    ],
)
def test_intervals_are_aligned_to_the_local_clock(minutes, zone, ts, bounds):
    assert PostingGrid(minutes * MINUTE_MS, zone).bounds(at(ts)) == (at(bounds[0]), at(bounds[1]))


INTERVALS = st.sampled_from([1, 5, 15, 30, 60, 8 * 60, 24 * 60]).map(lambda minutes: minutes * MINUTE_MS)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PLACES), INTERVALS, st.integers(-40 * 3_600_000, 40 * 3_600_000))
def test_intervals_contain_their_instants_and_follow_each_other(place, interval_ms, offset_ms):
    zone, ts = place[0], place[1] + offset_ms
    grid = PostingGrid(interval_ms, zone)
    start, end = grid.bounds(ts)
    assert start <= ts < end <= start + interval_ms
    assert grid.bounds(start) == grid.bounds(end - 1) == (start, end)
    assert grid.bounds(end)[0] == end
    # A boundary is a multiple of the interval on the clock before it or after it, or a jump of the clock.
    before, after = (wall_clock(zone, instant) - datetime(1970, 1, 1) for instant in (end - 1, end))
    millisecond, interval = timedelta(milliseconds=1), timedelta(milliseconds=interval_ms)
    aligned = not after % interval or not (before + millisecond) % interval
    assert aligned or after - before != millisecond


@settings(max_examples=60, deadline=None)
@given(cases(), INTERVALS)
def test_cutting_keeps_register_price_and_money(case, interval_ms):
    zone, document, samples = case
    document["versions"] = document["versions"][:1]
    grid = PostingGrid(interval_ms, zone)
    for whole in rate_series(compile_tariff(document, zone), samples):
        pieces = cut_for_posting([whole], grid)
        assert 1 <= len(pieces) <= 3
        assert sum(piece.quantity for piece in pieces) == whole.quantity
        assert sum(piece.amount_nano for piece in pieces) == whole.amount_nano
        position = whole.from_qty
        for piece in pieces:
            assert piece.from_qty == position < piece.to_qty
            assert piece.amount_nano == piece.price_micro * piece.quantity
            unchanged = {"from_ts": 0, "to_ts": 0, "from_qty": 0, "to_qty": 0, "amount_nano": 0}
            assert replace(piece, **unchanged) == replace(whole, **unchanged)
            position = piece.to_qty


@settings(max_examples=60, deadline=None)
@given(cases(), INTERVALS)
def test_rows_joined_from_a_live_series_tile_the_register_with_the_same_money(case, interval_ms):
    zone, document, samples = case
    document["versions"] = document["versions"][:1]
    grid = PostingGrid(interval_ms, zone)
    slices = list(rate_series(compile_tariff(document, zone), samples))
    rows: list[Slice] = []
    for piece in cut_for_posting(slices, grid):
        if rows and can_extend(rows[-1], piece, grid):
            rows[-1] = extend(rows[-1], piece)
        else:
            rows.append(piece)
    assert sum(row.amount_nano for row in rows) == sum(charged.amount_nano for charged in slices)
    position = samples[0][1]
    for row in rows:
        assert row.from_qty == position
        assert row.amount_nano == row.price_micro * row.quantity
        position = row.to_qty
    assert position == samples[-1][1]

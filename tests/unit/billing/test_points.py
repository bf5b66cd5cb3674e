"""Points: packing loses nothing, compressing changes no split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.points import RATE_NAMES, Point, PointsError, compress, in_order, pack, rates_of, unpack

INSTANTS = st.integers(0, 2**43)
QUANTITIES = st.integers(0, 2**60)
RATES = st.none() | st.lists(st.none() | QUANTITIES, min_size=5, max_size=5).map(tuple).filter(
    lambda rates: any(rate is not None for rate in rates)
)
POINTS = st.lists(st.builds(Point, INSTANTS, QUANTITIES, RATES), max_size=20)


@given(POINTS)
def test_unpacking_gives_back_what_was_packed(points: list[Point]) -> None:
    assert unpack(pack(points)) == points


def test_samples_in_step_need_few_bytes() -> None:
    start = 1_763_778_000_000
    points = [Point(start + 900_000 * step, 1_834_220 + 57 * step) for step in range(96)]

    assert len(pack(points)) < 96 * 3 + 20


def test_no_points_are_no_bytes() -> None:
    assert pack([]) == b""
    assert unpack(b"") == []


@pytest.mark.parametrize(
    "broken", [b"\x07", b"\x01", b"\x01\x02\x02", pack([Point(5, 7)]) + b"\x00", b"\x02\x01\x02\x02\xff"]
)
def test_foreign_bytes_are_refused(broken: bytes) -> None:
    with pytest.raises(PointsError):
        unpack(broken)


def test_sub_registers_without_names_are_refused() -> None:
    with pytest.raises(PointsError, match="3 sub-registers"):
        pack([Point(1, 1, (1, 2, 3))])


def test_sub_registers_by_name() -> None:
    assert rates_of({"valley": 4, "peak": 2, "total": 9}) == (None, 2, None, 4, None)
    assert rates_of({"total": 9}) is None
    assert len(RATE_NAMES) == 5


@given(POINTS, st.randoms(use_true_random=False))
def test_order_does_not_depend_on_arrival(points: list[Point], random) -> None:
    shuffled = [*points, *points]
    random.shuffle(shuffled)

    assert in_order(shuffled) == in_order(points)
    keys = [(point.ts, point.qty) for point in in_order(points)]
    assert keys == sorted(set(keys))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1)), max_size=30))
def test_compressing_keeps_the_ends_of_every_run(steps: list[tuple[int, int]]) -> None:
    points, ts, qty = [], 0, 0
    for duration, rise in steps:
        ts, qty = ts + duration, qty + rise
        points.append(Point(ts, qty))
    kept = compress(points)

    for value in {point.qty for point in points}:
        run = [point for point in points if point.qty == value]
        assert [point for point in kept if point.qty == value] == ([run[0], run[-1]] if len(run) > 1 else run)

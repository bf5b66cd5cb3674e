"""Late points: believed where they agree, whatever order they came in."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from billing.late_points import place_late
from billing.points import Point

KNOWN = [Point(0, 0), Point(100, 100), Point(200, 100), Point(300, 400)]
SAMPLES = st.lists(st.builds(Point, st.integers(-20, 420), st.integers(0, 500)), max_size=12)


def test_a_late_sample_between_its_neighbours_is_a_point() -> None:
    placed, wrong = place_late(KNOWN, [Point(40, 30), Point(150, 100)])
    assert (placed, wrong) == ([KNOWN[0], Point(40, 30), KNOWN[1], Point(150, 100), *KNOWN[2:]], [])


def test_a_late_sample_against_its_neighbours_is_for_a_person() -> None:
    wrong = [Point(40, 101), Point(150, 99), Point(250, 401)]
    assert place_late(KNOWN, wrong) == (KNOWN, wrong)


def test_one_wrong_sample_does_not_displace_many_right_ones() -> None:
    placed, wrong = place_late(KNOWN, [Point(10, 90), Point(20, 20), Point(30, 30)])
    assert wrong == [Point(10, 90)]
    assert placed[1:3] == [Point(20, 20), Point(30, 30)]


def test_a_sample_after_the_last_point_goes_on() -> None:
    assert place_late(KNOWN, [Point(310, 410), Point(320, 399)]) == ([*KNOWN, Point(310, 410)], [Point(320, 399)])


def test_what_is_older_than_the_opening_says_nothing() -> None:
    assert place_late(KNOWN, [Point(-5, 3)]) == (KNOWN, [])
    assert place_late([], [Point(5, 3)]) == ([], [])


@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_result_is_a_register_and_does_not_depend_on_the_order(late: list[Point], random) -> None:
    shuffled = [*late, *late]
    random.shuffle(shuffled)
    placed, wrong = place_late(KNOWN, late)
    assert (placed, wrong) == place_late(KNOWN, shuffled)
    assert all(before.ts <= after.ts and before.qty <= after.qty for before, after in pairwise(placed))
    inside = [point for point in late if point.ts >= 0]
    assert {(p.ts, p.qty) for p in [*placed, *wrong]} == {(p.ts, p.qty) for p in [*KNOWN, *inside]}
    assert place_late(placed, wrong) == (placed, wrong)

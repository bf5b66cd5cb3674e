from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.apportion import allocate

WEIGHTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=12).filter(any)
TOTALS = st.integers(-(10**15), 10**15)


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (5, [1, 1], [3, 2]),
        (2, [1, 1, 1], [1, 1, 0]),
        (10, [3, 3, 4], [3, 3, 4]),
        (1, [1, 2], [0, 1]),
        (7, [0, 1, 0], [0, 7, 0]),
        (100, [1, 1, 1], [34, 33, 33]),
        (-5, [1, 1], [-3, -2]),
        (0, [0, 0], [0, 0]),
        (0, [], []),
    ],
)
def test_shares_by_largest_remainder_with_ties_to_the_earlier(total, weights, shares):
    assert allocate(total, weights) == shares


@given(TOTALS, WEIGHTS)
def test_shares_sum_to_the_total_and_stay_within_one_unit_of_the_exact_share(total, weights):
    shares = allocate(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(total * weight, sum(weights))) < 1


@given(TOTALS, WEIGHTS)
def test_no_share_is_rounded_up_before_one_with_a_larger_remainder(total, weights):
    exact = [Fraction(abs(total) * weight, sum(weights)) for weight in weights]
    remainders = [part - int(part) for part in exact]
    raised = [abs(share) > int(part) for share, part in zip(allocate(total, weights), exact, strict=True)]
    ranking = [(-remainder, index) for index, remainder in enumerate(remainders)]
    up = [rank for rank, is_up in zip(ranking, raised, strict=True) if is_up]
    down = [rank for rank, is_up in zip(ranking, raised, strict=True) if not is_up]
    assert not up or not down or max(up) < min(down)


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="no weight is above zero"):
        allocate(1, [0, 0])
    with pytest.raises(ValueError, match="no weight is above zero"):
        allocate(1, [])
    with pytest.raises(ValueError, match="zero or more"):
        allocate(1, [2, -1])

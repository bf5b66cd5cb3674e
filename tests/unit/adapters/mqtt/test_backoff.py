import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.backoff import Backoff


def test_waits_double_up_to_the_limit():
    backoff = Backoff(first_s=1, limit_s=10, jitter=lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 200))
def test_a_wait_lies_between_half_and_all_of_its_ceiling(draw, failures):
    backoff = Backoff(first_s=0.2, limit_s=30, jitter=lambda: draw)
    waits = [backoff.next_s() for _ in range(failures)]
    ceilings = [min(30.0, 0.2 * 2.0**n) for n in range(failures)]
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))


def test_only_a_connection_that_lasted_forgets_the_failures():
    backoff = Backoff(first_s=1, limit_s=60, settled_s=10, jitter=lambda: 1.0)
    backoff.next_s()
    backoff.lasted(9.9)
    assert backoff.next_s() == 2
    backoff.lasted(10)
    assert backoff.next_s() == 1


@pytest.mark.parametrize(("first", "limit"), [(0, 1), (-1, 1), (2, 1)])
def test_a_senseless_back_off_is_refused(first, limit):
    with pytest.raises(ValueError, match="back-off"):
        Backoff(first_s=first, limit_s=limit)

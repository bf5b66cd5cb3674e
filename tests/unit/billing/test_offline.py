"""Rating a series offline: its errors, and the span that is charged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.offline import SeriesError, rate_series
from billing.tariff import compile_tariff
from tests.unit.billing.contract import SHANGHAI, at, flat, shop_tou
from tests.unit.billing.strategies import cases

FLAT = compile_tariff(flat(), SHANGHAI)
SHOP = compile_tariff(shop_tou(), SHANGHAI)
TEN = at("2026-07-01T10:00")
MINUTE_MS = 60_000


def minutes(*pairs: tuple[int, int]) -> list[tuple[int, int]]:
    return [(TEN + minute * MINUTE_MS, register) for minute, register in pairs]


@pytest.mark.parametrize(
    ("samples", "index", "message"),
    [
        (minutes((0, 5), (1, 7), (2, 6)), 2, "register falls from 7 to 6"),
        (minutes((0, 5), (0, 5)), 1, "repeats the instant"),
        (minutes((1, 5), (2, 6), (0, 7)), 2, "sort the samples"),
    ],
)
def test_a_series_that_is_no_register_names_its_sample(samples, index, message):
    with pytest.raises(SeriesError, match=message) as caught:
        list(rate_series(FLAT, samples))
    assert caught.value.index == index
    assert str(caught.value).startswith(f"sample {index}: ")


def test_what_precedes_the_bad_sample_has_been_charged():
    charged = rate_series(FLAT, minutes((0, 5), (1, 7), (2, 6)))
    assert next(charged).quantity == 2
    with pytest.raises(SeriesError):
        next(charged)


@pytest.mark.parametrize("samples", [[], minutes((0, 5)), minutes((0, 5), (9, 5))])
def test_a_series_without_use_charges_nothing(samples):
    assert list(rate_series(FLAT, samples)) == []


def test_only_the_span_asked_for_is_charged_and_its_ends_are_estimated_between_samples():
    samples = minutes((0, 0), (10, 100), (20, 300), (30, 600))
    charged = list(rate_series(FLAT, samples, TEN + 5 * MINUTE_MS, TEN + 22 * MINUTE_MS))
    assert [(item.from_qty, item.to_qty, item.estimated) for item in charged] == [
        (50, 100, True),
        (100, 300, False),
        (300, 360, True),
    ]


def test_an_end_that_lies_on_a_sample_cuts_nothing():
    samples = minutes((0, 0), (10, 100), (20, 300), (30, 600))
    charged = list(rate_series(FLAT, samples, TEN + 10 * MINUTE_MS, TEN + 20 * MINUTE_MS))
    assert [(item.from_qty, item.to_qty, item.estimated) for item in charged] == [(100, 300, False)]


def test_both_ends_between_the_same_two_samples():
    charged = list(rate_series(FLAT, minutes((0, 0), (10, 100)), TEN + 2 * MINUTE_MS, TEN + 5 * MINUTE_MS))
    assert [(item.from_qty, item.to_qty) for item in charged] == [(20, 50)]


def test_use_before_the_span_counts_towards_its_tiers():
    samples = minutes((0, 0), (10, 239_999), (20, 240_001))
    charged = list(rate_series(SHOP, samples, from_ts=TEN + 10 * MINUTE_MS))
    assert [(item.tier, item.quantity) for item in charged] == [(0, 1), (1, 1)]


def test_a_tier_that_ends_within_a_millisecond_of_an_end_of_the_span_falls_on_its_own_side():
    """The last unit of tier 0 is used so early after the end that its slice has no duration."""
    middle, last = TEN + 1000, TEN + 2000
    on_samples = [(TEN, 0), (middle, 239_999), (last, 479_998)]
    for samples in (on_samples, [on_samples[0], on_samples[2]]):
        before = list(rate_series(SHOP, samples, to_ts=middle))
        after = list(rate_series(SHOP, samples, from_ts=middle))
        assert [(item.tier, item.quantity) for item in before] == [(0, 239_999)]
        assert [(item.tier, item.quantity) for item in after] == [(0, 1), (1, 160_000), (2, 79_998)]
        assert after[0].from_ts == after[0].to_ts == middle


def test_an_empty_span_is_refused_at_once():
    with pytest.raises(ValueError, match="empty"):
        rate_series(FLAT, [], TEN, TEN)


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_the_charges_before_within_and_after_a_span_are_the_whole_register(case, data):
    zone, document, samples = case
    document["versions"] = document["versions"][:1]
    tariff = compile_tariff(document, zone)
    first, last = samples[0][0], samples[-1][0]
    edge = data.draw(st.integers(first + 1, last))
    before, after = list(rate_series(tariff, samples, None, edge)), list(rate_series(tariff, samples, edge, None))
    assert all(item.to_ts <= edge for item in before)
    assert all(item.from_ts >= edge for item in after)
    position = samples[0][1]
    for item in before + after:
        assert item.from_qty == position
        position = item.to_qty
    assert position == samples[-1][1]

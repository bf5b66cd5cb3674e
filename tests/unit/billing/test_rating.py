"""Rating: worked examples, and properties that must hold however a chain is cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.money import MoneyError
from billing.offline import rate_series
from billing.rating import RatingError, Slice, rate
from billing.tariff import TariffError, compile_tariff
from tests.unit.billing.contract import SHANGHAI, at, flat, shop_tou
from tests.unit.billing.strategies import PLACES, cases, series, versions

SHOP = compile_tariff(shop_tou(), SHANGHAI)
FLAT = compile_tariff(flat(), SHANGHAI)
NOON = at("2026-07-01T12:00")  # flat until here, peak from here
MINUTE_MS = 60_000


def brief(slices: list[Slice]) -> list[tuple]:
    return [
        (charged.period, charged.tier, charged.quantity, charged.amount_nano, charged.estimated) for charged in slices
    ]


def test_a_delta_within_one_segment_and_tier_is_one_exact_slice():
    rated = rate(SHOP, NOON, NOON + MINUTE_MS, 1000, 1037, 202607, 500)
    assert rated.slices == [
        Slice(
            from_ts=NOON,
            to_ts=NOON + MINUTE_MS,
            from_qty=1000,
            to_qty=1037,
            month=202607,
            version=at("2026-01-01T00:00"),
            period="peak",
            tier=0,
            price_micro=1_218_400,
            amount_nano=37 * 1_218_400,
            estimated=False,
        )
    ]
    assert (rated.month, rated.month_use) == (202607, 537)


def test_a_boundary_between_samples_shares_by_time_ties_to_the_earlier_and_is_estimated():
    rated = rate(SHOP, NOON - MINUTE_MS, NOON + MINUTE_MS, 0, 5, 202607, 0)
    assert brief(rated.slices) == [("flat", 0, 3, 3 * 816_200, True), ("peak", 0, 2, 2 * 1_218_400, True)]
    assert [(charged.from_ts, charged.to_ts) for charged in rated.slices] == [
        (NOON - MINUTE_MS, NOON),
        (NOON, NOON + MINUTE_MS),
    ]


def test_a_sample_on_the_boundary_crosses_nothing():
    before = rate(SHOP, NOON - MINUTE_MS, NOON, 0, 5, 202607, 0)
    after = rate(SHOP, NOON, NOON + MINUTE_MS, 5, 10, before.month, before.month_use)
    assert brief(before.slices) == [("flat", 0, 5, 5 * 816_200, False)]
    assert brief(after.slices) == [("peak", 0, 5, 5 * 1_218_400, False)]


def test_a_single_watt_hour_over_a_boundary_goes_to_the_longer_side_and_stays_flagged():
    rated = rate(SHOP, NOON - MINUTE_MS, NOON + 2 * MINUTE_MS, 7, 8, 202607, 0)
    assert brief(rated.slices) == [("peak", 0, 1, 1_218_400, True)]


def test_tiers_split_on_the_register_and_interpolate_the_instant():
    rated = rate(SHOP, NOON, NOON + 1000, 0, 1000, 202607, 239_750)
    assert brief(rated.slices) == [("peak", 0, 250, 250 * 1_218_400, False), ("peak", 1, 750, 750 * 1_268_400, False)]
    assert [charged.to_ts - NOON for charged in rated.slices] == [250, 1000]


def test_one_delta_may_cross_every_tier():
    rated = rate(SHOP, NOON, NOON + MINUTE_MS, 0, 500_000, 202607, 0)
    assert [(charged.tier, charged.quantity) for charged in rated.slices] == [(0, 240_000), (1, 160_000), (2, 100_000)]


def test_use_up_to_the_edge_of_a_tier_leaves_the_next_one_untouched():
    edge = rate(SHOP, NOON, NOON + MINUTE_MS, 0, 240_000, 202607, 0)
    beyond = rate(SHOP, NOON, NOON + MINUTE_MS, 240_000, 240_001, edge.month, edge.month_use)
    assert [charged.tier for charged in edge.slices] == [0]
    assert [charged.tier for charged in beyond.slices] == [1]


def test_use_restarts_with_the_month_in_the_middle_of_a_delta():
    midnight = at("2026-08-01T00:00")
    rated = rate(SHOP, midnight - MINUTE_MS, midnight + MINUTE_MS, 0, 100, 202607, 500_000)
    assert [(charged.month, charged.tier, charged.quantity) for charged in rated.slices] == [
        (202607, 2, 50),
        (202608, 0, 50),
    ]
    assert (rated.month, rated.month_use) == (202608, 50)


def test_use_of_another_month_is_forgotten_even_without_a_charge():
    rated = rate(SHOP, NOON, NOON + MINUTE_MS, 10, 10, 202606, 500_000)
    assert (rated.slices, rated.month, rated.month_use) == ([], 202607, 0)


def test_a_yearly_tier_remembers_across_months_and_restarts_with_the_year():
    document = shop_tou()
    document["versions"][0]["tier_period"] = "year"
    tariff = compile_tariff(document, SHANGHAI)
    midnight, new_year = at("2026-08-01T00:00"), at("2027-01-01T00:00")
    summer = rate(tariff, midnight - MINUTE_MS, midnight + MINUTE_MS, 0, 100, 202607, 50_000, year_use=500_000)
    assert [charged.tier for charged in summer.slices] == [2, 2]
    assert (summer.month, summer.month_use, summer.year_use) == (202608, 50, 500_100)
    at_end = (new_year - MINUTE_MS, new_year + MINUTE_MS, 100, 200, summer.month, summer.month_use)
    winter = rate(tariff, *at_end, year_use=summer.year_use)
    assert [(charged.month, charged.tier) for charged in winter.slices] == [(202612, 2), (202701, 0)]
    assert (winter.month, winter.month_use, winter.year_use) == (202701, 50, 50)


def test_a_delta_without_duration_was_used_before_it_was_read():
    rated = rate(SHOP, NOON, NOON, 0, 5, 202607, 0)
    assert brief(rated.slices) == [("flat", 0, 5, 5 * 816_200, False)]
    assert (rated.slices[0].from_ts, rated.slices[0].to_ts) == (NOON, NOON)


def test_cuts_share_a_delta_at_further_instants():
    cut = NOON + MINUTE_MS
    rated = rate(SHOP, NOON, NOON + 2 * MINUTE_MS, 0, 9, 202607, 0, cuts=[cut, NOON, cut, NOON - 1])
    assert [(charged.to_ts, charged.quantity, charged.estimated) for charged in rated.slices] == [
        (cut, 5, True),
        (NOON + 2 * MINUTE_MS, 4, True),
    ]
    assert not rate(SHOP, NOON, cut, 0, 9, 202607, 0, cuts=[NOON, cut]).slices[0].estimated


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((NOON, NOON + 1, 10, 9), RatingError, "do not fall: 10 to 9"),
        ((NOON, NOON + 1, 0, 9.0), RatingError, "whole numbers"),
        ((NOON, NOON + 1, 0.0, 9), RatingError, "whole numbers"),
        ((NOON, NOON - 1, 0, 9), RatingError, "time runs backwards"),
        ((0, NOON, 0, 9), TariffError, "before the first version"),
        ((NOON, NOON + 1, 0, 2**50), MoneyError, "64-bit"),
    ],
)
def test_what_no_meter_can_have_used_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        rate(SHOP, *arguments, 202607, 0)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 500))
def test_slices_tile_the_delta_in_order_with_exact_integers(case, month_use):
    zone, document, samples = case
    document["versions"] = document["versions"][:1]
    tariff = compile_tariff(document, zone)
    (from_ts, from_qty), (to_ts, to_qty) = samples[0], samples[-1]
    month = tariff.segment_at(from_ts).month
    rated = rate(tariff, from_ts, to_ts, from_qty, to_qty, month, month_use)
    assert sum(charged.quantity for charged in rated.slices) == to_qty - from_qty
    at_qty, at_ts = from_qty, from_ts
    for charged in rated.slices:
        assert charged.from_qty == at_qty < charged.to_qty
        assert at_ts <= charged.from_ts <= charged.to_ts <= to_ts
        assert type(charged.amount_nano) is int
        assert charged.amount_nano == charged.price_micro * charged.quantity >= 0
        at_qty, at_ts = charged.to_qty, charged.to_ts
    assert at_qty == to_qty or not rated.slices


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PLACES).flatmap(lambda place: st.tuples(st.just(place[0]), series(place[1]))))
def test_a_flat_charge_does_not_depend_on_where_the_chain_was_cut(place):
    zone, samples = place
    tariff = compile_tariff(flat(), zone)
    cut = sum(charged.amount_nano for charged in rate_series(tariff, samples))
    whole = sum(charged.amount_nano for charged in rate_series(tariff, [samples[0], samples[-1]]))
    assert cut == whole == (samples[-1][1] - samples[0][1]) * 852_300


def totals(slices: list[Slice]) -> dict[tuple, int]:
    found: dict[tuple, int] = {}
    for charged in slices:
        key = (charged.month, charged.version, charged.period, charged.tier)
        found[key] = found.get(key, 0) + charged.amount_nano
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_with_samples_on_the_boundaries_more_samples_change_no_total(data):
    zone, around_ms = data.draw(st.sampled_from(PLACES))
    version = data.draw(versions("2000-01-01T00:00:00", ["tou", "tiers", "tou+tiers"]))
    tariff = compile_tariff({"tariff": "t", "utility": "water", "versions": [version]}, zone)
    start, end = around_ms - 20 * 3_600_000, around_ms + 20 * 3_600_000
    coarse = [(start, 0)]
    while coarse[-1][0] < end:
        ts, register = coarse[-1]
        coarse.append((min(tariff.segment_at(ts).end_ms, end), register + data.draw(st.integers(0, 300))))
    fine = set(coarse)
    for (low_ts, low), (high_ts, high) in pairwise(coarse):
        if high_ts - low_ts > 1 and data.draw(st.booleans()):
            fine.add((data.draw(st.integers(low_ts + 1, high_ts - 1)), data.draw(st.integers(low, high))))
    by_coarse, by_fine = (list(rate_series(tariff, sorted(samples))) for samples in (coarse, fine))
    assert totals(by_fine) == totals(by_coarse)
    assert not any(charged.estimated for charged in by_coarse + by_fine)

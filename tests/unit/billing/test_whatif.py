"""What-if: a month lived through twice, against the same arithmetic done by hand."""

from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.history import Epoch, Occupancy, Payer
from billing.history import Tenancy as Occupied
from billing.monthly_fees import Tenancy, days_of_month
from billing.points import Point
from billing.tariff import Tariff, compile_tariff
from billing.whatif import Supply, Wallet, compare
from tests.unit.billing.contract import SHANGHAI, at, flat

MONTH = 202601
DAYS = days_of_month(ZoneInfo(SHANGHAI), MONTH)
KWH = 1000
YUAN = 10**9


def tariff(price: str, **keys: object) -> Tariff:
    return compile_tariff(flat(price, **keys), SHANGHAI)


def occupied(name: str, price: Tariff) -> Occupancy:
    return Occupancy(
        [Occupied(Payer("anna", "tenant:anna:wallet", name))],
        {name: price},
        Payer("", "landlord:vacancy", ""),
        SHANGHAI,
    )


def supply(points: list[Point], now: Tariff, then: Tariff) -> Supply:
    sides = occupied("now", now), occupied("then", then)
    return Supply("em-1", [Epoch(1, points)], Tenancy(None, None), *sides, now, then)


def daily(kwh: int) -> list[Point]:
    return [Point(day.start_ms, index * kwh * KWH) for index, day in enumerate(DAYS)] + [
        Point(DAYS[-1].end_ms, len(DAYS) * kwh * KWH)
    ]


def wallet(opening: int = 100, received: tuple[tuple[int, int], ...] = (), floor: int = 0) -> Wallet:
    return Wallet("anna", opening * YUAN, floor * YUAN, True, received)


def test_twice_the_price_costs_twice_and_runs_dry_in_half_the_time():
    outcome = compare(wallet(31), [supply(daily(1), tariff("1"), tariff("2"))], MONTH, DAYS)
    assert (outcome.now.energy_nano, outcome.then.energy_nano) == (31 * YUAN, 62 * YUAN)
    assert outcome.difference_nano == 31 * YUAN
    assert outcome.now.cutoffs == 1
    assert outcome.now.first_cutoff_ts == DAYS[-1].end_ms
    assert outcome.then.first_cutoff_ts == at("2026-01-17T00:00")
    assert outcome.then.closing_nano == -31 * YUAN


def test_a_recharge_lifts_the_wallet_and_it_can_fall_again():
    lifted = wallet(5, ((at("2026-01-10T12:00"), 10 * YUAN),))
    outcome = compare(lifted, [supply(daily(1), tariff("1"), tariff("0.1"))], MONTH, DAYS)
    assert (outcome.now.cutoffs, outcome.now.first_cutoff_ts) == (2, at("2026-01-06T00:00"))
    assert outcome.then.cutoffs == 0
    assert outcome.then.lowest_nano == 5 * YUAN - 9 * YUAN // 10


def test_emergency_credit_lowers_the_floor_and_postpaid_wallets_are_never_cut():
    by_now = supply(daily(1), tariff("1"), tariff("1"))
    assert compare(wallet(5, floor=-30), [by_now], MONTH, DAYS).now.cutoffs == 0
    postpaid = Wallet("anna", 0, 0, False, ())
    assert compare(postpaid, [by_now], MONTH, DAYS).now.cutoffs == 0


def test_fees_minimum_and_demand_are_part_of_both_sides():
    now = tariff("1", minimum_per_month="50")
    then = tariff("1", fixed=[{"name": "service", "per_month": "31"}], demand={"price": "38", "window": "24h"})
    outcome = compare(wallet(500), [supply(daily(24), now, then)], MONTH, DAYS)
    assert (outcome.now.fees_nano, outcome.now.demand_nano, outcome.now.minimum_nano) == (0, 0, 0)
    assert (outcome.then.fees_nano, outcome.then.demand_nano) == (31 * YUAN, 38 * YUAN)
    little = compare(wallet(500), [supply(daily(1), now, then)], MONTH, DAYS)
    assert little.now.minimum_nano == 19 * YUAN
    assert little.now.total_nano == 50 * YUAN


def test_tiers_that_are_entered_are_counted():
    stepped = compile_tariff(
        {
            "tariff": "steps",
            "utility": "electricity",
            "versions": [
                {
                    "from": "2000-01-01T00:00:00",
                    "mode": "tiers",
                    "tiers": [{"upto": "10", "price": "1"}, {"upto": "20", "price": "2"}, {"price": "3"}],
                }
            ],
        },
        SHANGHAI,
    )
    outcome = compare(wallet(500), [supply(daily(1), tariff("1"), stepped)], MONTH, DAYS)
    assert (outcome.now.crossings, outcome.then.crossings) == (0, 2)
    assert outcome.then.energy_nano == (10 + 20 + 33) * YUAN


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=32, max_size=32), st.integers(0, 40), st.integers(-20, 0))
def test_the_same_tariff_makes_no_difference_and_wallets_add_up(rises: list[int], opening: int, floor: int):
    points, register = [], 0
    for index, rise in enumerate(rises):
        points.append(Point(DAYS[0].start_ms + index * 86_400_000, register))
        register += rise
    same = tariff("0.8523", fixed=[{"name": "service", "per_month": "30"}])
    outcome = compare(wallet(opening, floor=floor), [supply(points, same, same)], MONTH, DAYS)
    assert outcome.difference_nano == 0
    assert outcome.now == outcome.then
    assert outcome.now.closing_nano == opening * YUAN - outcome.now.total_nano
    assert (outcome.now.lowest_nano <= floor * YUAN < opening * YUAN) == (outcome.now.cutoffs > 0)

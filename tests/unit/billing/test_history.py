"""History: charges of a meter's whole life against an independent calculation, and against rating a series."""

from collections import Counter
from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.history import Epoch, HistoryError, Occupancy, Payer, Tenancy, rate_history
from billing.offline import rate_series
from billing.points import Point, compress
from billing.rating import FREE_TIER
from billing.tariff import Tariff, compile_tariff
from tests.unit.billing import life_oracle, oracle
from tests.unit.billing.contract import SHANGHAI, at, flat, shop_tou
from tests.unit.billing.life_oracle import Life
from tests.unit.billing.lives import LANDLORD, epochs, occupancy, payer, rated
from tests.unit.billing.strategies import cases, lives

SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
FLAT, SHOP = compile_tariff(flat(), SHANGHAI), compile_tariff(shop_tou(), SHANGHAI)
TARIFFS = {"flat": FLAT, "shop": SHOP}
DAY_MS = 86_400_000


def compiled(life: Life) -> dict[str, Tariff] | None:
    """The tariffs of a life, or None where a clock jump makes two versions begin in one instant."""
    for document in life.documents.values():
        starts = [datetime.fromisoformat(item["from"]) for item in document["versions"]]
        if len({oracle.first_minute_showing(life.zone, start) for start in starts}) < len(starts):
            return None
    return {name: compile_tariff(document, life.zone) for name, document in life.documents.items()}


@settings(SLOW, max_examples=500)
@given(lives())
def test_a_life_costs_what_the_independent_calculation_says(life: Life) -> None:
    tariffs = compiled(life)
    if tariffs is None:
        return
    charges = rated(life, tariffs).charges
    expected = life_oracle.owed(life)
    found = [
        (
            *(charge.epoch, charge.payer.tenant, charge.payer.tariff, one.from_ts, one.to_ts, one.from_qty, one.to_qty),
            *(one.month, one.period, one.tier, Fraction(one.amount_nano, 10**9), one.estimated),
        )
        for charge in charges
        for one in (charge.priced,)
    ]
    assert found == [
        (
            *(item.epoch, item.tenant, item.tariff, one.from_ts, one.to_ts, one.from_qty, one.to_qty),
            *(one.month, one.period, one.tier, one.amount, one.estimated),
        )
        for item in expected
        for one in (item.charge,)
    ]


@SLOW
@given(cases())
def test_without_events_history_is_the_rating_of_the_series(case) -> None:
    zone, document, samples = case
    document["versions"] = document["versions"][:1]
    tariff = compile_tariff(document, zone)
    only = Occupancy([Tenancy(Payer("a", "a", "t"))], {"t": tariff}, payer("", ""), zone)
    history = rate_history([Epoch(1, [Point(*sample) for sample in samples])], only)
    assert [charge.priced for charge in history.charges] == list(rate_series(tariff, samples))


@SLOW
@given(lives())
def test_leaving_out_the_middle_of_idle_runs_changes_nothing(life: Life) -> None:
    tariffs = compiled(life)
    if tariffs is None:
        return
    short = [Epoch(one.number, compress(one.points)) for one in epochs(life)]
    who = occupancy(life, tariffs)
    assert rate_history(short, who).charges == rate_history(epochs(life), who).charges


def test_a_gap_between_tenants_is_the_landlords() -> None:
    start = at("2026-07-01T00:00")
    who = Occupancy(
        [
            Tenancy(payer("a", "flat"), None, start + DAY_MS),
            Tenancy(payer("b", "flat"), start + 2 * DAY_MS, None),
        ],
        TARIFFS,
        payer("", ""),
        SHANGHAI,
    )
    charges = rate_history([Epoch(1, [Point(start, 0), Point(start + 3 * DAY_MS, 3000)])], who).charges
    assert [(one.payer.tenant, one.payer.account, one.priced.quantity, one.priced.amount_nano) for one in charges] == [
        ("a", "tenant:a:wallet", 1000, 852_300_000),
        ("", LANDLORD, 1000, 0),
        ("b", "tenant:b:wallet", 1000, 852_300_000),
    ]
    assert all(one.priced.estimated for one in charges)


def test_tiers_go_on_across_a_swap_and_a_change_of_tenant() -> None:
    start = at("2026-07-01T00:00")
    who = Occupancy(
        [Tenancy(payer("a", "shop"), None, start + 2 * DAY_MS), Tenancy(payer("b", "shop"), start + 2 * DAY_MS, None)],
        TARIFFS,
        payer("", "flat"),
        SHANGHAI,
    )
    old = Epoch(1, [Point(start, 0), Point(start + DAY_MS, 239_999)])
    new = Epoch(2, [Point(start + DAY_MS, 7), Point(start + 2 * DAY_MS, 7), Point(start + 2 * DAY_MS + 60_000, 9)])
    history = rate_history([old, new], who)
    assert [(one.payer.tenant, one.epoch, one.priced.tier, one.priced.quantity) for one in history.charges][-2:] == [
        ("b", 2, 0, 1),
        ("b", 2, 1, 1),
    ]
    assert (history.month, history.month_use, history.year_use) == (202607, 240_001, 240_001)


def test_what_another_device_counted_before_is_carried_over() -> None:
    start = at("2026-07-01T00:00")
    who = Occupancy([Tenancy(payer("a", "shop"))], TARIFFS, payer("", "flat"), SHANGHAI)
    points = [Point(start, 0), Point(start + 60_000, 2)]
    charges = rate_history([Epoch(1, points, carried=(202607, 239_999, 500_000))], who).charges
    assert [one.priced.tier for one in charges] == [0, 1]


def test_free_units_of_the_month_cost_nothing_and_count_towards_the_tiers() -> None:
    document = shop_tou()
    document["versions"][0]["free"] = {"quantity": "30"}
    document["versions"][0]["package"] = {"name": "basic", "per_month": "10.00", "includes": "20"}
    tariff = compile_tariff(document, SHANGHAI)
    noon = at("2026-07-01T12:00")
    charges = list(rate_series(tariff, [(noon, 0), (noon + 3_600_000, 250_000)]))
    assert [(one.tier, one.quantity, one.price_micro) for one in charges] == [
        (FREE_TIER, 50_000, 0),
        (0, 190_000, 1_218_400),
        (1, 10_000, 1_268_400),
    ]
    # Another month has its own, and another meter too.
    august = at("2026-08-01T12:00")
    again = list(rate_series(tariff, [(noon, 0), (noon + 60_000, 1), (august, 1), (august + 60_000, 2)]))
    assert [one.tier for one in again] == [FREE_TIER, FREE_TIER]


def test_free_units_by_the_month_and_tiers_by_the_year_count_apart() -> None:
    document = shop_tou()
    document["versions"][0] |= {"free": {"quantity": "1"}, "tier_period": "year"}
    tariff = compile_tariff(document, SHANGHAI)
    june, july = at("2026-06-30T22:00"), at("2026-07-01T12:00")
    samples = [(june, 0), (june + 60_000, 240_000), (july, 240_000), (july + 60_000, 241_001)]
    found = Counter()
    for one in rate_series(tariff, samples):
        found[one.month, one.tier] += one.quantity
    assert found == {(202606, FREE_TIER): 1000, (202606, 0): 239_000, (202607, FREE_TIER): 1000, (202607, 1): 1}


@pytest.mark.parametrize(
    ("tenancies", "message"),
    [
        ([Tenancy(payer("a", "flat")), Tenancy(payer("b", "flat"), 5)], "overlap"),
        ([Tenancy(payer("a", "lost"))], "tariff 'lost' of tenant a does not exist"),
    ],
)
def test_tenancies_that_cannot_be_are_refused(tenancies: list[Tenancy], message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        Occupancy(tenancies, TARIFFS, payer("", ""), SHANGHAI)


def test_points_that_are_no_register_name_their_epoch() -> None:
    who = Occupancy([Tenancy(payer("a", "flat"))], TARIFFS, payer("", ""), SHANGHAI)
    with pytest.raises(HistoryError, match="epoch 3: register must be"):
        rate_history([Epoch(3, [Point(at("2026-07-01T00:00"), 9), Point(at("2026-07-02T00:00"), 8)])], who)


@given(st.integers(0, 40), st.integers(1, 40))
@settings(max_examples=40)
def test_a_span_of_history_is_the_history_within_it(first: int, days: int) -> None:
    start = at("2026-06-15T00:00")
    who = Occupancy([Tenancy(payer("a", "shop"))], TARIFFS, payer("", ""), SHANGHAI)
    register = [Epoch(1, [Point(start + day * DAY_MS, day * 9_000) for day in range(60)])]
    from_ts = start + first * DAY_MS
    to_ts = from_ts + days * DAY_MS
    whole = rate_history(register, who).charges
    assert rate_history(register, who, from_ts=from_ts, to_ts=to_ts).charges == [
        one for one in whole if from_ts <= one.priced.from_ts < to_ts
    ]

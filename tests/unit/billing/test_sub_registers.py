"""Periods from the meter: its sub-registers are believed where they agree with the total, and never cost a bill."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.history import Epoch, Occupancy, Tenancy, rate_history
from billing.offline import rate_series
from billing.points import RATE_NAMES, Point, rates_of
from billing.rating import rate
from billing.sub_registers import period_shares
from billing.tariff import TariffError, compile_tariff
from tests.unit.billing.contract import SHANGHAI, at, shop_tou
from tests.unit.billing.lives import payer

PRICED = ("peak", "flat", "valley")
ZERO = rates_of({"peak": 0, "flat": 0, "valley": 0})
NOON = at("2026-07-01T12:00")
HOUR_MS = 3_600_000


def metered(**more: object) -> dict:
    """The shop's tariff, periods by the meter."""
    document = shop_tou()
    document["versions"][0] |= {"periods_from": "meter", **more}
    return document


METERED = compile_tariff(metered(), SHANGHAI)


@pytest.mark.parametrize(
    ("after", "quantity", "shares"),
    [
        ({"peak": 100, "flat": 50, "valley": 0}, 150, (("peak", 100), ("flat", 50))),
        ({"peak": 100, "flat": 50, "valley": 0}, 157, (("peak", 107), ("flat", 50))),
        ({"peak": 100, "flat": 50, "valley": 0}, 120, (("peak", 70), ("flat", 50))),
        ({"peak": 50, "flat": 50, "valley": 0}, 130, (("peak", 80), ("flat", 50))),  # of equal ones the earlier
        ({"peak": 10, "flat": 10, "valley": 10}, 3, (("valley", 3),)),  # what exceeds a share is taken from the next
        ({"peak": 10, "flat": 0, "valley": 0, "deep": 0}, 12, (("peak", 12),)),
    ],
)
def test_the_total_is_charged_and_a_small_rest_goes_to_the_largest_share(after, quantity, shares) -> None:
    before = rates_of({**dict.fromkeys(after, 0)})
    found = period_shares(PRICED, before, rates_of(after), quantity)
    assert (found.shares, found.reason) == (shares, "")
    assert sum(share for _, share in found.shares) == quantity


@pytest.mark.parametrize(
    ("before", "after", "quantity", "reason"),
    [
        (None, None, 5, "not told: peak, flat, valley"),
        (ZERO, None, 5, "not told"),
        (ZERO, rates_of({"peak": 5, "flat": 0}), 5, "not told: valley"),
        (ZERO, rates_of({"peak": 100, "flat": 0, "valley": 0}), 131, "more than 30 apart"),
        (ZERO, rates_of({"peak": 100, "flat": 0, "valley": 0}), 69, "more than 30 apart"),
        (rates_of({"peak": 9, "flat": 0, "valley": 0}), ZERO, 9, "peak fell from 9 to 0"),
        (
            rates_of({"peak": 0, "flat": 0, "valley": 0, "deep": 0}),
            rates_of({"peak": 1, "flat": 0, "valley": 0, "deep": 40}),
            41,
            "deep rose by 40 and has no price",
        ),
    ],
)
def test_what_cannot_be_believed_says_why(before, after, quantity, reason) -> None:
    found = period_shares(PRICED, before, after, quantity)
    assert found.shares == ()
    assert reason in found.reason


def test_a_total_that_moves_before_its_sub_registers_is_divided_by_the_calendar_without_a_word() -> None:
    found = period_shares(PRICED, ZERO, ZERO, 9)
    assert (found.shares, found.reason) == ((), "")
    assert period_shares(PRICED, None, None, 0).reason == ""


def test_the_meter_says_when_it_was_used() -> None:
    """Four hours across 12:00, all of it at night by the meter: its word counts, and nothing is estimated."""
    rates = (ZERO, rates_of({"peak": 400, "flat": 0, "valley": 600}))
    rated = rate(METERED, NOON - 2 * HOUR_MS, NOON + 2 * HOUR_MS, 5000, 6000, 202607, 0, rates=rates)
    assert [(one.period, one.from_qty, one.to_qty, one.price_micro, one.estimated) for one in rated.slices] == [
        ("peak", 5000, 5400, 1_218_400, False),
        ("valley", 5400, 6000, 407_100, False),
    ]
    assert [one.to_ts - NOON for one in rated.slices] == [-2 * HOUR_MS + 4 * HOUR_MS * 4 // 10, 2 * HOUR_MS]
    assert rated.note == ""


def test_without_sub_registers_the_calendar_divides_and_says_so() -> None:
    rated = rate(METERED, NOON - HOUR_MS, NOON + HOUR_MS, 0, 1000, 202607, 0)
    by_calendar = rate(compile_tariff(shop_tou(), SHANGHAI), NOON - HOUR_MS, NOON + HOUR_MS, 0, 1000, 202607, 0)
    assert rated.slices == by_calendar.slices
    assert "not told: peak, flat, valley" in rated.note
    assert by_calendar.note == ""


def test_a_pair_over_the_end_of_the_month_divides_each_period_by_time() -> None:
    midnight = at("2026-08-01T00:00")
    rates = (ZERO, rates_of({"peak": 3, "flat": 0, "valley": 600}))
    rated = rate(METERED, midnight - HOUR_MS, midnight + 2 * HOUR_MS, 0, 603, 202607, 0, rates=rates)
    assert [(one.month, one.period, one.quantity, one.estimated) for one in rated.slices] == [
        (202607, "peak", 1, True),
        (202607, "valley", 200, True),
        (202608, "peak", 2, True),
        (202608, "valley", 400, True),
    ]
    assert (rated.month, rated.month_use) == (202608, 402)


def test_tiers_add_to_the_periods_of_the_meter_in_their_fixed_order() -> None:
    rates = (ZERO, rates_of({"peak": 100, "flat": 100, "valley": 0}))
    rated = rate(METERED, NOON, NOON + 60_000, 0, 200, 202607, 239_850, rates=rates)
    assert [(one.period, one.tier, one.quantity) for one in rated.slices] == [
        ("peak", 0, 100),
        ("flat", 0, 50),
        ("flat", 1, 50),
    ]


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"periods": {"peak": "1", "flat": "1", "night": "1"}}, "periods.night", "is no sub-register"),
        ({"mode": "flat", "price": "1"}, "periods_from", "mode flat has no periods"),
        ({"periods_from": "clock"}, "periods_from", "must be one of calendar, meter"),
    ],
)
def test_a_tariff_that_cannot_take_periods_from_a_meter_says_why(change, path, message) -> None:
    document = metered(**change)
    version = document["versions"][0]
    if "price" in change:
        for key in ("periods", "calendar", "tiers"):
            version.pop(key)
    if "periods" in change:
        version["calendar"] = [{"months": "all", "days": "all", "slots": {"00:00-24:00": "night"}}]
    with pytest.raises(TariffError, match=message) as caught:
        compile_tariff(document, SHANGHAI)
    assert caught.value.path.endswith(path)


def test_water_has_no_sub_registers() -> None:
    document = {**metered(), "utility": "water"}
    del document["versions"][0]["demand"]
    with pytest.raises(TariffError, match="sub-registers are of electricity meters"):
        compile_tariff(document, SHANGHAI)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 90 * 60_000), *(st.integers(0, 60) for _ in PRICED), st.integers(-30, 30)),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 3 * 24 * 60),
)
def test_every_wh_is_charged_once_and_totals_are_within_the_meters_own_resolution(steps, begin) -> None:
    """Sums by period differ from the sub-registers by no more than the sum check allows for each pair."""
    ts, qty, registers = at("2026-07-30T22:00") + begin * 60_000, 0, dict.fromkeys(PRICED, 0)
    points = [Point(ts, qty, rates_of(registers))]
    for duration, *rises, off in steps:
        ts += duration
        registers = {name: registers[name] + rise for name, rise in zip(PRICED, rises, strict=True)}
        qty += max(sum(rises) + off, 0)
        points.append(Point(ts, qty, rates_of(registers)))
    charged = list(rate_series(METERED, points))
    assert sum(one.quantity for one in charged) == qty
    assert [one.from_qty for one in charged[1:]] == [one.to_qty for one in charged[:-1]]
    for name in PRICED:
        by_period = sum(one.quantity for one in charged if one.period == name)
        assert abs(by_period - registers[name]) <= 60 * len(steps)
    who = Occupancy([Tenancy(payer("a", "m"))], {"m": METERED}, payer("", ""), SHANGHAI)
    assert [one.priced for one in rate_history([Epoch(1, points)], who).charges] == charged


def test_names_are_those_of_the_telemetry() -> None:
    assert RATE_NAMES == ("sharp", "peak", "flat", "valley", "deep")

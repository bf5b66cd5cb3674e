"""What a compiled tariff says of an instant: prices, segments, clock jumps, holidays, bounded memory."""

from itertools import pairwise

import pytest

from billing.tariff import TariffError, TierPrice, compile_tariff
from tests.unit.billing.contract import SHANGHAI, at, flat, shop_tou

HOUR_MS = 3_600_000


def tou(slots: dict[str, str], zone: str = SHANGHAI, /, **entry: object):
    calendar = [{"months": "all", "days": "all", "slots": slots}]
    if entry:
        calendar.insert(0, {"months": "all", "days": "all", **entry})
    version = {"from": "2000-01-01T00:00:00", "mode": "tou", "calendar": calendar}
    version["periods"] = {"peak": "3", "flat": "2", "valley": "1"}
    return compile_tariff({"tariff": "tou", "utility": "electricity", "versions": [version]}, zone)


def walk(tariff, start_ms: int, end_ms: int) -> list[tuple[float, str | None]]:
    """(hours, period) of the segments between two instants."""
    spans, ts = [], start_ms
    while ts < end_ms:
        segment = tariff.segment_at(ts)
        end = min(segment.end_ms, end_ms)
        spans.append(((end - ts) / HOUR_MS, segment.period))
        ts = end
    return spans


def test_the_contract_example_at_a_summer_noon():
    segment = compile_tariff(shop_tou(), SHANGHAI).segment_at(at("2026-07-01T13:00"))
    assert (segment.start_ms, segment.end_ms) == (at("2026-07-01T12:00"), at("2026-07-01T22:00"))
    assert (segment.month, segment.yearly, segment.period) == (202607, False, "peak")
    assert segment.version == at("2026-01-01T00:00")
    assert (segment.base_micro, segment.surcharge_micro, segment.price_micro) == (1_203_400, 15_000, 1_218_400)
    assert segment.tiers == (
        TierPrice(240_000, 1_218_400),
        TierPrice(400_000, 1_268_400),
        TierPrice(None, 1_518_400),
    )


def test_equal_periods_of_two_days_are_one_segment():
    segment = compile_tariff(shop_tou(), SHANGHAI).segment_at(at("2026-07-01T23:00"))
    assert (segment.start_ms, segment.end_ms) == (at("2026-07-01T22:00"), at("2026-07-02T08:00"))


def test_a_flat_month_is_one_segment():
    segment = compile_tariff(flat(), SHANGHAI).segment_at(at("2026-02-10T10:00"))
    assert (segment.start_ms, segment.end_ms) == (at("2026-02-01T00:00"), at("2026-03-01T00:00"))
    assert (segment.period, segment.tiers, segment.price_micro) == (None, (), 852_300)


def test_the_first_version_that_starts_later_takes_over_and_nothing_is_before_the_first():
    document = flat(price="1")
    document["versions"][0]["from"] = "2026-01-15T12:00:00"
    document["versions"].append({"from": "2026-01-20T00:00:00", "mode": "flat", "price": "2"})
    tariff = compile_tariff(document, SHANGHAI)
    first = tariff.segment_at(at("2026-01-15T12:00"))
    assert (first.start_ms, first.end_ms, first.price_micro) == (
        at("2026-01-15T12:00"),
        at("2026-01-20T00:00"),
        1_000_000,
    )
    assert tariff.segment_at(at("2026-01-20T00:00")).price_micro == 2_000_000
    assert tariff.version_at(at("2026-01-20T00:00") - 1).price_micro == 1_000_000
    for ask in (tariff.segment_at, tariff.version_at):
        with pytest.raises(TariffError, match=r"2026-01-15T11:59:59\+08:00 is before the first version"):
            ask(at("2026-01-15T12:00") - 1)


@pytest.mark.parametrize("ts", [-1, 2**53, 10**18, -(10**18)])
def test_an_instant_no_calendar_reaches_is_refused(ts):
    with pytest.raises(TariffError):
        compile_tariff(flat(), SHANGHAI).segment_at(ts)


def test_a_tier_with_a_price_replaces_the_period_but_not_the_surcharge():
    document = shop_tou()
    document["versions"][0]["tiers"] = [{"upto": "1", "add": "0.1"}, {"price": "5"}]
    tariff = compile_tariff(document, SHANGHAI)
    peak, flat_period = tariff.segment_at(at("2026-07-01T13:00")), tariff.segment_at(at("2026-07-01T09:00"))
    assert [tier.price_micro for tier in peak.tiers] == [1_318_400, 5_015_000]
    assert [tier.price_micro for tier in flat_period.tiers] == [916_200, 5_015_000]


def test_yearly_tiers_count_the_year_and_monthly_ones_the_month():
    document = shop_tou()
    document["versions"][0]["tier_period"] = "year"
    segment = compile_tariff(document, SHANGHAI).segment_at(at("2026-07-01T13:00"))
    assert (segment.month, segment.yearly) == (202607, True)


def test_fees_demand_and_minimum_are_kept_as_integers():
    document = shop_tou()
    document["versions"][0]["demand"]["slip"] = "5m"
    version = compile_tariff(document, SHANGHAI).version_at(at("2026-07-01T13:00"))
    assert [(fee.name, fee.per_month_nano, fee.while_disconnected) for fee in version.fixed] == [
        ("service", 30_000_000_000, True)
    ]
    assert version.demand is not None
    assert (version.demand.price_micro, version.demand.window_ms, version.demand.slip_ms) == (
        38_000_000,
        900_000,
        300_000,
    )
    assert version.minimum_nano == 0
    assert version.surcharges[0].name == "fund"


def test_a_skipped_hour_shortens_its_slot_and_a_repeated_one_lengthens_it():
    tariff = tou({"00:00-02:30": "valley", "02:30-04:00": "peak", "04:00-24:00": "flat"}, "Europe/Berlin")
    spring, autumn = at("2026-03-28T23:00Z"), at("2026-10-24T22:00Z")
    # 02:00 to 03:00 does not exist: valley ends at the jump, half of the peak is skipped.
    assert walk(tariff, spring, spring + 4 * HOUR_MS) == [(2.0, "valley"), (1.0, "peak"), (1.0, "flat")]
    # 02:00 to 03:00 comes twice: valley, peak, then both once more.
    assert walk(tariff, autumn, autumn + 5 * HOUR_MS) == [
        (2.5, "valley"),
        (0.5, "peak"),
        (0.5, "valley"),
        (1.5, "peak"),
    ]


def test_a_day_without_midnight_begins_when_the_clock_jumps():
    tariff = tou({"00:00-00:30": "peak", "00:30-24:00": "flat"}, "America/Sao_Paulo")
    jump = at("2018-11-04T03:00Z")
    assert walk(tariff, jump - HOUR_MS, jump + HOUR_MS) == [(2.0, "flat")]
    assert tariff.segment_at(jump).start_ms == at("2018-11-03T03:30Z")


def test_half_an_hour_of_daylight_saving():
    tariff = tou({"00:00-01:45": "valley", "01:45-24:00": "flat"}, "Australia/Lord_Howe")
    back = at("2026-04-04T15:00Z")  # 02:00 becomes 01:30
    assert walk(tariff, back - HOUR_MS, back + HOUR_MS) == [
        (0.75, "valley"),
        (0.25, "flat"),
        (0.25, "valley"),
        (0.75, "flat"),
    ]


def test_a_month_once_begun_stays_though_the_clock_shows_the_old_one_again():
    tariff = compile_tariff(flat(), "America/St_Johns")
    midnight = at("2009-11-01T02:30Z")  # at 00:01 the clock goes back to 23:01 in October
    october, november = tariff.segment_at(midnight - 1), tariff.segment_at(midnight + 30 * 60_000)
    assert (october.month, october.end_ms) == (200910, midnight)
    assert (november.month, november.start_ms) == (200911, midnight)


def test_a_version_in_a_repeated_hour_starts_once():
    document = flat(price="1")
    document["versions"].append({"from": "2026-10-25T02:30:00", "mode": "flat", "price": "2"})
    tariff = compile_tariff(document, "Europe/Berlin")
    start = at("2026-10-25T00:30Z")
    assert tariff.segment_at(start - 1).price_micro == 1_000_000
    assert all(tariff.segment_at(start + minutes * 60_000).price_micro == 2_000_000 for minutes in range(180))


def test_holidays_come_first_where_the_file_says_so():
    tariff = tou({"00:00-24:00": "flat"}, days="holiday:CN", slots={"00:00-24:00": "valley"})
    assert tariff.segment_at(at("2026-10-01T12:00")).period == "valley"
    assert tariff.segment_at(at("2026-09-30T12:00")).period == "flat"
    bavaria = tou({"00:00-24:00": "flat"}, "Europe/Berlin", days="holiday:DE-BY", slots={"00:00-24:00": "valley"})
    assert bavaria.segment_at(at("2026-01-06T12:00Z")).period == "valley"


def test_months_and_named_weekdays_choose_the_entry():
    entry = {"months": [2], "days": ["tuesday"], "slots": {"00:00-24:00": "peak"}}
    tariff = tou({"00:00-24:00": "flat"}, **entry)
    assert tariff.segment_at(at("2026-02-03T12:00")).period == "peak"
    assert tariff.segment_at(at("2026-02-04T12:00")).period == "flat"
    assert tariff.segment_at(at("2026-03-03T12:00")).period == "flat"


def test_segments_follow_each_other_over_many_years_in_bounded_memory():
    tariff = compile_tariff(shop_tou(), "Europe/Berlin")
    starts, ts = [], at("2026-01-01T00:00+01:00")
    while ts < at("2031-01-01T00:00+01:00"):
        segment = tariff.segment_at(ts)
        assert segment.start_ms == ts
        starts.append(segment.start_ms)
        ts = segment.end_ms
    assert all(later - earlier >= HOUR_MS for earlier, later in pairwise(starts))
    assert len(tariff._tables[0]) <= 36
    # Asking backwards gives the same segments as the way forward did.
    assert [tariff.segment_at(start).start_ms for start in reversed(starts)] == starts[::-1]

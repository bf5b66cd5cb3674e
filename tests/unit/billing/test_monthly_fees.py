"""Fees by the month: whole months exactly, parts by the day, versions, daylight saving, minimum."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.local_time import DAY_MS, HOUR_MS
from billing.monthly_fees import (
    Tenancy,
    days_of_month,
    fees_by_day,
    held_days,
    minimum_of,
    month_after,
    prorated,
    settlement_difference,
    top_up_to_minimum,
)
from billing.tariff import Tariff, compile_tariff

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
LATER = 2**60


def tariff(*versions: dict[str, Any], zone: str = "Asia/Shanghai") -> Tariff:
    made = [{"from": "2025-01-01T00:00:00", "mode": "flat", "price": "0.8", **version} for version in versions]
    return compile_tariff({"tariff": "shop", "utility": "electricity", "versions": made}, zone)


def total(compiled: Tariff, month: int, tenancy: Tenancy, zone: ZoneInfo = SHANGHAI, **more: Any) -> int:
    days = days_of_month(zone, month)
    return sum(fee.amount_nano for fee in fees_by_day(compiled, month, days, tenancy, until=LATER, **more))


ALWAYS = Tenancy(None, None)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 10**13),
    st.sampled_from([202601, 202602, 202502, 202603, 202610]),
    st.integers(0, 31),
    st.sampled_from([SHANGHAI, BERLIN]),
)
def test_a_month_sums_exactly_however_it_is_cut(nano: int, month: int, cut: int, zone: ZoneInfo) -> None:
    text = f"{nano // 10**9}.{nano % 10**9:09d}"
    compiled = tariff({"fixed": [{"name": "service", "per_month": text}]}, zone=zone.key)
    days = days_of_month(zone, month)
    at = days[min(cut, len(days) - 1)].start_ms
    assert total(compiled, month, ALWAYS, zone) == nano
    assert total(compiled, month, Tenancy(None, at), zone) + total(compiled, month, Tenancy(at, None), zone) == nano
    noon = at + 12 * HOUR_MS
    assert total(compiled, month, Tenancy(None, noon), zone) + total(compiled, month, Tenancy(noon, None), zone) == nano


def test_days_of_daylight_saving() -> None:
    days = days_of_month(BERLIN, 202603)
    lengths = {day.number: day.end_ms - day.start_ms for day in days}
    assert len(days) == 31
    assert lengths.pop(20260329) == 23 * HOUR_MS
    assert set(lengths.values()) == {DAY_MS}


def test_the_day_of_moving_in_counts_and_that_of_moving_out_does_not() -> None:
    compiled = tariff({"fixed": [{"name": "service", "per_month": "31.00"}]})
    days = days_of_month(SHANGHAI, 202601)
    tenancy = Tenancy(days[9].start_ms + HOUR_MS, days[19].start_ms + HOUR_MS)
    assert held_days(days, tenancy) == 10
    assert total(compiled, 202601, tenancy) == 10 * 10**9


def test_disconnected_days_and_whole_fees() -> None:
    compiled = tariff(
        {
            "fixed": [
                {"name": "line", "per_month": "31.00", "while_disconnected": False},
                {"name": "reading", "per_month": "5.00", "prorate": "none"},
            ]
        }
    )
    assert total(compiled, 202601, ALWAYS, disconnected={20260110, 20260111}) == 34 * 10**9
    days = days_of_month(SHANGHAI, 202601)
    late = list(fees_by_day(compiled, 202601, days, Tenancy(days[20].start_ms, None), until=LATER))
    assert [(fee.day, fee.amount_nano) for fee in late if fee.name == "reading"] == [(20260121, 5 * 10**9)]


def test_versions_package_and_capacity() -> None:
    compiled = tariff(
        {"fixed": [{"name": "service", "per_month": "31.00"}], "capacity": {"price": "3.1"}},
        {"from": "2026-01-16T00:00:00", "package": {"name": "basic", "per_month": "62.00", "includes": "30"}},
    )
    fees = list(
        fees_by_day(compiled, 202601, days_of_month(SHANGHAI, 202601), Tenancy(None, None, 10_000), until=LATER)
    )
    sums = {kind: sum(fee.amount_nano for fee in fees if fee.kind == kind) for kind in ("fixed", "capacity", "package")}
    assert sums == {"fixed": 15 * 10**9, "capacity": 15 * 10**9, "package": 32 * 10**9}
    assert compiled.versions[1].package is not None
    assert compiled.versions[1].package.includes == 30_000


def test_nothing_before_the_day_is_over() -> None:
    compiled = tariff({"fixed": [{"name": "service", "per_month": "31.00"}]})
    days = days_of_month(SHANGHAI, 202601)
    assert len(list(fees_by_day(compiled, 202601, days, ALWAYS, until=days[4].end_ms))) == 5


def test_minimum() -> None:
    compiled = tariff({"minimum_per_month": "62.00"})
    days = days_of_month(SHANGHAI, 202601)
    assert minimum_of(compiled, days, ALWAYS) == 62 * 10**9
    assert minimum_of(compiled, days, Tenancy(days[16].start_ms, None)) == 30 * 10**9
    assert top_up_to_minimum(62, 60) == 2
    assert top_up_to_minimum(62, 63) == 0


def test_small_rules() -> None:
    assert prorated(100, 10, 30) == 33
    assert prorated(5, 1, 2) == 3
    assert prorated(7, 31, 31) == 7
    assert settlement_difference(1_000, 830_000, 851_000_000) == -21_000_000
    assert month_after(202512) == 202601
    assert month_after(202601, -1) == 202512
    with pytest.raises(ValueError, match="202613"):
        days_of_month(SHANGHAI, 202613)

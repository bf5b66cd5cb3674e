"""The rating engine against an independent brute-force calculation over generated tariffs and series."""

from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.offline import rate_series
from billing.rating import Slice
from billing.tariff import Tariff, TariffError, compile_tariff
from tests.unit.billing import oracle
from tests.unit.billing.strategies import PLACES, cases, tariffs

SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def as_charge(charged: Slice) -> oracle.Charge:
    return oracle.Charge(
        charged.from_ts,
        charged.to_ts,
        charged.from_qty,
        charged.to_qty,
        charged.month,
        charged.period,
        charged.tier,
        Fraction(charged.price_micro, 10**6),
        Fraction(charged.amount_nano, 10**9),
        charged.estimated,
    )


def compiled(document: dict, zone: str) -> Tariff | None:
    """The tariff, or None where a clock jump skips the starts of two versions, so that they begin in one instant."""
    starts = [oracle.first_minute_showing(zone, datetime.fromisoformat(item["from"])) for item in document["versions"]]
    if len(set(starts)) == len(starts):
        return compile_tariff(document, zone)
    with pytest.raises(TariffError, match="must be later"):
        compile_tariff(document, zone)
    return None


@SLOW
@given(cases())
def test_slices_are_those_of_the_independent_calculation(case):
    zone, document, samples = case
    tariff = compiled(document, zone)
    if tariff is not None:
        expected = oracle.charges(document, zone, samples)
        assert [as_charge(charged) for charged in rate_series(tariff, samples)] == expected


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(PLACES).flatmap(lambda place: st.tuples(st.just(place), tariffs(place[1]))), st.data())
def test_a_segment_is_the_longest_span_of_one_state(place_and_document, data):
    (zone, around_ms), document = place_and_document
    tariff = compiled(document, zone)
    if tariff is None:
        return
    ts = around_ms + data.draw(st.integers(-20 * 3_600_000, 20 * 3_600_000))
    segment = tariff.segment_at(ts)
    state = oracle.state_at(document, zone, ts)
    inside = data.draw(st.integers(segment.start_ms, segment.end_ms - 1))
    version_starts = [version.start_ms for version in tariff.versions]
    assert segment.start_ms <= ts < segment.end_ms
    assert (segment.month, version_starts.index(segment.version), segment.period) == state
    assert oracle.state_at(document, zone, segment.start_ms) == state
    assert oracle.state_at(document, zone, inside) == state
    assert oracle.state_at(document, zone, segment.end_ms - 1) == state
    assert oracle.state_at(document, zone, segment.end_ms) != state
    if segment.start_ms > tariff.versions[0].start_ms:
        assert oracle.state_at(document, zone, segment.start_ms - 1) != state

"""Samples in a few bytes: what goes in comes out, runs of one value keep their ends, rows take all of them along."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.points import Point, compress
from tests.unit.twin.scene import HOUR, MINUTE, Scene
from twin.core import samples
from twin.core.effects import ChargePosted, EpochOpened, IncidentOpened, IncidentResolved, LateReading

RATES = st.none() | st.tuples(*[st.none() | st.integers(0, 10**9)] * 5).filter(lambda told: any(told))
STEPS = st.lists(
    st.tuples(st.integers(0, 10**10), st.sampled_from([0, 0, 1, 63, 64, 10**9]), RATES), min_size=0, max_size=30
)


def told(steps):
    ts, qty, points = 1_767_888_000_000, 0, []
    for span, rise, rates in steps:
        ts, qty = ts + span, qty + rise
        points.append(Point(ts, qty, rates))
    return points


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_what_goes_in_comes_out_but_for_the_middle_of_a_run(steps):
    points = told(steps)
    fresh = [point for index, point in enumerate(points) if index == 0 or point != points[index - 1]]
    assert compress(samples.unpack(samples.keep(points))) == compress(fresh)


def test_a_run_of_one_value_keeps_its_first_and_its_last():
    points = [Point(1_000 + 10 * n, 500 if n < 100 else 501) for n in range(101)]
    assert samples.unpack(samples.keep(points)) == [points[0], points[99], points[100]]


def points_of(rows):
    return [point for row in rows for point in samples.unpack(row.points)]


def test_rows_carry_every_accepted_sample_once():
    scene = Scene()
    told = []
    for step in range(1, 200):
        scene.now += 7 * MINUTE
        scene.sample(step % 3 * 40)
        told.append(Point(scene.now, scene.wh))
    scene.wait(HOUR)
    assert compress(points_of(scene.caused(ChargePosted))) == compress(told)


def test_a_row_cut_within_a_pair_brings_the_far_end_of_the_pair():
    scene = Scene()
    scene.now += 10 * MINUTE
    scene.sample(100)
    scene.now += 10 * MINUTE
    scene.sample(100)
    (row,) = scene.caused(ChargePosted)
    assert (row.to_qty, row.to_ts) == (1150, scene.now - 5 * MINUTE)
    assert points_of([row])[-1] == Point(scene.now, 1200)


def test_what_a_missing_tariff_held_back_is_rated_pair_by_pair():
    late, prompt = (
        Scene(tariff="gone", start=1_767_888_000_000 + 7 * HOUR),
        Scene(tariff="tou", start=1_767_888_000_000 + 7 * HOUR),
    )
    for used in (10, 500, 0, 30, 7):
        for scene in (late, prompt):
            scene.now += 25 * MINUTE
            scene.sample(used)
    late.policy.tariffs["gone"] = late.policy.tariffs["tou"]
    for scene in (late, prompt):
        scene.now += 25 * MINUTE
        scene.sample(1)
        scene.wait(HOUR)
    assert late.tenant.charges_nano == prompt.tenant.charges_nano
    assert points_of(late.caused(ChargePosted)) == points_of(prompt.caused(ChargePosted))


def test_a_sample_older_than_the_accepted_one_is_told_to_the_ledger_and_charges_nothing():
    scene = Scene()
    scene.now += 15 * MINUTE
    scene.sample(100)
    before = scene.tenant.charges_nano
    scene.sample(0, raw=1040, ts=scene.now - 6 * MINUTE, hist=True)
    (late,) = scene.caused(LateReading)
    assert (late.raw, late.ts, late.epoch, late.source) == (1040, scene.now - 6 * MINUTE, 1, "device")
    assert scene.tenant.charges_nano == before


def test_primary_values_behind_transformers():
    scene = Scene(ratio=40, opening=4_000, max_rate=552_000, modulus=40_000_000)
    scene.wh = 100
    scene.now += 15 * MINUTE
    scene.sample(5, power_w=250)
    assert scene.register.seen == 4_200
    assert scene.meter.values["power_w"] == 10_000
    assert scene.tenant.charges_nano == 200 * 1_000_000
    scene.sample(0, raw=102, ts=scene.now - MINUTE, hist=True)
    assert scene.caused(LateReading)[0].raw == 102, "as the device showed it"


def test_another_ratio_is_another_epoch_and_no_jump():
    scene = Scene(opening=1_000)
    scene.now += 15 * MINUTE
    scene.sample(100)
    scene.change(ratio=30, max_rate=414_000, modulus=30 * 1_000_000_000)
    (opened,) = scene.caused(EpochOpened)
    assert (opened.epoch, opened.opening, opened.ratio) == (2, 33_000, 30)
    scene.now += 15 * MINUTE
    scene.sample(10)
    assert scene.register.seen == 33_300
    assert scene.tenant.charges_nano == (100 + 300) * 1_000_000


def test_sub_registers_go_along_and_one_that_is_wrong_is_told_until_it_is_right():
    scene = Scene(tariff="tou-meter", start=1_767_888_000_000 + 12 * HOUR)
    peak = valley = 0
    for used, wrong in ((0, 0), (100, 0), (100, 50), (100, 0), (100, 0)):
        scene.now += 15 * MINUTE
        peak += used - wrong
        scene.sample(used, rates_wh={"peak": peak, "valley": valley})
    assert [one.kind for one in scene.caused(IncidentOpened)] == ["rates_mismatch"]
    assert [one.kind for one in scene.caused(IncidentResolved)] == ["rates_mismatch"]
    assert points_of(scene.caused(ChargePosted))[-1].rates == (None, 350, None, 0, None)

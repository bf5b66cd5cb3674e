"""From a sample to a posted charge: every Wh once, whatever happens to the messages on their way."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, Scene, make_policy
from twin.core.decide import decide, decide_all
from twin.core.effects import (
    ChargePosted,
    EpochOpened,
    IncidentOpened,
    IncidentResolved,
    ReadingQuarantined,
)
from twin.core.messages import Telemetry

NANO_PER_WH = 1_000_000  # at 1.0000 a kWh
QUIET = make_policy()


def charges(scene):
    return scene.caused(ChargePosted)


def check_tiling(scene):
    """Posted rows tile the register from its opening to `posted`, the open row goes on to `head`; money is
    quantity times price."""
    ends = {}
    for row in charges(scene):
        start = ends.get((row.meter, row.epoch))
        if start is not None:
            assert row.from_qty == start, f"gap or overlap at {row}"
        assert row.to_qty > row.from_qty
        assert row.amount_nano == row.price_micro * (row.to_qty - row.from_qty)
        ends[(row.meter, row.epoch)] = row.to_qty
    register = scene.register
    if register.row is not None:
        assert register.row.from_qty == register.posted
        assert register.row.to_qty == register.head
    else:
        assert register.posted == register.head
    open_nano = register.row.amount_nano if register.row else 0
    assert scene.tenant.charges_nano == sum(row.amount_nano for row in charges(scene)) + open_nano


def test_the_balance_moves_with_every_reading_and_posts_once_an_interval():
    scene = Scene(credit="100.00")
    for _ in range(30):
        scene.now += MINUTE
        scene.sample(10)
    assert scene.tenant.charges_nano == 300 * NANO_PER_WH
    assert [(row.from_qty, row.to_qty) for row in charges(scene)] == [(1000, 1150), (1150, 1300)]
    check_tiling(scene)


def test_tou_boundary_between_two_samples_is_split_by_time_and_flagged():
    scene = Scene(tariff="tou", start=MIDNIGHT + 7 * HOUR + 50 * MINUTE)
    scene.now += 20 * MINUTE
    scene.sample(200)
    scene.now += 20 * MINUTE
    scene.sample(10)
    rows = [(row.period, row.from_qty, row.to_qty, row.estimated) for row in charges(scene)]
    assert rows[:2] == [("night", 1000, 1100, True), ("day", 1100, 1200, True)]
    assert rows[2][0] == "day"
    assert not rows[2][3], "an exact slice never joins an estimated one"
    assert scene.tenant.charges_nano == 100 * NANO_PER_WH // 2 + 110 * NANO_PER_WH


def test_a_sample_on_the_boundary_leaves_nothing_to_guess():
    scene = Scene(tariff="tou", start=MIDNIGHT + 7 * HOUR + 50 * MINUTE)
    scene.now += 10 * MINUTE
    scene.sample(37)
    scene.now += 10 * MINUTE
    scene.sample(63)
    scene.wait(HOUR)
    assert [(row.period, row.to_qty - row.from_qty, row.estimated) for row in charges(scene)] == [
        ("night", 37, False),
        ("day", 63, False),
    ]


def test_repeats_change_nothing():
    scene = Scene()
    scene.now += 15 * MINUTE
    scene.sample(100)
    before = scene.tenant.charges_nano
    assert scene.sample(0, seq=scene.seq) == []
    scene.sample(0, ts=scene.now - 5 * MINUTE, raw=1050)
    assert scene.tenant.charges_nano == before


def test_a_false_high_reading_is_quarantined_and_the_true_ones_after_it_still_bill():
    scene = Scene()
    scene.now += 15 * MINUTE
    scene.sample(100)
    scene.now += 15 * MINUTE
    caused = scene.sample(0, raw=9_000_000)
    assert [effect.reason for effect in caused if isinstance(effect, ReadingQuarantined)] == ["implausible_rise"]
    assert any(isinstance(effect, IncidentOpened) for effect in caused)
    scene.now += 15 * MINUTE
    caused = scene.sample(100)
    assert scene.tenant.charges_nano == 200 * NANO_PER_WH
    assert any(isinstance(effect, IncidentResolved) and effect.kind == "implausible_rise" for effect in caused)
    check_tiling(scene)


def test_a_reset_opens_a_new_epoch_after_three_readings_that_agree():
    scene = Scene(opening=500_000)
    scene.now += 15 * MINUTE
    scene.sample(100)
    for raw in (3, 50, 90):
        scene.now += 15 * MINUTE
        scene.sample(0, raw=raw)
    assert [(effect.epoch, effect.opening, effect.reason) for effect in scene.caused(EpochOpened)] == [(2, 3, "reset")]
    assert scene.tenant.charges_nano == (100 + 87) * NANO_PER_WH
    assert "register_reset" in scene.meter.incidents, "what happened between is for a person to judge"
    check_tiling(scene)


def test_rollover_goes_on_on_the_unwrapped_register():
    scene = Scene(opening=999_900, modulus=1_000_000)
    scene.now += 15 * MINUTE
    scene.sample(0, raw=100)
    scene.now += 15 * MINUTE
    scene.sample(0, raw=300)
    assert scene.tenant.charges_nano == 400 * NANO_PER_WH
    assert scene.register.head == 1_000_300
    check_tiling(scene)


def test_a_missing_tariff_is_told_and_charged_later_not_lost():
    scene = Scene(tariff="gone")
    scene.now += 15 * MINUTE
    scene.sample(100)
    assert scene.tenant.charges_nano == 0
    assert "tariff_missing" in scene.meter.incidents
    contract = msgspec.structs.replace(scene.contracts["meters"][0], tariff="flat")
    scene.group.meter_contracts = {"em-001": contract}
    scene.now += 15 * MINUTE
    scene.sample(100)
    assert scene.tenant.charges_nano == 200 * NANO_PER_WH
    assert "tariff_missing" not in scene.meter.incidents


def test_a_bad_register_is_shown_and_not_charged():
    scene = Scene()
    scene.now += 15 * MINUTE
    scene.sample(0, raw=1_500, q="bad")
    assert scene.meter.values["import_wh"] == 1_500
    assert scene.tenant.charges_nano == 0
    scene.now += 15 * MINUTE
    scene.sample(100)
    assert scene.tenant.charges_nano == 100 * NANO_PER_WH


def test_history_charges_and_never_actuates():
    scene = Scene(credit="0.05", params={"grace": "0s"}, start=MIDNIGHT - 12 * HOUR)
    scene.now += 15 * MINUTE
    scene.sample(100, hist=True)
    assert scene.tenant.balance_nano < 0
    assert scene.breaker.locks == {}
    scene.now += MINUTE
    scene.sample(0)
    assert "credit" in scene.breaker.locks, "the next live reading lets the rules look at the balance"


def test_a_clock_far_ahead_is_not_believed():
    scene = Scene()
    scene.now += 15 * MINUTE
    scene.sample(100, ts=scene.now + HOUR)
    assert scene.meter.at == scene.now
    assert "clock_ahead" in scene.meter.incidents
    assert scene.meter.device_ts == scene.now + HOUR
    scene.now += 15 * MINUTE
    scene.sample(100)
    assert scene.tenant.charges_nano == 200 * NANO_PER_WH
    assert "clock_ahead" not in scene.meter.incidents


def test_a_clock_that_ran_backwards_cannot_stop_the_register():
    scene = Scene()
    scene.now += HOUR
    scene.sample(100)
    scene.now += 15 * MINUTE
    scene.sample(100, ts=scene.now - 3 * HOUR)
    assert scene.tenant.charges_nano == 200 * NANO_PER_WH
    assert "clock_behind" in scene.meter.incidents


def test_silence_posts_the_open_row():
    scene = Scene()
    scene.now += 5 * MINUTE
    scene.sample(50)
    assert charges(scene) == []
    scene.wait(HOUR)
    assert [(row.from_qty, row.to_qty) for row in charges(scene)] == [(1000, 1050)]
    check_tiling(scene)


def test_decide_changes_nothing_that_it_was_given():
    scene = Scene(credit="1.00")
    scene.now += 15 * MINUTE
    message = Telemetry(
        "em-001", "s1", 1, scene.now, {"import_wh": 3_000, "power_w": 8_000, "relay": "closed"}, received_at=scene.now
    )
    before = msgspec.json.encode(scene.group)
    first = decide(scene.group, message, scene.now, scene.policy)
    assert msgspec.json.encode(scene.group) == before
    second = decide(scene.group, message, scene.now, scene.policy)
    assert first == second, "the same input gives the same decision"


def test_deciding_on_many_equals_deciding_one_after_the_other():
    scene = Scene(credit="1.00", params={"grace": "0s"}, start=MIDNIGHT - 12 * HOUR)
    timed = []
    for number in range(1, 20):
        at = scene.now + number * 5 * MINUTE
        timed.append(
            (
                Telemetry(
                    "em-001", "s1", number, at, {"import_wh": 1000 + 90 * number, "power_w": 1_000}, received_at=at
                ),
                at,
            )
        )
    together = decide_all(scene.group, timed, scene.policy)
    group, effects = scene.group, []
    for message, now in timed:
        decision = decide(group, message, now, scene.policy)
        group = decision.group
        effects += decision.effects
    assert together.group == group
    assert list(together.effects) == effects


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flat_charge_is_the_register_whatever_happens_to_the_messages(data):
    """Duplicated, shuffled, dropped, buffered and sprinkled with false values: the sum is the register."""
    scene = Scene(credit="100000.00", policy=QUIET)
    used = data.draw(st.lists(st.integers(0, 3_000), min_size=1, max_size=25))
    seed = data.draw(st.integers(0, 2**32))
    rng = random.Random(seed)
    register, samples = 1_000, []
    for number, wh in enumerate(used, start=1):
        register += wh
        ts = MIDNIGHT + number * 15 * MINUTE
        samples.append(
            Telemetry("em-001", "s1", number, ts, {"import_wh": register, "power_w": 1}, rng.random() < 0.2, "good", ts)
        )
    last = samples.pop()
    sent = [sample for sample in samples for _ in range(rng.choice((0, 1, 1, 2)))]
    rng.shuffle(sent)
    scene.now = last.ts
    for sample in sent:
        scene.play(sample)
        if rng.random() < 0.2:
            false = dict(sample.d, import_wh=rng.choice((0, 5, 900_000_000)))
            scene.play(
                Telemetry("em-001", "other", rng.randrange(10**6), sample.ts + 1, false, False, "good", sample.ts)
            )
    scene.play(last)
    check_tiling(scene)
    if scene.register.epoch == 1:
        assert scene.tenant.charges_nano == (register - 1_000) * NANO_PER_WH

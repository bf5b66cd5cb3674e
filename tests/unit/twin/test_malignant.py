"""Malignant load: steps in streams, what they are, and what must never look like one."""

from __future__ import annotations

import pytest

from twin.core.malignant import (
    ALLOWED,
    MALIGNANT,
    MOTOR,
    OUTSIDE,
    REACTIVE,
    UNKNOWN,
    Sample,
    Step,
    advance,
    classify,
    increment_factor,
    sample_of,
    settings_of,
)

PARAMS = {
    "malignant_bands": "300-799@980 800-20000@950",
    "malignant_allow": "1000-1100@990 600-700@500-900",
    "malignant_hold": 5_000,
    "malignant_inrush_milli": 1_400,
}
SETTINGS = settings_of(PARAMS)


def steps(powers: list[int | None], idle: list[int] | None = None, *, settings=SETTINGS) -> list[Step]:
    """The steps of a stream of one sample a second; None is a second that was lost."""
    kept: tuple[Sample, ...] = ()
    looked, found = 0, []
    for second, power_w in enumerate(powers):
        if power_w is None:
            continue
        taken = Sample(second * 1_000, power_w, 0 if idle is None else idle[second])
        kept, looked, more = advance(kept, looked, taken, settings)
        found += more
    return found


def kind(step: Step) -> str:
    return classify(SETTINGS, step.step_w, step.share_milli, inrush_w=step.inrush_w)


def test_a_kettle_is_found_at_its_second_with_the_samples_before_and_after() -> None:
    (step,) = steps([100] * 10 + [1_600] * 10)
    assert (step.at, step.step_w, step.share_milli, step.level_w) == (10_000, 1_500, 1_000, 100)
    assert [one.power_w for one in step.before] == [100] * 4
    assert [one.power_w for one in step.after] == [1_600] * 6
    assert kind(step) == MALIGNANT


def test_it_is_told_when_it_has_held_and_not_a_second_sooner() -> None:
    assert steps([100] * 10 + [1_600] * 5) == []
    assert len(steps([100] * 10 + [1_600] * 6)) == 1


@pytest.mark.parametrize(
    "powers",
    [
        [100] * 10 + [1_600] * 4 + [100] * 10,
        [100] * 10 + [100 + 100 * second for second in range(1, 20)],
        [100] * 10 + [100 + 300 * second for second in range(1, 10)],
        [100 + 15 * second for second in range(120)],
        [1_600] * 10 + [100] * 10,
        [1_600] * 20,
        [100] * 10 + [399] * 10,
        [100, 900] * 20,
        [100] + [1_600] * 10,
        [0, 900, 100, 1_000, 50, 800, 1_700, 300, 1_200, 20] * 3,
    ],
    ids=[
        "too short", "slow drift", "soft start", "slower drift", "a step down", "level", "too low", "pulses",
        "nothing known before", "nothing but noise",
    ],
)  # fmt: skip
def test_what_is_no_step(powers: list[int]) -> None:
    assert [step for step in steps(powers) if step.step_w >= 300] == []


def test_a_second_that_is_half_full_belongs_to_the_step() -> None:
    for first in (120, 500, 850, 1_200):
        (step,) = steps([100] * 10 + [first] + [1_600] * 10)
        assert step.step_w == 1_500
        assert step.at in (10_000, 11_000)


def test_missing_seconds_hide_no_step_and_a_longer_hole_concludes_nothing() -> None:
    (step,) = steps([100] * 8 + [None, 100, 1_600, None, 1_600, 1_600, None, 1_600, 1_600, 1_600])
    assert (step.at, step.step_w) == (10_000, 1_500)
    assert steps([100] * 10 + [None, 1_600, None, None, None, None, 1_600, 1_600]) == []


def test_a_step_under_a_noisy_load() -> None:
    noisy = [620, 540, 700, 610, 480, 655, 590, 700, 560, 640]
    (step,) = [one for one in steps(noisy + [power + 1_500 for power in noisy]) if kind(one) == MALIGNANT]
    assert step.at == 10_000
    assert abs(step.step_w - 1_500) <= 80


def test_two_appliances_a_moment_apart_are_two_steps_and_in_the_same_second_one() -> None:
    found = steps([100] * 10 + [1_600] * 3 + [2_800] * 10)
    assert [(one.at, one.step_w) for one in found] == [(10_000, 1_500), (13_000, 1_200)]
    computer = [0] * 10 + [260] * 10
    (both,) = steps([100] * 10 + [1_800] * 10, computer)
    assert (both.step_w, both.share_milli, kind(both)) == (1_700, 988, MALIGNANT)


def test_a_computer_beside_a_running_heater_does_not_look_like_one() -> None:
    (step,) = steps([1_500] * 10 + [1_800] * 10, [0] * 10 + [400] * 10)
    assert (step.share_milli, kind(step)) == (600, REACTIVE)


def test_a_heater_beside_a_running_motor_does() -> None:
    (step,) = steps([500] * 10 + [2_000] * 10, [600] * 20)
    assert (step.share_milli, kind(step)) == (1_000, MALIGNANT)


def test_the_inrush_of_a_motor_is_none_and_what_it_settles_on_is_judged() -> None:
    (step,) = steps([100] * 10 + [4_100, 2_500] + [900] * 10, [50] * 10 + [2_000, 1_000] + [200] * 10)
    assert (step.step_w, kind(step)) == (800, MOTOR)
    (alone,) = steps([100] * 10 + [600] * 10, [50] * 10 + [550] * 10)
    assert kind(alone) == REACTIVE


def test_a_heater_and_a_motor_in_the_same_second_are_malignant() -> None:
    (step,) = steps([100] * 10 + [4_000] + [1_730] * 10, [50] * 10 + [2_500] + [190] * 10)
    assert kind(step) == MALIGNANT


def test_a_window_grows_no_further_than_it_is_needed() -> None:
    kept, looked = (), 0
    for second in range(1_000):
        kept, looked, _ = advance(kept, looked, Sample(second * 1_000, second % 7, 0), SETTINGS)
    assert len(kept) <= 12


def test_classes() -> None:
    told = [
        classify(SETTINGS, step_w, share, inrush_w=inrush)
        for step_w, share, inrush in (
            (299, 1_000, 0), (300, 980, 0), (300, 979, 0), (800, 950, 0), (1_050, 995, 0), (1_050, 989, 0),
            (650, 700, 0), (650, 985, 0), (1_500, None, 0), (2_000, 960, 2_800), (2_000, 960, 2_799),
            (-1_500, 1_000, 0), (2_000, 995, 9_000),
        )
    ]  # fmt: skip
    assert told == [
        OUTSIDE, MALIGNANT, REACTIVE, MALIGNANT, ALLOWED, MALIGNANT,
        ALLOWED, MALIGNANT, UNKNOWN, MOTOR, MALIGNANT, OUTSIDE,
        MALIGNANT,
    ]  # fmt: skip


def test_what_comes_back_with_the_supply_is_allowed_as_far_as_allowed_things_explain_it() -> None:
    def back(step_w: int) -> str:
        return classify(SETTINGS, step_w, 1_000, restored=True)

    assert classify(SETTINGS, 1_350, 1_000) == MALIGNANT
    assert [back(1_399), back(1_400), back(1_599), back(2_099), back(2_100)] == [
        ALLOWED, MALIGNANT, MALIGNANT, ALLOWED, MALIGNANT
    ]  # fmt: skip


def test_a_meter_that_tells_only_power_convicts_nobody() -> None:
    assert sample_of({"import_wh": 1}, 5) is None
    assert sample_of({"power_w": 1_500}, 5) == Sample(5, 1_500, None)
    assert classify(SETTINGS, 1_500, None) == UNKNOWN


@pytest.mark.parametrize(
    ("channels", "idle"),
    [
        ({"power_w": 300, "apparent_va": 500}, 400),
        ({"power_w": 300, "apparent_va": 500, "reactive_var": -120}, -400),
        ({"power_w": 300, "reactive_var": -120}, -120),
        ({"power_w": 300, "pf_milli": 600}, 400),
        ({"power_w": 300, "pf_milli": -600}, 400),
        ({"power_w": 300, "voltage_mv": [200_000, 100_000], "current_ma": [2_000, 1_000]}, 400),
        ({"power_w": 300, "pf_milli": 0}, None),
        ({"power_w": 300, "apparent_va": 299}, 0),
        ({"power_w": 300, "voltage_mv": [200_000], "current_ma": []}, None),
    ],
)
def test_the_power_that_is_not_active(channels: dict[str, object], idle: int | None) -> None:
    assert sample_of(channels, 1) == Sample(1, 300, idle)


def test_the_increment_factor() -> None:
    assert [increment_factor(*pair) for pair in ((1_500, 0), (300, 400), (300, -400), (0, 5), (-9, 0))] == [
        1_000, 600, 600, 0, 0
    ]  # fmt: skip


def test_settings_that_nobody_declares_look_for_nothing() -> None:
    settings = settings_of({})
    assert (settings.bands, settings.least_w, classify(settings, 5_000, 1_000)) == ((), 0, OUTSIDE)
    assert settings_of({"malignant_hold": 1}).hold_ms == 2_000
    assert settings_of({"malignant_hold": 99_000}).hold_ms == 15_000

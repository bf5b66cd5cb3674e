"""Simulated appliances: exact energy, the same by seed, and a dormitory that the platform's own rules watch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from simulators.appliances import KINDS, switch_on
from simulators.fleet import Fleet
from simulators.profiles import LEVEL_SCALE, UNITS_PER_WH
from simulators.scenario import load_scenario, parse_scenario

FLEET = Path(__file__).parents[3] / "simulators" / "parks" / "dormitory" / "fleet.yaml"
SECOND = 1_000


@pytest.mark.parametrize("name", list(KINDS))
def test_energy_is_the_sum_of_its_seconds_however_it_is_cut(name: str) -> None:
    run = switch_on(name, Random(name), 500, 500 + 40 * SECOND)
    whole = run.units_between(0, 60 * SECOND)
    assert whole == sum(run.power_at(500 + second * SECOND)[0] * SECOND for second in range(40)) * LEVEL_SCALE
    cuts = [0, 499, 500, 1_234, 7_777, 7_778, 20_000, 40_499, 60_000]
    assert sum(run.units_between(*pair) for pair in pairwise(cuts)) == whole


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    runs = [switch_on("hair_dryer", Random(seed), 0) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    with pytest.raises(KeyError):
        switch_on("toaster", Random(1), 0)


def test_it_draws_nothing_before_and_after_and_turns_with_its_thermostat() -> None:
    run = switch_on("electric_pot", Random(5), 10 * SECOND, 4_000 * SECOND, power_w=1_000)
    assert run.power_at(9_999) == run.power_at(4_000 * SECOND) == (0, 0)
    on = [run.power_at(second * SECOND)[0] > 0 for second in range(10, 4_000)]
    turns = sum(one != other for one, other in pairwise(on))
    assert turns > 10
    assert all(950 <= run.power_at(10 * SECOND + second * SECOND)[0] <= 1_050 for second in range(run.on_s))


def test_a_motor_begins_with_an_inrush_and_a_slow_start_with_little() -> None:
    motor = switch_on("motor", Random(3), 0, power_w=500)
    assert motor.power_at(0)[0] > 1_400
    assert 400 < motor.power_at(10 * SECOND)[0] < 600
    slow = switch_on("inverter_air_conditioner", Random(3), 0, power_w=1_000)
    powers = [slow.power_at(second * SECOND)[0] for second in range(0, 200, 10)]
    assert powers[0] < 250
    assert powers[-1] > 900
    assert max(after - before for before, after in pairwise(powers)) < 350


def test_what_is_switched_on_in_a_scenario_is_measured_and_counted() -> None:
    document = {
        "site": "d", "seed": 3, "timezone": "Asia/Shanghai", "start": "2026-03-03T19:00:00", "interval": "1s",
        "groups": [{"name": "rooms", "kind": "electricity_meter", "ids": ["r-1"], "profile": "constant",
                    "peak_w": 100}],
        "events": [{"event": "appliance", "devices": ["r-1"], "at": "10s", "for": "30s", "appliance": "kettle",
                    "power_w": 1500}],
    }  # fmt: skip
    fleet = Fleet(parse_scenario(document))
    (meter,) = fleet.meters
    begin = fleet.begin_ms
    assert meter.channels(begin + 9_000)["power_w"] == 100
    assert 1_550 <= meter.channels(begin + 12_000)["power_w"] <= 1_650
    assert meter.channels(begin + 41_000)["power_w"] == 100
    meter.channels(begin + 60_000)
    assert abs(meter.register.units - (100 * 60 + 1_500 * 30) * SECOND * LEVEL_SCALE) < UNITS_PER_WH


def test_the_dormitory_fleet_reads_and_every_room_has_its_appliances() -> None:
    fleet = Fleet(load_scenario(FLEET))
    found = {meter.id: [draw.kind for draw in meter.load.draws] for meter in fleet.meters}
    assert found["room-001"] == ["pc", "phone_charger", "kettle"]
    assert {kinds[2] for kinds in found.values()} == {
        "kettle", "motor", "water_heater", "hair_dryer", "air_conditioner", "rice_cooker"
    }  # fmt: skip

"""Meters: registers hold exactly what passed, whatever opens, closes, wraps or welds meanwhile."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.registry import problems
from simulators.devices.breaker import Breaker
from simulators.devices.contactor import Contactor
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.devices.register import RateRegisters, Register
from simulators.devices.water_meter import WaterMeter
from simulators.profiles import UNITS_PER_WH, Load, load_profiles

HOUR_MS = 3_600_000
START_MS = 1_768_179_600_000


def _load(power_w: int = 3_600, profile: str = "constant") -> Load:
    return Load(load_profiles()[profile], power_w, START_MS)


def _meter(load: Load | None = None, **options: Any) -> ElectricityMeter:
    options = {"start_ms": START_MS, "contactor": Contactor(travel_ms=100)} | options
    return ElectricityMeter("em-1", Random(1), load or _load(), **options)


@settings(max_examples=50)
@given(
    turns=st.lists(st.integers(0, 48 * HOUR_MS), max_size=10, unique=True),
    looks=st.lists(st.integers(0, 48 * HOUR_MS), max_size=20),
)
def test_register_is_the_energy_of_the_spans_in_which_the_relay_was_closed(turns: list[int], looks: list[int]) -> None:
    load = _load(7_777, "G0-A")
    meter = _meter(load, opening_wh=500)
    assert meter.contactor is not None
    turns = sorted(turns)
    for at, act in sorted([(turn, "turn") for turn in turns] + [(look, "look") for look in looks]):
        if act == "look":
            meter.channels(START_MS + at)
        else:
            target = "open" if meter.contactor.position == "closed" else "closed"
            meter.contactor.set_position(target, START_MS + at)
    end = 48 * HOUR_MS
    edges = [0, *turns, end]
    closed = sum(
        load.units_between(START_MS + a, START_MS + b) for n, (a, b) in enumerate(pairwise(edges)) if n % 2 == 0
    )
    assert meter.channels(START_MS + end)["import_wh"] == 500 + closed // UNITS_PER_WH


def test_reading_often_or_seldom_gives_the_same_register() -> None:
    seldom, often = _meter(_load(1_234, "G4-A")), _meter(_load(1_234, "G4-A"))
    for second in range(0, 6 * 3600, 7):
        often.channels(START_MS + second * 1000)
    end = START_MS + 6 * HOUR_MS
    assert often.channels(end)["import_wh"] == seldom.channels(end)["import_wh"] > 0


def test_register_wraps_at_its_modulus() -> None:
    meter = _meter(opening_wh=999_999_000)
    assert meter.channels(START_MS + HOUR_MS)["import_wh"] == 999_999_000 + 3_600 - 1_000_000_000


def test_power_and_current_vanish_while_open_and_voltage_stays() -> None:
    meter = _meter(phases=3)
    assert meter.contactor is not None
    on = meter.channels(START_MS + 1000)
    meter.contactor.set_position("open", START_MS + 2000)
    off = meter.channels(START_MS + 60_000)
    assert (on["power_w"], off["power_w"]) == (3_600, 0)
    assert off["current_ma"] == [0, 0, 0]
    assert all(227_000 <= mv <= 233_000 for mv in off["voltage_mv"])
    # P = U * I * pf within rounding, over all phases
    found = sum(mv * ma for mv, ma in zip(on["voltage_mv"], on["current_ma"], strict=True)) * on["pf_milli"]
    assert abs(found / 1e9 - 3_600) < 5


def test_breaker_upstream_cuts_the_meter_and_a_welded_one_does_not() -> None:
    meter = _meter(contactor=None)
    breaker = Breaker("br-1", Random(2), Contactor())
    breaker.feed([meter])
    assert breaker.contactor is not None
    breaker.contactor.set_position("open", START_MS + HOUR_MS)
    assert meter.channels(START_MS + 2 * HOUR_MS)["import_wh"] == 3_600
    assert breaker.channels(START_MS + 2 * HOUR_MS)["power_w"] == 0
    breaker.contactor.weld(START_MS + 2 * HOUR_MS)
    assert breaker.contactor.position == "open"
    assert breaker.channels(START_MS + 3 * HOUR_MS)["power_w"] == 3_600
    assert meter.channels(START_MS + 3 * HOUR_MS)["import_wh"] == 7_200
    breaker.contactor.repair(START_MS + 3 * HOUR_MS)
    assert meter.channels(START_MS + 4 * HOUR_MS)["import_wh"] == 7_200


def test_rate_registers_split_by_the_table_and_never_exceed_the_total() -> None:
    rates = RateRegisters([(0, "valley"), (8 * 60, "flat"), (12 * 60, "peak")], START_MS, opening=10)
    meter = _meter(_load(3_601), rates=rates, opening_wh=10)
    meter.channels(START_MS + 10 * HOUR_MS)
    found = meter.channels(START_MS + 30 * HOUR_MS)
    assert found["rates_wh"] == {
        "valley": 10 + (8 + 6) * 3_601,
        "flat": 4 * 3_601,
        "peak": 12 * 3_601,
    }
    assert found["import_wh"] == sum(found["rates_wh"].values())


@pytest.mark.parametrize("table", [[], [(5, "flat")], [(0, "flat"), (0, "peak")], [(0, "a"), (60, "b"), (30, "c")]])
def test_rate_table_that_does_not_ascend_from_midnight_is_refused(table: list[tuple[int, str]]) -> None:
    with pytest.raises(ValueError, match="minute 0"):
        RateRegisters(table, START_MS)


def test_opening_beyond_the_modulus_is_refused() -> None:
    with pytest.raises(ValueError, match="modulus"):
        Register(_load(), 1000, 1000, START_MS, lambda: True)


def test_reset_restarts_the_session_and_the_register() -> None:
    meter = _meter(opening_wh=5_000)
    meter.channels(START_MS + HOUR_MS)
    sid = meter.session.sid
    messages = meter.reset_register(START_MS + HOUR_MS, 7)
    assert [message.verb for message in messages] == ["birth", "conn", "state", "tele"]
    assert messages[-1].body["d"]["import_wh"] == 7
    assert messages[-1].body["sid"] != sid
    assert messages[-1].body["seq"] == 1


def test_power_loss_is_silence_and_no_consumption_and_then_a_new_session() -> None:
    meter = _meter()
    gone = meter.lose_power(START_MS + HOUR_MS)
    assert [(message.verb, message.body["s"]) for message in gone] == [("conn", "offline")]
    assert meter.report(START_MS + 2 * HOUR_MS) == []
    assert meter.receive({"cmd": "x"}, START_MS + 2 * HOUR_MS) == []
    back = meter.regain_power(START_MS + 3 * HOUR_MS)
    assert back[-1].body["d"]["import_wh"] == 3_600


def test_a_jump_of_the_load_is_reported_as_a_power_step() -> None:
    load = _load(500)
    load.add_step(START_MS + 60_000, START_MS + 120_000, 3_000)
    meter = _meter(load, step_report_w=2_500)
    assert [message.verb for message in meter.report(START_MS)] == ["tele"]
    event, tele = meter.report(START_MS + 60_000)
    assert event.body["d"] == {"step_w": 3_000, "step_pf_milli": 1000, "power_w": 3_500}
    assert not problems("event", event.body)
    assert tele.verb == "tele"
    assert meter.report(START_MS + 120_000)[0].body["d"]["step_w"] == -3_000


def test_water_meter_counts_litres_and_its_valve_is_open_when_water_flows() -> None:
    meter = WaterMeter("wm-1", Random(3), _load(600), start_ms=START_MS, opening_l=50, contactor=Contactor("open"))
    found = meter.channels(START_MS + HOUR_MS)
    assert (found["volume_l"], found["flow_lph"], found["valve"]) == (650, 600, "open")
    assert meter.contactor is not None
    meter.contactor.set_position("closed", START_MS + HOUR_MS)
    found = meter.channels(START_MS + 2 * HOUR_MS)
    assert (found["volume_l"], found["flow_lph"], found["valve"]) == (650, 0, "closed")


def test_snapshot_and_restore_continue_the_register() -> None:
    first = _meter(_load(1_111), opening_wh=9, rates=RateRegisters([(0, "flat")], START_MS, 9))
    first.channels(START_MS + 1_234_567)
    second = _meter(_load(1_111), opening_wh=9, rates=RateRegisters([(0, "flat")], START_MS, 9))
    second.restore(first.snapshot())
    end = START_MS + 9 * HOUR_MS
    assert {key: second.channels(end)[key] for key in ("import_wh", "rates_wh")} == {
        key: first.channels(end)[key] for key in ("import_wh", "rates_wh")
    }

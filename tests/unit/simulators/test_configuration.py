"""A simulated device and its configuration: the newest version holds, over restarts too, and a limit is kept."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from schemas.registry import problems
from simulators.devices.configuration import LoadGuard
from simulators.devices.contactor import Contactor
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.devices.water_meter import WaterMeter
from simulators.fleet import Fleet
from simulators.scenario import parse_scenario

NOW = 1_768_179_600_000
SECOND = 1_000


class Load:
    """A load that is what the test says."""

    def __init__(self) -> None:
        self.power_w = 3_000

    def power_at(self, _now_ms: int) -> tuple[int, int]:
        return self.power_w, 0

    def units_between(self, _from_ms: int, _to_ms: int) -> int:
        return 0


def _meter() -> tuple[ElectricityMeter, Load]:
    load = Load()
    meter = ElectricityMeter("em-001", Random(1), load, start_ms=NOW, contactor=Contactor())  # type: ignore[arg-type]
    return meter, load


def _cfg(ver: int, **settings: Any) -> dict[str, Any]:
    return {"v": 1, "ver": ver, "issued": NOW, "set": settings}


def _states(messages: list[Any]) -> list[dict[str, Any]]:
    return [message.body for message in messages if message.verb == "state"]


def _run(meter: ElectricityMeter, until_ms: int) -> list[Any]:
    """Settle whenever the device wants to, as a station does."""
    said = []
    while (due_ms := meter.due_ms()) is not None and due_ms <= until_ms:
        said += meter.settle(max(due_ms, NOW))
    return said


def test_the_newest_configuration_holds_and_state_tells_its_version() -> None:
    meter, _ = _meter()
    assert _states([meter._birth(NOW), *meter.state(NOW, "boot")])[0]["cfg"] == 0
    [state] = _states(meter.configure(_cfg(5, limit_w=9_000, interval_s=30), NOW))
    assert state["cfg"] == 5
    assert problems("state", state) == []
    assert meter.interval_ms == 30_000
    [state] = _states(meter.configure(_cfg(4, limit_w=1), NOW))
    assert (state["cfg"], meter.configuration.limit_w) == (5, 9_000)
    assert _states(meter.configure(_cfg(5, limit_w=1), NOW))[0]["cfg"] == 5
    meter.configure(_cfg(6), NOW)
    assert (meter.configuration.ver, meter.configuration.limit_w, meter.interval_ms) == (6, None, 60_000)


@pytest.mark.parametrize(
    "junk", [None, [], "x", {}, {"v": 1}, _cfg(0), _cfg(True), {**_cfg(9), "v": 2}, {**_cfg(9), "set": []}]
)
def test_junk_is_no_configuration(junk: Any) -> None:
    meter, _ = _meter()
    assert meter.configure(junk, NOW) == []
    assert meter.configuration.ver == 0


def test_it_survives_a_restart_of_the_device_and_of_the_simulator() -> None:
    meter, _ = _meter()
    meter.configure(_cfg(7, limit_w=2_000, limit_for_ms=1_000), NOW)
    births = [message.body for message in meter.boot(NOW + SECOND) if message.verb == "birth"]
    assert births[0]["cfg"] == 7
    assert problems("birth", births[0]) == []
    again, _ = _meter()
    again.restore(meter.snapshot())
    assert (again.configuration.ver, again.configuration.limit_w) == (7, 2_000)
    assert [body["cfg"] for body in _states(_run(again, NOW + 60 * SECOND)) if body["cause"] == "trip"] == [7]


def test_a_load_above_the_limit_is_cut_after_its_time_and_the_key_gives_it_back() -> None:
    meter, load = _meter()
    meter.configure(_cfg(1, limit_w=2_000, limit_for_ms=20_000), NOW)
    assert _states(_run(meter, NOW + 19 * SECOND)) == []
    said = _run(meter, NOW + 20 * SECOND)
    [state] = _states(said)
    assert (state["relay"], state["cause"], state["locks"]) == ("armed", "trip", ["overload"])
    assert problems("state", state) == []
    [event] = [message.body for message in said if message.verb == "event"]
    assert (event["kind"], event["d"]) == ("overload", {"power_w": 3_000, "limit_w": 2_000})
    assert problems("event", event) == []
    load.power_w = 500
    [state] = _states(meter.press_key(NOW + 60 * SECOND))
    assert (state["relay"], "locks" in state) == ("closed", False)
    assert _states(_run(meter, NOW + 600 * SECOND)) == []


def test_a_load_that_falls_in_time_begins_anew() -> None:
    meter, load = _meter()
    meter.configure(_cfg(1, limit_w=2_000, limit_for_ms=20_000), NOW)
    _run(meter, NOW + 10 * SECOND)
    load.power_w = 2_000
    _run(meter, NOW + 16 * SECOND)
    load.power_w = 3_000
    assert _states(_run(meter, NOW + 39 * SECOND)) == []
    assert [body["relay"] for body in _states(_run(meter, NOW + 41 * SECOND))] == ["armed"]


def test_a_device_that_measures_no_power_stores_a_limit_and_comes_to_rest() -> None:
    class Flow:
        def power_at(self, _now_ms: int) -> tuple[int, int]:
            return 0, 0

    valve = WaterMeter("wm-001", Random(1), Flow(), start_ms=NOW, contactor=Contactor("open"))  # type: ignore[arg-type]
    assert _states(valve.configure(_cfg(3, limit_w=1), NOW))[0]["cfg"] == 3
    assert valve.due_ms() is None


def test_a_station_looks_at_a_limited_load_no_more_often_than_the_device_asks() -> None:
    group = {"name": "a", "kind": "electricity_meter", "ids": ["em-001"], "profile": ["G0-A"], "peak_w": [3000, 9000]}
    document = {"apiVersion": "twinmeter.fleet/v1", "site": "park-t", "seed": 5, "timezone": "Asia/Shanghai"}
    rest = {"start": "2026-01-12T09:00:00", "interval": "1m", "groups": [{**group, "opening_wh": 1, "relay": True}]}
    fleet = Fleet(parse_scenario({**document, **rest}))
    [station], now = fleet.stations, fleet.begin_ms
    station.start(now)
    station.connected(now)
    looks: list[int] = []

    class Counting(LoadGuard):
        def look(self, power_w: int, now_ms: int) -> bool:
            looks.append(now_ms)
            return super().look(power_w, now_ms)

    device = fleet.devices["em-001"]
    device.guard = Counting(device.configuration)
    station.configure("em-001", _cfg(1, limit_w=1_000_000), now)
    station.advance(now + 600 * SECOND)
    assert 100 <= len(looks) <= 135

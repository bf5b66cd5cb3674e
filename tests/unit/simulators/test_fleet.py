"""Fleets: the same file and seed give the same run; faults and events reach the devices they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.documents import DocumentError
from schemas.registry import problems
from simulators.devices.breaker import Breaker
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.fleet import Fleet
from simulators.scenario import ScenarioError, load_scenario, parse_scenario
from simulators.state_file import load_state, save_state
from simulators.station import Station
from simulators.wire import Message

MINUTE_MS = 60_000


def _document(**more: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "apiVersion": "twinmeter.fleet/v1",
        "site": "park-t",
        "seed": 11,
        "timezone": "Asia/Shanghai",
        "start": "2026-01-12T09:00:00",
        "interval": "1m",
        "groups": [
            {"name": "gateways", "kind": "gateway", "ids": ["gw-1", "gw-2"]},
            {
                "name": "shops",
                "kind": "electricity_meter",
                "ids": {"pattern": "em-{n:02d}", "from": 1, "to": 8},
                "gateways": ["gw-1", "gw-2"],
                "profile": ["G0-A", "G4-A"],
                "peak_w": [2000, 9000],
                "opening_wh": [0, 1_000_000],
                "relay": True,
            },
            {"name": "water", "kind": "water_meter", "ids": ["wm-1", "wm-2"], "peak_lph": [200, 800], "valve": True},
            {"name": "breakers", "kind": "breaker", "ids": ["br-1"], "gateways": ["gw-1"], "meters": ["em-01"]},
        ],
    }
    return document | more


def _fleet(**more: Any) -> Fleet:
    document = _document(**more)
    assert problems("fleet", document) == []
    return Fleet(parse_scenario(document))


def _live(fleet: Fleet, minutes: int, connect: bool = True) -> list[Message]:
    """Everything a fleet says in its first minutes, looked at every ten seconds."""
    said: list[Message] = []
    for station in fleet.stations:
        station.start(fleet.begin_ms)
        if connect:
            said += station.connected(fleet.begin_ms)
    for second in range(0, minutes * 60 + 1, 10):
        for station in fleet.stations:
            now_ms = fleet.begin_ms + second * 1000
            if connect:
                station.modem.link_up = station.wants_link(now_ms)
            said += station.advance(now_ms)
    return said


def _registers(messages: list[Message], device: str) -> list[int]:
    bodies = [m.body for m in messages if m.device == device and m.verb == "tele"]
    samples = [sample for body in bodies for sample in (body if isinstance(body, list) else [body])]
    return [sample["d"]["import_wh"] for sample in samples]


NOISE = [
    {"fault": "duplicate", "share": "0.5", "probability": "0.2"},
    {"fault": "reorder", "share": "0.5", "probability": "0.2"},
    {"fault": "flapping", "devices": ["em-03"], "up": ["2m", "4m"], "down": ["1m", "2m"]},
]


def test_the_same_seed_gives_the_same_run_to_the_byte() -> None:
    runs = [[(m.device, m.verb, m.body, m.due_ms) for m in _live(_fleet(faults=NOISE), 20)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 200
    other = _live(_fleet(faults=NOISE, seed=12), 20)
    assert [(m.device, m.verb, m.body, m.due_ms) for m in other] != runs[0]


def test_every_message_satisfies_its_schema() -> None:
    events = [
        {"event": "tamper", "devices": ["em-01"], "at": "2m"},
        {"event": "key_open", "devices": ["em-02"], "at": "3m"},
        {"event": "power_loss", "devices": ["em-04"], "at": "4m", "for": "3m"},
    ]
    said = _live(_fleet(faults=NOISE, events=events), 15)
    assert [(m, found) for m in said if (found := problems(m.verb, m.body))] == []
    assert {m.body["kind"] for m in said if m.verb == "event"} == {"tamper", "key_press"}
    assert {m.verb for m in said} == {"birth", "conn", "state", "tele", "event"}


def test_a_group_behind_gateways_is_dealt_out_and_a_direct_group_shares_a_connection() -> None:
    fleet = _fleet()
    assert [(station.name, sorted(station.devices)) for station in fleet.stations] == [
        ("wm-1", ["wm-1", "wm-2"]),
        ("gw-1", ["br-1", "em-01", "em-03", "em-05", "em-07"]),
        ("gw-2", ["em-02", "em-04", "em-06", "em-08"]),
    ]
    breaker = fleet.devices["br-1"]
    assert isinstance(breaker, Breaker)
    meter = fleet.devices["em-01"]
    assert isinstance(meter, ElectricityMeter)
    assert breaker.contactor in meter.upstream


def test_the_first_reading_shows_the_opening_register() -> None:
    fleet = _fleet()
    said = _live(fleet, 0)
    for meter in fleet.meters:
        if isinstance(meter, ElectricityMeter):
            assert _registers(said, meter.id) == [meter.register.opening]


def test_a_gateway_outage_buffers_and_replays_in_order() -> None:
    fault = {"fault": "offline", "devices": ["gw-1"], "from": "5m", "to": "10m"}
    said = _live(_fleet(faults=[fault]), 15)
    clean = _live(_fleet(), 15)
    assert _registers(said, "em-01") == _registers(clean, "em-01")
    replayed = [m.body for m in said if m.device == "em-01" and isinstance(m.body, list)]
    assert len(replayed) == 1
    assert 4 <= len(replayed[0]) <= 6
    assert all(sample["hist"] for sample in replayed[0])


def test_a_device_outage_loses_readings_and_the_register_goes_on() -> None:
    fault = {"fault": "offline", "devices": ["em-02"], "from": "5m", "to": "10m"}
    said = _live(_fleet(faults=[fault]), 15)
    clean = _registers(_live(_fleet(), 15), "em-02")
    seen = _registers(said, "em-02")
    assert len(seen) < len(clean)
    assert seen[-1] == clean[-1]
    assert [m.body["s"] for m in said if (m.device, m.verb) == ("em-02", "conn")][-2:] == ["offline", "online"]


def test_a_rollover_fault_wraps_the_register_after_its_margin() -> None:
    fault = {"fault": "rollover", "devices": ["em-01"], "from": "10m", "margin": 5}
    fleet = _fleet(faults=[fault])
    meter = fleet.devices["em-01"]
    assert isinstance(meter, ElectricityMeter)
    meter.count_until(fleet.begin_ms + 10 * MINUTE_MS)
    assert meter.register.shown == 1_000_000_000 - 5
    meter.count_until(fleet.begin_ms + 60 * MINUTE_MS)
    assert meter.register.shown < 10_000


def test_reset_skew_and_stuck_relay_reach_the_device() -> None:
    faults = [
        {"fault": "reset", "devices": ["em-01"], "from": "5m", "register": 3},
        {"fault": "clock_skew", "devices": ["em-02"], "from": "5m", "to": "8m", "skew": "-2h"},
        {"fault": "stuck_relay", "devices": ["em-03"], "position": "open"},
        {"fault": "stuck_relay", "devices": ["br-1"], "welded": True},
    ]
    fleet = _fleet(faults=faults)
    said = _live(fleet, 12)
    registers = _registers(said, "em-01")
    assert 3 in registers
    assert registers.index(3) in (5, 6)
    times = [m.body["ts"] for m in said if (m.device, m.verb) == ("em-02", "tele")]
    assert sum(ts < fleet.begin_ms for ts in times) == 3
    assert fleet.devices["em-03"].contactor is not None
    assert fleet.devices["em-03"].contactor.position == "open"
    assert len(set(_registers(said, "em-03"))) == 1
    assert fleet.devices["br-1"].contactor is not None
    assert fleet.devices["br-1"].contactor.welded


def test_a_load_step_is_drawn_for_as_long_as_it_lasts() -> None:
    event = {"event": "load_step", "devices": ["em-01"], "at": "3m", "for": "2m", "add_w": 50_000, "repeat": "10m"}
    said = _live(_fleet(events=[event]), 20)
    powers = [m.body["d"]["power_w"] for m in said if (m.device, m.verb) == ("em-01", "tele")]
    assert sum(power > 50_000 for power in powers) == 4


def test_a_share_is_drawn_by_seed_and_concerns_the_group() -> None:
    fleet = _fleet(faults=[{"fault": "drop", "group": "shops", "share": "0.25", "probability": "1"}])
    silent = {m.device for m in _live(fleet, 0) if m.verb == "birth"} - {
        m.device for m in _live(_fleet(faults=fleet.scenario.faults), 5) if m.verb == "tele"
    }
    assert len({device for device in silent if device.startswith("em")}) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"faults": [{"fault": "drop", "devices": ["em-99"], "probability": "1"}]}, "em-99"),
        ({"faults": [{"fault": "drop", "group": "nobody", "probability": "1"}]}, "nobody"),
        ({"events": [{"event": "tamper", "devices": ["em-99"], "at": "1m"}]}, "em-99"),
        ({"faults": [{"fault": "offline", "devices": ["em-01"], "from": "5m", "to": "5m"}]}, "not after"),
    ],
)
def test_a_scenario_that_does_not_fit_together_says_where(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        _fleet(**more)


def test_a_profile_or_gateway_that_does_not_exist_is_named() -> None:
    group = {"name": "g", "kind": "electricity_meter", "ids": ["em-1"], "profile": "Z9-Z"}
    with pytest.raises(ScenarioError, match=r"Z9-Z.*G0-A"):
        _fleet(groups=[group])
    with pytest.raises(ScenarioError, match="gw-9"):
        _fleet(groups=[group | {"profile": "G0-A", "gateways": ["gw-9"]}])
    with pytest.raises(ScenarioError, match="two groups"):
        _fleet(groups=[group | {"profile": "G0-A"}, group | {"profile": "G0-A", "ids": ["em-2"]}])


def test_a_file_with_an_error_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "apiVersion: twinmeter.fleet/v1\nsite: park\nseed: 1\ntimezone: Asia/Shanghai\ninterval: 1 minute\n"
    )
    with pytest.raises(DocumentError, match=r"fleet.yaml:5:\d+: interval"):
        load_scenario(path)


def test_state_is_kept_between_runs(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first = _fleet()
    _live(first, 30)
    save_state(first, path)
    second = _fleet()
    load_state(second, path)
    end_ms = first.begin_ms + 60 * MINUTE_MS
    for fleet in (first, second):
        for meter in fleet.meters:
            meter.register.settle(end_ms)
    assert [m.register.shown for m in second.meters] == [m.register.shown for m in first.meters]
    path.write_text("[]")
    with pytest.raises(ValueError, match="delete it"):
        load_state(_fleet(), path)


def test_an_unconfirmed_message_comes_again_as_history() -> None:
    fleet = _fleet()
    station: Station = fleet.stations[1]
    station.start(fleet.begin_ms)
    station.connected(fleet.begin_ms)
    lost = station.advance(fleet.begin_ms + 3 * MINUTE_MS)
    station.disconnected(lost)
    again = station.connected(fleet.begin_ms + 4 * MINUTE_MS)
    replayed = [s["seq"] for m in again if m.device == "em-01" and isinstance(m.body, list) for s in m.body]
    assert replayed == [m.body["seq"] for m in lost if m.device == "em-01" and m.verb == "tele"]
    assert all(s["hist"] for m in again if isinstance(m.body, list) for s in m.body)


def test_a_limited_valve_lets_a_tenth_through_and_only_where_it_can() -> None:
    wet = {"kind": "water_meter", "profile": "constant", "peak_lph": 6_000, "valve": True, "travel": "0s"}
    groups = [
        {"name": "a", "ids": ["wm-1"], "valve_limit": True} | wet,
        {"name": "b", "ids": ["wm-2"]} | wet,
    ]
    fleet = _fleet(groups=groups)
    begin_ms = fleet.begin_ms
    command = {"v": 1, "cmd": "0193a5b2-7c1e-7d20-9a41-000000000001", "op": "valve.set", "target": "limited"}
    command |= {"fence": 1, "issued": begin_ms, "exp": begin_ms + 3_600_000}
    limited, plain = fleet.devices["wm-1"], fleet.devices["wm-2"]
    assert [m.body["st"] for m in limited.receive(command, begin_ms) if m.verb == "ack"] == ["received", "executed"]
    assert [m.body["st"] for m in plain.receive(command, begin_ms) if m.verb == "ack"] == ["rejected"]
    counted = [device.channels(begin_ms + 600_000) for device in (limited, plain)]
    assert [(found["volume_l"], found["flow_lph"]) for found in counted] == [(100, 600), (1_000, 6_000)]
    assert counted[0]["valve"] == "limited"


def test_commands_can_be_lost_late_or_repeated_and_a_device_can_reboot() -> None:
    faults = [
        {"fault": "lost_commands", "devices": ["em-01"]},
        {"fault": "late_commands", "devices": ["em-02"], "delay": "2m"},
        {"fault": "repeated_commands", "devices": ["em-03"], "copies": 1, "delay": "1m"},
        {"fault": "lost_acks", "devices": ["em-04"]},
    ]
    fleet = _fleet(faults=faults, events=[{"event": "reboot", "devices": ["em-04"], "at": "5m"}])
    acks: dict[str, list[tuple[str, int]]] = {}
    said: list[Message] = []
    for station in fleet.stations:
        station.start(fleet.begin_ms)
        station.connected(fleet.begin_ms)
        for name in station.devices:
            command = {"v": 1, "cmd": "0193a5b2-7c1e-7d20-9a41-000000000001", "op": "breaker.set", "target": "open"}
            command |= {"fence": 1, "issued": fleet.begin_ms, "exp": fleet.begin_ms + 3_600_000}
            said += station.receive(name, command, fleet.begin_ms)
        for minute in range(1, 8):
            said += station.advance(fleet.begin_ms + minute * MINUTE_MS)
    for m in said:
        if m.verb == "ack":
            acks.setdefault(m.device, []).append((m.body["st"], (m.due_ms - fleet.begin_ms) // MINUTE_MS))
    assert acks.get("em-01") is None
    assert acks["em-02"] == [("received", 2), ("executed", 2)]
    assert acks["em-03"] == [("received", 0), ("executed", 0), ("executed", 1)]
    assert acks.get("em-04") is None
    assert [m.body["relay"] for m in said if (m.device, m.verb) == ("em-04", "state")][-1] == "open"
    assert len({m.body["sid"] for m in said if (m.device, m.verb) == ("em-04", "birth")}) == 1

"""The device's side of the command protocol, clause by clause."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from schemas.registry import problems
from simulators.devices.breaker import Breaker
from simulators.devices.command_obedience import MEMORY_MAX, CommandMemory, Obedience
from simulators.devices.contactor import Contactor
from simulators.devices.gateway import Gateway
from simulators.devices.water_meter import WaterMeter
from simulators.profiles import Load, load_profiles

NOW = 1_768_179_600_000


def _id(number: int) -> str:
    return f"0193a5b2-7c1e-7d20-9a41-{number:012x}"


def _command(number: int, **changes: Any) -> dict[str, Any]:
    body = {"v": 1, "cmd": _id(number), "op": "breaker.set", "target": "open", "fence": number, "issued": NOW}
    body |= {"exp": NOW + 60_000} | changes
    return {key: value for key, value in body.items() if value is not ...}


def _device(travel_ms: int = 200, **options: Any) -> Breaker:
    return Breaker("br-1", Random(1), Contactor(travel_ms=travel_ms), **options)


def _acks(messages: list[Any]) -> list[tuple[str, str | None]]:
    for message in messages:
        assert not problems(message.verb, message.body), (message.verb, message.body)
    return [(m.body["st"], m.body.get("reason")) for m in messages if m.verb == "ack"]


def test_a_command_is_received_moves_and_is_executed() -> None:
    device = _device()
    assert _acks(device.receive(_command(1), NOW)) == [("received", None)]
    assert device.due_ms() == NOW + 200
    assert device.settle(NOW + 199) == []
    done = device.settle(NOW + 200)
    assert _acks(done) == [("executed", None)]
    assert [m.verb for m in done] == ["ack", "state", "tele"]
    assert (done[0].body["relay"], done[1].body["relay"], done[1].body["cause"]) == ("open", "open", "command")
    assert done[1].body["fence"] == 1
    assert device.due_ms() is None


@pytest.mark.parametrize(
    ("changes", "st", "reason"),
    [
        ({"exp": ...}, "rejected", "no expiry"),
        ({"exp": "soon"}, "rejected", "no expiry"),
        ({"exp": True}, "rejected", "no expiry"),
        ({"op": "valve.set"}, "rejected", "unknown operation"),
        ({"op": "firmware.update"}, "rejected", "unknown operation"),
        ({"op": ...}, "rejected", "unknown operation"),
        ({"target": "toggle"}, "rejected", "unknown target"),
        ({"target": ...}, "rejected", "unknown target"),
        ({"fence": ...}, "rejected", "no fence"),
        ({"exp": NOW}, "expired", "expired 0 ms ago"),
        ({"exp": NOW - 1}, "expired", "expired 1 ms ago"),
        ({"pre": {"relay": "open"}}, "rejected", "precondition"),
    ],
)
def test_a_command_that_may_not_run_is_refused_and_nothing_moves(changes: dict[str, Any], st: str, reason: str) -> None:
    device = _device(travel_ms=0)
    answers = device.receive(_command(1, **changes), NOW)
    ((found, why),) = _acks(answers)
    assert found == st
    assert why is not None
    assert why.startswith(reason)
    assert device.contactor is not None
    assert device.contactor.position == "closed"
    assert device.settle(NOW + 10_000) == []


@pytest.mark.parametrize("junk", [None, 7, [], "open", {}, {"cmd": 5}, {"cmd": ""}, {"cmd": "not-a-uuid7"}])
def test_what_names_no_command_gets_no_answer(junk: Any) -> None:
    device = _device()
    assert device.receive(junk, NOW) == []
    assert Gateway("gw-1", Random(1)).receive(junk, NOW) == []


def test_a_precondition_that_holds_lets_the_command_pass() -> None:
    assert _acks(_device(0).receive(_command(1, pre={"relay": "closed"}), NOW))[-1] == ("executed", None)


def test_a_repeat_is_answered_from_memory_until_its_expiry() -> None:
    device = _device(travel_ms=200)
    device.receive(_command(1), NOW)
    assert _acks(device.receive(_command(1), NOW + 100)) == [("received", None)]
    device.settle(NOW + 200)
    assert _acks(device.receive(_command(1, target="closed"), NOW + 300)) == [("executed", None)]
    assert device.settle(NOW + 1000) == []
    assert _acks(device.receive(_command(1), NOW + 60_000))[0][0] == "expired"


def test_a_refusal_is_remembered_too() -> None:
    device = _device(0)
    device.receive(_command(5), NOW)
    first = _acks(device.receive(_command(3, target="closed"), NOW))
    assert _acks(device.receive(_command(3, target="closed"), NOW + 1)) == first


def test_a_fence_lower_than_the_last_executed_is_refused_and_an_equal_one_is_not() -> None:
    device = _device(0)
    assert _acks(device.receive(_command(10), NOW))[-1] == ("executed", None)
    late_close = device.receive(_command(9, target="closed"), NOW)
    assert _acks(late_close) == [("rejected", "stale fence 9, last executed 10")]
    assert device.contactor is not None
    assert device.contactor.position == "open"
    assert _acks(device.receive(_command(11, fence=10, target="closed"), NOW))[-1] == ("executed", None)


def test_an_expired_command_does_not_raise_the_fence() -> None:
    device = _device(0)
    device.receive(_command(50, exp=NOW - 5), NOW)
    assert _acks(device.receive(_command(2), NOW))[-1] == ("executed", None)


def test_a_newer_command_supersedes_one_that_still_moves() -> None:
    device = _device(travel_ms=500)
    device.receive(_command(1, target="open"), NOW)
    answers = device.receive(_command(2, target="closed"), NOW + 100)
    assert _acks(answers) == [("failed", "superseded"), ("received", None)]
    assert [answer.body["cmd"] for answer in answers] == [_id(1), _id(2)]
    done = device.settle(NOW + 600)
    assert _acks(done) == [("executed", None)]
    assert done[0].body["relay"] == "closed"


def test_a_stuck_contactor_fails_and_tells_where_it_is() -> None:
    device = _device(0)
    assert device.contactor is not None
    device.contactor.stuck = True
    answers = device.receive(_command(1), NOW)
    assert _acks(answers) == [("received", None), ("failed", "contactor did not move")]
    assert answers[-1].body["relay"] == "closed"


def test_a_lying_device_claims_what_its_contactor_did_not_do() -> None:
    device = _device(0)
    assert device.contactor is not None
    device.contactor.stuck = device.contactor.lying = True
    answers = device.receive(_command(1), NOW)
    assert _acks([m for m in answers if m.verb == "ack"]) == [("received", None), ("executed", None)]
    assert next(m for m in answers if m.verb == "ack" and m.body["st"] == "executed").body["relay"] == "open"
    assert next(m for m in answers if m.verb == "state").body["relay"] == "closed"
    device.contactor.repair(NOW)
    assert not device.contactor.lying


def test_a_target_already_reached_is_executed() -> None:
    device = _device(0)
    assert device.contactor is not None
    device.contactor.stuck = True
    assert _acks(device.receive(_command(1, target="closed"), NOW))[-1] == ("executed", None)


def test_memory_survives_a_reboot() -> None:
    device = _device(0)
    device.receive(_command(7), NOW)
    saved = msgspec.json.decode(msgspec.json.encode(device.snapshot()))
    again = _device(0)
    again.restore(saved)
    boot = again.boot(NOW + 1000)
    assert boot[0].body["relay"] == "open"
    assert boot[0].body["fence"] == 7
    assert _acks(again.receive(_command(7), NOW + 2000)) == [("executed", None)]
    assert _acks(again.receive(_command(6, target="closed"), NOW + 2000))[0][0] == "rejected"


@pytest.mark.parametrize(("moved", "expected"), [(True, ("executed", None)), (False, ("failed", "restarted"))])
def test_a_movement_cut_short_by_a_reboot_ends_by_what_the_contactor_shows(
    moved: bool, expected: tuple[str, str | None]
) -> None:
    contactor = Contactor(travel_ms=500)
    obedience = Obedience("breaker.set", contactor)
    obedience.receive(_command(1), NOW)
    memory = msgspec.convert(msgspec.to_builtins(obedience.memory), CommandMemory)
    reborn = Contactor(travel_ms=500)
    reborn.position = "open" if moved else "closed"
    again = Obedience("breaker.set", reborn, memory)
    (ack,) = again.reboot(NOW + 5000)
    assert (ack["st"], ack.get("reason")) == expected
    assert again.settle(NOW + 10_000) == []


def test_armed_waits_for_the_consumer_and_then_closes() -> None:
    device = _device(0, press_after_ms=90_000)
    device.receive(_command(1), NOW)
    done = device.receive(_command(2, target="armed"), NOW + 1000)
    assert _acks(done)[-1] == ("executed", None)
    assert done[1].body["relay"] == "armed"
    assert device.due_ms() == NOW + 91_000
    assert device.settle(NOW + 90_999) == []
    pressed = device.settle(NOW + 91_000)
    assert [message.verb for message in pressed] == ["event", "state", "tele"]
    assert _acks(pressed) == []
    assert (pressed[0].body["kind"], pressed[1].body["relay"]) == ("key_press", "closed")
    assert pressed[1].body["cause"] == "key"


def test_arming_what_is_on_leaves_it_on() -> None:
    device = _device(0)
    assert _acks(device.receive(_command(1, target="armed"), NOW))[-1] == ("executed", None)
    assert device.contactor is not None
    assert device.contactor.position == "closed"


def test_the_key_opens_what_is_on_and_does_nothing_when_it_is_off() -> None:
    device = _device(0)
    assert [message.verb for message in device.press_key(NOW)] == ["event", "state", "tele"]
    assert device.contactor is not None
    assert device.contactor.position == "open"
    assert device.press_key(NOW) == []


def test_a_valve_is_not_armed_and_stops_water_when_closed() -> None:
    load = Load(load_profiles()["constant"], 100, NOW)
    valve = WaterMeter("wm-1", Random(1), load, start_ms=NOW, contactor=Contactor("open", 10_000))
    assert _acks(valve.receive(_command(1, op="valve.set", target="armed"), NOW))[0][0] == "rejected"
    valve.receive(_command(2, op="valve.set", target="closed"), NOW)
    done = valve.settle(NOW + 10_000)
    assert _acks(done) == [("executed", None)]
    assert done[1].body["valve"] == "closed"
    assert valve.channels(NOW + 3_600_000)["flow_lph"] == 0


def test_a_device_without_a_relay_rejects() -> None:
    assert _acks(Gateway("gw-1", Random(1)).receive(_command(1), NOW)) == [("rejected", "no relay")]


def test_expiry_is_judged_by_the_devices_own_clock() -> None:
    device = _device(0)
    device.skew_ms = 120_000
    answers = device.receive(_command(1), NOW)
    assert _acks(answers)[0][0] == "expired"
    assert answers[0].body["ts"] == NOW + 120_000


def test_memory_is_bounded() -> None:
    device = _device(0)
    assert device.obedience is not None
    for number in range(1, 3 * MEMORY_MAX):
        device.receive(_command(number), NOW)
    assert len(device.obedience.memory.results) <= MEMORY_MAX + 1
    device.receive(_command(9999, exp=NOW + 9_000_000), NOW + 60_000)
    assert set(device.obedience.memory.results) == {_id(9999)}


def test_the_lever_moves_what_a_command_had_opened_and_the_key_does_not() -> None:
    device = _device(0)
    device.receive(_command(1), NOW)
    assert device.press_key(NOW + 1) == []
    said = device.throw_lever(True, NOW + 2)
    assert [(m.verb, m.body.get("relay"), m.body.get("cause")) for m in said if m.verb == "state"] == [
        ("state", "closed", "lever")
    ]
    assert device.throw_lever(True, NOW + 3) == []
    assert [m.body["relay"] for m in device.throw_lever(False, NOW + 4) if m.verb == "state"] == ["open"]

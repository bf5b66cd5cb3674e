"""What happens to devices at set instants: the events of a scenario and the faults that change a device itself.

Each becomes one or two timed acts on a device. An act returns the messages it causes, like any other deed of a device.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from simulators.appliances import switch_on
from simulators.devices.device import Device
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.devices.water_meter import WaterMeter
from simulators.faults import Span
from simulators.wire import Message

Act = Callable[[int], list[Message]]
FOREVER_MS = 1 << 53
Meter = ElectricityMeter | WaterMeter


class TimedAct(msgspec.Struct):
    """One act on one device at one instant."""

    at_ms: int
    device: str
    act: Act


def fault_acts(device: Device, fault: dict[str, Any], span: Span, skew_ms: int) -> list[TimedAct]:
    """The acts of `clock_skew`, `reset` and `stuck_relay` on one device; `rollover` is in how a meter is opened."""
    name = fault["fault"]
    if name == "clock_skew":
        return _during(device, span, lambda _: _set_skew(device, skew_ms), lambda _: _set_skew(device, 0))
    if name == "reset" and isinstance(device, ElectricityMeter | WaterMeter):
        register = fault.get("register", 0)
        return [TimedAct(span.from_ms, device.id, lambda now_ms: _reset(device, register, now_ms))]
    if name == "stuck_relay" and device.contactor is not None:
        return _during(
            device, span, lambda now_ms: _stick(device, fault, now_ms), lambda now_ms: _loosen(device, now_ms)
        )
    return []


def event_acts(device: Device, event: dict[str, Any], at_ms: int, lasts_ms: int | None, rng: Random) -> list[TimedAct]:
    """The acts of one occurrence of a scenario event on one device; `rng` draws what the event leaves open."""
    end_ms = FOREVER_MS if lasts_ms is None else at_ms + lasts_ms
    name = event["event"]
    if name == "load_step" and isinstance(device, ElectricityMeter):
        device.load.add_step(at_ms, end_ms, event["add_w"], event.get("pf_milli", 1000))
        return []
    if name == "appliance" and isinstance(device, ElectricityMeter):
        off_ms = None if lasts_ms is None else end_ms
        device.load.draws.append(switch_on(event["appliance"], rng, at_ms, off_ms, power_w=event.get("power_w")))
        return []
    if name == "leak" and isinstance(device, WaterMeter):
        device.load.add_step(at_ms, end_ms, event["add_lph"])
        return []
    if name == "power_loss":
        span = Span(at_ms, None if lasts_ms is None else end_ms)
        return _during(device, span, device.lose_power, device.regain_power)
    if name == "reboot":
        return [TimedAct(at_ms, device.id, device.boot)]
    if name in ("lever_open", "lever_close"):
        return [TimedAct(at_ms, device.id, lambda now_ms: device.throw_lever(name == "lever_close", now_ms))]
    if name in ("key_open", "key_close"):
        return [TimedAct(at_ms, device.id, lambda now_ms: _press(device, name == "key_close", now_ms))]
    if name == "tamper":
        return [TimedAct(at_ms, device.id, lambda now_ms: [device.event("tamper", {"cause": "cover"}, now_ms)])]
    return []


def _during(device: Device, span: Span, begin: Act, end: Act) -> list[TimedAct]:
    acts = [TimedAct(span.from_ms, device.id, begin)]
    if span.to_ms is not None:
        acts.append(TimedAct(span.to_ms, device.id, end))
    return acts


def _set_skew(device: Device, skew_ms: int) -> list[Message]:
    device.skew_ms = skew_ms
    return []


def _reset(meter: Meter, register: int, now_ms: int) -> list[Message]:
    return meter.reset_register(now_ms, register)


def _stick(device: Device, fault: dict[str, Any], now_ms: int) -> list[Message]:
    assert device.contactor is not None
    position = fault.get("position")
    messages: list[Message] = []
    if position is not None and position != device.contactor.position:
        device.contactor.set_position(position, now_ms)
        messages = device.state(now_ms, "fault")
    device.contactor.stuck = True
    device.contactor.lying = bool(fault.get("claims"))
    if fault.get("welded"):
        device.contactor.weld(now_ms)
    return messages


def _loosen(device: Device, now_ms: int) -> list[Message]:
    assert device.contactor is not None
    device.contactor.repair(now_ms)
    return []


def _press(device: Device, close: bool, now_ms: int) -> list[Message]:
    contactor = device.contactor
    if contactor is None or (contactor.position == contactor.flowing) == close:
        return []
    return device.press_key(now_ms)

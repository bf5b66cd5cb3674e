"""Water meter: cumulative volume, flow, an optional valve. The valve lets water through when it is `open`, a
trickle when it is `limited`.
"""

from __future__ import annotations

from random import Random
from typing import Any

from simulators.devices.device import Device
from simulators.devices.register import Register
from simulators.profiles import Load
from simulators.wire import Message


class WaterMeter(Device):
    """One water meter. `load` is in litres: its peak is the peak flow in l/h."""

    kind = "water_meter"
    model = "TM-W1"
    op = "valve.set"
    position_channel = "valve"

    def __init__(
        self,
        device_id: str,
        rng: Random,
        load: Load,
        *,
        start_ms: int,
        opening_l: int = 0,
        modulus_l: int = 1_000_000_000,
        **options: Any,
    ) -> None:
        super().__init__(device_id, rng, **options)
        self.load = load
        self.battery_mv = 3_600
        self.register = Register(load, opening_l, modulus_l, start_ms, self.flows, self.share_milli)
        if self.contactor is not None:
            self.contactor.before_change.append(self.register.settle)

    def flows(self) -> bool:
        """Whether water passes the valve."""
        return self.contactor is None or self.contactor.passes

    def share_milli(self) -> int:
        """How much of what the taps ask for passes the valve, in thousandths."""
        return 1000 if self.contactor is None else self.contactor.share_milli

    def channels(self, now_ms: int) -> dict[str, Any]:
        """Volume, flow, valve and battery of this instant."""
        self.register.settle(now_ms)
        flow_lph = self.load.power_at(now_ms)[0] * self.share_milli() // 1000
        found: dict[str, Any] = {"volume_l": self.register.shown, "flow_lph": flow_lph, "battery_mv": self.battery_mv}
        if self.contactor is not None:
            found["valve"] = self.contactor.position
        return found

    def reset_register(self, now_ms: int, register: int = 0) -> list[Message]:
        """Lose the register and restart from another value, as after a failed memory."""
        self.register.settle(now_ms)
        self.register.reset(register)
        return self.boot(now_ms)

    def nameplate(self) -> dict[str, Any]:
        """Modulus and channels for the birth document."""
        names = ["volume_l", "flow_lph", "battery_mv"] + (["valve"] if self.contactor is not None else [])
        return {"channels": names, "modulus_l": self.register.modulus}

    def snapshot(self) -> dict[str, Any]:
        """Adds the register to what every device keeps."""
        kept = super().snapshot() | {"units": self.register.units, "opening": self.register.opening}
        return kept | {"at_ms": self.register.at_ms}

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes up the register where `snapshot` left it."""
        super().restore(saved)
        self.register.units, self.register.opening = saved["units"], saved["opening"]
        self.register.at_ms = saved["at_ms"]

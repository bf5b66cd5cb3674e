"""Electricity meter: cumulative import register, electrical values per phase, an optional relay of its own.

What the meter measures is the load behind its relay and behind every breaker upstream of it. Voltage wanders by up to
one per cent around the nominal value from the device's own random source; current follows from power, voltage and
power factor, so that the channels agree with each other as those of a real meter do.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from simulators.devices.contactor import Contactor
from simulators.devices.device import Device
from simulators.devices.register import RateRegisters, Register
from simulators.profiles import Load, power_factor_milli
from simulators.wire import Message


class ElectricityMeter(Device):
    """One single-phase or three-phase meter."""

    kind = "electricity_meter"
    model = "TM-E1"

    def __init__(
        self,
        device_id: str,
        rng: Random,
        load: Load,
        *,
        start_ms: int,
        opening_wh: int = 0,
        modulus_wh: int = 1_000_000_000,
        phases: int = 1,
        voltage_mv: int = 230_000,
        rates: RateRegisters | None = None,
        step_report_w: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(device_id, rng, **options)
        self.load = load
        self.phases = phases
        self.voltage_mv = voltage_mv
        self.rates = rates
        self.upstream: list[Contactor] = []
        self.register = Register(load, opening_wh, modulus_wh, start_ms, self.energised)
        self._step_report_w = step_report_w
        self._last_power: tuple[int, int] | None = None
        if self.contactor is not None:
            self.contactor.before_change.append(self.count_until)

    def feed_through(self, contactors: Sequence[Contactor]) -> None:
        """Put the meter behind further contactors, such as a breaker of its own."""
        for contactor in contactors:
            self.upstream.append(contactor)
            contactor.before_change.append(self.count_until)

    def energised(self) -> bool:
        """Whether energy passes every contactor in front of the load."""
        own = self.contactor is None or self.contactor.passes
        return self.powered and own and all(contactor.passes for contactor in self.upstream)

    def count_until(self, now_ms: int) -> None:
        """Bring the registers up to an instant."""
        from_ms = self.register.at_ms
        if self.register.settle(now_ms) and self.rates is not None:
            self.rates.count(self.load, from_ms, now_ms)

    def channels(self, now_ms: int) -> dict[str, Any]:
        """Registers and electrical values of this instant."""
        self.count_until(now_ms)
        power_w, reactive_var = self.load.power_at(now_ms) if self.energised() else (0, 0)
        pf_milli = power_factor_milli(power_w, reactive_var)
        voltages = [self.voltage_mv + self.rng.randint(-10, 10) * self.voltage_mv // 1000 for _ in range(self.phases)]
        found: dict[str, Any] = {"import_wh": self.register.shown, "power_w": power_w, "voltage_mv": voltages}
        found["current_ma"] = [_current_ma(power_w // self.phases, mv, pf_milli) for mv in voltages]
        found["pf_milli"] = pf_milli
        if self.rates is not None:
            found["rates_wh"] = self.rates.shown(self.register.modulus)
        if self.contactor is not None:
            found["relay"] = self.contactor.position
        return found

    def power_through(self, now_ms: int) -> int | None:
        """Power of the load, W, while it has any."""
        return self.load.power_at(now_ms)[0] if self.energised() else 0

    def report(self, now_ms: int) -> list[Message]:
        """One reading, preceded by a `power_step` event when the load has jumped since the last one."""
        step = self._power_step(now_ms)
        return ([step] if step is not None else []) + super().report(now_ms)

    def reset_register(self, now_ms: int, register: int = 0) -> list[Message]:
        """Lose the registers and restart from another value, as after a failed memory."""
        self.count_until(now_ms)
        self.register.reset(register)
        if self.rates is not None:
            self.rates.reset()
        return self.boot(now_ms)

    def nameplate(self) -> dict[str, Any]:
        """Phases, modulus and channels for the birth document."""
        names = ["import_wh", "power_w", "voltage_mv", "current_ma", "pf_milli"]
        names += ["rates_wh"] if self.rates is not None else []
        names += ["relay"] if self.contactor is not None else []
        return {"channels": names, "phases": self.phases, "modulus_wh": self.register.modulus}

    def snapshot(self) -> dict[str, Any]:
        """Adds the registers to what every device keeps."""
        kept = super().snapshot() | {"units": self.register.units, "opening": self.register.opening}
        kept["at_ms"] = self.register.at_ms
        if self.rates is not None:
            kept["rates"] = dict(self.rates.units)
            kept["rate_openings"] = dict(self.rates.opening)
        return kept

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes up the registers where `snapshot` left them."""
        super().restore(saved)
        self.register.units, self.register.opening = saved["units"], saved["opening"]
        self.register.at_ms = saved["at_ms"]
        if self.rates is not None and "rates" in saved:
            self.rates.units |= saved["rates"]
            self.rates.opening |= saved["rate_openings"]

    def _power_step(self, now_ms: int) -> Message | None:
        power = self.load.power_at(now_ms) if self.energised() else (0, 0)
        before, self._last_power = self._last_power, power
        if self._step_report_w is None or before is None:
            return None
        step_w, step_var = power[0] - before[0], power[1] - before[1]
        if abs(step_w) < self._step_report_w:
            return None
        details = {"step_w": step_w, "step_pf_milli": abs(power_factor_milli(step_w, step_var)), "power_w": power[0]}
        return self.event("power_step", details, now_ms)


def _current_ma(power_w: int, voltage_mv: int, pf_milli: int) -> int:
    """I = P / (U * pf), in mA from W, mV and thousandths."""
    return power_w * 1_000_000_000 // (voltage_mv * pf_milli) if pf_milli > 0 else 0

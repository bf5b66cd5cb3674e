"""Smart breaker: travel time, local key, measured power, defects (stuck, welded) inherited from its contactor."""

from __future__ import annotations

from random import Random
from typing import Any

from simulators.devices.contactor import Contactor
from simulators.devices.device import Device
from simulators.devices.electricity_meter import ElectricityMeter


class Breaker(Device):
    """A breaker in front of one or more meters; it reports the power that they draw through it."""

    kind = "breaker"
    model = "TM-B1"

    def __init__(self, device_id: str, rng: Random, contactor: Contactor, **options: Any) -> None:
        super().__init__(device_id, rng, contactor=contactor, **options)
        self._breaks = contactor
        self._meters: list[ElectricityMeter] = []

    def feed(self, meters: list[ElectricityMeter]) -> None:
        """Put meters behind this breaker."""
        self._meters += meters
        for meter in meters:
            meter.feed_through([self._breaks])

    def channels(self, now_ms: int) -> dict[str, Any]:
        """Relay position, power and temperature of this instant."""
        power_w = self.power_through(now_ms)
        temperature_dc = 250 + min(600, power_w // 100) + self.rng.randint(-5, 5)
        return {"power_w": power_w, "temperature_dc": temperature_dc, "relay": self._breaks.position}

    def power_through(self, now_ms: int) -> int:
        """Power that the meters behind draw, W."""
        return sum(meter.load.power_at(now_ms)[0] for meter in self._meters if meter.energised())

    def nameplate(self) -> dict[str, Any]:
        """Channels for the birth document."""
        return {"channels": ["power_w", "temperature_dc", "relay"]}

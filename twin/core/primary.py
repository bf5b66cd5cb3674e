"""Primary values: behind transformers a meter counts a fraction of what flows, and the ratio makes it whole.

Everything in the core is primary (raw x CT x PT). What goes back to people as a device's own reading is divided again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from billing.points import Rates, rates_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.messages import DeviceEvent, Telemetry

SCALED = frozenset(
    {
        "import_wh",
        "export_wh",
        "demand_w",
        "power_w",
        "phase_power_w",
        "reactive_var",
        "apparent_va",
        "current_ma",
        "step_w",
        "inrush_w",
        "volume_l",
    }
)
"""Channels that a transformer divides: registers, powers and currents. Voltages are told as primary by their meters."""


def primary(sample: Telemetry, ratio: int) -> Telemetry:
    """A sample as it is before the transformers."""
    return msgspec.structs.replace(sample, d=scaled(sample.d, ratio))


def primary_event(event: DeviceEvent, ratio: int) -> DeviceEvent:
    """An event as it is before the transformers."""
    return msgspec.structs.replace(event, d=scaled(event.d, ratio))


def scaled(channels: Mapping[str, Any], ratio: int) -> dict[str, Any]:
    """Channels with those that a transformer divides made whole."""
    found = dict(channels)
    for name in SCALED & channels.keys():
        value = channels[name]
        found[name] = [one * ratio for one in value] if isinstance(value, list | tuple) else value * ratio
    if "rates_wh" in channels:
        found["rates_wh"] = {name: value * ratio for name, value in channels["rates_wh"].items()}
    return found


def unwrap(before: Rates | None, told: Mapping[str, int] | None, modulus: int) -> Rates | None:
    """Sub-registers of a sample, unwrapped against those of the sample before it. One that falls by less than half of
    a register did not go through zero: it is taken as it is, and will not agree with the total."""
    rates = rates_of(told) if told else None
    if rates is None or before is None:
        return rates
    return tuple(
        rate if rate is None else _unwrap_one(last, rate, modulus) for last, rate in zip(before, rates, strict=True)
    )


def _unwrap_one(last: int | None, raw: int, modulus: int) -> int:
    if last is None:
        return raw
    candidate = last - last % modulus + raw
    wrapped = candidate + modulus
    return wrapped if candidate < last and wrapped - last <= modulus // 2 else candidate

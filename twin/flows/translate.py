"""From the wire to the core: checked payloads become messages, and commands become payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from twin.core.messages import (
    Birth,
    CommandAnswered,
    ConnectionChanged,
    DeviceEvent,
    Message,
    StateReported,
    Telemetry,
)
from twin.core.valves import relay_of_valve, wire_target

if TYPE_CHECKING:
    from twin.core.effects import CommandChanged
    from twin.core.model import Relay

IDENTITY = ("kind", "model", "vendor", "serial", "firmware", "hardware")


def telemetry(device: str, envelope: dict[str, Any], now: int) -> Telemetry:
    """One checked telemetry envelope as a message."""
    channels = envelope["d"]
    valve = channels.get("valve")
    if valve is not None:
        relay = relay_of_valve(valve)
        channels = {**channels, "relay": relay} if relay is not None else channels
    return Telemetry(
        device,
        envelope["sid"],
        envelope["seq"],
        envelope["ts"],
        channels,
        envelope.get("hist", False),
        envelope.get("q", "good"),
        now,
    )


def message(verb: str, device: str, payload: dict[str, Any], now: int) -> Message | None:
    """One checked payload of another verb as a message; None for a state that tells nothing about a relay."""
    if verb == "conn":
        return ConnectionChanged(device, payload["s"], payload["sid"], payload.get("ts", now))
    if verb == "birth":
        versions = {name: payload[name] for name in IDENTITY if name in payload}
        return Birth(device, payload["sid"], payload["ts"], _relay(payload), payload.get("fence", 0), versions)
    if verb == "state":
        relay = _relay(payload)
        if relay is None:
            return None
        return StateReported(
            device, relay, payload["ts"], payload["sid"], payload.get("cause", ""), payload.get("fence", 0)
        )
    if verb == "ack":
        return CommandAnswered(
            device,
            payload["cmd"],
            payload["st"],
            payload["ts"],
            _relay(payload),
            payload.get("reason", ""),
            payload.get("fence", 0),
        )
    return DeviceEvent(
        device,
        payload["kind"],
        payload["ts"],
        payload["sid"],
        payload["seq"],
        payload.get("d", {}),
        payload.get("hist", False),
    )


def _relay(payload: dict[str, Any]) -> Relay | None:
    relay: Relay | None = payload.get("relay")
    return relay if relay is not None else relay_of_valve(payload.get("valve", ""))


def command_payload(effect: CommandChanged) -> bytes:
    """The command as it goes on the wire (CONTRACT section 2)."""
    why = {key: value for key, value in effect.why.items() if key in ("rule", "ver", "who", "reason", "locks")}
    return orjson.dumps(
        {
            "v": 1,
            "cmd": effect.cmd,
            "op": effect.op,
            "target": wire_target(effect.op, effect.target),
            "fence": effect.fence,
            "issued": effect.issued,
            "exp": effect.exp,
            "why": why,
        }
    )

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
    from twin.core.effects import CommandChanged, ConfigWanted
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
    """One checked payload of another verb as a message; None for a state that tells neither relay nor
    configuration."""
    if verb == "conn":
        return ConnectionChanged(device, payload["s"], payload["sid"], payload.get("ts", now))
    if verb == "birth":
        versions = {name: payload[name] for name in IDENTITY if name in payload}
        fence, cfg = payload.get("fence", 0), payload.get("cfg")
        return Birth(device, payload["sid"], payload["ts"], _relay(payload), fence, versions, cfg)
    if verb == "state":
        relay, cfg = _relay(payload), payload.get("cfg")
        if relay is None and cfg is None:
            return None
        cause, fence = payload.get("cause", ""), payload.get("fence", 0)
        return StateReported(device, relay, payload["ts"], payload["sid"], cause, fence, cfg)
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


def config_payload(effect: ConfigWanted) -> bytes:
    """The whole configuration of one version as it goes on the wire (CONTRACT section 2)."""
    return orjson.dumps({"v": 1, "ver": effect.ver, "issued": effect.issued, "set": effect.settings})


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

"""Where the broker is, which version of MQTT it speaks, and a client for it.

Devices speak MQTT 5 when the broker does and 3.1.1 otherwise. `negotiate` finds out once for each address, because a
listener of the other version may answer with nothing but silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
import msgspec

log = logging.getLogger("simulators")

IN_FLIGHT_MAX = 100
BACKOFF_MAX_S = 15.0
CONNECT_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 3.0


class Broker(msgspec.Struct, frozen=True):
    """Where the broker is and what it speaks. The password is not part of the representation."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    protocol: aiomqtt.ProtocolVersion = aiomqtt.ProtocolVersion.V5

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"

    def client(self, identifier: str, will: aiomqtt.Will | None, timeout_s: float) -> aiomqtt.Client:
        """A client that has not connected yet. Sessions are not kept: nothing may be commanded from the past."""
        legacy: dict[str, Any] = {} if self.protocol == aiomqtt.ProtocolVersion.V5 else {"clean_session": True}
        client = aiomqtt.Client(
            self.host,
            self.port,
            username=self.username,
            password=self.password,
            identifier=identifier,
            protocol=self.protocol,
            will=will,
            keepalive=30,
            timeout=timeout_s,
            max_inflight_messages=IN_FLIGHT_MAX,
            tls_params=aiomqtt.TLSParameters() if self.tls else None,
            **legacy,
        )
        client.pending_calls_threshold = 10 * IN_FLIGHT_MAX
        return client


def parse_broker(url: str) -> Broker:
    """A broker from `mqtt://[user:password@]host[:port]` or `mqtts://...`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts", "tcp", "ssl") or not parts.hostname:
        raise ValueError("an MQTT URL looks like mqtt://127.0.0.1:1883 or mqtts://user:password@broker:8883")
    tls = parts.scheme in ("mqtts", "ssl")
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return Broker(parts.hostname, parts.port or (8883 if tls else 1883), username, password, tls)


async def negotiate(broker: Broker, identifier: str, stop: asyncio.Event) -> Broker:
    """The same broker with the newest protocol version it speaks; waits for a broker that is not there yet."""
    failures = 0
    while not stop.is_set():
        for protocol in (aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311):
            candidate = msgspec.structs.replace(broker, protocol=protocol)
            try:
                async with candidate.client(f"{identifier}-probe", None, PROBE_TIMEOUT_S):
                    return candidate
            except aiomqtt.MqttError as error:
                log.debug("%r, MQTT %s: %s", broker, protocol.name, error)
        failures += 1
        log.warning("no MQTT broker answers at %r", broker)
        await wait_for_stop(stop, min(BACKOFF_MAX_S, 0.5 * 2**failures))
    return broker


async def wait_for_stop(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()

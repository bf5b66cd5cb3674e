"""Bytes from the broker to deliveries and control packets, without ever getting stuck on one packet.

Theory of operation: the `mqtt5` codec decodes one packet at a time and is trusted for everything that is well formed.
Three things it cannot judge are handled here, because each would otherwise come back for ever as a redelivery and stop
the devices queued behind it:

- a packet that is complete and broken (the codec also answers "not enough bytes" when a length inside the packet points
  past its end, and panics on a topic that is not UTF-8): a PUBLISH whose packet id can still be read becomes a delivery
  with a `fault`, any other packet is a protocol error;
- a packet over `max_packet_bytes`: its head is kept as a delivery with a `fault`, its body is dropped as it arrives,
  so memory stays bounded;
- QoS 2, which is never asked for: a protocol error.

A delivery with a fault has an empty payload. It is acknowledged in its turn like any other, so that the application can
put it among the dead letters and the next message of the device goes on.
"""

from __future__ import annotations

from typing import Final

import mqtt5
import msgspec

from adapters.mqtt.errors import ConnectionDroppedError

_PUBLISH: Final = 3
_NAMES: Final = (
    "reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
    "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
)  # fmt: skip


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message from the broker, not yet acknowledged.

    `fault` says why the payload could not be taken (the payload is then empty); `packet_id` is 0 for QoS 0, which
    needs no acknowledgement.
    """

    topic: str
    payload: bytes
    retain: bool
    dup: bool
    packet_id: int = 0
    fault: str | None = None


class ProtocolError(ConnectionDroppedError):
    """The broker sent what MQTT 5 does not allow; the connection cannot go on."""


class PacketReader:
    """Takes bytes as they come; keeps what is not yet a whole packet."""

    def __init__(self, max_packet_bytes: int = 1 << 20) -> None:
        self._limit = max_packet_bytes
        self._rest = b""
        self._drop = 0

    def feed(self, data: bytes, deliveries: list[Delivery]) -> list[mqtt5.Packet]:
        """Append every message that is now complete to `deliveries`; return the control packets, in order.

        Raises ProtocolError when the stream cannot be followed any further.
        """
        if self._drop:
            dropped = min(self._drop, len(data))
            self._drop -= dropped
            data = data[dropped:]
        if self._rest:
            data = self._rest + data
        view = memoryview(data)
        read, publish, qos2 = mqtt5.read, mqtt5.PublishPacket, mqtt5.QoS.EXACTLY_ONCE
        control: list[mqtt5.Packet] = []
        at, end = 0, len(data)
        while at < end:
            try:
                packet, used = read(view[at:])
            except BaseException as error:  # a panic of the codec is no Exception
                used = self._without_codec(view[at:], error, deliveries)
                if not used:
                    break
            else:
                if used > self._limit:
                    deliveries.append(_salvaged(view[at : at + used], _too_long(used, self._limit)))
                elif type(packet) is publish:
                    if packet.qos == qos2:
                        raise ProtocolError("the broker delivered with QoS 2 to a subscription of QoS 1")
                    deliveries.append(
                        Delivery(packet.topic, packet.payload, packet.retain, packet.duplicate, packet.packet_id or 0)
                    )
                else:
                    control.append(packet)
            at += used
        self._rest = data[at:] if at < end else b""
        self._drop += max(0, at - end)
        return control

    def _without_codec(self, view: memoryview, error: BaseException, deliveries: list[Delivery]) -> int:
        """Bytes to step over where the codec gave up; 0 to wait for more of the packet."""
        if not _is_codec_failure(error):
            raise error
        length = frame_length(view)
        if length is None:
            return 0
        if length > self._limit:
            head = _head(view)
            if head is None and len(view) < length:
                return 0
            deliveries.append(_salvaged(view, _too_long(length, self._limit)))
            return length
        if len(view) < length:
            return 0
        deliveries.append(_salvaged(view[:length], f"broken packet: {error}"))
        return length


def frame_length(view: memoryview) -> int | None:
    """Whole length in bytes of the packet that starts here by its fixed header, or None when that is not all here.

    Raises ProtocolError for a length that MQTT cannot express.
    """
    length = 0
    for index in range(1, 5):
        if index >= len(view):
            return None
        length |= (view[index] & 0x7F) << (7 * (index - 1))
        if not view[index] & 0x80:
            return 1 + index + length
    raise ProtocolError("the broker sent a packet whose length takes more than four bytes")


def _is_codec_failure(error: BaseException) -> bool:
    return isinstance(error, IndexError | ValueError | UnicodeError) or type(error).__name__ == "PanicException"


def _too_long(length: int, limit: int) -> str:
    return f"packet of {length} bytes is over the limit of {limit}"


def _salvaged(view: memoryview, fault: str) -> Delivery:
    kind = view[0] >> 4
    head = _head(view) if kind == _PUBLISH else None
    if head is None:
        raise ProtocolError(f"the broker sent a {_NAMES[kind]} that cannot be followed: {fault}")
    topic, packet_id = head
    return Delivery(topic, b"", bool(view[0] & 1), bool(view[0] & 8), packet_id, fault)


def _head(view: memoryview) -> tuple[str, int] | None:
    """Topic and packet id of a PUBLISH, or None when they are not all here."""
    at = 1
    while at < len(view) and view[at] & 0x80:
        at += 1
    at += 1
    if len(view) < at + 2:
        return None
    topic_end = at + 2 + int.from_bytes(view[at : at + 2], "big")
    qos = view[0] >> 1 & 3
    if qos > 1 or len(view) < topic_end + 2 * qos:
        return None
    topic = bytes(view[at + 2 : topic_end]).decode("utf-8", "replace")
    return topic, int.from_bytes(view[topic_end : topic_end + 2], "big") if qos else 0

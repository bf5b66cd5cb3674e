"""A gateway that costs almost nothing: one raw MQTT 5 connection that sends packets encoded before.

It keeps count of PUBACKs, holds at most `in_flight` packets unacknowledged, and hands on what it was sent. A publisher
library would need more CPU a message than the platform does, and would be what is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import mqtt5

CHUNK = 32
PAUSE_S = 0.002


class Gateway(asyncio.Protocol):
    """Use `connect`."""

    def __init__(self, on_message: Callable[[mqtt5.PublishPacket], None] | None = None) -> None:
        self.sent = 0
        self.acked = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_message = on_message
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports share no base with asyncio's

    def connection_lost(self, error: Exception | None) -> None:
        for waiter in (self.ready, self.granted):
            if not waiter.done():
                waiter.set_exception(error or ConnectionError("the broker closed the connection"))
                waiter.exception()  # whoever still waits is told; nobody may be left

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        view, at, end = memoryview(data), 0, len(data)
        while at < end:
            if data[at] == 0x40:  # PUBACK: counting them needs no codec
                if end - at < 2 or end - at < 2 + data[at + 1]:
                    break
                self.acked += 1
                at += 2 + data[at + 1]
                continue
            try:
                packet, used = mqtt5.read(view[at:])
            except IndexError:
                break
            self._take(packet)
            at += used
        self._rest = data[at:]

    def _take(self, packet: object) -> None:
        if isinstance(packet, mqtt5.ConnAckPacket):
            self.ready.set_result(None)
        elif isinstance(packet, mqtt5.SubAckPacket):
            self.granted.set_result(None)
        elif isinstance(packet, mqtt5.PublishPacket):
            if packet.packet_id:
                self.write(mqtt5.PubAckPacket(packet.packet_id).write())
            if self._on_message is not None:
                self._on_message(packet)

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self._transport is not None
        self._transport.write(data)

    def publish(self, packets: Sequence[bytes]) -> None:
        """Send PUBLISH packets at once."""
        self.sent += len(packets)
        self.write(b"".join(packets))

    async def publish_all(self, packets: Sequence[bytes], in_flight: int, room: Callable[[], int]) -> None:
        """Send packets as fast as PUBACKs come back and `room` (how many more may be on their way) allows."""
        at = 0
        while at < len(packets):
            free = min(in_flight - (self.sent - self.acked), room(), CHUNK, len(packets) - at)
            if free <= 0:
                await asyncio.sleep(PAUSE_S)
                continue
            self.publish(packets[at : at + free])
            at += free
            await asyncio.sleep(0)
        while self.acked < self.sent:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(PAUSE_S)

    def close(self) -> None:
        """Say goodbye."""
        self.write(mqtt5.DisconnectPacket().write())
        assert self._transport is not None
        self._transport.close()


async def connect(
    url: str,
    client_id: str,
    *,
    filters: Sequence[str] = (),
    on_message: Callable[[mqtt5.PublishPacket], None] | None = None,
) -> Gateway:
    """Connect to a broker and subscribe to filters with QoS 1."""
    place = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, gateway = await loop.create_connection(lambda: Gateway(on_message), place.hostname, place.port)
    gateway.write(mqtt5.ConnectPacket(client_id, clean_start=True, keep_alive=0).write())
    await asyncio.wait_for(gateway.ready, 10)
    if filters:
        wanted = [mqtt5.TopicFilter(text, max_qos=mqtt5.QoS.AT_LEAST_ONCE) for text in filters]
        gateway.write(mqtt5.SubscribePacket(1, wanted).write())
        await asyncio.wait_for(gateway.granted, 10)
    return gateway

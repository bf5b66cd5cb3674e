"""One MQTT 5 connection of a subscriber: handshake, arrivals, acknowledgements, liveness.

Theory of operation: an asyncio.Protocol (quicker than streams) that keeps what has arrived in a list until it is
taken, and says so through `arrived`. It never acknowledges by itself. The broker stops sending when the receive
maximum is unacknowledged; QoS 0 messages, which that does not bound, stop the reading of the socket at
`backlog_limit`. A PINGREQ goes out when the line was quiet, and a broker that does not answer it is taken for gone,
which finds half-open connections. A connection that has failed keeps the reason in `failure` and never comes back; a
new one is made.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, TypeVar, cast

import mqtt5

from adapters.mqtt.errors import BrokerRefusedError, ConnectionDroppedError, MqttError, SessionTakenOverError
from adapters.mqtt.reader import Delivery, PacketReader, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.mqtt.address import BrokerAddress

_Packet = TypeVar("_Packet")
FILTERS_A_PACKET = 500
"""A session of very many filters asks for them in pieces, which every broker's packet limit lets through."""

_CONNACK = mqtt5.ConnAckReasonCode
# Tuples, because the codec's reason codes have no hash.
_LATER = (
    _CONNACK.UNSPECIFIED_ERROR,
    _CONNACK.SERVER_UNAVAILABLE,
    _CONNACK.SERVER_BUSY,
    _CONNACK.QUOTA_EXCEEDED,
    _CONNACK.CONNECTION_RATE_EXCEEDED,
    _CONNACK.IMPLEMENTATION_SPECIFIC_ERROR,
)
_SUBACK_LATER = (
    mqtt5.SubAckReasonCode.UNSPECIFIED_ERROR,
    mqtt5.SubAckReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    mqtt5.SubAckReasonCode.QUOTA_EXCEEDED,
    mqtt5.SubAckReasonCode.PACKET_ID_IN_USE,
)

BACKLOG_BYTES = 32 << 20
"""Bytes of messages that wait to be taken, beyond which the socket is not read."""

GOODBYE_S = 2.0
"""How long a broker that was told goodbye may take to end the connection before we do."""


class MqttConnection(asyncio.Protocol):
    """Use `open_connection`; the class is the protocol below it."""

    def __init__(self, where: str, *, max_packet_bytes: int, backlog_limit: int, answer_within_s: float) -> None:
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._reader = PacketReader(max_packet_bytes)
        self._backlog_limit = backlog_limit
        self._answer_within_s = answer_within_s
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._unread_bytes = 0
        self._keepalive_s = 0.0
        self._last_in = self._last_out = self._loop.time()
        self._ping_at: float | None = None
        self._check_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._connack: asyncio.Future[mqtt5.ConnAckPacket] = self._loop.create_future()
        self._suback: asyncio.Future[mqtt5.SubAckPacket] = self._loop.create_future()
        self._asked: dict[int, tuple[mqtt5.TopicFilter, ...]] = {}
        self._next_id = 1
        self._closed = self._loop.create_future()
        self._leaving = False
        self.waiting: list[Delivery] = []
        self.arrived = asyncio.Event()
        self.failure: MqttError | None = None

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        self._last_in = self._loop.time()
        self._unread_bytes += len(data)
        try:
            control = self._reader.feed(data, self.waiting)
            for packet in control:
                self._take_control(packet)
        except ProtocolError as error:
            self.fail(error if self._connack.done() else _first_answer_error(self._where, data, error))
            return
        if self.waiting:
            self.arrived.set()
            if len(self.waiting) > self._backlog_limit or self._unread_bytes > BACKLOG_BYTES:
                self.hold()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(ConnectionDroppedError(f"{self._where} closed the connection{f': {error}' if error else ''}"))
        if not self._closed.done():
            self._closed.set_result(None)

    # --- what the subscriber does ---------------------------------------------------------------------------------

    async def handshake(self, connect: mqtt5.ConnectPacket) -> mqtt5.ConnAckPacket:
        """Send CONNECT and wait for the broker's answer.

        Raises BrokerRefusedError when trying again is of no use, ConnectionDroppedError when it may be.
        """
        self.send(connect.write())
        answer = await self._answer(self._connack, "CONNECT")
        if answer.reason_code != _CONNACK.SUCCESS:
            why = f"{self._where} refused the connection of client {connect.client_id!r}: {_reason(answer)}"
            error = (ConnectionDroppedError if answer.reason_code in _LATER else BrokerRefusedError)(why)
            self.fail(error)
            raise error
        self._keepalive_s = float(answer.server_keep_alive or connect.keep_alive)
        self._schedule_liveness()
        return answer

    def subscribe(self, filters: Sequence[mqtt5.TopicFilter]) -> None:
        """Send SUBSCRIBE; a filter that is not granted with QoS 1 fails the connection when the answer comes."""
        if self._suback.done() and not self.failure:
            self._suback = self._loop.create_future()
        for first in range(0, len(filters), FILTERS_A_PACKET):
            asked = tuple(filters[first : first + FILTERS_A_PACKET])
            packet_id = self._packet_id()
            self._asked[packet_id] = asked
            self.send(mqtt5.SubscribePacket(packet_id, list(asked)).write())

    def unsubscribe(self, patterns: Sequence[str]) -> None:
        """Send UNSUBSCRIBE; that a subscription was not there, or stays a while, does no harm."""
        for first in range(0, len(patterns), FILTERS_A_PACKET):
            self.send(
                mqtt5.UnsubscribePacket(self._packet_id(), list(patterns[first : first + FILTERS_A_PACKET])).write()
            )

    async def subscribed(self) -> None:
        """Wait for the answer to `subscribe`. Raises like `handshake`."""
        await self._answer(self._suback, "SUBSCRIBE")

    def take(self, most: int) -> list[Delivery]:
        """Up to `most` of the messages that wait, oldest first."""
        if len(self.waiting) <= most:
            batch, self.waiting = self.waiting, []
            self._unread_bytes = 0
            self.arrived.clear()
        else:
            self._unread_bytes -= self._unread_bytes * most // len(self.waiting)
            batch, self.waiting = self.waiting[:most], self.waiting[most:]
        self.resume()
        return batch

    def hold(self) -> None:
        """Read no more from the socket until the next `take` or `resume`."""
        if not self._paused and self._transport is not None and not self.failure:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the socket again. The silence of the pause was ours, not the broker's."""
        if self._paused and self._transport is not None and not self.failure:
            self._paused = False
            self._ping_at = None
            self._last_in = self._loop.time()
            self._transport.resume_reading()

    def acknowledge(self, batch: Sequence[Delivery]) -> int:
        """Send the PUBACKs of a batch in its order; returns how many. Nothing is sent on a failed connection."""
        if self.failure:
            return 0
        acks = [b"\x40\x02" + delivery.packet_id.to_bytes(2, "big") for delivery in batch if delivery.packet_id]
        if acks:
            self.send(b"".join(acks))
        return len(acks)

    def send(self, data: bytes) -> None:
        """Write bytes, unless the connection has failed."""
        if self._transport is not None and not self.failure:
            self._transport.write(data)
            self._last_out = self._loop.time()

    def fail(self, error: MqttError) -> None:
        """Give the connection up: drop the socket, wake whoever waits. The first reason stays."""
        if self.failure is None:
            self.failure = error
        if self._timer is not None:
            self._timer.cancel()
        waiters: list[asyncio.Future[Any]] = [self._connack, self._suback]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(self.failure)
                waiter.exception()
        if self._transport is not None:
            self._transport.abort()
        self.arrived.set()

    async def close(self, *, session_expiry_s: int | None = None) -> None:
        """Say a normal goodbye and wait until the socket is gone. The session stays at the broker, or so long as is
        told here.

        The broker ends the connection once it has read our last acknowledgements. Were we the first, our next
        connection could overtake them and would be told those messages again.
        """
        transport = self._transport
        if self.failure is None and transport is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._leaving = True
            self.resume()
            self.send(mqtt5.DisconnectPacket(session_expiry_interval=session_expiry_s).write())
            await self._gone(min(GOODBYE_S, self._answer_within_s))
            transport.close()
        await self._gone(self._answer_within_s)
        if not self._closed.done() and transport is not None:
            transport.abort()

    async def _gone(self, within_s: float) -> None:
        await asyncio.wait({self._closed}, timeout=within_s)

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _answer(self, answer: asyncio.Future[_Packet], to: str) -> _Packet:
        try:
            return await asyncio.wait_for(answer, self._answer_within_s)
        except TimeoutError:
            error = ConnectionDroppedError(f"{self._where} did not answer {to} in {self._answer_within_s:g} s")
            self.fail(error)
            raise error from None

    def _take_control(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.PingRespPacket):
            self._ping_at = None
        elif isinstance(packet, mqtt5.ConnAckPacket) and not self._connack.done():
            self._connack.set_result(packet)
        elif isinstance(packet, mqtt5.SubAckPacket) and packet.packet_id in self._asked:
            self._check_granted(packet)
        elif isinstance(packet, mqtt5.UnsubAckPacket):
            pass
        elif isinstance(packet, mqtt5.DisconnectPacket):
            taken = packet.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
            why = f"{self._where} ended the connection: {_reason(packet)}"
            self.fail(SessionTakenOverError(why) if taken else ConnectionDroppedError(why))
        else:
            raise ProtocolError(f"{self._where} sent {type(packet).__name__}, which a subscriber never expects")

    def _packet_id(self) -> int:
        packet_id = self._next_id
        self._next_id = packet_id % 65_535 + 1
        return packet_id

    def _check_granted(self, answer: mqtt5.SubAckPacket) -> None:
        for wanted, code in zip(self._asked.pop(answer.packet_id), answer.reason_codes, strict=False):
            if code != mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE:
                why = f"{self._where} did not grant QoS 1 on {wanted.pattern!r}: {code.name.lower()} ({code.value})"
                self.fail((ConnectionDroppedError if code in _SUBACK_LATER else BrokerRefusedError)(why))
                return
        if not self._asked and not self._suback.done():
            self._suback.set_result(answer)

    def _schedule_liveness(self) -> None:
        if self._keepalive_s > 0 and not self.failure:
            self._check_at = self._loop.time() + self._keepalive_s / 4
            self._timer = self._loop.call_later(self._keepalive_s / 4, self._check_liveness)

    def _check_liveness(self) -> None:
        now = self._loop.time()
        if self._ping_at is not None and now > self._check_at + self._keepalive_s / 4:
            self._ping_at = now  # we slept, and its answer may lie unread in the socket: it has its whole time again
        asked = self._ping_at is not None and self._last_in < self._ping_at and not self._paused
        if asked and self._ping_at is not None and now - self._ping_at > self._answer_within_s:
            self.fail(ConnectionDroppedError(f"{self._where} is silent for {now - self._last_in:.1f} s"))
            return
        if not asked and now - min(self._last_in, self._last_out) >= self._keepalive_s / 2:
            self.send(mqtt5.PingReqPacket().write())
            self._ping_at = now
        self._schedule_liveness()


async def open_connection(
    address: BrokerAddress, *, max_packet_bytes: int, backlog_limit: int, answer_within_s: float
) -> MqttConnection:
    """Connect the socket (and TLS); the MQTT handshake is still to come.

    Raises ConnectionDroppedError when the broker cannot be reached in time, BrokerRefusedError when its certificate
    or ours is not accepted.
    """
    loop = asyncio.get_running_loop()
    try:
        _, connection = await asyncio.wait_for(
            loop.create_connection(
                lambda: MqttConnection(
                    str(address),
                    max_packet_bytes=max_packet_bytes,
                    backlog_limit=backlog_limit,
                    answer_within_s=answer_within_s,
                ),
                address.host,
                address.port,
                ssl=address.tls_context(),
            ),
            answer_within_s,
        )
    except TimeoutError:
        raise ConnectionDroppedError(f"{address} does not accept a connection in {answer_within_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        why = f"the certificate of {address} is not trusted: {error.verify_message}; name its CA by ?ca=FILE"
        raise BrokerRefusedError(why) from error
    except ValueError as error:
        raise BrokerRefusedError(str(error)) from error
    except OSError as error:
        raise ConnectionDroppedError(f"cannot reach {address}: {error}") from error
    return connection


def _reason(packet: mqtt5.ConnAckPacket | mqtt5.DisconnectPacket) -> str:
    said = f", it says {packet.reason_str!r}" if packet.reason_str else ""
    return f"{packet.reason_code.name.lower().replace('_', ' ')} ({packet.reason_code.value}){said}"


def _first_answer_error(where: str, data: bytes, error: ProtocolError) -> MqttError:
    # A broker that knows only MQTT 3.1.1 refuses a CONNECT of version 5 with its own return code 1.
    if data[:2] == b"\x20\x02" and data[3:4] == b"\x01":
        return BrokerRefusedError(f"{where} speaks only MQTT 3.1.1; the platform needs a broker with MQTT 5")
    return ProtocolError(f"{where} does not speak MQTT 5: {error}")

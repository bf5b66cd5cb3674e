"""The hot way in: messages from the broker in micro-batches, acknowledged only after they were dealt with.

Theory of operation: the session at the broker is persistent (fixed client id, no clean start, an expiry of a day), so
the broker holds what arrives while we are away and sends again what we had not acknowledged. A batch is whatever has
arrived, at most `max_batch` messages, without a delay when idle. The next batch may arrive while one is handled, but
batches are handled strictly one after another, and the PUBACKs of a batch leave in its order once the handler has
returned. If the handler raises, nothing of the batch is acknowledged and the connection is made anew after a back-off,
which makes the broker send it again. So a handler sees every message at least once, in the broker's order from the
first unacknowledged message on, and must be idempotent.

The receive maximum is the back-pressure: a slow handler leaves messages at the broker, not in our memory.

With `live_first`, messages of devices that return with a backlog of history do not hold up the others
(`adapters/mqtt/lanes.py`): then the order holds for each device instead of for all, and a batch is cut by the samples
in it. A broker delivers in the order in which it received, so this reaches as far as the receive maximum. As long as
nobody sends history or large arrays, it is all as above.

Two clients with one id: a broker that says "session taken over" (reason 142) ends `run` with SessionTakenOverError.
Mosquitto 2.0 and rumqttd only close the socket, which looks like any lost connection. Therefore `may_connect`, when
given, is asked before every attempt (a shard's lease is the natural answer) and a `False` ends `run` in the same way,
and a connection that is dropped soon after it was accepted keeps the back-off growing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import mqtt5
import msgspec
import structlog

from adapters.mqtt.address import BrokerAddress
from adapters.mqtt.backoff import Backoff
from adapters.mqtt.connection import MqttConnection, open_connection
from adapters.mqtt.errors import ConnectionDroppedError, MqttError, SessionTakenOverError
from adapters.mqtt.lanes import Lanes, needs_lanes
from adapters.mqtt.reader import Delivery

Handler = Callable[[list[Delivery]], Awaitable[object]]

_log = structlog.get_logger("twinmeter.mqtt")


class SubscriberCounters(msgspec.Struct):
    """What a subscriber has done so far, for metrics and health."""

    received: int = 0
    """Messages taken into a batch, redeliveries included."""
    acked: int = 0
    """PUBACKs sent."""
    in_flight: int = 0
    """Messages in the batch being handled."""
    batches: int = 0
    faults: int = 0
    """Messages whose payload could not be taken (oversized, broken)."""
    handler_failures: int = 0
    connects: int = 0
    """Handshakes that succeeded."""
    reconnects: int = 0
    """Handshakes that succeeded after the first."""
    connected: bool = False
    session_present: bool = False
    """Whether the broker still had our session at the last handshake; if not, what it held in between is lost."""
    last_failure: str = ""


class MqttSubscriber:
    """A persistent QoS 1 subscription with manual acknowledgement.

    `filters` are topic filters. `receive_maximum` bounds the messages delivered and not acknowledged; it should be at
    least twice `max_batch` so that one batch can arrive while another is handled. `replay_retained` asks for every
    retained message at the first handshake of this object even if the broker remembers the session (after the twins
    were lost, say); otherwise they come only with a new session. `may_connect` is asked before each attempt.
    `live_first` lets live messages pass the history of other devices.
    """

    def __init__(
        self,
        url: str | BrokerAddress,
        client_id: str,
        filters: Sequence[str],
        *,
        receive_maximum: int = 2000,
        max_batch: int = 1000,
        session_expiry_s: int = 86_400,
        keepalive_s: int = 20,
        answer_within_s: float = 10.0,
        max_packet_bytes: int = 1 << 20,
        replay_retained: bool = False,
        live_first: bool = False,
        may_connect: Callable[[], Awaitable[bool]] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        if not 1 <= receive_maximum <= 65_535:
            raise ValueError(f"receive_maximum is {receive_maximum}; MQTT allows 1 to 65535")
        if not filters:
            raise ValueError("a subscriber needs at least one topic filter")
        self.address = BrokerAddress.parse(url) if isinstance(url, str) else url
        self.client_id = client_id
        self.counters = SubscriberCounters()
        self._filters = tuple(filters)
        self._receive_maximum = receive_maximum
        self._max_batch = max_batch
        self._session_expiry_s = session_expiry_s
        self._keepalive_s = keepalive_s
        self._answer_within_s = answer_within_s
        self._max_packet_bytes = max_packet_bytes
        self._replay_retained = replay_retained
        self._live_first = live_first
        self._lanes = Lanes(window=receive_maximum, live_share=max_batch)
        self._may_connect = may_connect
        self._backoff = backoff or Backoff()
        self._connection: MqttConnection | None = None
        self._leave = False

    def change_filters(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Subscribe to more and to less, at once where there is a connection, else with the next one.

        A filter that the broker keeps in the session from an earlier owner of the client id is removed by naming it.
        """
        gone = set(remove)
        fresh = [pattern for pattern in add if pattern not in set(self._filters)]
        self._filters = tuple(pattern for pattern in self._filters if pattern not in gone) + tuple(fresh)
        if self._connection is not None:
            if fresh:
                self._connection.subscribe(self._subscriptions(fresh))
            if gone:
                self._connection.unsubscribe(sorted(gone))

    def leave_for_good(self) -> None:
        """Let the broker forget the session at the next orderly end of the connection."""
        self._leave = True

    @property
    def unacknowledged(self) -> int:
        """Messages delivered to us and not acknowledged: in the batch being handled or waiting behind it."""
        taken = max(self.counters.in_flight, self._lanes.unacknowledged)
        return taken + (len(self._connection.waiting) if self._connection else 0)

    async def run(self, handler: Handler, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; the batch in hand is finished and acknowledged first.

        Reconnects by itself. Raises BrokerRefusedError when the broker will not have us as configured and
        SessionTakenOverError when the session belongs to somebody else.
        """
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                began = asyncio.get_running_loop().time()
                try:
                    await self._one_connection(handler, stop, stopped)
                except ConnectionDroppedError as error:
                    self._backoff.lasted(asyncio.get_running_loop().time() - began)
                    await self._wait_out(error, stopped)
        finally:
            stopped.cancel()
            self.counters.connected = False

    async def _one_connection(self, handler: Handler, stop: asyncio.Event, stopped: asyncio.Task[bool]) -> None:
        connection = await _unless(stopped, self._connect())
        if connection is None:
            return
        self._connection = connection
        self._lanes = Lanes(window=self._receive_maximum, live_share=self._max_batch)
        wake = lambda _: connection.arrived.set()  # noqa: E731
        stopped.add_done_callback(wake)
        try:
            await self._pump(connection, handler, stop)
        except ConnectionDroppedError as error:
            connection.fail(error)
            raise
        finally:
            stopped.remove_done_callback(wake)
            self.counters.connected = False
            self.counters.in_flight = 0
            self._lanes = Lanes(window=self._receive_maximum, live_share=self._max_batch)
            self._connection = None
            await connection.close(session_expiry_s=0 if self._leave else None)

    async def _connect(self) -> MqttConnection:
        if self._may_connect is not None and not await self._may_connect():
            raise SessionTakenOverError(f"client {self.client_id!r} may not connect to {self.address} any more")
        connection = await open_connection(
            self.address,
            max_packet_bytes=self._max_packet_bytes,
            backlog_limit=max(2 * self._receive_maximum, 1000),
            answer_within_s=self._answer_within_s,
        )
        try:
            answer = await connection.handshake(self._connect_packet())
            connection.subscribe(self._subscriptions(self._filters))
            # A resumed session delivers at once, and rumqttd answers SUBSCRIBE only after it has got our PUBACKs.
            if not answer.session_present:
                await connection.subscribed()
        except BaseException as error:
            connection.fail(error if isinstance(error, MqttError) else ConnectionDroppedError("given up"))
            raise
        self._note_connected(answer)
        return connection

    def _connect_packet(self) -> mqtt5.ConnectPacket:
        password = self.address.password
        return mqtt5.ConnectPacket(
            self.client_id,
            username=self.address.username,
            password=password.encode() if password is not None else None,
            clean_start=False,
            session_expiry_interval=self._session_expiry_s,
            keep_alive=self._keepalive_s,
            receive_max=self._receive_maximum,
            max_packet_size=self._max_packet_bytes,
        )

    def _subscriptions(self, filters: Sequence[str]) -> list[mqtt5.TopicFilter]:
        replay = self._replay_retained and self.counters.connects == 0
        handling = mqtt5.RetainHandling.SEND_ALWAYS if replay else mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
        return [
            mqtt5.TopicFilter(pattern, max_qos=mqtt5.QoS.AT_LEAST_ONCE, retain_handling=handling) for pattern in filters
        ]

    def _note_connected(self, answer: mqtt5.ConnAckPacket) -> None:
        counters = self.counters
        counters.reconnects += counters.connects > 0
        counters.connects += 1
        counters.connected = True
        counters.session_present = answer.session_present
        _log.info(
            "mqtt.connected", broker=str(self.address), client_id=self.client_id, session_present=answer.session_present
        )
        kept_s = answer.session_expiry_interval
        if kept_s is not None and kept_s < self._session_expiry_s:
            _log.warning(
                "mqtt.session_shortened", broker=str(self.address), asked_s=self._session_expiry_s, kept_s=kept_s
            )

    async def _pump(self, connection: MqttConnection, handler: Handler, stop: asyncio.Event) -> None:
        lanes, loop = self._lanes, asyncio.get_running_loop()
        while True:
            if not lanes.pending:
                connection.resume()
                await connection.arrived.wait()
            if stop.is_set():
                return
            if connection.failure is not None:
                raise connection.failure
            batch = self._next_batch(connection, lanes)
            began = loop.time()
            await self._handle(handler, batch)
            ready = lanes.done(loop.time() - began) if lanes.unfinished else batch
            self.counters.acked += connection.acknowledge(ready)
            self.counters.in_flight = 0

    def _next_batch(self, connection: MqttConnection, lanes: Lanes) -> list[Delivery]:
        """What has arrived, or, while there is a backlog, what the lanes choose of all that has arrived."""
        if lanes.full:
            connection.hold()
            return lanes.next_batch()
        fresh = connection.take(self._max_batch)
        if not lanes.pending and not (self._live_first and needs_lanes(fresh)):
            return fresh
        lanes.take_in(fresh)
        lanes.take_in(connection.take(self._receive_maximum))
        return lanes.next_batch()

    async def _handle(self, handler: Handler, batch: list[Delivery]) -> None:
        counters = self.counters
        counters.batches += 1
        counters.received += len(batch)
        counters.in_flight = len(batch)
        counters.faults += sum(1 for delivery in batch if delivery.fault is not None)
        try:
            await handler(batch)
        except Exception as error:
            counters.handler_failures += 1
            _log.exception("mqtt.handler_failed", client_id=self.client_id, messages=len(batch))
            raise ConnectionDroppedError(f"the handler failed: {type(error).__name__}: {error}") from error

    async def _wait_out(self, error: ConnectionDroppedError, stopped: asyncio.Task[bool]) -> None:
        self.counters.last_failure = str(error)
        delay_s = self._backoff.next_s()
        if self._backoff.failures == 5:
            _log.warning(
                "mqtt.keeps_failing", reason=str(error), hint=f"is another process using client id {self.client_id!r}?"
            )
        _log.info("mqtt.reconnecting", broker=str(self.address), reason=str(error), delay_s=round(delay_s, 2))
        await asyncio.wait({stopped}, timeout=delay_s)


async def _unless(stopped: asyncio.Task[bool], connecting: Awaitable[MqttConnection]) -> MqttConnection | None:
    """The connection, or None when the stop came first."""
    task = asyncio.ensure_future(connecting)
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, MqttError):
                await task


__all__ = ["Delivery", "Handler", "MqttSubscriber", "SubscriberCounters"]

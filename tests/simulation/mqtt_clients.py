"""What the platform's MQTT adapters stand on in the simulation: the subscriber's connection and the publisher.

The subscriber itself is the product's own; only its connection is ours. The publisher stands in for the product's, with
the same promise: a publish that returns was taken by the broker, one that raises may have been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from mqtt5 import RetainHandling

from adapters.mqtt.errors import ConnectionDroppedError, MqttError, PublishFailedError
from adapters.mqtt.reader import Delivery
from schemas.topics import host_status_topic
from tests.simulation.broker import Note, Sent, SimBroker
from tests.simulation.loop import Process, current_process

BACKOFF = {"first_s": 0.2, "limit_s": 5.0}
"""How long a client waits before it connects again; the product waits up to 30 s."""


class SimMqttConnection:
    """One connection of a subscriber: what `adapters.mqtt.connection.MqttConnection` is over a socket."""

    def __init__(self, broker: SimBroker, process: Process, way: Any) -> None:
        self._broker = broker
        self._process = process
        self._way = way
        self._client_id = ""
        self._filters: tuple[Any, ...] = ()
        self.waiting: list[Delivery] = []
        self._unread: list[Delivery] | None = None
        self.arrived = asyncio.Event()
        self.failure: MqttError | None = None

    async def handshake(self, connect: Any) -> Any:
        """Connect; the answer tells whether the session was there."""
        self._client_id = connect.client_id

        def at_broker() -> bool:
            return self._broker.connect(connect.client_id, self._take, self._lost, receive_maximum=connect.receive_max)

        try:
            present = await self._way(self._process, "mqtt.connect", at_broker)
        except OSError as error:
            raise ConnectionDroppedError(str(error)) from error
        return SimpleNamespace(session_present=present, session_expiry_interval=None)

    def subscribe(self, filters: Sequence[Any]) -> None:
        """Subscribe; the answer is waited for in `subscribed`."""
        always = any(one.retain_handling == RetainHandling.SEND_ALWAYS for one in filters)
        if self._is_ours():
            self._broker.subscribe(self._client_id, [one.pattern for one in filters], retained_always=always)

    async def subscribed(self) -> None:
        """The broker has answered."""
        if self.failure is not None:
            raise self.failure

    def take(self, most: int) -> list[Delivery]:
        """Up to `most` of the messages that wait, oldest first."""
        batch, self.waiting = self.waiting[:most], self.waiting[most:]
        if not self.waiting:
            self.arrived.clear()
        self.resume()
        return batch

    def hold(self) -> None:
        """Read no more until the next `take` or `resume`."""
        if self._unread is None:
            self._unread = []

    def resume(self) -> None:
        """Read what has come meanwhile."""
        unread, self._unread = self._unread, None
        if unread:
            self.waiting += unread
            self.arrived.set()

    def acknowledge(self, batch: Sequence[Delivery]) -> int:
        """Send the PUBACKs of a batch; nothing is sent on a failed connection."""
        if self.failure or not self._is_ours():
            return 0
        ids = [delivery.packet_id for delivery in batch if delivery.packet_id]
        self._broker.acknowledge(self._client_id, ids)
        return len(ids)

    def fail(self, error: MqttError) -> None:
        """Give the connection up."""
        if self.failure is None:
            self.failure = error
            if self._is_ours():
                self._broker.disconnect(self._client_id, graceful=False)
        self.arrived.set()

    async def close(self, session_expiry_s: int | None = None) -> None:
        """Say goodbye; the session stays, unless its life is set to nothing."""
        if self.failure is None and self._process.alive and self._is_ours():
            self.failure = ConnectionDroppedError("closed")
            self._broker.disconnect(self._client_id, graceful=True)
            if session_expiry_s == 0:
                self._broker.lose_session(self._client_id)

    def _is_ours(self) -> bool:
        session = self._broker.sessions.get(self._client_id)
        return session is not None and getattr(session.deliver, "__self__", None) is self

    def _take(self, sent: Sent) -> None:
        note = sent.note
        delivery = Delivery(note.topic, note.payload, sent.retained, sent.dup, sent.packet_id)
        if self._unread is not None:
            self._unread.append(delivery)
            return
        self.waiting.append(delivery)
        self.arrived.set()

    def _lost(self) -> None:
        if self.failure is None:
            self.failure = ConnectionDroppedError("the broker closed the connection")
        self.arrived.set()


class SimPublisher:
    """`adapters.mqtt.publisher.MqttPublisher` over the simulated broker."""

    def __init__(self, broker: SimBroker, way: Any, client_id: str, host: str | None = None) -> None:
        self._broker = broker
        self._way = way
        self.client_id = client_id
        self._host = host
        self.published = 0

    @property
    def connected(self) -> bool:
        """Whether the broker listens."""
        return self._broker.up

    async def start(self) -> None:
        """Tell gateways that somebody listens, where this publisher is to."""
        if self._host is not None and self._broker.up:
            self._broker.publish(Note(host_status_topic(self._host), b'{"v":1,"s":"online","sid":"s"}', retain=True))

    async def stop(self) -> None:
        """Nothing to end."""

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
        correlation: bytes | None = None,
        response_topic: str | None = None,
    ) -> None:
        """Publish one message; raises PublishFailedError when the broker did not confirm it in time."""
        del correlation, response_topic
        process = current_process()

        def at_broker() -> None:
            expires = None if expiry_s is None else self._broker._now() + expiry_s * 1000
            self._broker.publish(Note(topic, payload, retain, expires))

        for attempt in range(4):
            try:
                await self._way(process, "mqtt.publish", at_broker)
                self.published += 1
                return
            except OSError:
                await asyncio.sleep(0.5 * (attempt + 1))
        raise PublishFailedError(f"{topic}: not confirmed")

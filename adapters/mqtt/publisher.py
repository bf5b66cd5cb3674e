"""The way out: commands, configuration and the host's own status, each confirmed by the broker.

Theory of operation: aiomqtt keeps one MQTT 5 connection, made again with back-off when it is lost. `publish` resolves
only after the broker's PUBACK. A message whose connection died before its PUBACK is published again on the next
connection until the time is up, so the broker may get it twice: commands carry an id and a fence, configuration and
status are absolute, so a repetition changes nothing.

aiomqtt 2.5 has two habits that are corrected here and nowhere else, in `_ReasonedClient`: it ignores the reason code of
a PUBACK (a broker that denies a topic would look like success), and a waiting publish does not notice that the
connection is gone before its own timeout.

The host status topic is retained and is also the will, so gateways learn that they should buffer when we die.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeVar

import aiomqtt
import orjson
import structlog
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from adapters.mqtt.address import BrokerAddress
from adapters.mqtt.backoff import Backoff
from adapters.mqtt.errors import BrokerRefusedError, MqttError, PublishFailedError
from schemas.topics import host_status_topic

_log = structlog.get_logger("twinmeter.mqtt")
_Value = TypeVar("_Value")

_FINAL_REFUSALS = {132, 133, 134, 135, 138, 140, 157}
"""CONNACK reasons that trying again does not change: protocol, client id, credentials, rights, ban, server moved."""


class MqttPublisher:
    """Publishes with QoS 1 over one connection that it keeps up by itself.

    `host` names the platform host whose status topic it keeps (`online` while connected, `offline` by goodbye or will);
    without it no status is published. `sid` is the session id in that status. `within_s` bounds every publish, waiting
    for a connection included. Use as an async context manager, or `start` and `stop`.
    """

    def __init__(
        self,
        url: str | BrokerAddress,
        client_id: str,
        *,
        host: str | None = None,
        sid: str | None = None,
        within_s: float = 10.0,
        keepalive_s: int = 20,
        in_flight: int = 100,
        backoff: Backoff | None = None,
    ) -> None:
        self.address = BrokerAddress.parse(url) if isinstance(url, str) else url
        self.client_id = client_id
        self.published = 0
        self.reconnects = -1
        self.last_failure = ""
        self._status_topic = host_status_topic(host) if host else None
        self._sid = sid
        self._within_s = within_s
        self._keepalive_s = keepalive_s
        self._room = asyncio.Semaphore(in_flight)
        self._in_flight = in_flight
        self._backoff = backoff or Backoff()
        self._client: _ReasonedClient | None = None
        self._tls: ssl.SSLContext | None = None
        self._up = asyncio.Event()
        self._refused: BrokerRefusedError | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker listens to us now."""
        return self._client is not None

    async def start(self) -> None:
        """Begin to connect; returns at once, `publish` waits for the connection.

        Raises ValueError naming the file when a certificate cannot be read.
        """
        self._tls = self.address.tls_context()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Say that the host is offline, and goodbye."""
        if self._client is not None and self._status_topic is not None:
            with contextlib.suppress(MqttError):
                await self.publish(self._status_topic, self._status("offline"), retain=True)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def __aenter__(self) -> MqttPublisher:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

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
        """Publish one message; returns once the broker has confirmed it.

        `expiry_s` is the time after which the broker drops it undelivered. Raises PublishFailedError when it was not
        confirmed within `within_s` or was refused, BrokerRefusedError when the broker will not have us at all,
        ValueError for a topic with a wildcard.
        """
        properties = _properties(expiry_s, correlation, response_topic)
        try:
            async with asyncio.timeout(self._within_s):
                async with self._room:
                    await self._until_confirmed(topic, payload, retain, properties)
        except TimeoutError:
            state = "is connected but did not confirm it" if self.connected else f"is not reached ({self.last_failure})"
            raise PublishFailedError(
                f"{topic} was not confirmed within {self._within_s:g} s: {self.address} {state}"
            ) from None
        self.published += 1

    async def _until_confirmed(self, topic: str, payload: bytes, retain: bool, properties: Properties | None) -> None:
        while True:
            if self._refused is not None:
                raise self._refused
            client = self._client
            if client is None:
                await self._up.wait()
                continue
            try:
                await client.publish_confirmed(topic, payload, retain, properties)
            except aiomqtt.MqttError as error:
                self.last_failure = str(error)
                await asyncio.sleep(0)
                if self._client is client:
                    self._forget(client)
                continue
            return

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            client: _ReasonedClient | None = None
            try:
                client = self._new_client()
                async with client:
                    await self._announce(client)
                    self._note_failure(await client.lost())
            except aiomqtt.MqttError as error:
                self._note_failure(error)
                if self._refused is not None:
                    return
            finally:
                self._forget(client)
            self._backoff.lasted(loop.time() - began)
            await asyncio.sleep(self._backoff.next_s())

    async def _announce(self, client: _ReasonedClient) -> None:
        if self._status_topic is not None:
            await client.publish_confirmed(self._status_topic, self._status("online"), True, None)
        self.reconnects += 1
        self._client = client
        self._up.set()
        _log.info("mqtt.publisher_connected", broker=str(self.address), client_id=self.client_id)

    def _forget(self, client: _ReasonedClient | None) -> None:
        if client is not None and self._client is client:
            self._client = None
            self._up.clear()
            client.give_up()

    def _note_failure(self, error: aiomqtt.MqttError) -> None:
        self.last_failure = str(error) or type(error).__name__
        code = getattr(getattr(error, "rc", None), "value", None)
        if isinstance(error, MqttConnectError) and code in _FINAL_REFUSALS:
            self._refused = BrokerRefusedError(f"{self.address} refused the connection of {self.client_id!r}: {error}")
            self._up.set()
            _log.error("mqtt.publisher_refused", broker=str(self.address), reason=self.last_failure)
        else:
            _log.info("mqtt.publisher_lost", broker=str(self.address), reason=self.last_failure)

    def _new_client(self) -> _ReasonedClient:
        will = None
        if self._status_topic is not None:
            will = aiomqtt.Will(self._status_topic, self._status("offline"), qos=1, retain=True)
        return _ReasonedClient(
            self.address.host,
            self.address.port,
            username=self.address.username,
            password=self.address.password,
            identifier=self.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=will,
            tls_context=self._tls,
            timeout=self._within_s,
            keepalive=self._keepalive_s,
            max_inflight_messages=self._in_flight,
        )

    def _status(self, state: str) -> bytes:
        status: dict[str, Any] = {"v": 1, "s": state}
        if self._sid is not None:
            status["sid"] = self._sid
        return orjson.dumps(status)


class _ReasonedClient(aiomqtt.Client):
    """aiomqtt that knows why a PUBACK refused and tells a waiting publish when the connection is gone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pending_calls_threshold = 10_000
        self._puback_refusals: dict[int, ReasonCode] = {}
        self._given_up = asyncio.Event()

    async def publish_confirmed(self, topic: str, payload: bytes, retain: bool, properties: Properties | None) -> None:
        """Publish with QoS 1 and wait for the PUBACK; raises aiomqtt.MqttError as soon as the connection is lost.

        Raises PublishFailedError when the broker refused the message.
        """
        sending = asyncio.ensure_future(self.publish(topic, payload, 1, retain, properties, timeout=math.inf))
        losing = asyncio.ensure_future(self.lost())
        try:
            await asyncio.wait({sending, losing}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                return
            raise aiomqtt.MqttError("the connection was lost before the broker confirmed")
        finally:
            for task in (sending, losing):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError, PublishFailedError):
                    await task

    async def lost(self) -> aiomqtt.MqttError:
        """Return when this connection is gone, with the reason."""
        given_up = asyncio.ensure_future(self._given_up.wait())
        try:
            waiters: set[asyncio.Future[Any]] = {self._disconnected, given_up}
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            given_up.cancel()
        reason = self._disconnected.exception() if self._disconnected.done() else None
        return reason if isinstance(reason, aiomqtt.MqttError) else aiomqtt.MqttError("the connection was closed")

    def give_up(self) -> None:
        """Treat this connection as gone."""
        self._given_up.set()

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Any) -> None:
        if reason_code.is_failure:
            self._puback_refusals[mid] = reason_code
        super()._on_publish(client, userdata, mid, reason_code, properties)

    @contextlib.contextmanager
    def _pending_call(self, mid: int, value: _Value, pending_dict: dict[int, _Value]) -> Iterator[None]:
        with super()._pending_call(mid, value, pending_dict):
            yield
        refusal = self._puback_refusals.pop(mid, None)
        if refusal is not None:
            raise PublishFailedError(f"the broker refused the message: {refusal} ({refusal.value})")


def _properties(expiry_s: int | None, correlation: bytes | None, response_topic: str | None) -> Properties | None:
    if expiry_s is None and correlation is None and response_topic is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if expiry_s is not None:
        properties.MessageExpiryInterval = max(1, expiry_s)
    if correlation is not None:
        properties.CorrelationData = correlation
    if response_topic is not None:
        properties.ResponseTopic = response_topic
    return properties

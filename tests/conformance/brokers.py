"""The brokers under conformance: the simulated one, and Mosquitto with the settings of the product.

A client connects, subscribes, acknowledges one message at a time, breaks off or says goodbye; what it got is a list.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from adapters.embedded.broker import find_mosquitto
from adapters.embedded.processes import Launch, RunningServer, start_server
from tests.integration.servers import DEPLOY
from tests.simulation.broker import Note, Sent, SimBroker

WITHIN_S = 60.0
QUIET_S = 0.25
"""A real broker that has nothing more to say for so long has said it all."""


class Got(NamedTuple):
    """One message as a subscriber sees it."""

    text: str
    retained: bool = False
    dup: bool = False


class SimClient:
    """One client of the simulated broker."""

    def __init__(self, broker: SimBroker, client_id: str) -> None:
        self._broker, self._id = broker, client_id
        self._unacknowledged: list[Sent] = []
        self._got: list[Got] = []
        self.closed = False

    def connect(self, *, clean: bool = False, receive_maximum: int = 100, will: tuple[str, str] | None = None) -> bool:
        """Connect; whether the session was there."""
        self.closed = False
        last = Note(will[0], will[1].encode()) if will else None
        return self._broker.connect(
            self._id, self._take, self._closed, clean=clean, receive_maximum=receive_maximum, will=last
        )

    def subscribe(self, pattern: str, *, retained_always: bool = False) -> None:
        """With QoS 1."""
        self._broker.subscribe(self._id, [pattern], retained_always=retained_always)

    def publish(self, topic: str, text: str, *, retain: bool = False, expires_s: int | None = None) -> None:
        """With QoS 1; returns when the broker has it."""
        expires_ms = None if expires_s is None else round(time.time() * 1_000) + expires_s * 1_000
        self._broker.publish(Note(topic, text.encode(), retain, expires_ms))

    def acknowledge(self) -> None:
        """Acknowledge the oldest message that is not."""
        self._broker.acknowledge(self._id, [self._unacknowledged.pop(0).packet_id])

    def break_off(self) -> None:
        """The connection is gone without a word."""
        self._unacknowledged.clear()
        self._broker.disconnect(self._id, graceful=False)

    def goodbye(self) -> None:
        """End the connection in order; the session stays."""
        self._unacknowledged.clear()
        self._broker.disconnect(self._id, graceful=True)

    def got(self, _count: int = 0) -> list[Got]:
        """Everything since the last time this was asked."""
        got, self._got = self._got, []
        return got

    def _take(self, sent: Sent) -> None:
        self._unacknowledged.append(sent)
        self._got.append(Got(sent.note.payload.decode(), sent.retained, sent.dup))

    def _closed(self) -> None:
        self.closed = True


class RealClient:
    """One client of a real broker."""

    def __init__(self, port: int, client_id: str) -> None:
        self._port, self._id = port, client_id
        self._client: Any = None
        self._changed = threading.Condition()
        self._unacknowledged: list[Any] = []
        self._got: list[Got] = []
        self._present: bool | None = None
        self.closed = False

    def connect(self, *, clean: bool = False, receive_maximum: int = 100, will: tuple[str, str] | None = None) -> bool:
        """Connect; whether the session was there."""
        self.closed, self._present = False, None
        client: Any = paho.Client(
            paho.CallbackAPIVersion.VERSION2, self._id, protocol=paho.MQTTv5, manual_ack=True,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.on_connect, client.on_message, client.on_disconnect = self._connected, self._take, self._closed
        if will:
            client.will_set(*will, qos=1)
        said = Properties(PacketTypes.CONNECT)
        said.SessionExpiryInterval, said.ReceiveMaximum = 3_600, receive_maximum
        client.connect("127.0.0.1", self._port, clean_start=clean, properties=said)
        self._client = client
        client.loop_start()
        self._wait(lambda: self._present is not None)
        return bool(self._present)

    def subscribe(self, pattern: str, *, retained_always: bool = False) -> None:
        """With QoS 1; returns when the broker has answered."""
        answered = threading.Event()
        self._client.on_subscribe = lambda *_: answered.set()
        handling = 0 if retained_always else SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
        self._client.subscribe(pattern, options=SubscribeOptions(qos=1, retainHandling=handling))
        assert answered.wait(WITHIN_S)

    def publish(self, topic: str, text: str, *, retain: bool = False, expires_s: int | None = None) -> None:
        """With QoS 1; returns when the broker has it."""
        said = Properties(PacketTypes.PUBLISH)
        if expires_s is not None:
            said.MessageExpiryInterval = expires_s
        self._client.publish(topic, text.encode(), qos=1, retain=retain, properties=said).wait_for_publish(WITHIN_S)

    def acknowledge(self) -> None:
        """Acknowledge the oldest message that is not."""
        message = self._unacknowledged.pop(0)
        self._client.ack(message.mid, message.qos)
        until = time.monotonic() + WITHIN_S
        while self._client.want_write():  # the thread of the client sends it
            assert time.monotonic() < until
            time.sleep(0.005)

    def break_off(self) -> None:
        """The connection is gone without a word."""
        self._unacknowledged.clear()
        self._client.socket().close()
        self._client.loop_stop()

    def goodbye(self) -> None:
        """End the connection in order; the session stays."""
        self._unacknowledged.clear()
        self._client.disconnect()
        self._client.loop_stop()

    def got(self, count: int = 0) -> list[Got]:
        """Everything since the last time this was asked: `count` messages, and what else comes for a moment."""
        self._wait(lambda: len(self._got) >= count)
        time.sleep(QUIET_S)
        with self._changed:
            got, self._got = self._got, []
        return got

    def _wait(self, holds: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, WITHIN_S)

    def _connected(self, _client: Any, _data: Any, flags: Any, _reason: Any, _properties: Any) -> None:
        with self._changed:
            self._present = flags.session_present
            self._changed.notify_all()

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        with self._changed:
            self._unacknowledged.append(message)
            self._got.append(Got(message.payload.decode(), bool(message.retain), bool(message.dup)))
            self._changed.notify_all()

    def _closed(self, *_: Any) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class SimBackend:
    """The simulated broker."""

    def __init__(self, max_queued: int) -> None:
        self._broker = SimBroker(lambda: round(time.time() * 1_000), max_queued=max_queued or 1_000_000)

    def client(self, name: str = "") -> SimClient:
        """A client that nobody else is."""
        return SimClient(self._broker, name or uuid.uuid4().hex)

    def restart(self) -> None:
        """Stop in order, and start with what is on disk."""
        self._broker.stop()
        self._broker.start(keeps=True)

    def close(self) -> None:
        """Nothing to end."""


class MosquittoBackend:
    """Mosquitto with the product's settings, and a bound of its queues where one is wanted."""

    def __init__(self, folder: Path, max_queued: int) -> None:
        self._folder, self._max_queued = folder, max_queued
        self._clients: list[RealClient] = []
        self._server = self._start(None)

    def client(self, name: str = "") -> RealClient:
        """A client that nobody else is."""
        client = RealClient(int(self._server.url.rpartition(":")[2]), name or uuid.uuid4().hex)
        self._clients.append(client)
        return client

    def restart(self) -> None:
        """Stop in order, and start with what is on disk."""
        port = int(self._server.url.rpartition(":")[2])
        self._server.stop()
        self._server = self._start(port)

    def close(self) -> None:
        """Stop it."""
        self._server.stop()

    def _start(self, port: int | None) -> RunningServer:
        program = find_mosquitto()
        if program is None:
            pytest.skip("mosquitto is not installed")
        shared = (DEPLOY / "mosquitto" / "conf.d" / "10-sessions.conf").read_text()
        assert "max_queued_messages 0" in shared
        settings = shared.replace("max_queued_messages 0", f"max_queued_messages {self._max_queued}")

        def command(at: int) -> list[str]:
            user = "user root\n" if os.geteuid() == 0 else ""
            where = f"listener {at} 127.0.0.1\nallow_anonymous true\npersistence_location {self._folder}/\n{user}"
            config = self._folder / "mosquitto.conf"
            config.write_text(where + settings)
            return [program, "-c", str(config)]

        launch = Launch("broker", "mosquitto", lambda at: f"mqtt://127.0.0.1:{at}", command, _serves)
        return start_server(launch, self._folder, port=port, within_s=60, progress=None)


def _serves(port: int) -> str | None:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return "mosquitto"
    return None


KINDS = ("simulated", "mosquitto")


def brokers(kind: str, folder: Path, max_queued: int = 0) -> Iterator[Any]:
    """One broker of a kind, stopped at the end."""
    backend: Any = SimBackend(max_queued) if kind == "simulated" else MosquittoBackend(folder, max_queued)
    try:
        yield backend
    finally:
        backend.close()

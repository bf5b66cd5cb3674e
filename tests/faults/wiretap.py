"""Everything that passes the broker, as an outsider hears it, and what must hold of the commands among it.

The tap has a connection of its own straight to the broker: whatever is done to the links of the platform, what was
really published is known. `broken_promises` is the referee of every row: it knows nothing of the product's code.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

VERBS = ("cmd", "ack", "state", "birth", "conn", "tele", "event")
CONNECT_WITHIN_S = 60.0


class Heard(msgspec.Struct, frozen=True):
    """One message: when it was heard (monotonic seconds), of which device, what, and whether it came from the store."""

    at_s: float
    device: str
    verb: str
    body: Any
    payload: bytes
    retained: bool


class Wiretap:
    """Listens to verbs of all devices; by default to commands and the answers to them."""

    def __init__(self, url: str, *verbs: str) -> None:
        self.heard: list[Heard] = []
        self.keeps_history = True
        """False: samples in arrays, as gateways send what they kept, are passed over."""
        self._verbs = verbs or ("cmd", "ack")
        self._news = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"tap-{time.time_ns():x}", protocol=paho.MQTTv5)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        host, _, port = url.removeprefix("mqtt://").rpartition(":")
        self._client.connect(host, int(port))

    def __enter__(self) -> Wiretap:
        self._client.loop_start()
        assert self._ready.wait(CONNECT_WITHIN_S), "the tap was not let in by the broker"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(f"twinmeter/v1/+/+/{verb}", 1) for verb in self._verbs])

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        *_, device, verb = message.topic.split("/")
        if not self.keeps_history and verb == "tele" and message.payload[:1] == b"[":
            return
        body = msgspec.json.decode(message.payload)
        with self._news:
            self.heard.append(Heard(time.monotonic(), device, verb, body, bytes(message.payload), bool(message.retain)))
            self._news.notify_all()

    def of(self, device: str, verb: str, since: int = 0) -> list[Any]:
        """Bodies that a device said or was told, in order, from a place in `heard` on."""
        return [one.body for one in self.heard[since:] if (one.device, one.verb) == (device, verb)]

    def commands(self, device: str | None = None) -> list[Any]:
        """Command documents as often as they were published."""
        return [one.body for one in self.heard if one.verb == "cmd" and device in (None, one.device)]

    def wait(self, count: int, device: str, verb: str, within_s: float = 120.0, **fields: Any) -> Any:
        """The `count`-th message of a device whose body has these fields, once it is heard."""
        deadline = time.monotonic() + within_s
        with self._news:
            while True:
                found = [body for body in self.of(device, verb) if _fits(body, fields)]
                if len(found) >= count:
                    return found[count - 1]
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"{len(found)} of {count} {verb} {fields} of {device}: {self.of(device, verb)[-5:]}"
                self._news.wait(left_s)

    def broken_promises(self) -> list[str]:
        """What no fault may bring about: one meaning a command and a fence, an expiry, never out of the store."""
        found: list[str] = []
        payloads: dict[str, bytes] = {}
        meanings: defaultdict[tuple[str, int], set[tuple[str, str]]] = defaultdict(set)
        for one in self.heard:
            if one.verb != "cmd":
                continue
            cmd, fence = one.body["cmd"], one.body["fence"]
            if one.retained:
                found.append(f"{one.device}: command {cmd} came out of the broker's store")
            if one.body["exp"] <= one.body["issued"]:
                found.append(f"{one.device}: command {cmd} had expired before it was issued")
            if payloads.setdefault(cmd, one.payload) != one.payload:
                found.append(f"{one.device}: command {cmd} came again with another content")
            meanings[one.device, fence].add((cmd, one.body["target"]))
        found += [f"{where[0]}: fence {where[1]} means {told}" for where, told in meanings.items() if len(told) > 1]
        return found

    def moves(self, device: str, channel: str = "relay") -> list[str]:
        """Positions a device has told, each change once."""
        places: list[str] = []
        for body in self.of(device, "state"):
            if not places or places[-1] != body[channel]:
                places.append(body[channel])
        return places


def _fits(body: Any, fields: dict[str, Any]) -> bool:
    return isinstance(body, dict) and all(body.get(name) == value for name, value in fields.items())

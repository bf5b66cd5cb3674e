"""Gateway: speaks for the devices behind it and keeps their messages while nobody listens (store-and-forward).

While its link is down or every platform host it has heard of is offline, readings, events and acks are kept in a
bounded buffer; of births, connections and states only the newest of each device is kept, since they are retained
anyway. When the way is free again the newest births and states go first, then the kept readings, marked `hist` and
packed into arrays by device, oldest first, then whatever is live. A full buffer loses its oldest message and counts it.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from simulators.devices.device import Device
from simulators.wire import Message

BUFFER_MAX = 200_000
BATCH_MAX = 50


class Gateway(Device):
    """One gateway, or the shared modem of a group of directly connected devices."""

    kind = "gateway"
    model = "TM-G1"

    def __init__(self, device_id: str, rng: Random, *, buffer_max: int = BUFFER_MAX, **options: Any) -> None:
        super().__init__(device_id, rng, **options)
        self.lost = 0
        self.link_up = True
        self._buffer: deque[Message] = deque()
        self._buffer_max = buffer_max
        self._retained: dict[tuple[str, str], Message] = {}
        self._hosts: dict[str, str] = {}

    @property
    def buffered(self) -> int:
        """Messages waiting for the way to be free."""
        return len(self._buffer)

    @property
    def open_way(self) -> bool:
        """Whether messages may go out: the link is up and not every known host is offline."""
        return self.link_up and (not self._hosts or "online" in self._hosts.values())

    def hear_host(self, host: str, status: Any) -> None:
        """Take note of a platform host's status document."""
        state = status.get("s") if isinstance(status, dict) else None
        if state in ("online", "offline"):
            self._hosts[host] = state
        elif status is None:
            self._hosts.pop(host, None)

    def forward(self, messages: list[Message], now_ms: int) -> list[Message]:
        """What may leave now: everything kept and these messages, or nothing while the way is blocked."""
        if not self.open_way:
            for message in messages:
                self._keep(message)
            return []
        if not self._buffer and not self._retained:
            return messages
        return self._replay(now_ms) + messages

    def channels(self, now_ms: int) -> dict[str, Any]:  # noqa: ARG002 - the base asks at an instant
        """A gateway takes no readings of its own."""
        return {}

    def _keep(self, message: Message) -> None:
        if message.retained:
            self._retained[message.device, message.verb] = message
            return
        if len(self._buffer) >= self._buffer_max:
            self._buffer.popleft()
            self.lost += 1
        self._buffer.append(message)

    def _replay(self, now_ms: int) -> list[Message]:
        out = [Message(kept.device, kept.verb, kept.body, now_ms) for kept in self._retained.values()]
        samples: dict[str, list[Any]] = {}
        for kept in self._buffer:
            if kept.verb == "tele":
                samples.setdefault(kept.device, []).extend(_as_history(kept.body))
            elif kept.verb == "event":
                out.append(Message(kept.device, "event", kept.body | {"hist": True}, now_ms))
            else:
                out.append(Message(kept.device, kept.verb, kept.body, now_ms))
        self._buffer.clear()
        self._retained.clear()
        for device, envelopes in samples.items():
            batches = (envelopes[first : first + BATCH_MAX] for first in range(0, len(envelopes), BATCH_MAX))
            out.extend(Message(device, "tele", batch, now_ms) for batch in batches)
        return out


def _as_history(body: Any) -> list[dict[str, Any]]:
    envelopes = body if isinstance(body, list) else [body]
    return [envelope | {"hist": True} for envelope in envelopes]

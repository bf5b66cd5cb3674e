"""The simulated MQTT broker: sessions, QoS 1 with redelivery and DUP, retained messages, bounded queues, wills.

What it does is what Mosquitto is documented to do with the settings in `deploy`. A subscriber sees messages in the
broker's order; at most its receive maximum is unacknowledged; what is unacknowledged when a connection ends comes
again, first and with DUP, when the session is resumed. A full queue drops the newest message, and nobody but the
broker's own counter knows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_QUEUED = 1_000
"""Mosquitto's `max_queued_messages`, unless the simulation wants it smaller."""


class Note(msgspec.Struct, frozen=True):
    """One application message."""

    topic: str
    payload: bytes
    retain: bool = False
    expires_ms: int | None = None


class Sent(msgspec.Struct, frozen=True):
    """One message on its way to a subscriber."""

    note: Note
    packet_id: int
    dup: bool
    retained: bool


class Session:
    """What the broker knows of one client id."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.filters: dict[str, None] = {}
        self.queue: deque[tuple[Note, bool]] = deque()
        self.in_flight: dict[int, tuple[Note, bool]] = {}
        self.receive_maximum = 20
        self.deliver: Callable[[Sent], object] | None = None
        self.closed: Callable[[], object] | None = None
        self.will: Note | None = None
        self.next_id = 0
        self.overflowed = 0

    @property
    def connected(self) -> bool:
        """Whether a client is at the other end."""
        return self.deliver is not None


class SimBroker:
    """One broker. `now` gives its time in Unix ms."""

    def __init__(self, now: Callable[[], int], *, max_queued: int = MAX_QUEUED) -> None:
        self._now = now
        self.max_queued = max_queued
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Note] = {}
        self.up = True
        self.acknowledged: Callable[[str, Note], object] = lambda _client, _note: None
        """Told of every message that a subscriber has acknowledged."""

    # --- clients

    def connect(
        self,
        client_id: str,
        deliver: Callable[[Sent], object],
        closed: Callable[[], object],
        *,
        receive_maximum: int = 20,
        clean: bool = False,
        will: Note | None = None,
    ) -> bool:
        """A client connects; whether its session was here. Another connection of the same id is closed.

        Raises ConnectionError for a broker that is down. What is unacknowledged or queued arrives after this returns.
        """
        if not self.up:
            raise ConnectionRefusedError("the broker is down")
        known = self.sessions.get(client_id)
        if known is not None and known.connected:
            if not clean:
                known.will = None  # Mosquitto publishes it only where the session ends, too
            self.disconnect(client_id, graceful=False)
        if known is None or clean:
            self.sessions[client_id] = Session(client_id)
        session = self.sessions[client_id]
        session.deliver, session.closed = deliver, closed
        session.receive_maximum, session.will = receive_maximum, will
        for packet_id, (note, retained) in list(session.in_flight.items()):
            deliver(Sent(note, packet_id, True, retained))
        self._push(session)
        return known is not None and not clean

    def disconnect(self, client_id: str, *, graceful: bool) -> None:
        """A connection ends; without a goodbye its will is published."""
        session = self.sessions.get(client_id)
        if session is None or not session.connected:
            return
        closed, will = session.closed, session.will
        session.deliver = session.closed = session.will = None
        if closed is not None:
            closed()
        if will is not None and not graceful:
            self.publish(will)

    def subscribe(self, client_id: str, filters: Sequence[str], *, retained_always: bool = False) -> None:
        """Subscribe with QoS 1. Retained messages come for a new subscription, or always where that is asked for."""
        session = self.sessions[client_id]
        for pattern in filters:
            is_new = pattern not in session.filters
            session.filters[pattern] = None
            if is_new or retained_always:
                for topic in sorted(self.retained):
                    if fits(pattern, topic):
                        self._queue(session, self.retained[topic], True)
        self._push(session)

    def acknowledge(self, client_id: str, packet_ids: Sequence[int]) -> None:
        """PUBACKs of a subscriber."""
        session = self.sessions.get(client_id)
        if session is None:
            return
        for packet_id in packet_ids:
            done = session.in_flight.pop(packet_id, None)
            if done is not None:
                self.acknowledged(client_id, done[0])
        self._push(session)

    # --- messages

    def publish(self, note: Note) -> None:
        """Take a message over: kept if it is to be, and queued for every session that wants it.

        Raises ConnectionError for a broker that is down.
        """
        if not self.up:
            raise ConnectionRefusedError("the broker is down")
        if note.retain:
            if note.payload:
                self.retained[note.topic] = note
            else:
                self.retained.pop(note.topic, None)
        for session in self.sessions.values():
            if any(fits(pattern, note.topic) for pattern in session.filters):
                self._queue(session, note, False)
                self._push(session)

    def _queue(self, session: Session, note: Note, retained: bool) -> None:
        if len(session.queue) >= self.max_queued:
            session.overflowed += 1
            return
        session.queue.append((note, retained))

    def _push(self, session: Session) -> None:
        while session.deliver is not None and session.queue and len(session.in_flight) < session.receive_maximum:
            note, retained = session.queue.popleft()
            if note.expires_ms is not None and self._now() >= note.expires_ms:
                continue
            session.next_id = session.next_id % 65_535 + 1
            session.in_flight[session.next_id] = (note, retained)
            session.deliver(Sent(note, session.next_id, False, retained))

    # --- what happens to it

    def stop(self) -> None:
        """It is gone, connections and all; wills are not published by a broker that is dead."""
        self.up = False
        for session in self.sessions.values():
            session.will = None
            self.disconnect(session.client_id, graceful=True)

    def start(self, *, keeps: bool) -> None:
        """It is back, with what it had on disk or with nothing at all."""
        self.up = True
        if not keeps:
            self.sessions, self.retained = {}, {}

    def lose_session(self, client_id: str) -> int:
        """Forget a session that nobody is connected to; how many messages are lost with it."""
        session = self.sessions.get(client_id)
        if session is None or session.connected:
            return 0
        del self.sessions[client_id]
        return len(session.queue) + len(session.in_flight)


def fits(pattern: str, topic: str) -> bool:
    """Whether a topic matches a filter with `+` and `#`."""
    if pattern == topic:
        return True
    wanted, have = pattern.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(have) or level not in ("+", have[place]):
            return False
    return len(wanted) == len(have)

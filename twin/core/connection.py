"""Connection state of a device as its birth and conn topics tell it.

A will is published by the broker when a session dies, and may arrive after the device has come back with a new session.
So `offline` counts only for the session that is current; `online` always opens a session.
"""

from __future__ import annotations

from typing import Literal

from twin.core.model import Connection


def connect(connection: Connection, state: Literal["online", "offline"], sid: str, ts: int) -> Connection:
    """The connection after one more word about it; the same object where the word is void or nothing new."""
    if state == "offline" and sid != connection.sid:
        return connection
    if state == connection.state and sid == connection.sid:
        return connection
    return Connection(state, sid, ts)


def reachable(connection: Connection, link: Connection | None) -> bool:
    """Whether a command would reach the device: neither it nor the gateway in front of it is known to be offline."""
    return connection.state != "offline" and (link is None or link.state != "offline")

"""What a simulated device says: one message of the wire contract, before it has a topic and bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Verb = Literal["birth", "conn", "tele", "event", "state", "ack"]
RETAINED: frozenset[str] = frozenset({"birth", "conn", "state"})


class Message(msgspec.Struct):
    """One upward message of `device`. `body` is the JSON document, a list of them only for `tele`.

    `due_ms` is the simulated instant at which it leaves the device; faults move it.
    """

    device: str
    verb: Verb
    body: Any
    due_ms: int

    @property
    def retained(self) -> bool:
        """Whether the contract has the broker keep it."""
        return self.verb in RETAINED


def in_order(messages: Iterable[Message]) -> list[Message]:
    """Messages by the instant they leave; those of one instant keep their order."""
    return sorted(messages, key=lambda message: message.due_ms)

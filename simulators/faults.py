"""What goes wrong on the way from a device to the broker, by name and by seed.

Four families (the names are those of the fleet scenario):

- `duplicate`, `reorder`, `drop`, `late`, `spike` change messages that a device sends. Each is a function from one
  message to the messages that come out, so that they compose in the order of the scenario. Births, connections and
  states are spared: their topics hold the last word, and no broker brings an older one back.
- `lost_acks`, `lost_states` lose the answers to commands, or what a device says of its position beside them;
  `lost_commands`, `late_commands`, `repeated_commands` change commands on their way to a device.
- `offline`, `flapping` take a device's or a gateway's connection away during spans of time.
- `clock_skew`, `reset`, `rollover`, `stuck_relay` change the device itself; `happenings` carries them out.

Each fault of each device has a random source of its own, seeded by scenario, fault and device. What befalls one device
therefore does not depend on how many others there are or in which order they speak.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from simulators.wire import Message

WIRE_FAULTS = ("duplicate", "reorder", "drop", "late", "spike")
COMMAND_FAULTS = ("lost_commands", "late_commands", "repeated_commands")
LOST_VERBS = {"lost_acks": "ack", "lost_states": "state"}
LINK_FAULTS = ("offline", "flapping")
DEVICE_FAULTS = ("clock_skew", "reset", "rollover", "stuck_relay")


class Span(msgspec.Struct, frozen=True):
    """Half-open `[from_ms, to_ms)`; without an end when `to_ms` is None."""

    from_ms: int = 0
    to_ms: int | None = None

    def holds(self, now_ms: int) -> bool:
        """Whether an instant lies in it."""
        return self.from_ms <= now_ms and (self.to_ms is None or now_ms < self.to_ms)


class DelayRange(msgspec.Struct, frozen=True):
    """Durations to draw from, both ends included, in ms."""

    least_ms: int
    greatest_ms: int

    def draw(self, rng: Random) -> int:
        """One duration."""
        return rng.randint(self.least_ms, self.greatest_ms)


class WireFault(msgspec.Struct):
    """One message fault of one device."""

    name: str
    rng: Random
    span: Span = Span()
    probability: float = 1.0
    delay: DelayRange = DelayRange(1_000, 60_000)
    copies: int = 1
    add: int = 0

    def apply(self, message: Message) -> list[Message]:
        """What becomes of one message: none, one or several."""
        if self.name in LOST_VERBS:
            return [] if message.verb == LOST_VERBS[self.name] and self._befalls(message.due_ms) else [message]
        if message.retained or not self.span.holds(message.due_ms) or self.rng.random() >= self.probability:
            return [message]
        return _EFFECTS[self.name](self, message)

    def arrivals(self, now_ms: int) -> list[int]:
        """When a command that should arrive now does (ms): never, later, or more than once."""
        if not self._befalls(now_ms):
            return [now_ms]
        if self.name == "lost_commands":
            return []
        if self.name == "late_commands":
            return [now_ms + self.delay.draw(self.rng)]
        return [now_ms, *(now_ms + self.delay.draw(self.rng) for _ in range(self.copies))]

    def _befalls(self, now_ms: int) -> bool:
        return self.span.holds(now_ms) and self.rng.random() < self.probability


def arrivals(faults: Sequence[WireFault], now_ms: int) -> list[int]:
    """When a command that is at the door of a device's link now arrives there, through faults one after another."""
    times = [now_ms]
    for fault in faults:
        times = [late for at_ms in times for late in fault.arrivals(at_ms)]
    return sorted(times)


def apply_all(faults: Sequence[WireFault], messages: Sequence[Message]) -> list[Message]:
    """Send messages through faults, one after another."""
    flow = list(messages)
    for fault in faults:
        flow = [changed for message in flow for changed in fault.apply(message)]
    return flow


def _duplicate(fault: WireFault, message: Message) -> list[Message]:
    repeats = [_moved(message, message.due_ms + fault.delay.draw(fault.rng)) for _ in range(fault.copies)]
    return [message, *repeats]


def _reorder(fault: WireFault, message: Message) -> list[Message]:
    return [_moved(message, message.due_ms + fault.delay.draw(fault.rng))]


def _drop(_fault: WireFault, _message: Message) -> list[Message]:
    return []


def _late(fault: WireFault, message: Message) -> list[Message]:
    if message.verb not in ("tele", "event"):
        return [message]
    body = _each(message.body, lambda sample: sample | {"hist": True})
    return [Message(message.device, message.verb, body, message.due_ms + fault.delay.draw(fault.rng))]


def _spike(fault: WireFault, message: Message) -> list[Message]:
    if message.verb != "tele":
        return [message]
    body = _each(message.body, lambda sample: _raised(sample, fault.add))
    return [Message(message.device, "tele", body, message.due_ms)]


_EFFECTS: dict[str, Callable[[WireFault, Message], list[Message]]] = {
    "duplicate": _duplicate,
    "reorder": _reorder,
    "drop": _drop,
    "late": _late,
    "spike": _spike,
}


def _moved(message: Message, due_ms: int) -> Message:
    return Message(message.device, message.verb, message.body, due_ms)


def _each(body: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    return [change(sample) for sample in body] if isinstance(body, list) else change(body)


def _raised(sample: dict[str, Any], add: int) -> dict[str, Any]:
    channels = dict(sample["d"])
    for register in ("import_wh", "volume_l"):
        if register in channels:
            channels[register] += add
    return sample | {"d": channels}


class Outage:
    """When a connection is away. `offline` is one span, `flapping` alternates up and down through its span."""

    __slots__ = ("_complete", "_down", "_edges", "_rng", "_span", "_up")

    def __init__(
        self, span: Span, rng: Random, *, up: DelayRange | None = None, down: DelayRange | None = None
    ) -> None:
        self._span = span
        self._rng = rng
        self._up = up
        self._down = down
        # Ascending instants at which the connection changes: even positions take it away, odd ones give it back.
        self._edges: list[int] = []
        self._complete = False
        if up is None or down is None:
            self._edges = [span.from_ms] if span.to_ms is None else [span.from_ms, span.to_ms]

    def is_down(self, now_ms: int) -> bool:
        """Whether the connection is away at an instant."""
        self._extend(now_ms)
        return bisect_right(self._edges, now_ms) % 2 == 1

    def next_change_ms(self, now_ms: int) -> int | None:
        """The next instant after `now_ms` at which it goes or comes, or None when it stays as it is."""
        self._extend(now_ms)
        position = bisect_right(self._edges, now_ms)
        return self._edges[position] if position < len(self._edges) else None

    def _extend(self, now_ms: int) -> None:
        if self._up is None or self._down is None:
            return
        while not self._complete and (not self._edges or self._edges[-1] <= now_ms):
            begin_ms = self._edges[-1] if self._edges else self._span.from_ms
            gone_ms = begin_ms + max(1, self._up.draw(self._rng))
            back_ms = gone_ms + max(1, self._down.draw(self._rng))
            end_ms = self._span.to_ms
            self._complete = end_ms is not None and back_ms >= end_ms
            if end_ms is None or gone_ms < end_ms:
                self._edges += [gone_ms, back_ms if end_ms is None else min(back_ms, end_ms)]


def any_down(outages: Sequence[Outage], now_ms: int) -> bool:
    """Whether any of several outages holds."""
    return any(outage.is_down(now_ms) for outage in outages)

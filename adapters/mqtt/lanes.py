"""Lanes: which of the messages that wait is dealt with next, when devices return with a backlog of history.

Theory of operation: no I/O and no clock here. A device has one queue, so its messages leave in the order in which they
came, whatever lane it is in. It is in the history lane from its first stored-and-forwarded message (`hist` of the wire
contract) until no such message of it waits any more; otherwise it is in the live lane. A batch takes from the live lane
first and always a share from the history lane, so neither starves the other. In the history lane a device has its turn
for about a day of readings, then the next device; one whose answer to a command waits has the next turn, because the
command has a deadline. What arrives live waits for the batch in hand, so the share of history follows the time that
batches take: large shares drain faster, small ones keep a slow machine's live readings fresh.

What was dealt with is acknowledged when all that came before it was: MQTT 5 (4.6) wants PUBACKs in the order of the
PUBLISHes. Messages that passed a backlog therefore wait for it with nothing but their packet id. When these fill half
of the receive maximum, the device of the oldest message has the next turn, so the window moves on.

Memory: messages by the receive maximum, bytes by `most_bytes`, beyond which `full` asks to take no more. Large payloads
of devices with a backlog are kept packed; arrays of samples shrink to a tenth.

Whether a message is history is looked for in its bytes, not decoded: a wrong guess changes when a message is dealt
with, and never its order among those of its device.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

import msgspec

from adapters.mqtt.reader import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable

_HIST: Final = b'"hist"'
_SPACE_OF_TRUE = 10
"""Characters behind the name within which its `true` stands."""
_PACKED_FROM = 1_024
_OVERHEAD_BYTES = 256
"""Counted for each message beside its payload."""
BATCH_S: Final = 0.5
"""What a batch with history should take; a live message waits for up to two of them."""
LEAST_SHARE: Final = 1_000
MOST_SHARE: Final = 5_000
LARGE_BYTES: Final = 2_048
"""A payload from here on may be an array of samples, which counts as several messages."""


class _Entry(msgspec.Struct, gc=False):
    delivery: Delivery
    device: str
    samples: int
    history: bool
    size: int
    packed: bool = False
    done: bool = False


class _Queue:
    """What waits of one device; `history` counts the stored-and-forwarded ones among it."""

    __slots__ = ("entries", "history")

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.history = 0


def is_history(payload: bytes) -> bool:
    """Whether a payload says that it, or the first of its samples that says anything, was stored and forwarded."""
    at = payload.find(_HIST)
    return at >= 0 and b"true" in payload[at + len(_HIST) : at + len(_HIST) + _SPACE_OF_TRUE]


def needs_lanes(batch: Iterable[Delivery]) -> bool:
    """Whether a batch has history or arrays in it; all others may be handled as they came."""
    for delivery in batch:
        payload = delivery.payload
        if len(payload) >= LARGE_BYTES or (_HIST in payload and is_history(payload)):
            return True
    return False


class Lanes:
    """Messages that were taken from the broker and are not yet acknowledged.

    `live_share` and `history_share` are the samples a batch takes from each lane, over which the last device may go by
    one message; the second one moves with the time that batches take. `turn` is the samples of a device's turn in the
    history lane, `window` the broker's receive maximum.
    """

    def __init__(
        self,
        *,
        window: int,
        live_share: int = 1_000,
        history_share: int = 2_000,
        turn: int = 100,
        most_bytes: int = 64 << 20,
    ) -> None:
        self._window = window
        self._live_share = live_share
        self._history_share = history_share
        self._shares = min(LEAST_SHARE, history_share), max(MOST_SHARE, history_share)
        self._whole_share = False
        self._turn = turn
        self._most_bytes = most_bytes
        self._line: deque[_Entry] = deque()
        self._live: OrderedDict[str, _Queue] = OrderedDict()
        self._history: OrderedDict[str, _Queue] = OrderedDict()
        self._handed: list[_Entry] = []
        self.held_bytes = 0
        """Bytes of what waits, overhead included."""

    @property
    def pending(self) -> bool:
        """Whether anything waits to be handed out."""
        return bool(self._live or self._history)

    @property
    def unfinished(self) -> bool:
        """Whether a batch was handed out that is not `done`."""
        return bool(self._handed)

    @property
    def full(self) -> bool:
        """Whether no more should be taken until some of it is dealt with."""
        return self.held_bytes >= self._most_bytes

    @property
    def unacknowledged(self) -> int:
        """Messages taken and not yet acknowledged, whether dealt with or not."""
        return len(self._line)

    def take_in(self, deliveries: Iterable[Delivery]) -> None:
        """Messages in the order in which the broker delivered them."""
        for delivery in deliveries:
            device, _, verb = delivery.topic.rpartition("/")
            queue = self._history.get(device)
            history = is_history(delivery.payload)
            if queue is None and history:
                queue = self._history[device] = self._live.pop(device) if device in self._live else _Queue()
            elif queue is None:
                queue = self._live.get(device)
                if queue is None:
                    queue = self._live[device] = _Queue()
            elif verb == "ack":
                self._history.move_to_end(device, last=False)
            entry = _entry(delivery, device, history)
            queue.entries.append(entry)
            queue.history += history
            self.held_bytes += entry.size
            if delivery.packet_id:
                self._line.append(entry)

    def next_batch(self) -> list[Delivery]:
        """What to deal with next; `done` must be told before the next one is asked for."""
        assert not self._handed, "the batch before this one is not done"
        self._take_live()
        self._take_history()
        self.held_bytes -= sum(entry.size for entry in self._handed)
        return [_unpacked(entry) for entry in self._handed]

    @property
    def history_share(self) -> int:
        """Samples of history that the next batch takes."""
        return self._history_share

    def done(self, took_s: float = BATCH_S) -> list[Delivery]:
        """The last batch is committed: what may be acknowledged now, in the order in which it came.

        `took_s` is how long it took; the share of history moves towards what takes `BATCH_S`, by no more than half.
        """
        if self._whole_share:
            wanted = round(self._history_share * min(1.5, max(0.5, BATCH_S / max(took_s, 1e-6))))
            self._history_share = min(max(self._shares[0], wanted), self._shares[1])
        for entry in self._handed:
            entry.done = True
        line, ready = self._line, []
        while line and line[0].done:
            ready.append(line.popleft().delivery)
        for entry in self._handed:  # what stays in the line needs no payload any more
            entry.delivery = _emptied(entry.delivery)
        self._handed = []
        return ready

    def _take_live(self) -> None:
        room = self._live_share
        while self._live and room > 0:
            device, queue = next(iter(self._live.items()))
            room -= self._take_from(queue, room)
            if queue.entries:  # one that floods is not always the first
                self._live.move_to_end(device)
            else:
                del self._live[device]

    def _take_history(self) -> None:
        room = self._history_share
        if self._history and len(self._line) > self._window // 2 and self._line[0].device in self._history:
            self._history.move_to_end(self._line[0].device, last=False)
        while self._history and room > 0:
            device, queue = next(iter(self._history.items()))
            room -= self._take_from(queue, min(room, self._turn))
            self._history.move_to_end(device)
            if not queue.history:
                del self._history[device]
                if queue.entries:
                    self._live[device] = queue
        self._whole_share = room <= 0

    def _take_from(self, queue: _Queue, most: int) -> int:
        """Hand out up to `most` samples of one device, the last message whole; returns how many it were."""
        taken = 0
        while queue.entries and taken < most:
            entry = queue.entries.popleft()
            queue.history -= entry.history
            taken += entry.samples
            self._handed.append(entry)
        return taken


def _entry(delivery: Delivery, device: str, history: bool) -> _Entry:
    payload = delivery.payload
    size = len(payload)
    samples = max(1, payload.count(b'"seq"')) if size >= LARGE_BYTES or history else 1
    packed = history and size >= _PACKED_FROM
    if packed:
        kept = zlib.compress(payload, 1)
        delivery = msgspec.structs.replace(delivery, payload=kept)
        size = len(kept)
    return _Entry(delivery, device, samples, history, size + _OVERHEAD_BYTES, packed)


def _unpacked(entry: _Entry) -> Delivery:
    if not entry.packed:
        return entry.delivery
    return msgspec.structs.replace(entry.delivery, payload=zlib.decompress(entry.delivery.payload))


def _emptied(delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, payload=b"")

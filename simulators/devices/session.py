"""The identity of one run of a device: a session id that changes at each restart, sequences that grow within it."""

from __future__ import annotations

from random import Random


class Session:
    """`sid` and the sequences of samples and events of one device; its random source makes a seed repeat them."""

    __slots__ = ("_rng", "event_seq", "seq", "sid")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.sid = ""
        self.seq = 0
        self.event_seq = 0
        self.restart(0)

    def restart(self, now_ms: int) -> None:
        """Begin a new session: another `sid`, the sequences start over.

        The instant goes into the `sid`: a simulator that is started again draws the same numbers again, and a device
        that came back under an old `sid` would have its samples taken for duplicates.
        """
        self.sid = f"{(self._rng.getrandbits(32) ^ now_ms) & 0xFFFF_FFFF:08x}"
        self.seq = 0
        self.event_seq = 0

    def next_seq(self) -> int:
        """The next sample's number; the first one of a session is 1."""
        self.seq += 1
        return self.seq

    def next_event_seq(self) -> int:
        """The next event's number, counted apart from the samples."""
        self.event_seq += 1
        return self.event_seq

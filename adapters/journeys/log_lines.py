"""Journeys in the log: one line a step and message, so that a search for one id finds all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger("twinmeter.journey")


class LoggedJourneys:
    """Every message is followed."""

    def wants(self, _message: str) -> bool:
        """All of them."""
        return True

    def step(self, stage: str, ids: Sequence[str], *, began_ns: int, ended_ns: int, **facts: Any) -> None:
        """A line for each message."""
        took_ms = (ended_ns - began_ns) // 1_000_000
        for name in ids:
            log.info(stage, id=name, took_ms=took_ms, **facts)

    def close(self) -> None:
        """Nothing waits."""


class SeveralJourneys:
    """More than one follower at once."""

    def __init__(self, followers: Sequence[Any]) -> None:
        self._followers = followers

    def wants(self, message: str) -> bool:
        """Whether anybody wants it."""
        return any(follower.wants(message) for follower in self._followers)

    def step(self, stage: str, ids: Sequence[str], *, began_ns: int, ended_ns: int, **facts: Any) -> None:
        """Each follower is told of the messages that it wants."""
        for follower in self._followers:
            chosen = [name for name in ids if follower.wants(name)]
            if chosen:
                follower.step(stage, chosen, began_ns=began_ns, ended_ns=ended_ns, **facts)

    def close(self) -> None:
        """Close every follower."""
        for follower in self._followers:
            follower.close()

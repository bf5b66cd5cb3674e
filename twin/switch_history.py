"""The port to what SQL remembers of a breaker: commands with every step, locks, positions told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twin.core.breaker_why import SwitchHistory


class Switchings(Protocol):
    """What happened to breakers and valves."""

    async def of(self, site: str, device: str, op: str, *, until: int, limit: int) -> SwitchHistory:
        """The newest `limit` commands, changes of locks and reports of a device up to an instant, newest first.

        `op` (`breaker.set`, `valve.set`) says in whose words positions are told.
        """
        ...

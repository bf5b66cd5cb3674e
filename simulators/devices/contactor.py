"""The moving part of a meter's relay, a breaker or a valve.

Positions are the words of the contract as the device sees itself. A breaker or relay lets energy through when it is
`closed`; a valve lets water through when it is `open`, and a trickle when it is `limited`, which some valves know.
`armed` is the position in which nothing flows and the consumer may restore supply by pressing a key. Movement takes
`travel_ms`. A `stuck` contactor does not move at all; the device of a `lying` one claims that it did; a `welded` one
moves its indicator while its contacts stay joined, so it reports no flow and lets energy through all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Position = Literal["open", "armed", "closed", "limited"]
POSITIONS: tuple[Position, ...] = ("open", "armed", "closed")
TRICKLE_MILLI = 100
"""What a limited valve lets through of what would flow, in thousandths."""


class Contactor:
    """Position, movement and defects of one contactor. `before_change` is called with the instant of each change."""

    __slots__ = (
        "before_change", "flowing", "limits", "lying", "moving_to", "position", "ready_ms", "stuck", "travel_ms",
        "welded",
    )  # fmt: skip

    def __init__(
        self, flowing: Literal["open", "closed"] = "closed", travel_ms: int = 0, *, limits: bool = False
    ) -> None:
        self.flowing: Position = flowing
        self.position: Position = flowing
        self.travel_ms = travel_ms
        self.moving_to: Position | None = None
        self.ready_ms = 0
        self.limits = limits
        self.stuck = False
        self.lying = False
        self.welded = False
        self.before_change: list[Callable[[int], object]] = []

    @property
    def passes(self) -> bool:
        """Whether energy or water really flows through."""
        return self.share_milli > 0

    @property
    def share_milli(self) -> int:
        """How much of what could flow does, in thousandths."""
        if self.welded or self.position == self.flowing:
            return 1000
        return TRICKLE_MILLI if self.position == "limited" else 0

    def move(self, target: Position, now_ms: int) -> None:
        """Begin to move; `finish` ends it once `ready_ms` is reached. Arming what already flows leaves it flowing."""
        already_on = target == "armed" and self.position == self.flowing
        self.moving_to = self.position if already_on else target
        self.ready_ms = now_ms + self.travel_ms

    def finish(self, now_ms: int) -> bool | None:
        """End a movement that is due: True when the target is reached, False when it is stuck, None when not due."""
        if self.moving_to is None or now_ms < self.ready_ms:
            return None
        target, self.moving_to = self.moving_to, None
        if target == self.position:
            return True
        if self.stuck:
            return False
        self.set_position(target, self.ready_ms)
        return True

    def stop(self) -> None:
        """Forget a movement under way, as a loss of power does."""
        self.moving_to = None

    def set_position(self, target: Position, at_ms: int) -> None:
        """Change position at once. Meters behind count up to `at_ms` before it changes."""
        self._settle(at_ms)
        self.position = target

    def weld(self, now_ms: int) -> None:
        """Join the contacts: the indicator moves from now on, the contacts do not."""
        self._settle(now_ms)
        self.welded = True
        self.stuck = False

    def repair(self, now_ms: int) -> None:
        """Undo `stuck`, `lying` and `welded`."""
        self._settle(now_ms)
        self.welded = False
        self.stuck = False
        self.lying = False

    def press_key(self, now_ms: int) -> bool:
        """The consumer's key: restores supply from `armed`, cuts it while it flows. False when nothing happens."""
        if self.stuck or self.moving_to is not None:
            return False
        if self.position == "armed":
            self.set_position(self.flowing, now_ms)
            return True
        if self.position == self.flowing:
            self.set_position("open" if self.flowing == "closed" else "closed", now_ms)
            return True
        return False

    def throw_lever(self, on: bool, now_ms: int) -> bool:
        """Somebody moves the lever itself, whatever the device was told. False when nothing happens."""
        target: Position = self.flowing if on else ("open" if self.flowing == "closed" else "closed")
        if self.stuck or self.position == target:
            return False
        self.moving_to = None
        self.set_position(target, now_ms)
        return True

    def _settle(self, at_ms: int) -> None:
        # Meters behind count with the old state of the contacts up to the instant of the change.
        for settle in self.before_change:
            settle(at_ms)

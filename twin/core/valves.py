"""Valves in the language of switches.

A breaker that is *open* interrupts, a valve that is *open* lets water flow. Inside the twins every actuator speaks
switch language (`open` means nothing flows); on the wire a valve speaks its own. These two functions are the only
place where the words change sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin.core.model import Relay

_FROM_VALVE: dict[str, Relay] = {"open": "closed", "closed": "open", "limited": "limited"}
_TO_VALVE = {"open": "closed", "closed": "open", "armed": "open", "limited": "limited"}


def relay_of_valve(valve: str) -> Relay | None:
    """Switch position of a valve; None while it is moving."""
    return _FROM_VALVE.get(valve)


def wire_target(op: str, target: str) -> str:
    """What the command on the wire says: `target` in switch language, for `breaker.set` or `valve.set`."""
    return _TO_VALVE[target] if op == "valve.set" else target

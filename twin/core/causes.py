"""Causes of movements, in the words of devices: what a hand on site did, what a device's own protection did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.lock_kinds import SAFETY

if TYPE_CHECKING:
    from twin.core.model import BreakerTwin

BY_HAND = frozenset({"key", "button", "lever", "manual", "local"})
"""Causes by which a device says that somebody on site moved it."""
NEVER_OURS = BY_HAND | {"trip", "protection", "overcurrent", "short_circuit", *SAFETY}
"""Causes of a hand on site, or of the device's own protection: no command did that, however soon after one it came, and
nothing is closed again for it."""
BY_ITSELF = frozenset({"rule", "platform", "calendar/schedule"})
"""Who releases locks without anybody having looked."""


def opened_there(breaker: BreakerTwin) -> bool:
    """Whether a hand or the device's own protection has opened a breaker, and nobody has closed it since."""
    known = breaker.incidents.get("opened_locally")
    return known is not None and known.detail in NEVER_OURS and breaker.relay != "closed"

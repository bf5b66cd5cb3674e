"""The device's side of the message `cfg` (CONTRACT.md 2).

Theory of operation
-------------------
The message carries the whole configuration and a version. A device takes one whose version is higher than its own, in
place of all it had, keeps it over restarts and tells the version in its birth and state; any other it ignores. It also
answers one that it ignores with its state, so that whoever sent it learns what is in force. What a device does not
know of a configuration it stores and does not act on.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import msgspec

LIMIT_FOR_MS = 60_000
"""How long the power may stay above a limit that does not say."""
LOOK_EVERY_MS = 5_000
"""A device that has a limit looks at its power at least this often."""
MOST = 1 << 53


class Configuration(msgspec.Struct):
    """The configuration in force; it survives reboots."""

    ver: int = 0
    settings: dict[str, Any] = {}

    def receive(self, document: Any) -> bool | None:
        """Take a document: True when it is in force now, False when its version is none that is higher, None when it is
        no configuration at all."""
        if not isinstance(document, dict) or document.get("v") != 1:
            return None
        ver, settings = document.get("ver"), document.get("set")
        if not _is_whole(ver, 1) or not isinstance(settings, dict):
            return None
        if ver <= self.ver:
            return False
        self.ver, self.settings = ver, dict(settings)
        return True

    @property
    def limit_w(self) -> int | None:
        """Power above which the device trips, W; None without a limit."""
        limit_w = self.settings.get("limit_w")
        return limit_w if _is_whole(limit_w, 0) else None

    @property
    def limit_for_ms(self) -> int:
        """How long the power may stay above the limit."""
        limit_for_ms: Any = self.settings.get("limit_for_ms")
        return limit_for_ms if _is_whole(limit_for_ms, 0) else LIMIT_FOR_MS

    @property
    def interval_ms(self) -> int | None:
        """Time between regular samples; None where the device keeps its own."""
        interval_s = self.settings.get("interval_s")
        return interval_s * 1000 if _is_whole(interval_s, 1) else None


class LoadGuard:
    """Watches one power against the limit in force. `now_ms` is true time."""

    __slots__ = ("configuration", "look_at_ms", "over_since_ms")

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.over_since_ms: int | None = None
        self.look_at_ms: int | None = None

    def look(self, power_w: int, now_ms: int) -> bool:
        """Look at the power; True when it has been above the limit for too long."""
        limit_w = self.configuration.limit_w
        if limit_w is None:
            self.over_since_ms = self.look_at_ms = None
            return False
        patience_ms = self.configuration.limit_for_ms
        if power_w <= limit_w:
            self.over_since_ms = None
        elif self.over_since_ms is None:
            self.over_since_ms = now_ms
        over_since_ms = self.over_since_ms
        if over_since_ms is not None and now_ms - over_since_ms >= patience_ms:
            self.over_since_ms = None
            self.look_at_ms = now_ms + LOOK_EVERY_MS
            return True
        soon_ms = now_ms + LOOK_EVERY_MS
        self.look_at_ms = soon_ms if over_since_ms is None else min(soon_ms, over_since_ms + patience_ms)
        return False


def _is_whole(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST

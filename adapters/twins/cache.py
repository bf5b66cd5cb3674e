"""What one process remembers of the twins, so that most readings need no question to Redis before they are decided.

Nothing here is trusted: a commit is fenced by the stored revision, and whatever was refused, lost or left in doubt is
dropped and read again. Both memories are bounded and forget what was used longest ago.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from adapters.twins.change import devices_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from twin.core.model import Group

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A bounded mapping that forgets its least recently used entry."""

    __slots__ = ("_entries", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which counts as a use; None when it is not here."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember a value; does nothing with a limit of 0."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget one entry, if it is here."""
        self._entries.pop(key, None)

    def drop_where(self, condition: Callable[[K], bool]) -> None:
        """Forget every entry whose key fits. Walks through all of them."""
        for key in [key for key in self._entries if condition(key)]:
            del self._entries[key]


class Memory:
    """Groups and the directory of one process, over all its sites. `seconds` is a monotonic clock."""

    def __init__(self, *, groups: int, devices: int, absent_s: float, seconds: Callable[[], float]) -> None:
        self._groups: Recent[tuple[str, str], Group] = Recent(groups)
        self._holders: Recent[tuple[str, str], str] = Recent(devices)
        self._absent: Recent[tuple[str, str], float] = Recent(min(devices, 10_000))
        self._absent_s = absent_s
        self._seconds = seconds

    def nothing(self) -> Memory:
        """A memory that keeps nothing, by the same clock."""
        return Memory(groups=0, devices=0, absent_s=0.0, seconds=self._seconds)

    def group(self, site: str, group: str) -> Group | None:
        """The group as last read or committed by this process."""
        return self._groups.get((site, group))

    def keep(self, group: Group) -> None:
        """Remember a group, unless a later revision is here already (answers may overtake each other)."""
        key = (group.site, group.id)
        known = self._groups.get(key)
        if known is None or known.revision <= group.revision:
            self._groups.put(key, group)

    def drop(self, group: Group) -> None:
        """Forget a group and where its devices are: somebody else changed it."""
        self._groups.drop((group.site, group.id))
        for device in devices_of(group):
            self._holders.drop((group.site, device))

    def drop_site(self, site: str) -> None:
        """Forget everything about a site."""
        for recent in (self._groups, self._holders, self._absent):
            recent.drop_where(lambda key: key[0] == site)

    def holder(self, site: str, device: str) -> str | None:
        """Group that holds a device, if this process knows it."""
        return self._holders.get((site, device))

    def is_absent(self, site: str, device: str) -> bool:
        """True when the store was asked for this device a moment ago and did not have it."""
        asked_at = self._absent.get((site, device))
        return asked_at is not None and self._seconds() - asked_at < self._absent_s

    def forget_holder(self, site: str, device: str) -> None:
        """Ask the store again where this device is."""
        self._holders.drop((site, device))

    def learn_holder(self, site: str, device: str, group: str | None) -> None:
        """Remember where a device is, or that nobody has it."""
        if group is None:
            self._absent.put((site, device), self._seconds())
        else:
            self._absent.drop((site, device))
            self._holders.put((site, device), group)

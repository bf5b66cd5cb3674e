"""What the HTTP API needs of alarms, and of lists in pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from twin.ports import PendingAct

T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """Some items and the cursor of the next page; None at the end."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str | None: ...


class Alarm(Protocol):
    """An alarm, and what people made of it."""

    @property
    def id(self) -> int: ...
    @property
    def rule(self) -> str: ...
    @property
    def rule_version(self) -> int: ...
    @property
    def twin(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def since(self) -> int: ...
    @property
    def changed_ts(self) -> int: ...
    @property
    def cleared_ts(self) -> int | None: ...
    @property
    def severity(self) -> str: ...
    @property
    def active(self) -> bool: ...
    @property
    def because(self) -> dict[str, Any]: ...
    @property
    def acknowledged(self) -> bool: ...
    @property
    def acknowledged_by(self) -> str: ...
    @property
    def acknowledged_ts(self) -> int | None: ...
    @property
    def assignee(self) -> str: ...
    @property
    def shelved(self) -> bool: ...
    @property
    def shelved_until(self) -> int | None: ...
    @property
    def shelved_by(self) -> str: ...
    @property
    def shelf_reason(self) -> str: ...
    @property
    def shelved_severity(self) -> str: ...


class AlarmNote(Protocol):
    """One thing that somebody did to an alarm or said of it."""

    @property
    def ts(self) -> int: ...
    @property
    def who(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def text(self) -> str: ...


class Alarms(Protocol):
    """Alarms, and people's care of them."""

    async def page(
        self,
        site: str,
        *,
        now: int,
        active: bool | None = None,
        acknowledged: bool | None = None,
        shelved: Literal["hidden", "only", "shown"] = "hidden",
        severity: str | None = None,
        assignee: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Any]:
        """Alarms, newest first."""
        ...

    async def alarm(self, site: str, alarm: int, *, now: int) -> Alarm | None:
        """One alarm; None for an unknown one."""
        ...

    async def evidence(self, site: str, alarm: Any) -> dict[str, Any] | None:
        """The samples that proved an alarm; None for one that rests on none."""
        ...

    async def notes(self, site: str, alarm: Any, *, cursor: str | None = None, limit: int = 100) -> Page[Any]:
        """The history of an alarm's care, newest first."""
        ...

    async def care(
        self,
        site: str,
        *,
        alarm: int,
        what: str,
        who: str,
        ts: int,
        key: str,
        text: str = "",
        assignee: str = "",
        until: int = 0,
    ) -> PendingAct:
        """Do what somebody wants, once by (who, key). Raises LookupError, and ValueError as `field: what is wrong`."""
        ...

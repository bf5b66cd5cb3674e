"""Recorded history and versions of rules, as the flows need them: value types, and ports beside `twin.ports`.

History is what devices sent, byte for byte, with the instant of receipt; what people did (top-ups, locks, contracts)
stands in SQL as acts. Both together make the twins of a past span again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from twin.core.model import Group
from twin.ports import PendingAct, SiteDocument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

Side = Literal["active", "candidate"]


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One message of a device as it came; `received_at` is the platform's now at its receipt, Unix ms."""

    received_at: int
    device: str
    verb: str
    payload: bytes


class HistoryExtent(msgspec.Struct, frozen=True):
    """What is recorded of a site: first and last receipt, how many messages, and what they weigh in the database."""

    from_ts: int
    to_ts: int
    messages: int
    blob_bytes: int
    blocks: int


class Window(msgspec.Struct, frozen=True):
    """A stretch of recorded messages in the order of receipt; windows of a site do not overlap but for equal
    instants."""

    seq: int
    messages: list[Recorded]


class History(Protocol):
    """Recorded messages of sites."""

    async def append(self, site: str, messages: Sequence[Recorded]) -> None:
        """Write messages in their order of receipt, in one transaction; the same again is kept again, and harmless."""
        ...

    async def compact(self, site: str, *, now: int) -> int:
        """Sort what came long enough ago by device; returns how many messages were. May be interrupted at any time."""
        ...

    async def forget(self, site: str, *, before: int) -> int:
        """Delete blocks that ended before an instant; returns how many."""
        ...

    async def extent(self, site: str) -> HistoryExtent | None:
        """What is there; None where nothing is recorded."""
        ...

    def windows(
        self, site: str, from_ts: int, to_ts: int, devices: Collection[str] | None = None
    ) -> AsyncIterator[Window]:
        """Messages received in `[from_ts, to_ts)`, of all devices or of some, in the order of receipt, in bounded
        memory."""
        ...

    def tail(self, site: str, after: int) -> AsyncIterator[Window]:
        """Windows behind a number, as far as they are written now."""
        ...


class Past(Protocol):
    """The site as it was, as far as SQL knows."""

    async def groups_at(self, site: str, at: int, groups: Collection[str] | None = None) -> list[Group]:
        """Groups with contracts, totals, locks, rule states and register heads as of an instant."""
        ...

    async def acts_between(
        self, site: str, from_ts: int, to_ts: int, groups: Collection[str] | None = None
    ) -> list[PendingAct]:
        """Acts of `[from_ts, to_ts)` by instant, each group's in the order of its numbers."""
        ...

    async def firing(self, site: str, rule: str, twins: Collection[str], at: int) -> dict[str, Any] | None:
        """The record that explains the last firing of a rule for one of some twins, at or before an instant."""
        ...

    async def sources_between(self, site: str, from_ts: int, to_ts: int) -> list[tuple[int, SiteDocument]]:
        """Policy sources in force at `from_ts`, and every change of rules or tariffs until `to_ts`, with its
        instant."""
        ...


# --- versions of rules --------------------------------------------------------------------------------------------


class StoredVersion(msgspec.Struct, frozen=True):
    """One version of a ruleset as it was added; immutable."""

    ruleset: str
    version: int
    digest: str
    who: str
    ts: int
    active: bool


class Activation(msgspec.Struct, frozen=True):
    """The pointer of a ruleset was moved: from `previous` to `version` (None: to nothing)."""

    ruleset: str
    version: int | None
    previous: int | None
    ts: int
    who: str
    why: str
    source: str
    """`import`, `activate`, `rollback` or `deactivate`."""


class VersionRefusedError(Exception):
    """A version cannot be added or activated; `code` is stable (`version_exists`, `unknown_version`,
    `already_active`, `nothing_to_roll_back`, `rules_invalid`, `rule_conflicts`, `moved`), `detail` is for people."""

    def __init__(self, code: str, detail: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.problems = problems


class RuleBook(Protocol):
    """Versions of rulesets in SQL, and the pointer to the active one."""

    async def add(self, site: str, document: dict[str, Any], *, who: str, now: int) -> bool:
        """Store a checked document as a version; False where the same stands there already. Raises
        VersionRefusedError."""
        ...

    async def versions(self, site: str, ruleset: str | None = None) -> list[StoredVersion]:
        """All versions, by ruleset and number."""
        ...

    async def activations(self, site: str, ruleset: str | None = None) -> list[Activation]:
        """Every move of the pointers, oldest first."""
        ...

    async def version_document(self, site: str, ruleset: str, version: int) -> dict[str, Any] | None:
        """The document of a version."""
        ...

    async def point(
        self,
        site: str,
        ruleset: str,
        version: int | None,
        *,
        expected: int | None,
        who: str,
        why: str,
        now: int,
        source: str,
    ) -> Activation:
        """Move the pointer, with its record and its audit, in one transaction. Raises VersionRefusedError where it no
        longer points to `expected`, or the version is unknown."""
        ...


# --- findings -----------------------------------------------------------------------------------------------------


class Finding(msgspec.Struct, frozen=True, order=True):
    """Something a version of the rules did, or would have done, to a twin.

    `kind`: `fired`, `cleared`, `cut` (the first lock interrupts the supply), `locked` (one more lock), `unlocked`,
    `reconnected` (the last lock is gone), `alarm`, `alarm_over`, `notified`, `webhook`. `twin` is the device or tenant
    it was done to, `rule` who did it (`person` or `platform` where no rule did).
    """

    ts: int
    kind: str
    rule: str
    twin: str
    tenant: str = ""
    detail: str = ""


class Shadow(msgspec.Struct, frozen=True):
    """A version evaluated on what happens, without acting. `state`: running, stopped, activated, failed."""

    id: int
    site: str
    ruleset: str
    version: int
    state: str
    started_ts: int
    started_by: str
    stopped_ts: int | None = None
    stopped_by: str | None = None
    seen_ts: int | None = None
    messages: int = 0
    detail: str = ""


class Shadows(Protocol):
    """Shadow runs and what they found."""

    async def start(self, site: str, ruleset: str, version: int, *, who: str, now: int) -> Shadow:
        """Begin one; the one that runs for this ruleset ends. Raises VersionRefusedError for an unknown version."""
        ...

    async def stop(self, site: str, ruleset: str, *, who: str, now: int, state: str, detail: str = "") -> Shadow | None:
        """End the one that runs; None where none does."""
        ...

    async def running(self, site: str | None = None) -> list[Shadow]:
        """Those that run."""
        ...

    async def latest(self, site: str, ruleset: str | None = None) -> list[Shadow]:
        """The newest of each ruleset, running or not."""
        ...

    async def keep(
        self, shadow: Shadow, findings: Sequence[tuple[Side, Finding]], *, seen_ts: int, messages: int
    ) -> None:
        """Add findings (each once) and say how far the run is."""
        ...

    async def findings(self, shadow: int, *, limit: int = 100_000) -> list[tuple[Side, Finding]]:
        """What it found so far, oldest first."""
        ...

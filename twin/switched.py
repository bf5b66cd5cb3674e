"""Values and the port of bulk switching: jobs as SQL keeps them, and what the flow that runs them needs of SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from twin.core.bulk import Judgement, Operation, Pace, Selection, Tally, Target, Wish

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from twin.ports import Caller, PendingAct


class NewJob(msgspec.Struct, frozen=True):
    """An order for many breakers, planned: `targets` are all that it is about, those left out with their reasons."""

    wish: Wish
    selection: Selection
    pace: Pace
    targets: tuple[Target, ...]
    until: int | None = None
    undo_of: str = ""


class SwitchJob(msgspec.Struct, frozen=True):
    """A job as it stands. `reason` says why it was halted; `changed_by` and `changed_why` who moved it last."""

    site: str
    id: str
    operation: Operation
    lock: str
    who: str
    why: str
    asked_ts: int
    state: str
    selection: Selection
    pace: Pace
    include: tuple[str, ...] = ()
    undo_of: str = ""
    until: int | None = None
    approval: str = ""
    reason: str = ""
    changed_by: str = ""
    changed_why: str = ""
    changed_ts: int = 0
    started_ts: int | None = None
    ended_ts: int | None = None
    bad_before: int = 0
    settled_before: int = 0
    tally: Tally = Tally()

    @property
    def before(self) -> Tally:
        """What had settled when the job was started or last resumed, as far as it is counted against its threshold."""
        return Tally(verified=self.settled_before - self.bad_before, failed=self.bad_before)

    @property
    def reason_given(self) -> str:
        """Why a breaker is locked by this job: the person's words and the job, which the lock is known by."""
        return f"{self.why} [{self.id}]"

    @property
    def total(self) -> int:
        """How many breakers it is about, those left out included."""
        tally = self.tally
        return tally.waiting + tally.sent + tally.settled + tally.skipped + tally.left


class SwitchStep(msgspec.Struct, frozen=True):
    """One breaker of a job. `late`: proved only after it had been counted as silent or failed."""

    device: str
    tenant: str
    group: str
    state: str
    reason: str = ""
    detail: str = ""
    command: str = ""
    act_seq: int | None = None
    sent_ts: int | None = None
    settled_ts: int | None = None
    late: bool = False


class SwitchBook(Protocol):
    """Jobs in SQL; every method is one transaction. All raise LookupError for an unknown site."""

    async def start(self, site: str, order: NewJob, caller: Caller) -> tuple[SwitchJob, bool]:
        """Record a job, running, or asked where a second person must agree; the same caller and key give the same job
        (True: it was there). Raises MoneyRefusedError `idempotency_conflict`, `nothing_to_switch`."""
        ...

    async def job(self, site: str, job: str) -> SwitchJob | None:
        """One job with its tally; None for an unknown one."""
        ...

    async def jobs(self, site: str, *, before: int = ..., limit: int = 100) -> list[tuple[int, SwitchJob]]:
        """Jobs with their positions, newest first."""
        ...

    async def at_work(self, *, late_since: int) -> list[SwitchJob]:
        """Jobs of all sites that somebody must look after: running ones, and those that have steps under way or, of
        those that ended after `late_since`, silent."""
        ...

    async def steps(
        self, site: str, job: str, *, states: Collection[str] = (), after: int = 0, limit: int = 1_000
    ) -> list[tuple[int, SwitchStep]]:
        """Steps with their positions, in order; in some states where asked."""
        ...

    async def move(self, site: str, job: str, how: str, who: str, why: str, ts: int) -> SwitchJob:
        """Stop, resume or cancel. Raises MoneyRefusedError `unknown_job`, `job_state`."""
        ...

    async def send(self, job: SwitchJob, checked: Sequence[Target], ts: int) -> list[PendingAct]:
        """Place (or take off) the lock on breakers that still wait, and give the acts; those with a `skip` are left
        out. Nothing happens where the job runs no more."""
        ...

    async def settle(self, job: SwitchJob, found: Sequence[tuple[str, Judgement]], ts: int) -> None:
        """Record what came of breakers; what is proved already stays."""
        ...

    async def halt(self, job: SwitchJob, reason: str, ts: int) -> None:
        """Stop a running job because too much went wrong, with an alarm."""
        ...

    async def finish(self, job: SwitchJob, ts: int) -> None:
        """A running job has nothing left to do."""
        ...

    async def needs_approval(self, site: str, size: int, operation: str, who: str, ts: int) -> bool:
        """Whether so many breakers need a second person, with those that this person has lately ordered alone."""
        ...

    async def critical(self, site: str) -> frozenset[str]:
        """Breakers that must not be switched in bulk, as the site file says."""
        ...

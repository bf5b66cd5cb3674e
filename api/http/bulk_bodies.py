"""Bulk switching over the wire: what is asked, and what is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from api.http.bodies import Ms
from api.http.numbers import LAST_INSTANT
from api.http.requests import Reason
from twin.core.bulk import MOVES, Pace, Selection, Wish
from twin.core.bulk_words import REASONS, STATES

if TYPE_CHECKING:
    from twin.core.bulk import Target
    from twin.flows.switch_in_bulk import Preview
    from twin.switched import SwitchJob, SwitchStep

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Names = Annotated[list[Name], msgspec.Meta(max_length=20_000)]
Code = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6}-[0-9a-f]{8}$", examples=["12-0a1b2c3d"])]
MOST_LISTED = 500
"""Breakers of each kind that a preview lists; it counts all of them."""


class SwitchSelection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whom it is about: every condition given must hold. `everything` is needed where none is given."""

    everything: bool = False
    devices: Names = []
    tenants: Names = []
    groups: Annotated[
        Names, msgspec.Meta(description="Kinds of tenant as the site names them, such as buildings.")
    ] = []
    gateways: Names = []
    utility: Literal["", "electricity", "water"] = ""
    query: Annotated[
        str,
        msgspec.Meta(
            max_length=2_000,
            description="A condition of the rule language about the breaker.",
            examples=['tenant.mode == "prepaid" && account.balance < money("0")'],
        ),
    ] = ""

    def selection(self) -> Selection:
        """The value of the core."""
        given = {name: getattr(self, name) for name in ("devices", "tenants", "groups", "gateways")}
        lists = {name: tuple(dict.fromkeys(names)) for name, names in given.items()}
        return Selection(everything=self.everything, utility=self.utility, query=self.query, **lists)


class SwitchPreviewRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What would be ordered. `include` names reasons that shall leave nobody out."""

    operation: Literal["open", "close"]
    select: SwitchSelection
    lock: Literal["manual", "maintenance"] = "manual"
    include: list[Literal["guaranteed", "critical", "unreachable", "opened_on_site"]] = []

    def wish(self) -> Wish:
        """The value of the core."""
        return Wish(self.operation, self.lock, tuple(sorted(set(self.include))))


class SwitchRequest(SwitchPreviewRequest, forbid_unknown_fields=True, kw_only=True):
    """An order, with the `code` of the preview that showed who takes part."""

    code: Code
    reason: Reason
    until: (
        Annotated[int, msgspec.Meta(gt=0, le=LAST_INSTANT, description="Unix ms at which the locks end by themselves.")]
        | None
    ) = None
    wave: Annotated[int, msgspec.Meta(ge=1, le=5_000, description="Breakers at once.")] = 25
    pause_s: Annotated[int, msgspec.Meta(ge=0, le=3_600, description="Seconds between two waves.")] = 5
    answer_s: Annotated[
        int, msgspec.Meta(ge=1, le=3_600, description="Seconds until a breaker without proof counts as silent.")
    ] = 120
    most_failures: (
        Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="The job halts beyond so many.")] | None
    ) = None
    most_percent: (
        Annotated[int, msgspec.Meta(ge=0, le=100, description="It halts beyond such a share; null: never.")] | None
    ) = 20

    def pace(self) -> Pace:
        """The value of the core."""
        limits = (self.most_failures, self.most_percent)
        return Pace(self.wave, self.pause_s * 1000, self.answer_s * 1000, *limits)


class SwitchReason(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why."""

    reason: Reason


class SwitchTarget(msgspec.Struct, kw_only=True):
    """A breaker, and why it is left out where it is."""

    device: str
    tenant: str
    skip: str = ""
    zh: str = ""
    en: str = ""
    detail: str = ""


class SwitchPreview(msgspec.Struct, kw_only=True):
    """Who would be switched and who is left out (at most 500 of each; the counts are of all). `code` stands for exactly
    those that take part, and is asked for at the start."""

    code: str
    taking_part: int
    left_out: int
    skips: dict[str, int]
    needs_approval: bool
    affected: list[SwitchTarget]
    skipped: list[SwitchTarget]


class SwitchTally(msgspec.Struct, kw_only=True):
    """How many breakers are in each state."""

    waiting: int
    sent: int
    verified: int
    failed: int
    silent: int
    skipped: int
    left: int


class SwitchJobBody(msgspec.Struct, kw_only=True):
    """A job as it stands. `can` lists what may be done with it now."""

    id: str
    operation: Literal["open", "close", "undo"]
    lock: str
    state: Literal["asked", "running", "stopped", "halted", "done", "cancelled", "refused"]
    reason: str
    who: str
    why: str
    asked_ts: Ms
    started_ts: Ms | None
    ended_ts: Ms | None
    changed_by: str
    changed_why: str
    changed_ts: Ms
    approval: str
    undo_of: str
    include: list[str]
    selection: dict[str, Any]
    pace: dict[str, Any]
    until: Ms | None
    total: int
    tally: SwitchTally
    can: list[str]


class SwitchJobPage(msgspec.Struct):
    """Jobs, newest first."""

    items: list[SwitchJobBody]
    next: str | None = None


class SwitchStepBody(msgspec.Struct, kw_only=True):
    """One breaker of a job. `late`: proved only after it had counted as failed or silent."""

    device: str
    tenant: str
    state: Literal["waiting", "sent", "verified", "failed", "silent", "skipped", "left"]
    zh: str
    en: str
    reason: str
    reason_zh: str
    reason_en: str
    detail: str
    command: str
    sent_ts: Ms | None
    settled_ts: Ms | None
    late: bool


class SwitchStepPage(msgspec.Struct):
    """Breakers of a job in their order."""

    items: list[SwitchStepBody]
    next: str | None = None


def preview_body(seen: Preview, *, needs_approval: bool) -> SwitchPreview:
    """A preview as it is answered."""
    skips: dict[str, int] = {}
    for target in seen.left_out:
        skips[target.skip] = skips.get(target.skip, 0) + 1
    return SwitchPreview(
        code=seen.code,
        taking_part=len(seen.taking_part),
        left_out=len(seen.left_out),
        skips=skips,
        needs_approval=needs_approval,
        affected=[_target(target) for target in seen.taking_part[:MOST_LISTED]],
        skipped=[_target(target) for target in seen.left_out[:MOST_LISTED]],
    )


def _target(target: Target) -> SwitchTarget:
    zh, en = REASONS.get(target.skip, (target.skip, target.skip))
    return SwitchTarget(
        device=target.device, tenant=target.tenant, skip=target.skip, zh=zh, en=en, detail=target.detail
    )


def job_body(job: SwitchJob) -> SwitchJobBody:
    """A job as it is answered."""
    can = [verb for verb, state in MOVES if state == job.state]
    if job.operation == "open" and job.state != "running" and job.started_ts is not None:
        can.append("undo")
    tally = SwitchTally(**{name: getattr(job.tally, name) for name in SwitchTally.__struct_fields__})
    own = ("id", "operation", "lock", "state", "reason", "who", "why", "asked_ts", "started_ts", "ended_ts")
    more = ("changed_by", "changed_why", "changed_ts", "approval", "undo_of", "until", "total")
    return SwitchJobBody(
        **{name: getattr(job, name) for name in (*own, *more)},
        include=list(job.include),
        selection=msgspec.to_builtins(job.selection),
        pace=msgspec.to_builtins(job.pace),
        tally=tally,
        can=can,
    )


def step_body(step: SwitchStep) -> SwitchStepBody:
    """A step as it is answered."""
    zh, en = STATES[step.state]
    reason_zh, reason_en = REASONS.get(step.reason, (step.reason, step.reason))
    same = ("device", "tenant", "state", "reason", "detail", "command", "sent_ts", "settled_ts", "late")
    return SwitchStepBody(
        **{name: getattr(step, name) for name in same}, zh=zh, en=en, reason_zh=reason_zh, reason_en=reason_en
    )

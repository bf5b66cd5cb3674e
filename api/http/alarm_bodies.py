"""What goes in and out over the wire about alarms, as types from which the OpenAPI document is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from api.http.bodies import Ms
from api.http.numbers import LAST_INSTANT
from twin.flows.evidence_words import evidence_words

if TYPE_CHECKING:
    from datetime import tzinfo

    from api.http.alarm_backend import Alarm, AlarmNote

Severity = Literal["info", "warning", "minor", "major", "critical"]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"\S", examples=["called the electrician"])]


class AlarmRow(msgspec.Struct, kw_only=True):
    """An alarm, and what people made of it."""

    id: Annotated[int, msgspec.Meta(description="Names the alarm in the calls that take care of it.")]
    rule: str
    rule_version: int
    twin: str
    tenant: str
    severity: str
    active: bool
    since: Ms
    changed: Ms
    cleared: Ms | None
    acknowledged: Annotated[
        bool, msgspec.Meta(description="Somebody has seen it at this severity; worse again, it is unacknowledged.")
    ]
    acknowledged_by: str
    acknowledged_at: Ms | None
    assignee: Annotated[str, msgspec.Meta(description="Who takes care of it; empty: nobody.")]
    shelved: Annotated[
        bool, msgspec.Meta(description="Put aside: not notified and not listed; never above `shelved_severity`.")
    ]
    shelved_until: Annotated[int | None, msgspec.Meta(description="Unix ms at which the shelf ends by itself.")]
    shelved_by: str
    shelf_reason: str
    shelved_severity: str
    because: dict[str, Any]


class AlarmPage(msgspec.Struct):
    """One page of alarms, newest first."""

    items: list[AlarmRow]
    next: str | None


class EvidenceSample(msgspec.Struct):
    """What the meter said at an instant."""

    at: Ms
    power_w: int
    idle_va: Annotated[int | None, msgspec.Meta(description="Power that is not active, VA; null: not told.")]


class StepEvidence(msgspec.Struct, kw_only=True):
    """What proves an alarm about a step of power."""

    meter: str
    at: Annotated[int, msgspec.Meta(description="Instant of the step, Unix ms.")]
    source: Annotated[
        Literal["stream", "device"],
        msgspec.Meta(description="Found in its stream, or told by the meter itself."),
    ]
    step_class: Annotated[str, msgspec.Meta(description="malignant, allowed, motor, reactive, outside or unknown.")]
    step_w: int
    step_pf_milli: Annotated[int | None, msgspec.Meta(description="Increment factor dP/dS, thousandths.")]
    inrush_w: Annotated[int | None, msgspec.Meta(description="Peak of the first seconds above the level before.")]
    restored: Annotated[bool, msgspec.Meta(description="The supply had come back a moment before.")]
    params: Annotated[dict[str, Any], msgspec.Meta(description="The parameters it was judged by.")]
    before: list[EvidenceSample]
    after: list[EvidenceSample]
    words: Annotated[dict[str, str], msgspec.Meta(description="In one sentence, zh and en.")]


class AlarmEvidence(msgspec.Struct):
    """The evidence of an alarm; null where it rests on none, as one about a balance."""

    evidence: StepEvidence | None


class AlarmNoteRow(msgspec.Struct, kw_only=True):
    """One thing that somebody did to an alarm or said of it."""

    at: Ms
    who: str
    what: Annotated[str, msgspec.Meta(description="ack, unack, comment, assign, shelve or unshelve.")]
    text: str


class AlarmNotePage(msgspec.Struct):
    """One page of an alarm's history, newest first."""

    items: list[AlarmNoteRow]
    next: str | None


class CommentRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Something to say about an alarm."""

    text: Text


class AckRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Seen; a comment may go with it."""

    text: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class AssignRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Who is to take care of an alarm; empty: nobody."""

    assignee: Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["lin"])]


class ShelveRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Put a rule's alarms of a twin aside for a reason, until an instant at most 90 days ahead."""

    reason: Text
    until: Annotated[int, msgspec.Meta(gt=0, le=LAST_INSTANT, description="Unix ms at which the shelf ends by itself.")]


def alarm_row(alarm: Alarm) -> AlarmRow:
    """An alarm of the store as it goes out."""
    return AlarmRow(
        id=alarm.id,
        rule=alarm.rule,
        rule_version=alarm.rule_version,
        twin=alarm.twin,
        tenant=alarm.tenant,
        severity=alarm.severity,
        active=alarm.active,
        since=alarm.since,
        changed=alarm.changed_ts,
        cleared=alarm.cleared_ts,
        acknowledged=alarm.acknowledged,
        acknowledged_by=alarm.acknowledged_by,
        acknowledged_at=alarm.acknowledged_ts,
        assignee=alarm.assignee,
        shelved=alarm.shelved,
        shelved_until=alarm.shelved_until,
        shelved_by=alarm.shelved_by,
        shelf_reason=alarm.shelf_reason,
        shelved_severity=alarm.shelved_severity,
        because=alarm.because,
    )


def evidence_body(found: dict[str, Any] | None, zone: tzinfo) -> AlarmEvidence:
    """The evidence of the store as it goes out."""
    if found is None:
        return AlarmEvidence(None)
    return AlarmEvidence(
        StepEvidence(
            meter=found["meter"],
            at=found["at"],
            source=found["source"],
            step_class=found["class"],
            step_w=found["step_w"],
            step_pf_milli=found.get("step_pf_milli"),
            inrush_w=found.get("inrush_w"),
            restored=found["restored"],
            params=found["params"],
            before=[EvidenceSample(*one) for one in found["before"]],
            after=[EvidenceSample(*one) for one in found["after"]],
            words=evidence_words(found, zone),
        )
    )


def note_row(note: AlarmNote) -> AlarmNoteRow:
    """A note of the store as it goes out."""
    return AlarmNoteRow(at=note.ts, who=note.who, what=note.what, text=note.text)

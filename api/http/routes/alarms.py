"""Alarms: what stands, and what people make of it. None of this switches anything or moves money."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Response, get, post
from litestar.params import Parameter

from api.http.acts import deliver
from api.http.alarm_backend import Alarm
from api.http.alarm_bodies import (
    AckRequest,
    AlarmEvidence,
    AlarmNotePage,
    AlarmPage,
    AlarmRow,
    AssignRequest,
    CommentRequest,
    Severity,
    ShelveRequest,
    alarm_row,
    evidence_body,
    note_row,
)
from api.http.backend import Platform
from api.http.identity import Person, require
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import IdempotencyKey, Site
from api.http.permissions import PERMISSIONS
from api.http.problems import Problem, invalid
from api.http.repeats import Call, once
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals

AlarmId = Annotated[int, Parameter(ge=1, le=2**63 - 1, description="Id of the alarm.")]
Active = Annotated[
    bool | None, Parameter(query="active", description="true: those that stand; false: those that are over.")
]
Acknowledged = Annotated[
    bool | None, Parameter(query="acknowledged", description="true: those that somebody has seen as they are now.")
]
Shelved = Annotated[
    Literal["hidden", "only", "shown"],
    Parameter(query="shelved", description="hidden: without those put aside; only: just those; shown: all."),
]
OfSeverity = Annotated[Severity | None, Parameter(query="severity", description="Only those of this severity.")]
OfAssignee = Annotated[
    str | None,
    Parameter(query="assignee", max_length=100, description="Only those of this person; empty: those of nobody."),
]
CARED: dict[str, Any] = {
    "status_code": 202,
    "responses": refusals(400, 404, 409, 422),
    "response_headers": [IDEMPOTENCY_HIT],
    "response_description": "The alarm as it is now.",
}


@get("/sites/{site:str}/alarms", operation_id="listAlarms", summary="Alarms", responses=refusals(404, 422))
async def list_alarms(
    backend: Platform,
    site: Site,
    active: Active = None,
    acknowledged: Acknowledged = None,
    shelved: Shelved = "hidden",
    severity: OfSeverity = None,
    assignee: OfAssignee = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> AlarmPage:
    """Alarms of rules and incidents, newest first, each with the record that explains it. Those that somebody has put
    aside are hidden until their shelf ends or they become worse than they were then."""
    await must_exist(backend, site)
    page = await page_of(
        backend.alarms.page(
            site,
            now=backend.clock.now(),
            active=active,
            acknowledged=acknowledged,
            shelved=shelved,
            severity=severity,
            assignee=assignee,
            cursor=cursor,
            limit=limit,
        )
    )
    return AlarmPage([alarm_row(alarm) for alarm in page.items], page.next)


@get("/sites/{site:str}/alarms/{alarm:int}", operation_id="getAlarm", summary="One alarm", responses=refusals(404))
async def get_alarm(backend: Platform, site: Site, alarm: AlarmId) -> AlarmRow:
    """One alarm, shelved or not."""
    return alarm_row(await _alarm(backend, site, alarm))


@get(
    "/sites/{site:str}/alarms/{alarm:int}/notes",
    operation_id="listAlarmNotes",
    summary="History of an alarm",
    responses=refusals(404, 422),
)
async def list_alarm_notes(
    backend: Platform, site: Site, alarm: AlarmId, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> AlarmNotePage:
    """What people did to an alarm and said of it, newest first."""
    known = await _alarm(backend, site, alarm)
    page = await page_of(backend.alarms.notes(site, known, cursor=cursor, limit=limit))
    return AlarmNotePage([note_row(note) for note in page.items], page.next)


@get(
    "/sites/{site:str}/alarms/{alarm:int}/evidence",
    operation_id="getAlarmEvidence",
    summary="Evidence of an alarm",
    responses=refusals(404),
)
async def get_alarm_evidence(backend: Platform, site: Site, alarm: AlarmId) -> AlarmEvidence:
    """The samples before and after the step of power that raised an alarm, what the step is and by which parameters. It
    is kept whatever becomes of the alarm."""
    known = await _alarm(backend, site, alarm)
    found = await backend.alarms.evidence(site, known)
    return evidence_body(found, await backend.reports.zone(site))


@post("/sites/{site:str}/alarms/{alarm:int}/ack", operation_id="ackAlarm", summary="Acknowledge an alarm", **CARED)
async def ack_alarm(
    backend: Platform, person: Person, site: Site, alarm: AlarmId, key: IdempotencyKey, data: AckRequest
) -> Response[AlarmRow]:
    """Somebody has seen it. It counts for the present severity: an alarm that becomes worse is unacknowledged again."""
    return await _care(backend, person, site, alarm, key, "ack", text=data.text)


@post("/sites/{site:str}/alarms/{alarm:int}/unack", operation_id="unackAlarm", summary="Take back", **CARED)
async def unack_alarm(
    backend: Platform, person: Person, site: Site, alarm: AlarmId, key: IdempotencyKey, data: AckRequest
) -> Response[AlarmRow]:
    """Take an acknowledgement back."""
    return await _care(backend, person, site, alarm, key, "unack", text=data.text)


@post("/sites/{site:str}/alarms/{alarm:int}/comments", operation_id="commentAlarm", summary="Comment", **CARED)
async def comment_alarm(
    backend: Platform, person: Person, site: Site, alarm: AlarmId, key: IdempotencyKey, data: CommentRequest
) -> Response[AlarmRow]:
    """Say something about an alarm; it stays in its history."""
    return await _care(backend, person, site, alarm, key, "comment", text=data.text)


@post("/sites/{site:str}/alarms/{alarm:int}/assign", operation_id="assignAlarm", summary="Assign an alarm", **CARED)
async def assign_alarm(
    backend: Platform, person: Person, site: Site, alarm: AlarmId, key: IdempotencyKey, data: AssignRequest
) -> Response[AlarmRow]:
    """Say who takes care of it, or with an empty name that nobody does."""
    return await _care(backend, person, site, alarm, key, "assign", assignee=data.assignee.strip())


@post("/sites/{site:str}/alarms/{alarm:int}/shelve", operation_id="shelveAlarm", summary="Shelve an alarm", **CARED)
async def shelve_alarm(
    backend: Platform, person: Person, site: Site, alarm: AlarmId, key: IdempotencyKey, data: ShelveRequest
) -> Response[AlarmRow]:
    """Put the rule's alarms of this twin aside: not notified and not listed until the end, or until they are worse than
    this one is now. To shelve a critical alarm takes an owner or a manager."""
    known = await _alarm(backend, site, alarm)
    special = f"shelveAlarm.{known.severity}"
    if special in PERMISSIONS:
        require(person, special)
    return await _care(backend, person, site, alarm, key, "shelve", text=data.reason, until=data.until)


@post("/sites/{site:str}/alarms/{alarm:int}/unshelve", operation_id="unshelveAlarm", summary="Unshelve", **CARED)
async def unshelve_alarm(
    backend: Platform, person: Person, site: Site, alarm: AlarmId, key: IdempotencyKey, data: AckRequest
) -> Response[AlarmRow]:
    """End a shelf before its time."""
    return await _care(backend, person, site, alarm, key, "unshelve", text=data.text)


async def _alarm(backend: Platform, site: str, alarm: int) -> Alarm:
    await must_exist(backend, site)
    known = await backend.alarms.alarm(site, alarm, now=backend.clock.now())
    if known is None:
        raise Problem("unknown_alarm", f"site {site!r} has no alarm {alarm}")
    return known


async def _care(
    backend: Platform,
    person: Person,
    site: str,
    alarm: int,
    key: str,
    what: str,
    *,
    text: str = "",
    assignee: str = "",
    until: int = 0,
) -> Response[Any]:
    """Record an act of care, idempotent by person and key, and let the live feed know."""
    call = Call(site, person, key, ("alarm", alarm, what, text, assignee, until))

    async def act() -> AlarmRow:
        known = await _alarm(backend, site, alarm)
        if what == "unshelve" and known.shelved_until is None:
            raise Problem("not_shelved", f"alarm {alarm} is not shelved")
        try:
            pending = await backend.alarms.care(
                site,
                alarm=alarm,
                what=what,
                who=person.name,
                ts=backend.clock.now(),
                key=key,
                text=text,
                assignee=assignee,
                until=until,
            )
        except ValueError as error:
            field, _, wrong = str(error).partition(": ")
            raise invalid(field, wrong) from None
        await deliver(backend, pending)
        return alarm_row(await _alarm(backend, site, alarm))

    return await once(backend, call, act)

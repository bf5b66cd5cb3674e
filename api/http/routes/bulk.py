"""Bulk switching: preview, order, watch, stop, resume, cancel, undo, report.

A preview names everybody concerned and gives a code for exactly those; an order repeats that code, so what is switched
is what somebody has seen. A job places one lock a breaker (or takes one off); commands and their evidence are each
twin's own business, and the job reports what came of them.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from litestar import Response, get, post
from litestar.params import Parameter
from litestar.response import Stream

from api.http.backend import Platform
from api.http.bulk_bodies import (
    SwitchJobBody,
    SwitchJobPage,
    SwitchPreview,
    SwitchPreviewRequest,
    SwitchReason,
    SwitchRequest,
    SwitchStepBody,
    SwitchStepPage,
    job_body,
    preview_body,
    step_body,
)
from api.http.identity import Person
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit
from api.http.params import IdempotencyKey, Site
from api.http.problems import Problem, invalid
from api.http.repeats import HIT
from api.http.routes.reports import FILE, Form, Language
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals
from api.report_files import MEDIA
from api.switch_report import report_file
from billing.tables import DocumentError
from twin.flows.switch_in_bulk import SelectionError
from twin.ports import Caller
from twin.switched import NewJob, SwitchJob

Job = Annotated[str, Parameter(pattern=r"^S[0-9]{1,18}$", description="Id of a job.")]
InState = Annotated[
    Literal["waiting", "sent", "verified", "failed", "silent", "skipped", "left"] | None,
    Parameter(query="state", description="Only breakers in this state."),
]
LARGEST_ORDER: Final = 2 * 1024 * 1024
"""So many bytes name as many breakers as one order may be about."""
ONE = "/sites/{site:str}/switch-jobs/{job:str}"
MOVED: dict[str, Any] = {
    "response_description": "The job as it stands now.",
    "responses": refusals(400, 404, 409, 422),
    "status_code": 200,
}


@post(
    "/sites/{site:str}/switch-previews",
    operation_id="previewSwitching",
    summary="Who would be switched",
    request_max_body_size=LARGEST_ORDER,
    response_description="Who takes part, who is left out and why, and the code to order it with.",
    status_code=200,
    responses=refusals(400, 404, 422),
)
async def preview_switching(backend: Platform, person: Person, site: Site, data: SwitchPreviewRequest) -> SwitchPreview:
    """Changes nothing. Left out are supplies that are guaranteed, critical loads, devices out of reach, what tripped or
    was opened on site before its lock came, and whatever the order would not change; `include` sets the first four
    aside."""
    await must_exist(backend, site)
    try:
        seen = await backend.switching.preview(site, data.wish(), data.select.selection())
    except SelectionError as error:
        raise invalid(f"select.{error.field}", str(error)) from None
    wanted = (len(seen.taking_part), data.wish().operation, person.name, backend.clock.now())
    return preview_body(seen, needs_approval=await backend.switching.book.needs_approval(site, *wanted))


@post(
    "/sites/{site:str}/switch-jobs",
    operation_id="startSwitching",
    summary="Switch many",
    request_max_body_size=LARGEST_ORDER,
    response_description="The job: running, or waiting for a second person.",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def start_switching(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: SwitchRequest
) -> Response[SwitchJobBody]:
    """Order what a preview showed. Where other breakers would be switched by now it is refused: look again."""
    await must_exist(backend, site)
    now = backend.clock.now()
    if data.until is not None and data.until <= now:
        raise invalid("until", "has passed already")
    order = NewJob(data.wish(), data.select.selection(), data.pace(), (), data.until)
    try:
        job, known = await backend.switching.start(
            site, order, Caller(person.name, data.reason, now, key), code=data.code
        )
    except SelectionError as error:
        raise invalid(f"select.{error.field}", str(error)) from None
    return Response(job_body(job), status_code=202, headers=HIT if known else {})


@get("/sites/{site:str}/switch-jobs", operation_id="listSwitching", summary="Jobs", responses=refusals(404, 422))
async def list_switching(
    backend: Platform, site: Site, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> SwitchJobPage:
    """Jobs of bulk switching, newest first."""
    await must_exist(backend, site)
    before = _position(cursor, 2**63 - 1)
    found = await backend.switching.book.jobs(site, before=before, limit=limit)
    return SwitchJobPage([job_body(job) for _, job in found], str(found[-1][0]) if len(found) == limit else None)


@get(ONE, operation_id="getSwitching", summary="A job and its progress", responses=refusals(404))
async def get_switching(backend: Platform, site: Site, job: Job) -> SwitchJobBody:
    """How far a job is: how many breakers are verified, failed, silent, skipped, under way, waiting."""
    return job_body(await _job(backend, site, job))


@get(f"{ONE}/steps", operation_id="listSwitchingSteps", summary="Breakers of a job", responses=refusals(404, 422))
async def list_switching_steps(
    backend: Platform,
    site: Site,
    job: Job,
    in_state: InState = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> SwitchStepPage:
    """Every breaker with what came of it and why."""
    await _job(backend, site, job)
    states = (in_state,) if in_state else ()
    found = await backend.switching.book.steps(site, job, states=states, after=_position(cursor, 0), limit=limit)
    items: list[SwitchStepBody] = [step_body(step) for _, step in found]
    return SwitchStepPage(items, str(found[-1][0]) if len(found) == limit else None)


@get(
    f"{ONE}/report",
    operation_id="downloadSwitching",
    summary="Report of a job",
    responses={**FILE, **refusals(404, 422)},
    media_type="application/octet-stream",
)
async def download_switching(
    backend: Platform, site: Site, job: Job, form: Form = "xlsx", lang: Language = "both"
) -> Stream:
    """Every breaker with its result, the reason, the instants, and where it is reported to be now; those that need
    somebody stand first."""
    known = await _job(backend, site, job)
    steps = await backend.switching.steps(site, job)
    positions = await backend.switching.positions(site, steps)
    zone = await backend.reports.zone(site)
    try:
        parts = await asyncio.to_thread(
            lambda: list(report_file(backend.documents, known, steps, positions, form=form, zone=zone, language=lang))
        )
    except DocumentError as error:
        raise Problem("document", str(error)) from None
    name = f'attachment; filename="switching-{known.id}.{form}"'
    return Stream(iter(parts), media_type=MEDIA[form], headers={"Content-Disposition": name})


@post(f"{ONE}/stop", operation_id="stopSwitching", summary="Stop", **MOVED)
async def stop_switching(backend: Platform, person: Person, site: Site, job: Job, data: SwitchReason) -> SwitchJobBody:
    """Send nothing more for now; what is under way is watched to its end."""
    return await _moved(backend, person, site, job, "stop", data)


@post(f"{ONE}/resume", operation_id="resumeSwitching", summary="Resume", **MOVED)
async def resume_switching(
    backend: Platform, person: Person, site: Site, job: Job, data: SwitchReason
) -> SwitchJobBody:
    """Go on with those that wait; failures so far are not counted again."""
    return await _moved(backend, person, site, job, "resume", data)


@post(f"{ONE}/cancel", operation_id="cancelSwitching", summary="Cancel", **MOVED)
async def cancel_switching(
    backend: Platform, person: Person, site: Site, job: Job, data: SwitchReason
) -> SwitchJobBody:
    """End the job; locks it has placed stay until they are released, or the job is undone."""
    return await _moved(backend, person, site, job, "cancel", data)


@post(
    f"{ONE}/undo",
    operation_id="undoSwitching",
    summary="Undo",
    response_description="The job that takes the locks off again.",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def undo_switching(
    backend: Platform, person: Person, site: Site, job: Job, key: IdempotencyKey, data: SwitchReason
) -> Response[SwitchJobBody]:
    """Release the locks that this job placed, wherever they still stand; no others. Needs no second person."""
    await _job(backend, site, job)
    caller = Caller(person.name, data.reason, backend.clock.now(), key)
    undo, known = await backend.switching.undo(site, job, caller)
    return Response(job_body(undo), status_code=202, headers=HIT if known else {})


async def _moved(backend: Platform, person: Person, site: str, job: str, how: str, data: SwitchReason) -> SwitchJobBody:
    await _job(backend, site, job)
    now = backend.clock.now()
    return job_body(await backend.switching.book.move(site, job, how, person.name, data.reason, now))


async def _job(backend: Platform, site: str, job: str) -> SwitchJob:
    await must_exist(backend, site)
    known = await backend.switching.book.job(site, job)
    if known is None:
        raise Problem("unknown_job", f"site {site} has no switching job {job!r}")
    return known


def _position(cursor: str | None, default: int) -> int:
    if cursor is None:
        return default
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise invalid("cursor", "is not a cursor of this list; take `next` of the page before")
    return int(cursor)

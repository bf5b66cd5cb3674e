"""What needs a person's eye besides alarms: incidents, and messages that were not understood."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import Parameter

from api.http.acts import deliver
from api.http.backend import Platform
from api.http.bodies import CloseIncidentRequest, DeadLetterBody, DeadLetterPage, IncidentPage, IncidentRow
from api.http.identity import Person, require
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import IdempotencyKey, Site
from api.http.permissions import PERMISSIONS
from api.http.problems import Problem
from api.http.repeats import Call, once
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals
from twin.flows.letter_gate import NO_SITE

IncidentId = Annotated[int, Parameter(ge=1, le=2**63 - 1, description="Id of the incident.")]

OpenOnly = Annotated[bool, Parameter(query="open", description="Only those that have not healed.")]
OfDevice = Annotated[str | None, Parameter(query="device", max_length=64, description="Only those of one device.")]


@get("/sites/{site:str}/incidents", operation_id="listIncidents", summary="Incidents", responses=refusals(404, 422))
async def list_incidents(
    backend: Platform,
    site: Site,
    open_only: OpenOnly = False,
    device: OfDevice = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> IncidentPage:
    """Incidents of devices, newest first."""
    await must_exist(backend, site)
    wanted = backend.queries.incidents(site, open_only=open_only, device=device, cursor=cursor, limit=limit)
    page = await page_of(wanted)
    return IncidentPage([_row(row) for row in page.items], page.next)


@post(
    "/sites/{site:str}/incidents/{incident:int}/close",
    operation_id="closeIncident",
    summary="Close an incident",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
    response_description="The incident as it is now.",
)
async def close_incident(
    backend: Platform, person: Person, site: Site, incident: IncidentId, key: IdempotencyKey, data: CloseIncidentRequest
) -> Response[Any]:
    """Say that an incident is over although it did not heal by itself, and why. Its alarm is cleared; where the cause
    is still there, a new incident opens. Those of the ledger take somebody who may book payments."""
    call = Call(site, person, key, ("incident", incident, data.reason))

    async def act() -> IncidentRow:
        known = await _incident(backend, site, incident)
        special = f"closeIncident.{known.kind}"
        if special in PERMISSIONS:
            require(person, special)
        said: dict[str, Any] = {"who": person.name, "why": data.reason, "ts": backend.clock.now(), "key": key}
        await deliver(backend, await backend.incidents.close(site, incident=incident, **said))
        return _row(await _incident(backend, site, incident))

    return await once(backend, call, act)


async def _incident(backend: Platform, site: str, incident: int) -> Any:
    await must_exist(backend, site)
    known = await backend.incidents.incident(site, incident)
    if known is None:
        raise Problem("unknown_incident", f"site {site!r} has no incident {incident}")
    return known


def _row(incident: Any) -> IncidentRow:
    return IncidentRow(
        id=incident.id,
        device=incident.device,
        kind=incident.kind,
        since=incident.since,
        count=incident.count,
        detail=incident.detail,
        resolved=incident.resolved_ts,
        closed_by=incident.closed_by,
        closed_why=incident.closed_why,
    )


@get(
    "/sites/{site:str}/dead-letters",
    operation_id="listDeadLetters",
    summary="Dead letters",
    responses=refusals(404, 422),
)
async def list_dead_letters(backend: Platform, site: Site, limit: Limit = DEFAULT_LIMIT) -> DeadLetterPage:
    """Messages that broke their contract or came from a device nobody knows, newest first, with the reason.

    The site `_` has those of topics that name no known site; a token that is bound to a site does not see them.
    """
    if site != NO_SITE:
        await must_exist(backend, site)
    letters = await backend.store.dead_letters(site, limit=limit)
    return DeadLetterPage(
        [
            DeadLetterBody(
                topic=letter.topic,
                payload=letter.payload.decode("utf-8", "replace"),
                reason=letter.reason,
                path=letter.path,
                at=letter.at,
            )
            for letter in letters
        ]
    )

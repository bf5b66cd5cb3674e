"""What needs a person's eye besides alarms: incidents, and messages that were not understood."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import Parameter

from api.http.backend import Platform
from api.http.bodies import DeadLetterBody, DeadLetterPage, IncidentPage, IncidentRow
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import Site
from api.http.routes.tenants import must_exist
from api.http.specs import refusals

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
    items = [
        IncidentRow(
            device=row.device,
            kind=row.kind,
            since=row.since,
            count=row.count,
            detail=row.detail,
            resolved=row.resolved_ts,
        )
        for row in page.items
    ]
    return IncidentPage(items, page.next)


@get(
    "/sites/{site:str}/dead-letters",
    operation_id="listDeadLetters",
    summary="Dead letters",
    responses=refusals(404, 422),
)
async def list_dead_letters(backend: Platform, site: Site, limit: Limit = DEFAULT_LIMIT) -> DeadLetterPage:
    """Messages that broke their contract or came from a device nobody knows, newest first, with the reason."""
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

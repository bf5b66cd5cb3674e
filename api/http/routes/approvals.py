"""Requests for a second person's agreement: listed, agreed to, refused, taken back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import Parameter

from api.http.account_bodies import ReasonRequest, RequestPage, RequestRow, worded
from api.http.acts import deliver
from api.http.backend import Platform
from api.http.identity import Person, require
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import Site
from api.http.permissions import PERMISSIONS
from api.http.repeats import HIT
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals

Request = Annotated[str, Parameter(pattern=r"^A[0-9]{1,18}$", description="Id of a request.")]
State = Annotated[
    Literal["open", "approved", "rejected", "expired", "cancelled"] | None,
    Parameter(query="state", description="Only requests in this state."),
]
REQUEST = "/sites/{site:str}/approvals/{request_id:str}"
DECISION: dict[str, Any] = {
    "response_description": "The request as it stands now.",
    "responses": refusals(400, 404, 409, 422),
    "response_headers": [IDEMPOTENCY_HIT],
    "status_code": 200,
}


@get("/sites/{site:str}/approvals", operation_id="listApprovals", summary="Requests", responses=refusals(404, 422))
async def list_approvals(
    backend: Platform, site: Site, in_state: State = None, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> RequestPage:
    """What waits for a second person, and what was decided; newest first."""
    await must_exist(backend, site)
    page = await page_of(backend.account_reads.requests(site, state=in_state, cursor=cursor, limit=limit))
    return RequestPage([_row(row) for row in page.items], page.next)


@post(
    "/sites/{site:str}/approvals/{request_id:str}/approve", operation_id="approveRequest", summary="Agree", **DECISION
)
async def approve_request(
    backend: Platform, person: Person, site: Site, request_id: Request, data: ReasonRequest
) -> Response[RequestRow]:
    """Agree to what somebody else has asked for; it is carried out in the same transaction."""
    return await _decide(backend, person, site, request_id, True, data.reason)


@post(f"{REQUEST}/reject", operation_id="rejectRequest", summary="Refuse", **DECISION)
async def reject_request(
    backend: Platform, person: Person, site: Site, request_id: Request, data: ReasonRequest
) -> Response[RequestRow]:
    """Refuse; what was set aside for it is given back."""
    return await _decide(backend, person, site, request_id, False, data.reason)


@post(f"{REQUEST}/cancel", operation_id="cancelRequest", summary="Take back", **DECISION)
async def cancel_request(
    backend: Platform, person: Person, site: Site, request_id: Request, data: ReasonRequest
) -> Response[RequestRow]:
    """Take one's own request back."""
    await must_exist(backend, site)
    now = backend.clock.now()
    return await _told(backend, await backend.accounts.cancel_request(site, request_id, person.name, data.reason, now))


async def _decide(
    backend: Platform, person: Person, site: str, request_id: str, approve: bool, reason: str
) -> Response[RequestRow]:
    await must_exist(backend, site)
    asked = await backend.account_reads.request(site, request_id)
    part = f"approveRequest.{asked.kind}" if asked is not None else ""
    if approve and part in PERMISSIONS:
        require(person, part)
    now = backend.clock.now()
    return await _told(backend, await backend.accounts.decide(site, request_id, person.name, approve, reason, now))


async def _told(backend: Platform, decision: Any) -> Response[RequestRow]:
    for pending in decision.acts:
        await deliver(backend, pending)
    return Response(_row(decision.approval), headers=HIT if decision.repeated else {})


def _row(approval: Any) -> RequestRow:
    facts = msgspec.to_builtins(approval)
    return RequestRow(**{**facts, "body": worded(facts["body"])})

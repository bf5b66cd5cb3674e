"""Held firings: what rules would do and a guard holds back until a person agrees."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post

from api.http.acts import deliver
from api.http.backend import Platform
from api.http.identity import Person
from api.http.params import IdempotencyKey, Site
from api.http.problems import invalid
from api.http.repeats import Call, once
from api.http.requests import Reason
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals

HOUR_MS = 3_600_000


class HeldFiringRow(msgspec.Struct, kw_only=True):
    """A rule that is due for a twin and waits for approval. `because` explains it clause by clause."""

    rule: str
    rule_version: int
    scope: str
    twin: str
    since: int
    approved: bool
    because: dict[str, Any]


class HeldFirings(msgspec.Struct):
    """All that wait, the longest waiting first."""

    items: list[HeldFiringRow]


class ApprovalRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Let a rule act on the twins named. The approval ends by itself after some hours."""

    rule: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    twins: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=72)]], msgspec.Meta(min_length=1)]
    reason: Reason
    hours: Annotated[int, msgspec.Meta(ge=1, le=168)] = 24


@get(
    "/sites/{site:str}/held-firings",
    operation_id="listHeldFirings",
    summary="What waits for approval",
    responses=refusals(404),
)
async def list_held_firings(backend: Platform, site: Site) -> HeldFirings:
    """Firings past the guard of their rule, such as the fifty-first cutoff in ten minutes."""
    await must_exist(backend, site)
    return await _held(backend, site)


@post(
    "/sites/{site:str}/held-firings/approvals",
    operation_id="approveFirings",
    summary="Approve firings",
    response_description="What still waits.",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def approve_firings(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: ApprovalRequest
) -> Response[HeldFirings]:
    """Let a rule act on twins for which it waits. What the rule then finds is decided by the rule: where its condition
    no longer holds, nothing happens, and where its time window is closed, it acts when that opens."""
    await must_exist(backend, site)
    call = Call(site, person, key, ("approve", data.rule, sorted(data.twins), data.reason, data.hours))

    async def act() -> HeldFirings:
        waiting = {one.twin: one for one in await backend.held_firings.waiting(site) if one.rule == data.rule}
        strangers = sorted(set(data.twins) - waiting.keys())
        if strangers:
            raise invalid("twins", f"rule {data.rule} does not wait for approval on {', '.join(strangers[:5])}")
        now = backend.clock.now()
        chosen = [waiting[twin] for twin in dict.fromkeys(data.twins)]
        until = now + data.hours * HOUR_MS
        acts = await backend.held_firings.approve(site, chosen, who=person.name, why=data.reason, until=until, now=now)
        for pending in acts:
            await deliver(backend, pending)
        gone = set(data.twins)
        held = await _held(backend, site)
        return HeldFirings([row for row in held.items if row.rule != data.rule or row.twin not in gone])

    return await once(backend, call, act)


async def _held(backend: Platform, site: str) -> HeldFirings:
    return HeldFirings(
        [
            HeldFiringRow(
                rule=one.rule,
                rule_version=one.rule_version,
                scope=one.scope,
                twin=one.twin,
                since=one.since,
                approved=one.approved,
                because=one.because,
            )
            for one in await backend.held_firings.waiting(site)
        ]
    )

"""Meters: readings by people, review of doubtful ones, other registers and ratios, hand-over to the next payer."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import Parameter

from api.http import meter_bodies as bodies
from api.http.acts import deliver
from api.http.backend import Platform
from api.http.identity import Person
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit
from api.http.params import ID_PATTERN, IdempotencyKey, Site
from api.http.problems import invalid, unknown_site
from api.http.repeats import HIT
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals
from twin.ports import Caller

Meter = Annotated[str, Parameter(pattern=ID_PATTERN, description="Id of the meter.")]
OnlyMeter = Annotated[str | None, Parameter(query="meter", pattern=ID_PATTERN, description="Only of this meter.")]
Decided = Annotated[bool, Parameter(query="decided", description="Also those that were decided.")]
END = 2**63 - 1
ACT: dict[str, Any] = {
    "response_description": "What came of it, or the request that waits for a second person.",
    "status_code": 202,
    "responses": refusals(400, 404, 409, 422),
    "response_headers": [IDEMPOTENCY_HIT],
}
METER = "/sites/{site:str}/meters/{meter:str}"


@post(f"{METER}/readings", operation_id="enterReading", summary="Enter a reading", **ACT)
async def enter_reading(
    backend: Platform, person: Person, site: Site, meter: Meter, key: IdempotencyKey, data: bodies.ReadingRequest
) -> Response[bodies.MeterAct]:
    """A reading taken by a person: the register goes there; one of the past refines how earlier use is charged."""
    return await _act(backend, person, site, "meter.reading", meter, key, data)


@post(f"{METER}/rollover", operation_id="declareRollover", summary="The register went through zero", **ACT)
async def declare_rollover(
    backend: Platform, person: Person, site: Site, meter: Meter, key: IdempotencyKey, data: bodies.ReadingRequest
) -> Response[bodies.MeterAct]:
    """The register went through zero and shows this reading: all of it was used and is charged."""
    return await _act(backend, person, site, "meter.rollover", meter, key, data)


@post(f"{METER}/replacement", operation_id="replaceMeter", summary="Replace the meter", **ACT)
async def replace_meter(
    backend: Platform, person: Person, site: Site, meter: Meter, key: IdempotencyKey, data: bodies.RegisterRequest
) -> Response[bodies.MeterAct]:
    """Another meter at the same point: charged to the old one's last reading, then from the new one's first; tiers go
    on counting. An unknown or estimated last reading needs a second person."""
    return await _act(backend, person, site, "meter.replace", meter, key, data)


@post(f"{METER}/reset", operation_id="declareReset", summary="The register was set anew", **ACT)
async def declare_reset(
    backend: Platform, person: Person, site: Site, meter: Meter, key: IdempotencyKey, data: bodies.RegisterRequest
) -> Response[bodies.MeterAct]:
    """The register was set to a value: charged to its last reading before, then from that value."""
    return await _act(backend, person, site, "meter.reset", meter, key, data)


@post(f"{METER}/ratio", operation_id="changeRatio", summary="Change the transformers", **ACT)
async def change_ratio(
    backend: Platform, person: Person, site: Site, meter: Meter, key: IdempotencyKey, data: bodies.RatioRequest
) -> Response[bodies.MeterAct]:
    """Other transformers: a new register epoch at the display as it stands, never a jump."""
    return await _act(backend, person, site, "meter.ratio", meter, key, data)


@get(f"{METER}/events", operation_id="listMeterEvents", summary="What people did to a meter", responses=refusals(404))
async def list_meter_events(
    backend: Platform, site: Site, meter: Meter, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> bodies.MeterEventPage:
    """Readings with their photos, replacements, ratios and hand-overs, newest first."""
    await must_exist(backend, site)
    rows = await backend.meters.events(site, meter, before=_before(cursor), limit=limit)
    return bodies.MeterEventPage([_as(row, bodies.MeterEvent) for row in rows], _next(rows, limit))


@get("/sites/{site:str}/readings/review", operation_id="listDoubtfulReadings", summary="Doubtful readings",
     responses=refusals(404, 422))  # fmt: skip
async def list_doubtful_readings(
    backend: Platform,
    site: Site,
    meter: OnlyMeter = None,
    decided: Decided = False,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> bodies.ReviewPage:
    """Readings that were not believed and wait for a person, newest first."""
    await must_exist(backend, site)
    rows = await backend.meters.review(site, meter=meter, decided=decided, before=_before(cursor), limit=limit)
    return bodies.ReviewPage([_as(row, bodies.DoubtfulReading) for row in rows], _next(rows, limit))


@post("/sites/{site:str}/readings/decisions", operation_id="decideReading", summary="Decide on a reading", **ACT)
async def decide_reading(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: bodies.DecisionRequest
) -> Response[bodies.MeterAct]:
    """Accept (the register goes there), reject, or put a person's estimate in its place. `overtaken` in the facts says
    that newer readings are charged already, so the decision changes how the past is split and nothing else."""
    if data.decision == "estimate" and data.reading is None:
        raise invalid("reading", "an estimate needs the reading that is believed instead")
    return await _act(backend, person, site, "reading.decide", data.meter, key, data)


@post("/sites/{site:str}/handovers", operation_id="handOverMeters", summary="Hand meters over", **ACT)
async def hand_over_meters(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: bodies.HandoverRequest
) -> Response[bodies.MeterAct]:
    """Give meters to the next payer from an instant on, past or to come: a transfer, a move-out, a move-in."""
    if data.from_tenant is None and data.to_tenant is None:
        raise invalid("to_tenant", "name whom the meters come from, or go to, or both")
    body = {name: value for name, value in msgspec.to_builtins(data).items() if name != "reason"}
    body |= {"from_tenant": data.from_tenant or "", "to_tenant": data.to_tenant or ""}
    body["tenant"] = data.from_tenant or data.to_tenant
    return await _perform(backend, person, site, "meter.handover", key, data.reason, body)


@get("/sites/{site:str}/handovers", operation_id="listHandovers", summary="Hand-overs", responses=refusals(404, 422))
async def list_handovers(
    backend: Platform, site: Site, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> bodies.HandoverPage:
    """Meters on their way from one payer to the next, and those that arrived, newest first."""
    await must_exist(backend, site)
    rows = await backend.meters.handovers(site, before=_before(cursor), limit=limit)
    return bodies.HandoverPage([_as(row, bodies.Handover) for row in rows], _next(rows, limit))


async def _act(
    backend: Platform, person: Person, site: str, kind: str, meter: str, key: str, data: Any
) -> Response[bodies.MeterAct]:
    body = {name: value for name, value in msgspec.to_builtins(data).items() if name != "reason"}
    return await _perform(backend, person, site, kind, key, data.reason, {**body, "meter": meter})


async def _perform(
    backend: Platform, person: Person, site: str, kind: str, key: str, reason: str, body: dict[str, Any]
) -> Response[bodies.MeterAct]:
    caller = Caller(person.name, reason, backend.clock.now(), key)
    try:
        outcome = await backend.meters.act(site, kind, body, caller)
    except LookupError:
        raise unknown_site(site) from None
    for pending in outcome.acts:
        await deliver(backend, pending)
    facts = {name: value for name, value in outcome.body.items() if name not in ("state", "approval")}
    answer = bodies.MeterAct(state=outcome.body["state"], approval=outcome.body.get("approval"), facts=facts)
    return Response(answer, status_code=202, headers=HIT if outcome.repeated else {})


def _as(row: Any, kind: type[Any]) -> Any:
    return msgspec.convert(msgspec.to_builtins(row), kind)


def _before(cursor: str | None) -> int:
    if cursor is None:
        return END
    if not cursor.isdecimal():
        raise invalid("cursor", "take it from the page before")
    return min(int(cursor), END)


def _next(rows: Any, limit: int) -> str | None:
    return str(rows[-1].id) if len(rows) == limit else None

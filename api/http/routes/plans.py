"""Schedules (定时通断) and load limits (限负载): named, previewed, given to circuits, and what they mean next."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from litestar import Response, delete, get, post, put
from litestar.params import Parameter

from api.http.acts import deliver
from api.http.backend import Platform, group_of_device
from api.http.bodies import Ms
from api.http.identity import Person
from api.http.params import Device, IdempotencyKey, Site
from api.http.problems import Problem, invalid, unknown_device, unknown_site
from api.http.repeats import HIT
from api.http.requests import Reason
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals
from api.plan_words import spell_words
from rules.calendars import CalendarError
from twin.core.plans import limit_at, limit_calendars, schedule_calendar, spells
from twin.ports import Caller, Outcome

DAY_MS = 86_400_000
MOST_TIMES: Final = 100
"""Times of day in one plan; each of them is looked at for every day ahead."""
LARGEST_ASSIGNMENT: Final = 512 * 1024
"""So many bytes name as many devices as one assignment may be about."""
UNSET = msgspec.UNSET
Kind = Annotated[Literal["schedules", "limits"], Parameter(description="What kind of plan.")]
Name = Annotated[str, Parameter(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Name of the plan.")]
Days = Annotated[int, Parameter(query="days", ge=1, le=60, description="How many days ahead.")]
Times = Annotated[list[str], msgspec.Meta(max_length=24, examples=[["23:00-06:00"]])]
Watts = Annotated[int, msgspec.Meta(ge=1, le=2**40)]
WRITTEN: dict[str, Any] = {
    "status_code": 200,
    "response_description": "What the registry has changed.",
    "responses": refusals(400, 404, 409, 422),
    "response_headers": [IDEMPOTENCY_HIT],
}


class PlanSpan(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Local instants whose weekday, date and time of day all match; a span may cross midnight."""

    weekdays: Annotated[list[str], msgspec.Meta(max_length=7, examples=[["monday:friday"]])] | msgspec.UnsetType = UNSET
    times: Times | msgspec.UnsetType = UNSET
    dates: str | list[str] | msgspec.UnsetType = UNSET
    from_: str | msgspec.UnsetType = msgspec.field(name="from", default=UNSET)
    until: str | msgspec.UnsetType = UNSET


class LimitSpan(PlanSpan, forbid_unknown_fields=True, kw_only=True):
    """Another limit, and when it holds."""

    limit_w: Watts


class SpecialDay(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Dates with times of their own; no times: on all day."""

    dates: str | list[str]
    times: Times


class PlanBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A schedule (`off`, `special`) or a limit (`limit_w`, `at`, `on_device`), as in a site file."""

    off: Annotated[list[PlanSpan], msgspec.Meta(min_length=1, max_length=64)] | msgspec.UnsetType = UNSET
    special: Annotated[list[SpecialDay], msgspec.Meta(max_length=64)] | msgspec.UnsetType = UNSET
    limit_w: Watts | msgspec.UnsetType = UNSET
    at: Annotated[list[LimitSpan], msgspec.Meta(max_length=32)] | msgspec.UnsetType = UNSET
    on_device: bool | msgspec.UnsetType = UNSET
    title: dict[str, str] | msgspec.UnsetType = UNSET

    def plan(self, kind: str) -> dict[str, Any]:
        """As the site file has it. Raises Problem where it is of the other kind, or cannot be read."""
        plan: dict[str, Any] = msgspec.to_builtins(self)
        plan.pop("reason", None)
        of_limits, of_schedules = ("limit_w", "at", "on_device"), ("off", "special")
        needed, foreign = ("off", of_limits) if kind == "schedules" else ("limit_w", of_schedules)
        if needed not in plan:
            raise invalid(needed, f"is what makes one of the {kind}")
        for name in foreign:
            if name in plan:
                raise invalid(name, f"has no meaning in one of the {kind}")
        times = sum(len(span.get("times", ())) for name in ("off", "special", "at") for span in plan.get(name, ()))
        if times > MOST_TIMES:
            raise invalid(needed, f"has {times} times of day in all; {MOST_TIMES} are possible")
        try:
            _ = schedule_calendar(plan) if kind == "schedules" else limit_calendars(plan)
        except CalendarError as error:
            raise invalid(error.field or needed, str(error)) from None
        return plan


class PlanRequest(PlanBody, forbid_unknown_fields=True, kw_only=True):
    """A plan, and why it is made."""

    reason: Reason


class PlanAssignRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Devices, and the name of the plan they get; null takes theirs off."""

    devices: Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(min_length=1, max_length=5_000)]
    plan: str | None
    reason: Reason


class PlanChange(msgspec.Struct, kw_only=True):
    """How many groups were told, and what has changed in the registry, a line each (at most 100)."""

    groups: int
    lines: list[str]


class Plans(msgspec.Struct, kw_only=True):
    """All plans of a site by name, each with its `devices`."""

    schedules: dict[str, dict[str, Any]]
    limits: dict[str, dict[str, Any]]


class Spell(msgspec.Struct, kw_only=True):
    """From when to when (Unix ms), in local words as well; with the watts where it is a limit."""

    from_: Ms = msgspec.field(name="from")
    until: Ms
    words: str
    limit_w: int | None = None


class Outlook(msgspec.Struct, kw_only=True):
    """What a plan means in the next days: when the circuit is off, and which limit holds when."""

    off: list[Spell]
    limits: list[Spell]
    schedule: str | None = None
    limit: str | None = None
    locked_until: Ms | None = None
    """The schedule holds the circuit off until then."""


@get("/sites/{site:str}/plans", operation_id="listPlans", summary="Schedules and limits", responses=refusals(404))
async def list_plans(backend: Platform, site: Site) -> Plans:
    """Every schedule and load limit, with the devices that have it."""
    try:
        return Plans(**await backend.plans.plans(site))
    except LookupError:
        raise unknown_site(site) from None


@post(
    "/sites/{site:str}/plans/{kind:str}/preview",
    operation_id="previewPlan",
    summary="What a plan would mean",
    status_code=200,
    responses=refusals(400, 404, 422),
)
async def preview_plan(backend: Platform, site: Site, kind: Kind, data: PlanBody, days: Days = 7) -> Outlook:
    """The next days of a plan that nobody has yet; changes nothing."""
    await must_exist(backend, site)
    zone = await backend.reports.zone(site)
    plan = data.plan(kind)
    given = (plan, None) if kind == "schedules" else (None, plan)
    return await asyncio.to_thread(outlook, given, backend.clock.now(), days, zone)


@put("/sites/{site:str}/plans/{kind:str}/{name:str}", operation_id="setPlan", summary="Name a plan", **WRITTEN)
async def set_plan(
    backend: Platform, person: Person, site: Site, kind: Kind, name: Name, key: IdempotencyKey, data: PlanRequest
) -> Response[PlanChange]:
    """Make a schedule or a limit, or change it for all that have it: they follow at once."""
    caller = Caller(person.name, data.reason, backend.clock.now(), key)
    return await _done(backend, await backend.plans.define(site, kind, name, data.plan(kind), caller))


@delete("/sites/{site:str}/plans/{kind:str}/{name:str}", operation_id="removePlan", summary="Remove a plan", **WRITTEN)
async def remove_plan(
    backend: Platform,
    person: Person,
    site: Site,
    kind: Kind,
    name: Name,
    key: IdempotencyKey,
    reason: Annotated[str, Parameter(query="reason", min_length=1, max_length=200, description="Why.")],
) -> Response[PlanChange]:
    """Take a plan that no device has any more out of the site."""
    caller = Caller(person.name, reason, backend.clock.now(), key)
    return await _done(backend, await backend.plans.define(site, kind, name, None, caller))


@post(
    "/sites/{site:str}/plans/{kind:str}/assignments",
    operation_id="assignPlan",
    summary="Give devices a plan",
    request_max_body_size=LARGEST_ASSIGNMENT,
    **WRITTEN,
)
async def assign_plan(
    backend: Platform, person: Person, site: Site, kind: Kind, key: IdempotencyKey, data: PlanAssignRequest
) -> Response[PlanChange]:
    """Give devices a schedule or a limit, or take theirs off: they follow at once."""
    caller = Caller(person.name, data.reason, backend.clock.now(), key)
    return await _done(backend, await backend.plans.assign(site, kind, data.devices, data.plan, caller))


@get(
    "/sites/{site:str}/devices/{device:str}/plan",
    operation_id="getDevicePlan",
    summary="The next days of a circuit",
    responses=refusals(404, 422),
)
async def get_device_plan(backend: Platform, site: Site, device: Device, days: Days = 7) -> Outlook:
    """When the circuit will be off by its schedule, and which load limit holds when."""
    await must_exist(backend, site)
    group = await group_of_device(backend, site, device)
    if group is None:
        raise unknown_device(site, device)
    contract = group.breaker_contracts.get(device)
    if contract is None:
        raise Problem("not_switchable", f"{device} has no relay or valve that could be switched")
    given = (contract.schedule, contract.load_limit)
    zone = await backend.reports.zone(site)
    seen = await asyncio.to_thread(outlook, given, backend.clock.now(), days, zone)
    lock = group.breakers[device].locks.get("schedule")
    seen.locked_until = lock.until if lock is not None else None
    return seen


async def _done(backend: Platform, outcome: Outcome) -> Response[PlanChange]:
    for pending in outcome.acts:
        await deliver(backend, pending)
    body = PlanChange(groups=outcome.body["groups"], lines=outcome.body["lines"])
    return Response(body, status_code=200, headers=HIT if outcome.repeated else {})


def outlook(given: tuple[dict[str, Any] | None, dict[str, Any] | None], now: int, days: int, zone: ZoneInfo) -> Outlook:
    schedule, limit = given
    until = now + days * DAY_MS
    off = spells(schedule_calendar(schedule), now, until, zone) if schedule is not None else []
    found = [Spell(from_=begin, until=end, words=spell_words(begin, end, zone)) for begin, end in off]
    limits = [] if limit is None else _limit_spells(limit, now, until, zone)
    return Outlook(
        off=found,
        limits=[
            Spell(from_=begin, until=end, words=spell_words(begin, end, zone), limit_w=watts)
            for begin, end, watts in limits
        ],
        schedule=schedule.get("name") if schedule is not None else None,
        limit=limit.get("name") if limit is not None else None,
    )


def _limit_spells(limit: dict[str, Any], now: int, until: int, zone: ZoneInfo) -> list[tuple[int, int, int]]:
    """Which limit holds when, in order."""
    edges = {now, until}
    for _, calendar in limit_calendars(limit):
        for begin, end in spells(calendar, now, until, zone):
            edges |= {begin, end}
    ordered = sorted(edges)
    found: list[tuple[int, int, int]] = []
    for begin, end in pairwise(ordered):
        watts = limit_at(limit, begin, zone)
        if found and found[-1][2] == watts:
            found[-1] = (found[-1][0], end, watts)
        else:
            found.append((begin, end, watts))
    return found

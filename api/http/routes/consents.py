"""What a tenant may do about its own supply: take the emergency credit, and confirm a warning cut."""

from __future__ import annotations

import msgspec
from litestar import Response, get, post

from api.http.acts import deliver
from api.http.backend import Platform, group_of_tenant
from api.http.bodies import Money
from api.http.identity import Person
from api.http.params import IdempotencyKey, Site, Tenant
from api.http.problems import Problem, unknown_tenant
from api.http.repeats import Call, once
from api.http.specs import IDEMPOTENCY_HIT, refusals
from billing.money import format_nano
from twin.core.arrears import emergency
from twin.core.held_words import held_words
from twin.core.model import Group

WARNING = "warning"


class HeldReason(msgspec.Struct, kw_only=True):
    """Why a due cutoff waits, in both languages. `rule` is the rule that waits, `gate` what keeps it."""

    rule: str
    gate: str
    zh: str
    en: str


class SupplyBody(msgspec.Struct, kw_only=True):
    """Where a tenant stands between supplied and cut off, and what it can do about it."""

    state: str
    held: list[HeldReason]
    warned_at: int | None
    """When a warning was proved to have been delivered, since the balance last was in order."""
    emergency_limit: Money
    emergency_opt_in: bool
    """It must be asked for; otherwise it is used by itself."""
    emergency_offered: bool
    emergency_taken: bool
    emergency_used: Money
    """What the next top-up repays first."""
    warning_cuts: list[str]
    """Breakers that were opened as a warning and close on confirmation."""


@get(
    "/sites/{site:str}/tenants/{tenant:str}/supply",
    operation_id="getSupply",
    summary="Where a tenant stands",
    responses=refusals(404),
)
async def get_supply(backend: Platform, site: Site, tenant: Tenant) -> SupplyBody:
    """The disconnect state with its reasons in words, emergency credit, and warning cuts that wait to be confirmed."""
    return await _body(backend, site, await _group(backend, site, tenant))


@post(
    "/sites/{site:str}/tenants/{tenant:str}/emergency-credit",
    operation_id="takeEmergencyCredit",
    summary="Take the emergency credit",
    response_description="Where the tenant stands.",
    status_code=202,
    responses=refusals(400, 404, 409),
    response_headers=[IDEMPOTENCY_HIT],
)
async def take_emergency_credit(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey
) -> Response[SupplyBody]:
    """Go on below zero, up to the limit, until a top-up repays it. Only what is offered can be taken."""
    group = await _group(backend, site, tenant)
    call = Call(site, person, key, ("emergency", tenant))

    async def act() -> SupplyBody:
        if not (await _body(backend, site, group)).emergency_offered:
            raise Problem("not_offered", f"no emergency credit is offered to {tenant} now")
        pending = await backend.consents.take_emergency(site, tenant, who=person.name, ts=backend.clock.now(), key=key)
        await deliver(backend, pending)
        return await _body(backend, site, await _group(backend, site, tenant))

    return await once(backend, call, act)


@post(
    "/sites/{site:str}/tenants/{tenant:str}/warning-confirmations",
    operation_id="confirmWarning",
    summary="Confirm a warning cut",
    response_description="Where the tenant stands.",
    status_code=202,
    responses=refusals(400, 404, 409),
    response_headers=[IDEMPOTENCY_HIT],
)
async def confirm_warning(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey
) -> Response[SupplyBody]:
    """The tenant has seen the warning: the supply comes back, as it does by a key at the breaker."""
    group = await _group(backend, site, tenant)
    call = Call(site, person, key, ("confirm", tenant))

    async def act() -> SupplyBody:
        now = backend.clock.now()
        for breaker in _warned(group):
            pending = await backend.ledger.release_lock(
                site, breaker=breaker, lock=WARNING, who=person.name, why="confirmed", ts=now, key=f"{key}:{breaker}"
            )
            await deliver(backend, pending)
        return await _body(backend, site, await _group(backend, site, tenant))

    return await once(backend, call, act)


async def _group(backend: Platform, site: str, tenant: str) -> Group:
    group = await group_of_tenant(backend, site, tenant)
    if group is None or group.tenant is None:
        raise unknown_tenant(site, tenant)
    return group


def _warned(group: Group) -> list[str]:
    return sorted(name for name, breaker in group.breakers.items() if WARNING in breaker.locks)


async def _body(backend: Platform, site: str, group: Group) -> SupplyBody:
    tenant = group.tenant
    assert tenant is not None
    policy = await backend.policies.policy(site)
    credit = emergency(group, policy.tenant_params(group.contract, tenant.params))
    return SupplyBody(
        state=tenant.state,
        held=[HeldReason(rule=one.rule, gate=one.gate, zh=one.zh, en=one.en) for one in held_words(tenant.held)],
        warned_at=tenant.warned_at,
        emergency_limit=format_nano(credit.limit_nano),
        emergency_opt_in=credit.opt_in,
        emergency_offered=credit.offered,
        emergency_taken=credit.taken,
        emergency_used=format_nano(credit.used_nano),
        warning_cuts=_warned(group),
    )

"""Rules: their versions and pointers, what they decided and why, and versions that run in the shadow."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Request, delete, get, post
from litestar.params import Parameter

from api.http.backend import Platform
from api.http.identity import Person
from api.http.language import preferred_language
from api.http.numbers import LARGEST_VERSION, LAST_INSTANT
from api.http.params import ID_PATTERN, Site, Tenant
from api.http.problems import Problem, unknown_tenant
from api.http.routes.tenants import must_exist
from api.http.rule_bodies import (
    ActivatedBody,
    ActivationRequest,
    AddedBody,
    ExplainBody,
    RulesetsBody,
    ShadowBody,
    ShadowRequest,
    ShadowsBody,
    TenantWhyBody,
    VersionRequest,
    WhyRequest,
)
from api.http.shadow_views import shadow_body
from api.http.specs import refusals
from billing.money import format_nano
from rules.explain import render
from twin.core.asking import UnknownRuleError, WrongTwinError
from twin.flows.explain_rules import UnknownTwinError, explain
from twin.flows.replay_rules import HistoryMissingError
from twin.flows.rule_versions import (
    Preview,
    activate_version,
    add_version,
    deactivate,
    preview_activation,
    roll_back,
)
from twin.flows.tenant_why import for_tenants, tenant_why

LARGEST_RULES = 256 * 1024
Ruleset = Annotated[str, Parameter(pattern=ID_PATTERN, description="Name of the ruleset.")]
Version = Annotated[int, Parameter(ge=1, le=LARGEST_VERSION, description="Number of the version.")]
At = Annotated[
    int | None,
    Parameter(query="at", ge=0, le=LAST_INSTANT, description="Unix ms inside the recorded history; without it: now."),
]
Spoken = Annotated[
    Literal["zh", "en"] | None, Parameter(query="lang", description="Language of the text; otherwise Accept-Language.")
]


@get("/sites/{site:str}/rulesets", operation_id="listRulesets", summary="Rulesets", responses=refusals(404))
async def list_rulesets(backend: Platform, site: Site) -> RulesetsBody:
    """All versions of the site's rulesets, which of them are active, and who activated what, when and why."""
    await must_exist(backend, site)
    activations = await backend.rule_book.activations(site)
    return RulesetsBody(await backend.rule_book.versions(site), activations[::-1])


@post(
    "/sites/{site:str}/rulesets",
    operation_id="addRuleset",
    summary="Add a version",
    responses=refusals(404, 409, 422),
    request_max_body_size=LARGEST_RULES,
)
async def add_ruleset(backend: Platform, person: Person, site: Site, data: VersionRequest) -> AddedBody:
    """Check a rule file and store it as a version, not active. A version never changes: raise its number instead."""
    await must_exist(backend, site)
    added = await add_version(backend, site, data.document, who=person.name)
    return AddedBody(data.document["ruleset"], data.document["version"], added)


@get(
    "/sites/{site:str}/rulesets/{ruleset:str}/versions/{version:int}/preview",
    operation_id="previewRuleset",
    summary="What activating would change",
    responses=refusals(404, 409, 422),
)
async def preview_ruleset(backend: Platform, site: Site, ruleset: Ruleset, version: Version) -> Preview:
    """Rules added, removed and changed, those whose running `for` goes on, and conflicts that would be new."""
    await must_exist(backend, site)
    return await preview_activation(backend, site, ruleset, version)


@post(
    "/sites/{site:str}/rulesets/{ruleset:str}/activations",
    operation_id="activateRuleset",
    summary="Activate a version",
    responses=refusals(404, 409, 422),
)
async def activate_ruleset(
    backend: Platform, person: Person, site: Site, ruleset: Ruleset, data: ActivationRequest
) -> ActivatedBody:
    """Move the pointer to a version; every process follows within a second. New conflicts must be accepted."""
    await must_exist(backend, site)
    preview, activation = await activate_version(
        backend,
        site,
        ruleset,
        data.version,
        who=person.name,
        why=data.why,
        accept_conflicts=data.accept_conflicts,
    )
    return ActivatedBody(activation, preview)


@post(
    "/sites/{site:str}/rulesets/{ruleset:str}/rollbacks",
    operation_id="rollBackRuleset",
    summary="Roll back",
    responses=refusals(404, 409, 422),
)
async def roll_back_ruleset(
    backend: Platform, person: Person, site: Site, ruleset: Ruleset, data: WhyRequest
) -> ActivatedBody:
    """Back to the version that was active before; again, to the one before that."""
    await must_exist(backend, site)
    preview, activation = await roll_back(backend, site, ruleset, who=person.name, why=data.why)
    return ActivatedBody(activation, preview)


@post(
    "/sites/{site:str}/rulesets/{ruleset:str}/deactivations",
    operation_id="deactivateRuleset",
    summary="Switch a ruleset off",
    responses=refusals(404, 409, 422),
)
async def deactivate_ruleset(
    backend: Platform, person: Person, site: Site, ruleset: Ruleset, data: WhyRequest
) -> ActivatedBody:
    """No version of the ruleset is active from now on; locks that its rules placed stand until they are released."""
    await must_exist(backend, site)
    return ActivatedBody(await deactivate(backend, site, ruleset, who=person.name, why=data.why))


@get(
    "/sites/{site:str}/rules/{rule:str}/explain",
    operation_id="explainRule",
    summary="Why a rule fired, or did not",
    responses=refusals(404, 409, 422),
)
async def explain_rule(
    backend: Platform,
    request: Request[Any, Any, Any],
    site: Site,
    rule: Annotated[str, Parameter(pattern=ID_PATTERN, description="Id of the rule.")],
    twin: Annotated[str, Parameter(query="twin", pattern=r"^@?[A-Za-z0-9_-]{1,64}$", description="Tenant or device.")],
    at: At = None,
    lang: Spoken = None,
) -> ExplainBody:
    """Clause by clause, with the gate that stopped it: now, or at an instant of the recorded history."""
    await must_exist(backend, site)
    try:
        records = await explain(backend, site, rule, twin, at)
    except (UnknownTwinError, UnknownRuleError, WrongTwinError) as error:
        raise Problem("nothing_to_explain", str(error)) from None
    except HistoryMissingError as error:
        raise Problem("not_recorded", str(error)) from None
    language = lang or preferred_language(request.headers.get("accept-language"))
    zone = (await backend.policies.policy(site)).zone
    told = [render(record, language, zone) for record in records]
    return ExplainBody(records, told, language)  # type: ignore[arg-type]


@get(
    "/sites/{site:str}/tenants/{tenant:str}/why",
    operation_id="explainTenant",
    summary="Why a tenant is cut off, or is not",
    responses=refusals(404, 409, 422),
)
async def explain_tenant(backend: Platform, person: Person, site: Site, tenant: Tenant, at: At = None) -> TenantWhyBody:
    """In words a tenant can act on, Chinese and English, with the records they were made from. A tenant reads it
    without the names of staff."""
    await must_exist(backend, site)
    try:
        why = await tenant_why(backend, site, tenant, at)
    except UnknownTwinError:
        raise unknown_tenant(site, tenant) from None
    except HistoryMissingError as error:
        raise Problem("not_recorded", str(error)) from None
    if person.is_tenant:
        why = for_tenants(why)
    return TenantWhyBody(
        tenant=why.tenant,
        at=why.at,
        cut=why.cut,
        balance=format_nano(why.balance_nano),
        state=why.state,
        locks=list(why.locks),
        ahead=list(why.ahead),
        text=why.text,
    )


@get("/sites/{site:str}/shadows", operation_id="listShadows", summary="Shadow runs", responses=refusals(404))
async def list_shadows(backend: Platform, site: Site) -> ShadowsBody:
    """The newest shadow run of each ruleset, with what it found."""
    await must_exist(backend, site)
    found = await backend.shadows.latest(site)
    return ShadowsBody([await shadow_body(backend.shadows, shadow) for shadow in found])


@post(
    "/sites/{site:str}/shadows/{ruleset:str}",
    operation_id="startShadow",
    summary="Start a shadow run",
    responses=refusals(404, 409, 422),
)
async def start_shadow(
    backend: Platform, person: Person, site: Site, ruleset: Ruleset, data: ShadowRequest
) -> ShadowBody:
    """Evaluate a version on what happens from now on, beside the active one, without acting."""
    await must_exist(backend, site)
    await preview_activation(backend, site, ruleset, data.version)
    now = backend.clock.now()
    shadow = await backend.shadows.start(site, ruleset, data.version, who=person.name, now=now)
    return await shadow_body(backend.shadows, shadow)


@delete(
    "/sites/{site:str}/shadows/{ruleset:str}",
    operation_id="stopShadow",
    summary="Stop a shadow run",
    status_code=200,
    responses=refusals(404),
)
async def stop_shadow(backend: Platform, person: Person, site: Site, ruleset: Ruleset) -> ShadowBody:
    """End the run; what it found stays."""
    await must_exist(backend, site)
    now = backend.clock.now()
    shadow = await backend.shadows.stop(site, ruleset, who=person.name, now=now, state="stopped")
    if shadow is None:
        raise Problem("unknown_version", f"no shadow runs for {ruleset}")
    return await shadow_body(backend.shadows, shadow)

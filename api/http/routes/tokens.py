"""Tokens: named, with one role each, so that every act has a person."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import delete, get, post
from litestar.params import Parameter

from api.http.backend import Platform, Token, group_of_tenant
from api.http.bodies import NewTokenBody, TokenBody, TokenPage
from api.http.identity import Person, new_secret
from api.http.permissions import TENANT
from api.http.problems import Problem, invalid, unknown_site, unknown_tenant
from api.http.requests import TokenRequest
from api.http.routes.tenants import must_exist
from api.http.specs import refusals

Name = Annotated[str, Parameter(max_length=100, description="Name of the token.")]

_naming = asyncio.Lock()
"""Looking whether a name is free, and taking it, must not be interleaved."""


@post(
    "/tokens",
    operation_id="createToken",
    summary="Create a token",
    response_description="The token with its secret.",
    responses=refusals(400, 404, 409, 422),
)
async def create_token(backend: Platform, person: Person, data: TokenRequest) -> NewTokenBody:
    """Create a token. The secret is in this answer and nowhere else."""
    await _check_scope(backend, person, data)
    secret = new_secret()
    async with _naming:
        if any(token.name == data.name for token in await _standing(backend)):
            raise Problem(
                "name_taken", f"there is a token {data.name!r} already; revoke it first, or take another name"
            )
        token = await backend.tokens.create(
            name=data.name,
            role=data.role,
            secret=secret,
            site=data.site,
            tenant=data.tenant,
            who=person.name,
            now=backend.clock.now(),
        )
    body = _body(token)
    return NewTokenBody(
        name=body.name,
        role=body.role,
        site=body.site,
        tenant=body.tenant,
        created=body.created,
        created_by=body.created_by,
        token=secret,
    )


async def _check_scope(backend: Platform, person: Person, data: TokenRequest) -> None:
    """A token reaches no further than its maker's, and a tenant's token names its site and tenant."""
    if data.role == TENANT:
        if not data.site or not data.tenant:
            raise invalid("tenant", "a token of role tenant names its site and its tenant")
    elif data.tenant is not None:
        raise invalid("tenant", f"a token of role {data.role} is not bound to a tenant")
    if person.site is not None and data.site is None:
        raise invalid("site", f"must be {person.site!r}: this token may give access to its own site only")
    if data.site is None:
        return
    if not person.knows_site(data.site):
        raise unknown_site(data.site)
    await must_exist(backend, data.site)
    if data.tenant is not None and await group_of_tenant(backend, data.site, data.tenant) is None:
        raise unknown_tenant(data.site, data.tenant)


@get("/tokens", operation_id="listTokens", summary="Tokens", responses=refusals())
async def list_tokens(backend: Platform, person: Person) -> TokenPage:
    """Tokens in force, newest first, without their secrets."""
    return TokenPage([_body(token) for token in await _standing(backend) if _reaches(person, token)])


@delete("/tokens/{name:str}", operation_id="revokeToken", summary="Revoke a token", responses=refusals(404))
async def revoke_token(backend: Platform, person: Person, name: Name) -> None:
    """End a token; it is refused from the next request on."""
    found = [token for token in await _standing(backend) if token.name == name and _reaches(person, token)]
    if not found:
        raise Problem("unknown_token", f"there is no token {name!r}")
    for token in found:
        await backend.tokens.revoke(token.id, who=person.name, now=backend.clock.now())


async def _standing(backend: Platform) -> list[Token]:
    return [token for token in await backend.tokens.tokens() if token.revoked_ts is None]


def _reaches(person: Person, token: Token) -> bool:
    return person.site is None or token.site == person.site


def _body(token: Token) -> TokenBody:
    return TokenBody(
        name=token.name,
        role=token.role,
        site=token.site,
        tenant=token.tenant,
        created=token.created_ts,
        created_by=token.created_by,
    )

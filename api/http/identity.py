"""Who is asking: bearer tokens, and the guard that stands before every route.

A secret is 256 random bits, shown once; the store has its SHA-256 only and finds a token by that, so how long a look-up
takes tells nothing about a secret.
Scope is checked before anything is looked up: a site or a tenant outside the token's scope gets the very answer that
one gets which does not exist.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.http.permissions import OWNER, TENANT, is_public, may
from api.http.problems import Problem, unknown_site, unknown_tenant

if TYPE_CHECKING:
    from api.http.backend import Backend

log = structlog.get_logger(__name__)

SECRET_PREFIX: Final = "twm_"  # noqa: S105 -- lets scanners of leaked secrets know ours
SECRET_BYTES: Final = 32
LONGEST_SECRET: Final = 512
SHORTEST_ADMIN_TOKEN: Final = 16
ADMIN: Final = "admin"
ENVIRONMENT: Final = "environment"
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="twinmeter"'}


class Person(msgspec.Struct, frozen=True):
    """The named holder of a token: a role, perhaps one site only, for a tenant that tenant only."""

    name: str
    role: str
    site: str | None = None
    tenant: str | None = None

    @property
    def is_tenant(self) -> bool:
        """A tenant sees nothing but its own."""
        return self.role == TENANT

    def knows_site(self, site: str) -> bool:
        """Whether the token reaches this site."""
        return self.site is None or self.site == site


def new_secret() -> str:
    """A fresh secret of 256 random bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


async def authenticate(backend: Backend, authorization: str | None) -> Person:
    """The person behind an Authorization header. Raises Problem `unauthenticated`, the same for every reason."""
    scheme, _, secret = (authorization or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not 0 < len(secret) <= LONGEST_SECRET:
        raise Problem("unauthenticated", "send `Authorization: Bearer <token>`", headers=CHALLENGE)
    token = await backend.tokens.lookup(secret)
    if token is None:
        raise Problem("unauthenticated", "this token is not known, or it was revoked", headers=CHALLENGE)
    return Person(token.name, token.role, token.site, token.tenant)


def operation_of(handler: BaseRouteHandler) -> str:
    """The name under which a route stands in the table of permissions."""
    named = handler.opt.get("operation") or getattr(handler, "operation_id", None)
    return named if isinstance(named, str) else ""


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Stand before every route: public ones pass; the rest need a token, a role that may, and an object in scope."""
    operation = operation_of(handler)
    if is_public(operation):
        return
    _check_address(connection)
    person = await authenticate(connection.app.state.backend, connection.headers.get("authorization"))
    connection.scope["user"] = person
    require(person, operation)
    site, tenant = connection.path_params.get("site"), connection.path_params.get("tenant")
    if site is not None and not person.knows_site(site):
        raise unknown_site(site)
    if tenant is not None and person.is_tenant and person.tenant != tenant:
        raise unknown_tenant(str(site), tenant)


def _check_address(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Raises Problem `malformed` for the character that no text of SQL can hold."""
    if "\0" in connection.scope["path"] or b"%00" in connection.scope["query_string"]:
        raise Problem("malformed", "the address holds the character NUL")


def require(person: Person, operation: str) -> None:
    """Raises Problem `forbidden` where the person's role may not carry out the operation."""
    if not may(person.role, operation):
        raise Problem("forbidden", f"the role {person.role} may not carry out {operation or 'this'}")


def person_of(request: Request[Any, Any, Any]) -> Person:
    """The person the guard let pass."""
    person: Person = request.user
    return person


async def ensure_admin(backend: Backend) -> None:
    """Give the first administrator the token of the settings. Another token there later replaces the one before."""
    secret = backend.settings.admin_token
    if not secret:
        return
    if len(secret) < SHORTEST_ADMIN_TOKEN:
        log.warning("the administrator's token is short and can be guessed", characters=len(secret))
    now = backend.clock.now()
    token = await backend.tokens.create(
        name=ADMIN, role=OWNER, secret=secret, site=None, tenant=None, who=ENVIRONMENT, now=now
    )
    if token.revoked_ts is not None:
        log.warning("the administrator's token was revoked and is not accepted: set another one")
    for other in await backend.tokens.tokens():
        if other.name == ADMIN and other.created_by == ENVIRONMENT and other.id != token.id:
            await backend.tokens.revoke(other.id, who=ENVIRONMENT, now=now)

"""Named tokens: who may do what. The secret itself is never stored, only its SHA-256.

A plain hash is right here because a token is made by us from 256 random bits: there is nothing to guess, and it must be
looked up by its hash at every request.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.audit import AuditEntry, record_audit

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Row

ROLES = ("owner", "manager", "finance", "om", "tenant")

_COLUMNS = "id, name, role, site, tenant, created_ts, created_by, revoked_ts"
_INSERT = (
    "INSERT INTO token (name, role, digest, site, tenant, created_ts, created_by) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (digest) DO NOTHING RETURNING id"
)


class NamedToken(msgspec.Struct, frozen=True):
    """A token without its secret. `site` None means all sites, `tenant` None all tenants of the site."""

    id: int
    name: str
    role: str
    site: str | None
    tenant: str | None
    created_ts: int
    created_by: str
    revoked_ts: int | None


class TokenError(ValueError):
    """A token that cannot be made; the text says why."""


def digest_of(secret: str) -> str:
    """What is stored of a secret, and what it is looked up by."""
    return hashlib.sha256(secret.encode()).hexdigest()


class SqlTokens:
    """Tokens in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, *, name: str, role: str, secret: str, site: str | None, tenant: str | None, who: str, now: int
    ) -> NamedToken:
        """Make a token; the same secret again gives the token that it already is.

        Raises TokenError for an unknown role, and for a tenant's token that names no site and tenant.
        """
        if role not in ROLES:
            raise TokenError(f"unknown role {role!r}; known: {', '.join(ROLES)}")
        if role == "tenant" and (not site or not tenant):
            raise TokenError("a token of role tenant must name its site and its tenant")
        digest = digest_of(secret)
        async with self._database.write() as tx:
            made = await tx.fetch(_INSERT, name, role, digest, site, tenant, now, who)
            rows = await tx.fetch(f"SELECT {_COLUMNS} FROM token WHERE digest = ?", digest)  # noqa: S608
            if made:
                after = {"name": name, "role": role, "site": site, "tenant": tenant}
                entry = AuditEntry(now, who, "token.create", f"token {rows[0]['id']}", None, after)
                await record_audit(tx, site or "", [entry])
        return _token(rows[0])

    async def lookup(self, secret: str) -> NamedToken | None:
        """The token of a secret; None for one that is unknown or revoked."""
        sql = f"SELECT {_COLUMNS} FROM token WHERE digest = ? AND revoked_ts IS NULL"  # noqa: S608
        rows = await self._database.fetch(sql, digest_of(secret))
        return _token(rows[0]) if rows else None

    async def tokens(self) -> list[NamedToken]:
        """All tokens, revoked ones included, newest first."""
        rows = await self._database.fetch(f"SELECT {_COLUMNS} FROM token ORDER BY id DESC")  # noqa: S608
        return [_token(row) for row in rows]

    async def revoke(self, token: int, *, who: str, now: int) -> bool:
        """End a token at once; False where it does not exist or has ended before."""
        sql = "UPDATE token SET revoked_ts = ?, revoked_by = ? WHERE id = ? AND revoked_ts IS NULL RETURNING name, site"
        async with self._database.write() as tx:
            rows = await tx.fetch(sql, now, who, token)
            for name, site in rows:
                entry = AuditEntry(now, who, "token.revoke", f"token {token}", {"name": name}, None)
                await record_audit(tx, site or "", [entry])
        return bool(rows)


def _token(row: Row) -> NamedToken:
    return NamedToken(*tuple(row))

"""Versions of rulesets, and the pointer to the one in force.

A version is a row that never changes; a pointer moves in one transaction together with the record of who moved it and
why. Whoever moves it says where it stood, so of two people at once the second is told instead of undoing the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.sites.site_difference import document_digest
from twin.recorded import Activation, Finding, Shadow, Side, StoredVersion, VersionRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Database, Row, Transaction

_INSERT_VERSION = (
    "INSERT INTO ruleset_version (site, ruleset, version, digest, document, who, ts) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_ACTIVATION = (
    "INSERT INTO ruleset_activation (site, ruleset, version, previous, ts, who, why, source)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_VERSIONS = (
    "SELECT v.ruleset, v.version, v.digest, v.who, v.ts, COALESCE(r.active_version = v.version, FALSE)"
    " FROM ruleset_version v JOIN ruleset r ON r.site = v.site AND r.ruleset = v.ruleset WHERE v.site = ?{ruleset}"
    " ORDER BY v.ruleset, v.version"
)
_ACTIVATIONS = (
    "SELECT ruleset, version, previous, ts, who, why, source FROM ruleset_activation WHERE site = ?{ruleset}"
    " ORDER BY id"
)
_SHADOWS = (
    "SELECT id, site, ruleset, version, state, started_ts, started_by, stopped_ts, stopped_by, seen_ts, messages,"
    " detail FROM rule_shadow WHERE "
)


async def record_activation(tx: Transaction, site: str, activation: Activation) -> None:
    """Write the record of a moved pointer, in the transaction that moves it."""
    moved = activation
    await tx.execute(
        _INSERT_ACTIVATION,
        *(site, moved.ruleset, moved.version, moved.previous, moved.ts, moved.who, moved.why, moved.source),
    )


class SqlRuleBook:
    """The `RuleBook` port over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, site: str, document: dict[str, Any], *, who: str, now: int) -> bool:
        """Store a document as a version, not active. False where the same stands there already. Raises
        VersionRefusedError `version_exists` where another one does, `unknown_site`."""
        name, version, digest = document["ruleset"], document["version"], document_digest(document)
        async with self._database.write() as tx:
            await _lock_site(tx, site)
            known = await tx.fetch(
                "SELECT digest, who, ts FROM ruleset_version WHERE site = ? AND ruleset = ? AND version = ?",
                *(site, name, version),
            )
            if known:
                if known[0][0] == digest:
                    return False
                text = f"version {version} of {name} was added by {known[0][1]} with another content; raise `version`"
                raise VersionRefusedError("version_exists", text)
            await tx.execute(
                "INSERT INTO ruleset (site, ruleset, active_version) VALUES (?, ?, NULL)"
                " ON CONFLICT (site, ruleset) DO NOTHING",
                *(site, name),
            )
            text = msgspec.json.encode(document).decode()
            await tx.execute(_INSERT_VERSION, site, name, version, digest, text, who, now)
            entry = AuditEntry(now, who, "rules.add", f"ruleset {name}", None, {"version": version, "digest": digest})
            await record_audit(tx, site, [entry])
        return True

    async def versions(self, site: str, ruleset: str | None = None) -> list[StoredVersion]:
        """All versions, by ruleset and number."""
        sql, values = _narrowed(_VERSIONS, "v.ruleset", ruleset)
        rows = await self._database.fetch(sql, site, *values)
        return [StoredVersion(row[0], row[1], row[2], row[3], row[4], bool(row[5])) for row in rows]

    async def activations(self, site: str, ruleset: str | None = None) -> list[Activation]:
        """Every move of the pointers, oldest first."""
        sql, values = _narrowed(_ACTIVATIONS, "ruleset", ruleset)
        return [Activation(*row) for row in await self._database.fetch(sql, site, *values)]

    async def version_document(self, site: str, ruleset: str, version: int) -> dict[str, Any] | None:
        """The document of a version; None for one that was never added."""
        rows = await self._database.fetch(
            "SELECT document FROM ruleset_version WHERE site = ? AND ruleset = ? AND version = ?",
            *(site, ruleset, version),
        )
        return msgspec.json.decode(rows[0][0]) if rows else None

    async def point(
        self,
        site: str,
        ruleset: str,
        version: int | None,
        *,
        expected: int | None,
        who: str,
        why: str,
        now: int,
        source: str,
    ) -> Activation:
        """Move the pointer of a ruleset from `expected` to `version`, with its record and its audit.

        Raises VersionRefusedError `unknown_version`, or `moved` where somebody else was quicker.
        """
        async with self._database.write() as tx:
            await _lock_site(tx, site)
            rows = await tx.fetch("SELECT active_version FROM ruleset WHERE site = ? AND ruleset = ?", site, ruleset)
            known = version is None or await tx.fetch(
                "SELECT 1 FROM ruleset_version WHERE site = ? AND ruleset = ? AND version = ?", site, ruleset, version
            )
            if not rows or not known:
                raise VersionRefusedError("unknown_version", f"site {site} has no version {version} of {ruleset}")
            before = rows[0][0]
            if before != expected:
                text = f"{ruleset}: version {before} is active meanwhile, not {expected}; look again"
                raise VersionRefusedError("moved", text)
            await tx.execute(
                "UPDATE ruleset SET active_version = ? WHERE site = ? AND ruleset = ?", version, site, ruleset
            )
            activation = Activation(ruleset, version, before, now, who, why, source)
            await record_activation(tx, site, activation)
            said = {"version": version, "why": why}
            entry = AuditEntry(now, who, f"rules.{source}", f"ruleset {ruleset}", {"version": before}, said)
            await record_audit(tx, site, [entry])
        return activation


class SqlShadows:
    """The `Shadows` port over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, site: str, ruleset: str, version: int, *, who: str, now: int) -> Shadow:
        """Begin a shadow run; the one that runs for this ruleset ends. Raises VersionRefusedError."""
        async with self._database.write() as tx:
            await _lock_site(tx, site)
            known = await tx.fetch(
                "SELECT 1 FROM ruleset_version WHERE site = ? AND ruleset = ? AND version = ?", site, ruleset, version
            )
            if not known:
                text = f"site {site} has no version {version} of {ruleset}; add it first"
                raise VersionRefusedError("unknown_version", text)
            await _end(tx, site, ruleset, who, now, "stopped", "another one was started")
            rows = await tx.fetch(
                "INSERT INTO rule_shadow (site, ruleset, version, state, started_ts, started_by, messages, detail)"
                " VALUES (?, ?, ?, 'running', ?, ?, 0, '') RETURNING id",
                *(site, ruleset, version, now, who),
            )
            entry = AuditEntry(now, who, "rules.shadow_start", f"ruleset {ruleset}", None, {"version": version})
            await record_audit(tx, site, [entry])
        return Shadow(rows[0][0], site, ruleset, version, "running", now, who)

    async def stop(self, site: str, ruleset: str, *, who: str, now: int, state: str, detail: str = "") -> Shadow | None:
        """End the run of a ruleset; None where none runs."""
        async with self._database.write() as tx:
            ended = await _end(tx, site, ruleset, who, now, state, detail)
        return _shadow(ended[0]) if ended else None

    async def running(self, site: str | None = None) -> list[Shadow]:
        """Runs that go on, of one site or of all."""
        where, values = ("state = 'running' AND site = ?", (site,)) if site else ("state = 'running'", ())
        return [_shadow(row) for row in await self._database.fetch(f"{_SHADOWS}{where} ORDER BY id", *values)]

    async def latest(self, site: str, ruleset: str | None = None) -> list[Shadow]:
        """The newest run of each ruleset."""
        where = "id IN (SELECT max(id) FROM rule_shadow WHERE site = ? GROUP BY ruleset) ORDER BY ruleset"
        found = [_shadow(row) for row in await self._database.fetch(_SHADOWS + where, site)]
        return [shadow for shadow in found if ruleset in (None, shadow.ruleset)]

    async def keep(
        self, shadow: Shadow, findings: Sequence[tuple[Side, Finding]], *, seen_ts: int, messages: int
    ) -> None:
        """Add findings, each once, and say how far the run is."""
        rows = [
            (shadow.site, shadow.id, side, found.kind, found.rule, found.twin, found.tenant, found.ts, found.detail)
            for side, found in findings
        ]
        async with self._database.write() as tx:
            if rows:
                await tx.execute_many(
                    "INSERT INTO shadow_finding (site, shadow, side, kind, rule, twin, tenant, ts, detail)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    rows,
                )
            await tx.execute(
                "UPDATE rule_shadow SET seen_ts = ?, messages = ? WHERE id = ?", seen_ts, messages, shadow.id
            )

    async def findings(self, shadow: int, *, limit: int = 100_000) -> list[tuple[Side, Finding]]:
        """What a run found so far, oldest first."""
        rows = await self._database.fetch(
            "SELECT side, ts, kind, rule, twin, tenant, detail FROM shadow_finding WHERE shadow = ?"
            " ORDER BY ts, id LIMIT ?",
            *(shadow, limit),
        )
        return [(row[0], Finding(*tuple(row)[1:])) for row in rows]


async def _lock_site(tx: Transaction, site: str) -> None:
    """Hold the site's row, as every writer of its registry does. Raises VersionRefusedError for an unknown site."""
    hold = " FOR UPDATE" if tx.engine == "postgres" else ""
    if not await tx.fetch(f"SELECT id FROM site WHERE id = ?{hold}", site):  # noqa: S608 -- constants
        raise VersionRefusedError("unknown_site", f"site {site!r} is not in the database; import its site file first")


async def _end(tx: Transaction, site: str, ruleset: str, who: str, now: int, state: str, detail: str) -> Sequence[Row]:
    columns = _SHADOWS.removeprefix("SELECT ").partition(" FROM ")[0]
    rows = await tx.fetch(
        "UPDATE rule_shadow SET state = ?, stopped_ts = ?, stopped_by = ?, detail = ? WHERE site = ? AND ruleset = ?"  # noqa: S608
        f" AND state = 'running' RETURNING {columns}",
        *(state, now, who, detail, site, ruleset),
    )
    for row in rows:
        entry = AuditEntry(now, who, "rules.shadow_end", f"ruleset {ruleset}", {"version": row[3]}, {"state": state})
        await record_audit(tx, site, [entry])
    return rows


def _shadow(row: Row) -> Shadow:
    return Shadow(*row)


def _narrowed(sql: str, column: str, ruleset: str | None) -> tuple[str, tuple[str, ...]]:
    if ruleset is None:
        return sql.format(ruleset=""), ()
    return sql.format(ruleset=f" AND {column} = ?"), (ruleset,)

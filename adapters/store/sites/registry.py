"""The `Registry` port over an SQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.sites import site_import
from adapters.store.sites.handover_posting import finish_all
from adapters.store.sites.rebuild import rebuilt_groups
from adapters.store.sites.site_state import GATEWAY, SiteState, load_rulesets, load_state, load_tariffs
from twin.ports import SiteDocument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Database
    from twin.core.model import Group
    from twin.ports import PendingAct, SiteDifference


class SqlRegistry:
    """Sites, devices, tenants and contracts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sites(self) -> list[str]:
        """Ids of all sites, in alphabetical order."""
        return [row[0] for row in await self._database.fetch("SELECT id FROM site ORDER BY id")]

    async def difference(self, document: SiteDocument) -> SiteDifference:
        """What `apply` would do; changes nothing. Raises SiteError."""
        return await site_import.difference(self._database, document)

    async def apply(self, document: SiteDocument, *, who: str, now: int) -> tuple[SiteDifference, list[PendingAct]]:
        """Import in one transaction; returns the difference and the acts for the twins. Raises SiteError."""
        return await site_import.apply(self._database, document, who=who, now=now)

    async def document(self, site: str) -> SiteDocument:
        """The site as a document that imports back unchanged; LookupError for an unknown site."""
        async with self._database.snapshot() as tx:
            return as_document(_known(await load_state(tx, site)))

    async def policy_sources(self, site: str) -> SiteDocument:
        """Site settings, tariffs and active rulesets; LookupError for an unknown site."""
        async with self._database.snapshot() as tx:
            rows = await tx.fetch("SELECT settings FROM site WHERE id = ?", site)
            if not rows:
                raise _unknown(site)
            state = SiteState(site, _settings(rows[0][0]), await load_tariffs(tx, site), {}, {}, {}, {})
            state.rulesets = await load_rulesets(tx, site)
        return SiteDocument(state.settings, state.tariffs, state.rulesets)

    async def policy_mark(self, site: str) -> str:
        """A short text that changes with every import and every move of a ruleset's pointer; LookupError for an unknown
        site."""
        rows = await self._database.fetch(
            "SELECT imported_ts, (SELECT sum(current_version) FROM tariff WHERE site = s.id),"
            " (SELECT max(id) FROM ruleset_activation WHERE site = s.id) FROM site s WHERE id = ?",
            site,
        )
        if not rows:
            raise _unknown(site)
        return f"{rows[0][0]}/{rows[0][1]}/{rows[0][2]}"

    async def generation(self, site: str) -> tuple[int, str]:
        """(generation number the twins must have, ledger position); LookupError for an unknown site."""
        rows = await self._database.fetch("SELECT generation, ledger_position FROM site WHERE id = ?", site)
        if not rows:
            raise _unknown(site)
        return rows[0][0], rows[0][1]

    async def next_generation(self, site: str) -> int:
        """Raise the generation number and return it; LookupError for an unknown site."""
        async with self._database.write() as tx:
            rows = await tx.fetch("UPDATE site SET generation = generation + 1 WHERE id = ? RETURNING generation", site)
            await finish_all(tx, site)
        if not rows:
            raise _unknown(site)
        return int(rows[0][0])

    def rebuilt_groups(self, site: str) -> AsyncIterator[Group]:
        """Every group of a site as SQL knows it, streamed from one instant of the database."""
        return rebuilt_groups(self._database, site)


def as_document(state: SiteState) -> SiteDocument:
    """A state as the document that says it; tariffs and rulesets stand inside the site as well."""
    supplies: dict[str, list[dict[str, Any]]] = {}
    for row in state.supplies.values():
        supplies.setdefault(row.tenant, []).append(row.entry)
    gateways = [entry for entry in state.devices.values() if entry["kind"] == GATEWAY]
    site = {
        **state.settings,
        "tariffs": list(state.tariffs.values()),
        "rulesets": list(state.rulesets.values()),
        "gateways": [{key: value for key, value in entry.items() if key != "kind"} for entry in gateways],
        "devices": [entry for entry in state.devices.values() if entry["kind"] != GATEWAY],
        "tenants": [
            {**entry, "supplies": supplies[name]} if name in supplies else entry
            for name, entry in state.tenants.items()
        ],
    }
    return SiteDocument(site, state.tariffs, state.rulesets)


def _settings(text: str) -> dict[str, Any]:
    settings: dict[str, Any] = msgspec.json.decode(text)
    return settings


def _known(state: SiteState) -> SiteState:
    if state.imported_ts is None:
        raise _unknown(state.site)
    return state


def _unknown(site: str) -> LookupError:
    return LookupError(f"site {site!r} is not in the database; import its site file first")

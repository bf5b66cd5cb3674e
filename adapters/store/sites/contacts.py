"""The `Contacts` port over an SQL database: what the site file says of people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twin.ports import OPERATOR, TENANT, Person

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapters.store.engine.database import Database


class SqlContacts:
    """Contacts of tenants and of the site's groups."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def people(self, site: str, tenant: str, to: str) -> tuple[Person, ...]:
        """Who is reached for a recipient; a group that the site does not name falls to the operator's people."""
        if to == TENANT:
            query = "SELECT settings FROM tenant WHERE site = ? AND tenant = ?"
            entry = await self._settings(query, site, tenant)
            contact = entry.get("contact")
            return (_person(contact, entry),) if contact else ()
        groups = (await self._settings("SELECT settings FROM site WHERE id = ?", site)).get("contacts", {})
        return tuple(_person(entry, entry) for entry in groups.get(to) or groups.get(OPERATOR, ()))

    async def _settings(self, query: str, *named: str) -> dict[str, Any]:
        rows = await self._database.fetch(query, *named)
        return dict(json.loads(rows[0][0])) if rows else {}


def _person(contact: Mapping[str, Any], around: Mapping[str, Any]) -> Person:
    reached = {key: str(contact.get(key, "")) for key in ("person", "phone", "email")}
    return Person(**reached, language=str(around.get("language", "")))

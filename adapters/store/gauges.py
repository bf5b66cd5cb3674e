"""Counts of what stands in SQL, for metrics and health; each is answered by an index or a small table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from adapters.store.database import Database

_COMMANDS = "SELECT state, count(*) FROM command WHERE site = ? GROUP BY state"
_UNDELIVERED = "SELECT count(*) FROM act WHERE site = ? AND NOT delivered"
_REFUSED = "SELECT count(*) FROM refused_effect WHERE site = ?"
_ALARMS = "SELECT count(*) FROM alarm WHERE site = ? AND active"
_INCIDENTS = "SELECT count(*) FROM incident WHERE site = ? AND resolved_ts IS NULL"


class SiteGauges(msgspec.Struct, frozen=True):
    """How much of each kind one site has now."""

    commands: dict[str, int]
    """By the state they have reached."""
    acts_undelivered: int
    effects_refused: int
    alarms_active: int
    incidents_open: int


class SqlGauges:
    """Counts in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        """Returns when the database answers and can write; raises LedgerUnavailableError when it does not."""
        await self._database.fetch("SELECT 1")
        await self._database.require_writable()

    async def read(self, site: str) -> SiteGauges:
        """The counts of one site."""
        return SiteGauges(
            commands={row[0]: row[1] for row in await self._database.fetch(_COMMANDS, site)},
            acts_undelivered=await self._count(_UNDELIVERED, site),
            effects_refused=await self._count(_REFUSED, site),
            alarms_active=await self._count(_ALARMS, site),
            incidents_open=await self._count(_INCIDENTS, site),
        )

    async def _count(self, sql: str, site: str) -> int:
        return int((await self._database.fetch(sql, site))[0][0])

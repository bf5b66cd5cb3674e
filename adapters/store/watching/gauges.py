"""Counts of what stands in SQL, for metrics and health; each is answered by an index or a small table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

_COMMANDS = "SELECT state, count(*) FROM command WHERE site = ? GROUP BY state"
_MOVING = (
    "SELECT CASE WHEN state = 'queued' THEN 'queued' ELSE 'moving' END AS reached, min(issued) FROM command"
    " WHERE site = ? AND state IN ('created', 'queued', 'sent', 'received', 'executed') GROUP BY reached"
)
_UNDELIVERED = "SELECT count(*), min(ts) FROM act WHERE site = ? AND NOT delivered"
_REFUSED = "SELECT count(*) FROM refused_effect WHERE site = ?"
_ALARMS = "SELECT severity, count(*) FROM alarm WHERE site = ? AND active GROUP BY severity"
_INCIDENTS = "SELECT kind, count(*) FROM incident WHERE site = ? AND resolved_ts IS NULL GROUP BY kind"
_RERATING = (
    "SELECT count(*), COALESCE(sum(CASE WHEN trouble <> '' THEN 1 ELSE 0 END), 0) FROM rerate_mark"
    " WHERE site = ? AND (due OR trouble <> '')"
)
_WEBHOOKS = "SELECT count(*) FROM webhook_call WHERE site = ? AND state = 'wanted'"
_NOTICES = "SELECT count(*) FROM notification WHERE site = ? AND state = 'wanted'"
_RECORDED = "SELECT max(to_ts) FROM history_block WHERE site = ?"
_QUARANTINE = (
    "SELECT w.readings, w.shown * COALESCE(e.ratio, 1) - COALESCE(e.head_qty, 0) AS claimed, d.kind"
    " FROM (SELECT q.meter, q.epoch, count(*) AS readings, max(q.raw_qty) AS shown"
    " FROM quarantined_reading q LEFT JOIN reading_decision r ON r.site = q.site AND r.meter = q.meter"
    " AND r.ts = q.ts AND r.sid = q.sid AND r.seq = q.seq"
    " WHERE q.site = ? AND r.decision IS NULL GROUP BY q.meter, q.epoch) w"
    " LEFT JOIN register_epoch e ON e.site = ? AND e.meter = w.meter AND e.epoch = w.epoch"
    " LEFT JOIN device d ON d.site = ? AND d.device = w.meter"
)
"""What a meter's highest waiting reading claims above what is charged by now: what was charged since is no claim."""


class SiteGauges(msgspec.Struct, frozen=True):
    """How much of each kind one site has now. Instants are Unix ms, None where there is nothing."""

    commands: dict[str, int]
    """By the state they have reached."""
    oldest_commands: dict[str, int]
    """Instant of the oldest command that is `moving`, or `queued` for a device out of reach."""
    acts_undelivered: int
    oldest_act_ts: int | None
    effects_refused: int
    alarms: dict[str, int]
    """Standing ones by severity."""
    incidents: dict[str, int]
    """Open ones by kind."""
    quarantined_readings: int
    quarantined_wh: int
    quarantined_litres: int
    rerate_marks: int
    rerate_troubles: int
    webhooks_waiting: int
    notices_waiting: int
    recorded_ts: int | None
    """Instant of the newest recorded message."""


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
        acts, oldest_act = await self._row(_UNDELIVERED, site)
        marks, troubles = await self._row(_RERATING, site)
        readings, energy_wh, water_litres = await self._quarantine(site)
        return SiteGauges(
            commands=await self._pairs(_COMMANDS, site),
            oldest_commands=await self._pairs(_MOVING, site),
            acts_undelivered=acts,
            oldest_act_ts=oldest_act,
            effects_refused=(await self._row(_REFUSED, site))[0],
            alarms=await self._pairs(_ALARMS, site),
            incidents=await self._pairs(_INCIDENTS, site),
            quarantined_readings=readings,
            quarantined_wh=energy_wh,
            quarantined_litres=water_litres,
            rerate_marks=marks,
            rerate_troubles=troubles,
            webhooks_waiting=(await self._row(_WEBHOOKS, site))[0],
            notices_waiting=(await self._row(_NOTICES, site))[0],
            recorded_ts=(await self._row(_RECORDED, site))[0],
        )

    async def recorded(self, site: str) -> int | None:
        """Instant of the newest recorded message (Unix ms); None where nothing is recorded."""
        newest: int | None = (await self._row(_RECORDED, site))[0]
        return newest

    async def _row(self, sql: str, site: str) -> tuple[Any, ...]:
        return tuple((await self._database.fetch(sql, site))[0])

    async def _pairs(self, sql: str, site: str) -> dict[str, int]:
        return {row[0]: int(row[1]) for row in await self._database.fetch(sql, site)}

    async def _quarantine(self, site: str) -> tuple[int, int, int]:
        """(readings, Wh, litres) that wait for review."""
        readings, energy_wh, water_litres = 0, 0, 0
        for count, claimed, kind in await self._database.fetch(_QUARANTINE, site, site, site):
            readings += int(count)
            if kind == "electricity_meter":
                energy_wh += max(0, int(claimed))
            else:
                water_litres += max(0, int(claimed))
        return readings, energy_wh, water_litres

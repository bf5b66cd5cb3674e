"""A site as the registry holds it and as a site file wants it: one shape for both, so that they can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction

GATEWAY = "gateway"
METERS = ("electricity_meter", "water_meter")
LISTS = ("tariffs", "rulesets", "gateways", "devices", "tenants")
"""Keys of a site file that are tables of their own; the others are settings of the site."""

SupplyKey = tuple[str, str, int | None]
"""tenant, meter, from_ts"""


class SupplyRow(msgspec.Struct, frozen=True):
    """A tenant pays for a meter in `[from_ts, to_ts)` (Unix ms; None is open). `entry` is the site file's own."""

    tenant: str
    meter: str
    breaker: str | None
    tariff: str
    from_ts: int | None
    to_ts: int | None
    entry: dict[str, Any]

    @property
    def key(self) -> SupplyKey:
        """What identifies a supply over several imports."""
        return self.tenant, self.meter, self.from_ts

    def in_force(self, at: int) -> bool:
        """Whether the supply has not ended at an instant; one that has yet to begin counts, its meter is spoken for."""
        return self.to_ts is None or self.to_ts > at


class SiteState(msgspec.Struct):
    """Everything of a site that a site file can say. Entries are plain data as people wrote them."""

    site: str
    settings: dict[str, Any]
    tariffs: dict[str, dict[str, Any]]
    rulesets: dict[str, dict[str, Any]]
    devices: dict[str, dict[str, Any]]
    """Gateways included, with kind `gateway`."""
    tenants: dict[str, dict[str, Any]]
    """Without their supplies."""
    supplies: dict[SupplyKey, SupplyRow]
    imported_ts: int | None = None
    """Instant of the last import; None for a site that was never imported."""


def empty_state(site: str) -> SiteState:
    """A site before its first import."""
    return SiteState(site, {}, {}, {}, {}, {}, {})


async def load_state(tx: Transaction, site: str) -> SiteState:
    """The whole registry of a site; an empty state where it was never imported."""
    head = await tx.fetch("SELECT settings, imported_ts FROM site WHERE id = ?", site)
    if not head:
        return empty_state(site)
    return SiteState(
        site=site,
        settings=msgspec.json.decode(head[0][0]),
        tariffs=await load_tariffs(tx, site),
        rulesets=await load_rulesets(tx, site),
        devices=await _entries(tx, "SELECT device, settings FROM device WHERE site = ? ORDER BY id", site),
        tenants=await _entries(tx, "SELECT tenant, settings FROM tenant WHERE site = ? ORDER BY id", site),
        supplies={row.key: row for row in await load_supplies(tx, site)},
        imported_ts=head[0][1],
    )


async def load_tariffs(tx: Transaction, site: str) -> dict[str, dict[str, Any]]:
    """Current tariff documents by name."""
    sql = (
        "SELECT t.tariff, v.document FROM tariff t JOIN tariff_version v ON v.site = t.site AND v.tariff = t.tariff"
        " AND v.version = t.current_version WHERE t.site = ? ORDER BY t.id"
    )
    return await _entries(tx, sql, site)


async def load_rulesets(tx: Transaction, site: str) -> dict[str, dict[str, Any]]:
    """Active ruleset documents by name."""
    sql = (
        "SELECT r.ruleset, v.document FROM ruleset r JOIN ruleset_version v ON v.site = r.site"
        " AND v.ruleset = r.ruleset AND v.version = r.active_version WHERE r.site = ? ORDER BY r.id"
    )
    return await _entries(tx, sql, site)


async def load_supplies(tx: Transaction, site: str, condition: str = "", *values: Any) -> list[SupplyRow]:
    """Supplies of a site in the order of their import; `condition` (constant SQL, `AND ...`) narrows them down."""
    sql = f"SELECT tenant, meter, breaker, tariff, from_ts, to_ts, settings FROM supply WHERE site = ? {condition}"  # noqa: S608
    rows = await tx.fetch(f"{sql} ORDER BY id", site, *values)
    return [
        SupplyRow(tenant, meter, breaker, tariff, from_ts, to_ts, msgspec.json.decode(entry))
        for tenant, meter, breaker, tariff, from_ts, to_ts, entry in rows
    ]


async def _entries(tx: Transaction, sql: str, site: str) -> dict[str, dict[str, Any]]:
    return {name: msgspec.json.decode(text) for name, text in await tx.fetch(sql, site)}

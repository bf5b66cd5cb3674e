"""The contracts of one group from the registry as it stands, without loading the whole site.

The supplies that count are those in force at the instant up to which the site's tenancies are carried out
(`site.imported_ts`). A meter on its way to the group in a hand-over is no part of it until it arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.sites.contracts import device_contracts, tenant_contracts, without_meters
from adapters.store.sites.payers import current_payers, rented
from adapters.store.sites.site_state import load_supplies
from twin.ports import Contracts

if TYPE_CHECKING:
    from collections.abc import Collection

    from adapters.store.engine.database import Transaction

_NOT_YET = "SELECT meter FROM handover WHERE site = ? AND to_group = ? AND state = 'releasing'"
_METERS = "AND meter IN (SELECT meter FROM supply WHERE site = ? AND tenant = ?)"


async def group_contracts(
    tx: Transaction, site: str, group: str, *, without: Collection[str] | None = None
) -> Contracts:
    """The contracts of a group. `without` names meters that are not with it yet; None asks the open hand-overs."""
    settings, at = (await tx.fetch("SELECT settings, imported_ts FROM site WHERE id = ?", site))[0]
    if without is None:
        without = {row[0] for row in await tx.fetch(_NOT_YET, site, group)}
    known: dict[str, Any] = msgspec.json.decode(settings)
    if group.startswith("@"):
        contracts = await _of_device(tx, site, known, group[1:], at)
    else:
        contracts = await _of_tenant(tx, site, known, group, at)
    return without_meters(contracts, without)


async def _of_device(tx: Transaction, site: str, settings: dict[str, Any], device: str, at: int) -> Contracts:
    supplies = await load_supplies(tx, site, "AND (meter = ? OR breaker = ?)", device, device)
    payers = current_payers(supplies, at)
    rows = await tx.fetch("SELECT settings FROM device WHERE site = ? AND device = ?", site, device)
    if device in payers or any(supply.breaker == device for supply in payers.values()) or not rows:
        return Contracts(f"@{device}", None)
    return device_contracts(settings, msgspec.json.decode(rows[0][0]), rented=device in rented(supplies, at))


async def _of_tenant(tx: Transaction, site: str, settings: dict[str, Any], tenant: str, at: int) -> Contracts:
    rows = await tx.fetch("SELECT settings FROM tenant WHERE site = ? AND tenant = ?", site, tenant)
    if not rows:
        return Contracts(tenant, None)
    supplies = await load_supplies(tx, site, _METERS, site, tenant)
    own = [supply for supply in current_payers(supplies, at).values() if supply.tenant == tenant]
    wanted = {name for supply in own for name in (supply.meter, supply.breaker) if name}
    devices: dict[str, Any] = {}
    for name in sorted(wanted):
        found = await tx.fetch("SELECT settings FROM device WHERE site = ? AND device = ?", site, name)
        devices[name] = msgspec.json.decode(found[0][0])
    return tenant_contracts(settings, msgspec.json.decode(rows[0][0]), own, devices)

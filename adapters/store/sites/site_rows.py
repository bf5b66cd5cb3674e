"""The rows of the registry: writing what an import changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.sites.contracts import local_instant
from adapters.store.sites.rule_book import record_activation
from adapters.store.sites.site_difference import document_digest
from billing.chain import GENESIS
from billing.money import parse_money
from twin.recorded import Activation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction
    from adapters.store.sites.site_difference import Entry, SiteChanges
    from adapters.store.sites.site_state import SiteState

_SITE = (
    "INSERT INTO site (id, settings, generation, ledger_position, journal_seq, journal_hash, created_ts, imported_ts)"
    " VALUES (?, ?, 1, '0-0', 0, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING id"
)
_DEVICES = BulkInsert(
    "device",
    "site device kind gateway settings created_ts:bigint",
    "(site, device) DO UPDATE SET kind = excluded.kind, gateway = excluded.gateway, settings = excluded.settings",
)
_TENANTS = BulkInsert(
    "tenant",
    "site tenant name mode emergency_credit_nano:bigint opening_credit_nano:bigint params protected_until:bigint"
    " settings supply_state supply_state_since:bigint",
    "(site, tenant) DO UPDATE SET name = excluded.name, mode = excluded.mode,"
    " emergency_credit_nano = excluded.emergency_credit_nano, params = excluded.params,"
    " protected_until = excluded.protected_until, settings = excluded.settings",
)
_SUPPLIES = BulkInsert("supply", "site tenant meter breaker tariff from_ts:bigint to_ts:bigint settings")
_SAME_SUPPLY = "site = ? AND tenant = ? AND meter = ? AND COALESCE(from_ts, -1) = ?"
_TARIFF = (
    "INSERT INTO tariff (site, tariff, utility, current_version) VALUES (?, ?, ?, 1)"
    " ON CONFLICT (site, tariff) DO UPDATE SET utility = excluded.utility,"
    " current_version = tariff.current_version + 1 RETURNING current_version"
)
_RULESET = (
    "INSERT INTO ruleset (site, ruleset, active_version) VALUES (?, ?, ?)"
    " ON CONFLICT (site, ruleset) DO UPDATE SET active_version = excluded.active_version"
)
_VERSION = (
    "INSERT INTO {table}_version (site, {table}, version, digest, document, who, ts) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_EPOCHS = BulkInsert(
    "register_epoch",
    "site meter epoch:bigint opening:bigint opened_ts:bigint reason ratio:bigint head_qty:bigint head_ts:bigint"
    " month:bigint month_use:bigint",
)
_ENERGY = BulkInsert(
    "energy",
    "site meter epoch:bigint from_qty:bigint to_qty:bigint from_ts:bigint to_ts:bigint tenant estimated:boolean",
)


async def ensure_site(tx: Transaction, site: str, settings: Entry, now: int) -> bool:
    """Make sure that the site has its row; True where it had none, so this is its first import."""
    return bool(await tx.fetch(_SITE, site, _json(settings), GENESIS, now, now))


async def write_changes(
    tx: Transaction, site: str, changes: SiteChanges, wanted: SiteState, who: str, now: int
) -> None:
    """Write the changed entries of a site, in the order in which they refer to each other."""
    settings = _json(changes.settings if changes.settings is not None else wanted.settings)
    if changes.settings is not None:
        await tx.execute("UPDATE site SET settings = ? WHERE id = ?", settings, site)
    await tx.execute("UPDATE site SET imported_ts = ? WHERE id = ?", now, site)
    for name, document in changes.tariffs.items():
        rows = await tx.fetch(_TARIFF, site, name, document["utility"])
        await _version(tx, "tariff", site, name, rows[0][0], document, who, now)
    await _write_rulesets(tx, site, changes, who, now)
    timezone = wanted.settings["timezone"]
    devices = changes.devices.items()
    rows = [(site, name, entry["kind"], entry.get("gateway"), _json(entry), now) for name, entry in devices]
    await _DEVICES.run(tx, rows)
    tenants = changes.tenants.items()
    await _TENANTS.run(tx, [_tenant_row(site, name, entry, timezone) for name, entry in tenants])
    gone = [*changes.supplies_gone, *changes.supplies]
    keys = [(site, row.tenant, row.meter, -1 if row.from_ts is None else row.from_ts) for row in gone]
    if keys:
        await tx.execute_many(f"DELETE FROM supply WHERE {_SAME_SUPPLY}", keys)  # noqa: S608 -- constants
    supplies = [
        (site, row.tenant, row.meter, row.breaker, row.tariff, row.from_ts, row.to_ts, _json(row.entry))
        for row in changes.supplies
    ]
    await _SUPPLIES.run(tx, supplies)


async def _write_rulesets(tx: Transaction, site: str, changes: SiteChanges, who: str, now: int) -> None:
    for name, document in changes.rulesets.items():
        version = document["version"]
        rows = await tx.fetch("SELECT active_version FROM ruleset WHERE site = ? AND ruleset = ?", site, name)
        await tx.execute(_RULESET, site, name, version)
        before = rows[0][0] if rows else None
        await record_activation(tx, site, Activation(name, version, before, now, who, "site import", "import"))
        known = await tx.fetch(
            "SELECT 1 FROM ruleset_version WHERE site = ? AND ruleset = ? AND version = ?", site, name, version
        )
        if not known:
            await _version(tx, "ruleset", site, name, version, document, who, now)
    for name in changes.rulesets_off:
        rows = await tx.fetch("SELECT active_version FROM ruleset WHERE site = ? AND ruleset = ?", site, name)
        before = rows[0][0] if rows else None
        await record_activation(tx, site, Activation(name, None, before, now, who, "site import", "import"))
        await tx.execute("UPDATE ruleset SET active_version = NULL WHERE site = ? AND ruleset = ?", site, name)


async def open_chains(tx: Transaction, site: str, rows: Sequence[tuple[str, int, int | None, int]]) -> None:
    """Open epoch 1 of registers at known values: (meter, opening quantity with its ratio, instant or None, ratio)."""
    epochs = [(site, name, 1, opening, ts, "import", ratio, opening, ts, 0, 0) for name, opening, ts, ratio in rows]
    await _EPOCHS.run(tx, epochs)
    await _ENERGY.run(tx, [(site, name, 1, None, opening, None, ts, "", False) for name, opening, ts, _ in rows])


async def _version(
    tx: Transaction, table: str, site: str, name: str, version: int, document: Entry, who: str, now: int
) -> None:
    sql = _VERSION.format(table=table)
    await tx.execute(sql, site, name, version, document_digest(document), _json(document), who, now)


def _tenant_row(site: str, name: str, entry: Entry, timezone: str) -> tuple[Any, ...]:
    protected = entry.get("protected_until")
    return (
        *(site, name, _json(entry.get("name", name)), entry["mode"]),
        *(parse_money(entry.get("emergency_credit", "0")), None, _json(entry.get("params", {}))),
        *(local_instant(protected, timezone) if protected else None, _json(entry), "NORMAL", 0),
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

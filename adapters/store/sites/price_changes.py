"""Prices that change for energy already charged, and the tariffs that supplies had over time.

Theory of operation. A tariff document may be replaced at any time; new prices usually begin in the future. One that
changes prices for instants at which energy was charged is refused, unless it is asked for: then the meters are
marked, and rating them again reverses the old price and charges the new one on the same energy.

A supply that is given another tariff has it from the import on. Its row only knows the newest, so the change is kept
beside it (`supply_tariff`). Asked to reprice, the new tariff is taken to have held from the beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.sites.rerate_marks import mark_all
from billing.local_time import local_text
from billing.price_change import prices_differ_from
from billing.tariff import compile_tariff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.store.engine.database import Transaction
    from adapters.store.sites.site_state import SiteState, SupplyRow

_HEADS = (
    "SELECT meter, max(CASE WHEN head_qty > opening THEN head_ts END) FROM register_epoch WHERE site = ? GROUP BY meter"
)
_HAD = "SELECT DISTINCT meter FROM supply_tariff WHERE site = ? AND tariff = ?"
_KNOWN = "SELECT 1 FROM supply_tariff WHERE site = ? AND tenant = ? AND meter = ? AND COALESCE(supply_from, -1) = ?"
_ROWS = BulkInsert("supply_tariff", "site tenant meter supply_from:bigint from_ts:bigint tariff who ts:bigint")


class PriceChange(msgspec.Struct, frozen=True):
    """Prices of a tariff differ from `since_ts` on; `meters` pay by it, `charged` of them for something since then."""

    since_ts: int
    since: str
    meters: tuple[str, ...]
    charged: int


async def price_changes(tx: Transaction, before: SiteState, wanted: SiteState) -> dict[str, PriceChange]:
    """Of every tariff that is known and differs, from when on its prices do and which meters that touches.

    The landlord's tariffs stand under `vacancy`. Raises TariffError for a document that does not compile.
    """
    if before.imported_ts is None:
        return {}
    heads = dict(map(tuple, await tx.fetch(_HEADS, wanted.site)))
    zone = before.settings["timezone"]
    found: dict[str, PriceChange] = {}
    for name, document in wanted.tariffs.items():
        known = before.tariffs.get(name)
        if known is None or known == document:
            continue
        since = prices_differ_from(compile_tariff(known, zone), compile_tariff(document, zone))
        if since is not None:
            found[name] = _change(since, zone, await _meters_by(tx, before, name, heads), heads)
    if (before.settings.get("vacancy") or {}) != (wanted.settings.get("vacancy") or {}):
        found["vacancy"] = _change(0, zone, sorted(heads), heads)
    return found


async def mark_repriced(
    tx: Transaction, site: str, changed: Mapping[str, PriceChange], applied: Sequence[str], now: int
) -> None:
    """Mark the meters of those changes that were applied."""
    for name in applied:
        change = changed.get(name)
        if change is not None and change.since_ts <= now:
            why = "the landlord's tariff changed" if name == "vacancy" else f"prices of {name} changed"
            await mark_all(tx, site, [(meter, change.since_ts) for meter in change.meters], why, now)


async def record_tariffs(
    tx: Transaction, site: str, before: SiteState, supplies: Sequence[SupplyRow], *, who: str, now: int, reprice: bool
) -> None:
    """Keep from when on supplies have the tariff they are given, and mark their meters."""
    rows: list[tuple[Any, ...]] = []
    marks: list[tuple[str, int | None]] = []
    for row in supplies:
        known = before.supplies.get(row.key)
        if known is None or known.tariff == row.tariff:
            continue
        named = (site, row.tenant, row.meter, row.from_ts)
        earlier = await tx.fetch(_KNOWN, site, row.tenant, row.meter, -1 if row.from_ts is None else row.from_ts)
        if not earlier and not reprice:
            rows.append((*named, None, known.tariff, who, now))
        rows.append((*named, None if reprice else now, row.tariff, who, now))
        marks.append((row.meter, row.from_ts if reprice else now))
    await _ROWS.run(tx, rows)
    await mark_all(tx, site, marks, "the tariff of the supply changed", now)


def _change(since_ts: int, zone: str, meters: Sequence[str], heads: Mapping[str, int | None]) -> PriceChange:
    charged = sum(1 for meter in meters if (heads[meter] or 0) > since_ts)
    return PriceChange(since_ts, local_text(ZoneInfo(zone), since_ts), tuple(meters), charged)


async def _meters_by(tx: Transaction, state: SiteState, tariff: str, heads: Mapping[str, int | None]) -> list[str]:
    """Meters with a register that somebody pays, or paid, by a tariff."""
    if tariff in (state.settings.get("vacancy") or {}).values():
        return sorted(heads)
    had = {row[0] for row in await tx.fetch(_HAD, state.site, tariff)}
    have = {row.meter for row in state.supplies.values() if row.tariff == tariff}
    return sorted((had | have) & heads.keys())

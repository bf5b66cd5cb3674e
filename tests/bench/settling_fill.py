"""Fills PostgreSQL with a month as the ledger would have written it: chains, prices, journals with their hashes.

Energy and prices are made by the database itself. Their constraints and indexes are laid aside meanwhile and put back
afterwards; journals go in by COPY, with the hash chain computed
here. Nothing is left to trust: `verify` looks at every row in the end.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import asyncpg

from adapters.store.engine.database import open_database
from adapters.store.engine.migrate import migrate
from adapters.store.journals.charge_digest import charge_memo
from adapters.store.sites.registry import SqlRegistry
from billing.chain import GENESIS, JournalRecord, journal_hash
from billing.local_time import month_start
from billing.monthly_fees import month_index
from billing.tariff import compile_tariff
from twin.ports import SiteDocument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SITE, MONTH, METERS = "park-bench", 202601, 3
ZONE = ZoneInfo("Asia/Shanghai")
START, END = (month_start(ZONE, month_index(month)) for month in (MONTH, MONTH + 1))
SLOT_MS = 900_000
PRICES = {"peak": 1_215_000, "valley": 415_000}
LARGE = ("energy", "rating")
_ENERGY = """
INSERT INTO energy (site, meter, epoch, from_qty, to_qty, from_ts, to_ts, tenant, estimated)
SELECT $1, 'em-' || t || '-' || m, 1, i * (200 + m), (i + 1) * (200 + m),
 $2::bigint + i * 900000::bigint, $2::bigint + (i + 1) * 900000::bigint, 't-' || t, FALSE
FROM generate_series(0, $3::int - 1) i, generate_series(0, $4::int - 1) t, generate_series(0, 2) m
"""
_RATING = """
INSERT INTO rating (site, meter, epoch, from_qty, to_qty, revision, active, account, utility, tariff, version, month,
 period, tier, price_micro, amount_nano, journal_seq)
SELECT $1, 'em-' || t || '-' || m, 1, i * (200 + m), (i + 1) * (200 + m), 1, TRUE, 'tenant:t-' || t || ':wallet',
 'electricity', 'shop', $5::bigint, 202601, p.name, NULL, p.price, (200 + m)::bigint * p.price, i * $4::bigint + t + 1
FROM generate_series(0, $3::int - 1) i,
 LATERAL (SELECT CASE WHEN i % 96 < 32 THEN 'valley' ELSE 'peak' END AS name,
  CASE WHEN i % 96 < 32 THEN 415000 ELSE 1215000 END::bigint AS price, $2::bigint AS started) p,
 generate_series(0, $4::int - 1) t, generate_series(0, 2) m
"""
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), contype = 'f' FROM pg_constraint
WHERE contype IN ('p', 'u', 'f') AND conparentid = 0 AND (conrelid::regclass::text = ANY($1::text[])
 OR confrelid <> 0 AND confrelid::regclass::text = ANY($1::text[])) ORDER BY contype = 'f' DESC, conname
"""
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY($1::text[])"


def tariff() -> dict[str, Any]:
    """Two periods, a surcharge, a fee by the day."""
    version = {
        "from": "2025-01-01T00:00:00",
        "mode": "tou",
        "periods": {"peak": "1.20", "valley": "0.40"},
        "calendar": [{"months": "all", "days": "all", "slots": {"00:00-08:00": "valley", "08:00-24:00": "peak"}}],
        "surcharges": [{"name": "fund", "per_unit": "0.0150"}],
        "fixed": [{"name": "service", "per_month": "30.00"}],
    }
    return {"apiVersion": "twinmeter.tariff/v1", "tariff": "shop", "utility": "electricity", "versions": [version]}


def document(tenants: int) -> SiteDocument:
    """A park of so many tenants with three meters each."""
    names = [[f"em-{tenant}-{meter}" for meter in range(METERS)] for tenant in range(tenants)]
    site = {
        "apiVersion": "twinmeter.site/v1",
        "site": SITE,
        "timezone": ZONE.key,
        "currency": "CNY",
        "settlement": {"prefix": "B-{year}-"},
        "devices": [{"id": name, "kind": "electricity_meter", "opening_wh": 0} for own in names for name in own],
        "tenants": [
            {
                "id": f"t-{tenant}",
                "mode": "prepaid",
                "supplies": [{"meter": name, "tariff": "shop", "from": "2026-01-01T00:00:00"} for name in own],
            }
            for tenant, own in enumerate(names)
        ],
    }
    return SiteDocument(site, {"shop": tariff()}, {})


async def fill(url: str, tenants: int, slots: int, *, journals: bool = True) -> None:
    """Write the month as the ledger writer would have; without journals nothing can be verified."""
    await migrate(url)
    database = await open_database(url)
    await SqlRegistry(database).apply(document(tenants), who="bench", now=START)
    await database.close()
    version = compile_tariff(tariff(), ZONE.key).versions[0].start_ms
    connection = await _filler(url)
    await connection.execute("SET maintenance_work_mem = '512MB'")
    await _checkpoints(connection, {"max_wal_size": "8GB", "checkpoint_timeout": "1h"})
    async with _without_indexes(connection, LARGE):
        await asyncio.gather(
            _execute(url, _ENERGY, SITE, START, slots, tenants),
            _execute(url, _RATING, SITE, START, slots, tenants, version),
        )
    if journals:
        async with _without_indexes(connection, ("journal", "leg")):
            head = await _journals(connection, tenants, slots, version)
        await connection.execute("UPDATE site SET journal_seq = $2, journal_hash = $3 WHERE id = $1", SITE, *head)
    await _project(connection, slots)
    await connection.execute("VACUUM ANALYZE", timeout=None)
    await _checkpoints(connection, {"max_wal_size": None, "checkpoint_timeout": None})
    await connection.execute("CHECKPOINT", timeout=None)
    await connection.close()


async def _filler(url: str) -> Any:
    """A connection for which no trigger looks at rows one by one: they are right by construction, and verified
    afterwards."""
    connection = await asyncpg.connect(url.replace("asyncpg://", "postgresql://"))
    await connection.execute("SET session_replication_role = replica")
    return connection


async def _execute(url: str, query: str, *values: Any) -> None:
    """One statement on a connection of its own, so that two of them use two cores."""
    connection = await _filler(url)
    await connection.execute(query, *values, timeout=None)
    await connection.close()


async def _checkpoints(connection: Any, settings: dict[str, str | None]) -> None:
    """How often the server writes everything to its tables; None is what it was. Every fsync stays on."""
    for name, value in settings.items():
        await connection.execute(
            f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = '{value}'"
        )
    await connection.execute("SELECT pg_reload_conf()")


async def _project(connection: Any, slots: int) -> None:
    """Heads of registers and sums of accounts, as they stand after the month."""
    use = "(200 + right(meter, 1)::bigint) * $2::bigint"
    await connection.execute(
        f"UPDATE register_epoch SET head_qty = {use}, head_ts = $3, month = $4, month_use = {use} WHERE site = $1",
        *(SITE, slots, START + slots * SLOT_MS, MONTH),
    )
    await connection.execute(
        "UPDATE account SET charges_nano = sums.nano FROM (SELECT account, sum(amount_nano) AS nano FROM rating"
        " WHERE site = $1 GROUP BY account) sums WHERE account.site = $1 AND account.account = sums.account",
        SITE,
        timeout=None,
    )


@asynccontextmanager
async def _without_indexes(connection: Any, tables: tuple[str, ...]) -> AsyncIterator[None]:
    """Lay keys, foreign keys and indexes of some tables aside, and put them back. Foreign keys hold for what is written
    afterwards; that the rows made here have their partners is `verify`'s to see, and checking it here takes minutes.
    """
    constraints = await connection.fetch(_CONSTRAINTS, list(tables))
    for table, name, _, _ in constraints:
        await connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    indexes = await connection.fetch(_INDEXES, list(tables))
    for name, _ in indexes:
        await connection.execute(f'DROP INDEX "{name}"')
    yield
    await connection.execute(f"ANALYZE {', '.join(tables)}", timeout=None)  # or foreign keys are checked row by row
    for _, definition in indexes:
        await connection.execute(definition, timeout=None)
    for table, name, definition, is_foreign in sorted(constraints, key=lambda one: bool(one[3])):
        said = f"{definition} NOT VALID" if is_foreign else definition
        await connection.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {said}', timeout=None)


async def _journals(connection: Any, tenants: int, slots: int, version: int) -> tuple[int, bytes]:
    """Journals and legs by COPY, with the hash chain; returns the last number and hash."""
    head, seq = GENESIS, 0
    for first in range(0, slots, 48):
        journals: list[tuple[Any, ...]] = []
        legs: list[tuple[Any, ...]] = []
        for slot in range(first, min(first + 48, slots)):
            for tenant in range(tenants):
                seq += 1
                record = _record(seq, slot, tenant, version)
                previous, head = head, journal_hash(head, record)
                named = (SITE, seq, record.kind, record.ts_ms, record.reference, record.actor, record.memo)
                journals.append((*named, previous, head))
                legs += [(SITE, seq, place, *leg) for place, leg in enumerate(record.legs, 1)]
        columns = ("site", "seq", "kind", "ts", "reference", "actor", "memo", "prev_hash", "hash")
        await connection.copy_records_to_table("journal", records=journals, columns=columns, timeout=None)
        parts = ("site", "seq", "place", "account", "amount_nano")
        await connection.copy_records_to_table("leg", records=legs, columns=parts, timeout=None)
    return seq, head


def _record(seq: int, slot: int, tenant: int, version: int) -> JournalRecord:
    rows = list(_rows(slot, tenant, version))
    total_nano = sum(row[13] for row in rows)
    legs = ((f"tenant:t-{tenant}:wallet", -total_nano), ("revenue:electricity", total_nano))
    reference = f"charge:{rows[0][0]}:1:{rows[0][2]}"
    return JournalRecord(SITE, seq, "charge", rows[0][5], reference, "platform", charge_memo(rows), legs)


def _rows(slot: int, tenant: int, version: int) -> Iterator[Any]:
    period = "valley" if slot % 96 < 32 else "peak"
    began = START + slot * SLOT_MS
    for meter in range(METERS):
        step = 200 + meter
        priced = ("shop", version, MONTH, period, None, PRICES[period], step * PRICES[period], False)
        span = (slot * step, (slot + 1) * step, began, began + SLOT_MS)
        yield (f"em-{tenant}-{meter}", 1, *span, f"t-{tenant}", *priced)

"""`python -m tests.bench.settling`: settlement and verification of a month of 15-minute intervals on PostgreSQL.

The database is filled by generated rows that are what the ledger would have written: chains, prices, journals with
their hashes. Then one plain SQL aggregate over the same rows (sum by tenant, period and tier) is timed, and in the same
minutes the settlement of the month and `verify`, each in a process of its own whose peak of memory is told. Nothing is
asserted but that every tenant has a bill and verification finds no breach.

Full size (2 000 tenants x 3 meters x a month, 17.9 million rows): `python -m tests.bench.settling --tenants 2000`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from adapters.store.charge_digest import charge_memo
from adapters.store.database import open_database
from adapters.store.migrate import migrate
from adapters.store.registry import SqlRegistry
from adapters.store.settlement import SqlSettlement
from adapters.store.verify import verify_sql
from billing.chain import GENESIS, JournalRecord, journal_hash
from billing.local_time import HOUR_MS, month_start
from billing.monthly_fees import month_index
from billing.tariff import compile_tariff
from tests.integration.servers import PostgresServer
from twin.flows.settle_month import Settlement, SettleOptions
from twin.ports import SiteDocument

SITE, MONTH, METERS = "park-bench", 202601, 3
ZONE = ZoneInfo("Asia/Shanghai")
START, END = (month_start(ZONE, month_index(month)) for month in (MONTH, MONTH + 1))
SLOT_MS = 900_000
PRICES = {"peak": 1_215_000, "valley": 415_000}
RUNS = 3
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
_PLAIN = (
    "SELECT account, period, tier, sum(to_qty - from_qty), sum(amount_nano) FROM rating WHERE site = $1 AND month = $2"
    " GROUP BY account, period, tier"
)


class StillClock:
    """The 2nd of February."""

    def now(self) -> int:
        return END + 24 * HOUR_MS

    def observe(self, ts: int) -> None:
        """Nothing moves it."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Nobody:
    """No twins run here."""

    async def deliver(self, acts: Any) -> int:
        return len(acts)


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


async def fill(url: str, tenants: int, slots: int) -> None:
    """Write the month as the ledger writer would have."""
    await migrate(url)
    database = await open_database(url)
    await SqlRegistry(database).apply(document(tenants), who="bench", now=START)
    await database.close()
    version = compile_tariff(tariff(), ZONE.key).versions[0].start_ms
    connection = await asyncpg.connect(url.replace("asyncpg://", "postgresql://"))
    # The rows are right by construction, and verification looks at every one of them afterwards.
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(_ENERGY, SITE, START, slots, tenants, timeout=None)
    head = await _journals(connection, tenants, slots, version)
    await connection.execute(_RATING, SITE, START, slots, tenants, version, timeout=None)
    await connection.execute("UPDATE site SET journal_seq = $2, journal_hash = $3 WHERE id = $1", SITE, *head)
    use = "(200 + right(meter, 1)::bigint) * $2::bigint"
    await connection.execute(
        f"UPDATE register_epoch SET head_qty = {use}, head_ts = $3, month = $4, month_use = {use} WHERE site = $1",
        *(SITE, slots, START + slots * SLOT_MS, MONTH),
    )
    await connection.execute(
        "UPDATE account SET charges_nano = (SELECT -sum(amount_nano) FROM leg WHERE leg.site = account.site"
        " AND leg.account = account.account) WHERE site = $1 AND account LIKE 'tenant:%'",
        SITE,
        timeout=None,
    )
    await connection.execute("VACUUM ANALYZE", timeout=None)
    await connection.close()


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


async def plain_s(url: str) -> list[float]:
    """Seconds that the database needs for one plain aggregate, some times over."""
    connection = await asyncpg.connect(url.replace("asyncpg://", "postgresql://"))
    times = []
    for _ in range(RUNS):
        began = time.monotonic()
        await connection.fetch(_PLAIN, SITE, MONTH, timeout=None)
        times.append(time.monotonic() - began)
    await connection.close()
    return times


async def settle(url: str) -> dict[str, Any]:
    """Settle the month; seconds by step."""
    database = await open_database(url)
    book = SqlSettlement(database)
    steps: dict[str, float] = {}
    last = [began := time.monotonic()]

    def say(step: str, _done: int, _whole: int) -> None:
        now = time.monotonic()
        steps[step] = steps.get(step, 0.0) + now - last[0]
        last[0] = now

    async def complete(_site: str, _end_ts: int) -> list[Any]:
        return []

    async def rated(_site: str) -> None:
        """Nothing is marked."""

    settlement = Settlement(book, Nobody(), StillClock(), readings=complete, rerate=rated)
    outcome = await settlement.settle(SITE, MONTH, SettleOptions("bench"), say)
    took_s = time.monotonic() - began
    bills = await database.fetch("SELECT count(*), sum(charges_nano) FROM bill WHERE state = 'issued'")
    await database.close()
    return {"state": outcome.state, "seconds": took_s, "steps": steps, "bills": int(bills[0][0])}


async def verify(url: str) -> dict[str, Any]:
    """Verify the SQL ledger of the site."""
    database = await open_database(url)
    began = time.monotonic()
    steps: dict[str, float] = {}
    found = [finding async for finding in _findings(database, steps, began) if finding.severity == "error"]
    await database.close()
    return {
        "seconds": time.monotonic() - began,
        "steps": steps,
        "breaches": [f"{one.code} {one.where}" for one in found[:5]],
    }


async def _findings(database: Any, steps: dict[str, float], began: float) -> AsyncIterator[Any]:
    def say(check: str, _seen: int) -> None:
        steps[check] = time.monotonic() - began

    async for finding in verify_sql(database, SITE, say):
        yield finding


def in_process(what: str, url: str) -> dict[str, Any]:
    """Run one piece of work in a process of its own; adds its peak of memory in MiB."""
    command = [sys.executable, "-m", "tests.bench.settling", "--worker", what, "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(tenants: int, slots: int) -> dict[str, Any]:
    """Everything, on a PostgreSQL of its own."""
    with PostgresServer() as server:
        url = server.fresh_database("settling")
        began = time.monotonic()
        asyncio.run(fill(url, tenants, slots))
        filled_s = time.monotonic() - began
        plain = asyncio.run(plain_s(url))
        settled = in_process("settle", url)
        plain += asyncio.run(plain_s(url))
        verified = in_process("verify", url)
    return {
        "tenants": tenants,
        "rows": tenants * METERS * slots,
        "filled_s": filled_s,
        "plain_s": median(plain),
        "plain_runs_s": plain,
        "settled": settled,
        "verified": verified,
    }


def show(results: dict[str, Any]) -> None:
    """Print what was measured."""
    settled, verified, plain = results["settled"], results["verified"], results["plain_s"]
    print(f"{results['tenants']} tenants x {METERS} meters, {results['rows']:,} rating rows on PostgreSQL")
    print(f"filled in {results['filled_s']:.0f} s")
    runs = ", ".join(f"{one:.2f}" for one in results["plain_runs_s"])
    print(f"plain aggregate by tenant, period, tier: {plain:.2f} s (median of {runs})")
    ratio = settled["seconds"] / plain
    print(f"settlement: {settled['seconds']:.1f} s = {ratio:.1f} x the plain aggregate; {settled['bills']} bills;"
          f" peak {settled['peak_mib']:.0f} MiB")  # fmt: skip
    print("  " + ", ".join(f"{step} {seconds:.1f} s" for step, seconds in settled["steps"].items()))
    print(f"verify: {verified['seconds']:.1f} s; {len(verified['breaches'])} breaches;"
          f" peak {verified['peak_mib']:.0f} MiB")  # fmt: skip
    if verified["breaches"]:
        print("  " + "; ".join(verified["breaches"]))


def main() -> int:
    """Parse options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.settling", description=__doc__)
    parser.add_argument("--tenants", type=int, default=200, help="2000 is the full size")
    parser.add_argument("--days", type=int, default=31, help="days of the month that are filled")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--worker", choices=("settle", "verify"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        result = asyncio.run((settle if options.worker == "settle" else verify)(options.url))
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return 0
    results = measure(options.tenants, options.days * 96)
    show(results)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 0 if not results["verified"]["breaches"] and results["settled"]["bills"] == options.tenants else 1


if __name__ == "__main__":
    sys.exit(main())

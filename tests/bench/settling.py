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
from collections.abc import AsyncIterator
from statistics import median
from typing import Any

import asyncpg

from adapters.store.bills.settlement import SqlSettlement
from adapters.store.engine.database import open_database
from adapters.store.proofs.verify import verify_sql
from billing.local_time import HOUR_MS
from tests.bench.apart import Keep
from tests.bench.settling_fill import END, METERS, MONTH, SITE, fill
from tests.integration.servers import PostgresServer
from twin.flows.settle_month import Settlement, SettleOptions

RUNS = 3
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


def measure(tenants: int, slots: int, keep: Keep = lambda _: None, *, verified: bool = True) -> dict[str, Any]:
    """Everything, on a PostgreSQL of its own; what is known is kept after every step."""
    found: dict[str, Any] = {"tenants": tenants, "rows": tenants * METERS * slots, "verified": None}
    with PostgresServer() as server:
        url = server.fresh_database("settling")
        began = time.monotonic()
        asyncio.run(fill(url, tenants, slots, journals=verified))
        found["filled_s"] = time.monotonic() - began
        keep(found)
        plain = asyncio.run(plain_s(url))
        keep(found := found | {"plain_s": median(plain), "plain_runs_s": plain})
        found["settled"] = in_process("settle", url)
        keep(found)
        plain += asyncio.run(plain_s(url))
        keep(found := found | {"plain_s": median(plain), "plain_runs_s": plain})
        if verified:
            found["verified"] = in_process("verify", url)
    return found


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
    if verified is None:
        return
    print(f"verify: {verified['seconds']:.1f} s; {len(verified['breaches'])} breaches;"
          f" peak {verified['peak_mib']:.0f} MiB")  # fmt: skip
    if verified["breaches"]:
        print("  " + "; ".join(verified["breaches"]))


def main() -> int:
    """Parse options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.settling", description=__doc__)
    parser.add_argument("--tenants", type=int, default=200, help="2000 is the full size")
    parser.add_argument("--days", type=int, default=31, help="days of the month that are filled")
    parser.add_argument("--no-verify", action="store_true", help="leave journals and verification out: fills sooner")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--worker", choices=("settle", "verify"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        result = asyncio.run((settle if options.worker == "settle" else verify)(options.url))
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return 0
    results = measure(options.tenants, options.days * 96, verified=not options.no_verify)
    show(results)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    breaches = (results["verified"] or {}).get("breaches")
    return 0 if not breaches and results["settled"]["bills"] == options.tenants else 1


if __name__ == "__main__":
    sys.exit(main())

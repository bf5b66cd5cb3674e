"""Weight of ledger rows in PostgreSQL, and what partitions cost: `python -m tests.bench.partitioning [METERS]`.

Rows as the ledger writer makes them: a day of 96 postings a meter, each an interval, a price, a journal and two legs,
with all guards on; then a second day, on one table or on sixteen partitions, timed.
"""

from __future__ import annotations

import asyncio
import sys
import time

from adapters.store.engine.database import Database, open_database
from adapters.store.engine.migrate import migrate
from adapters.store.engine.partitions import KEYS, partition_tables
from tests.integration.servers import PostgresServer

ROUNDS = 96
POINTS = "decode(repeat('5a', 60), 'hex')"
"""Samples beside an interval: fifteen of them take about sixty bytes."""

FILL = (
    "INSERT INTO energy (site, meter, epoch, from_qty, to_qty, from_ts, to_ts, tenant, estimated, points)"
    " SELECT 'park-1', 'em-' || lpad(m::text, 6, '0'), 1, {from_qty}, {to_qty}, {r} * 900000, ({r} + 1) * 900000,"
    f" 't-' || lpad(m::text, 6, '0'), FALSE, {POINTS} FROM generate_series(1, {{meters}}) m",
    "INSERT INTO rating (site, meter, epoch, from_qty, to_qty, revision, active, account, utility, tariff, version,"
    " month, period, price_micro, amount_nano, journal_seq) SELECT 'park-1', 'em-' || lpad(m::text, 6, '0'), 1,"
    " {from_qty}, {to_qty}, 1, TRUE, 't-' || lpad(m::text, 6, '0') || ':electricity', 'electricity', 'shop-tou', 1,"
    " 202601, 'peak', 852300, 250 * 852300::bigint, {r} * {meters} + m FROM generate_series(1, {meters}) m",
    "INSERT INTO leg (site, seq, place, account, amount_nano) SELECT 'park-1', {r} * {meters} + m, p,"
    " CASE p WHEN 1 THEN 't-' || lpad(m::text, 6, '0') || ':electricity' ELSE 'revenue:electricity' END,"
    " CASE p WHEN 1 THEN -213075000000 ELSE 213075000000 END FROM generate_series(1, {meters}) m,"
    " generate_series(1, 2) p",
    "INSERT INTO journal (site, seq, kind, ts, reference, actor, memo, prev_hash, hash) SELECT 'park-1',"
    " {r} * {meters} + m, 'charge', {r} * 900000, 'em-' || m || '/1/' || {from_qty}, 'twin', '',"
    " sha256(({r} * {meters} + m - 1)::text::bytea), sha256(({r} * {meters} + m)::text::bytea)"
    " FROM generate_series(1, {meters}) m",
)


async def fill(database: Database, meters: int, rounds: range) -> float:
    """Post so many rounds; returns rows of the chain a second."""
    began = time.perf_counter()
    for r in rounds:
        values = {"r": r, "meters": meters, "from_qty": r * 250, "to_qty": r * 250 + 250}
        async with database.write() as tx:
            for statement in FILL:
                await tx.execute(statement.format(**values))
    return meters * len(rounds) / (time.perf_counter() - began)


async def run(meters: int, parts: int) -> None:
    """One layout."""
    with PostgresServer() as server:
        url = server.fresh_database()
        await migrate(url)
        database = await open_database(url)
        async with database.write() as tx:
            await tx.execute(
                "INSERT INTO energy (site, meter, epoch, to_qty, tenant, estimated) SELECT 'park-1',"
                f" 'em-' || lpad(m::text, 6, '0'), 1, 0, 'x', FALSE FROM generate_series(1, {meters}) m"
            )
        await fill(database, meters, range(ROUNDS))
        if parts:
            began = time.perf_counter()
            await partition_tables(database, parts, lambda _: None)
            print(f"  dividing {meters * ROUNDS} intervals took {time.perf_counter() - began:.1f} s")
        rate = await fill(database, meters, range(ROUNDS, 2 * ROUNDS))
        print(f"  the second day: {rate:,.0f} postings/s (interval, price, journal, two legs)")
        for table in KEYS:
            rows = await database.fetch(
                f"SELECT (SELECT count(*) FROM {table}), sum(pg_total_relation_size(c.oid))::bigint,"
                " sum(pg_relation_size(c.oid))::bigint FROM pg_class c"
                f" WHERE c.relkind = 'r' AND (c.relname = '{table}' OR c.relname LIKE '{table}\\_p___')"
            )
            count, total, heap = rows[0]
            print(
                f"  {table:<8} {count:>9,} rows  {total / count:6.0f} B a row with indexes, {heap / count:6.0f} without"
            )
        await database.close()


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    for layout in (0, 16):
        print(f"{layout or 'no'} partitions, {size} meters")
        asyncio.run(run(size, layout))

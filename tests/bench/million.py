"""A site of a million meters: filled quickly, rebuilt from SQL as after a lost Redis, and read by portions.

Importing a million tenants by the registry would take minutes and measure the registry. So three tenants are imported,
one of each price, and their rows of SQL are repeated with other ids and registers: what the rebuild reads is what the
registry would have written, except for the journals and acts of the opening credits, which a rebuild does not look at
(so `verify` would miss them). Everything after that is the platform's own.

Each meter's chain ends at 10:00 sharp where its lag lets it, and the load begins a quarter of an hour later: so the
first reading of a twin after the rebuild posts as seldom as any, one in fifteen, and no reading is one that the
process remembers: all are read from Redis, which is the worst that a process with a memory of 200 000 groups can meet.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import machine, rivals
from tests.bench.apart import Keep
from tests.bench.child import Child, counter
from tests.bench.load import LAGS, START_MS, device_id, opening_wh
from tests.bench.roles import PublisherRole
from tests.bench.runs import CONNECTIONS, Ours, Say, Stand, child, platform_child, stand

SITE = "million"
PATTERNS = 3
GATEWAYS = 50
TABLES = {
    "tenant": "tenant", "device": "device", "supply": "tenant", "register_epoch": "meter", "energy": "meter",
    "account": "tenant", "act_head": "group_id",
}  # fmt: skip
"""What is repeated, and the column that names the pattern's tenant or meter."""


def measure_million(meters: int, readings: int, runs: int, folder: Path, say: Say, keep: Keep) -> dict[str, Any]:
    """Seconds of filling and rebuilding, bytes a meter, and readings/s among twins that nobody remembers; what is known
    is kept after every step."""
    found: dict[str, Any] = {"meters": meters, "runs": []}
    with stand(folder / "million", say, ("broker",)) as here:
        with platform_child(here, counter()) as platform:
            platform.call("open")
            platform.call("import_directly", SITE, PATTERNS)
            platform.call("stop")
        began = time.monotonic()
        repeat(folder / "million" / "twinmeter.sqlite3", meters)
        found["fill_s"] = time.monotonic() - began
        say(f"{meters:,} meters are in SQL after {found['fill_s']:.0f} s")
        before, acked = rivals.used_memory(here.redis_url), counter()
        with platform_child(here, acked) as platform:
            platform.call("open")
            found["rebuild_s"] = platform.call("rebuild", SITE, within_s=1_200.0)
            found["rebuilt_bytes"] = (rivals.used_memory(here.redis_url) - before) / meters
            say(f"rebuilt in {found['rebuild_s']:.0f} s, {found['rebuilt_bytes']:,.0f} B of Redis a meter")
            found["platform_rebuilt"] = machine.resident_bytes(platform.pid)
            keep(found)
            platform.call("start")
            found |= _awake(platform, say)
            keep(found)
            for run in _runs(here, Ours(here, SITE, meters, platform, acked), readings, runs, say):
                found["runs"].append(run)
                keep(found)
            found["platform_resident"] = machine.resident_bytes(platform.pid)
            streams = rivals.stream_bytes(here.redis_url, SITE)
            found["redis_bytes"] = (rivals.used_memory(here.redis_url) - before - streams) / meters
            found["postings"], found["counters"] = platform.call("postings", SITE), platform.call("counters")
            platform.call("stop")
        keep(found)
        found["restart_s"] = _restart(here)
        say(f"restarted on a million twins in {found['restart_s']:.1f} s")
    return found


def _awake(platform: Child, say: Say) -> dict[str, Any]:
    """A rebuild wakes every twin once; readings come in meanwhile, but what follows is measured without."""
    fees_s = platform.call("wait_fees", SITE)
    idle_s = fees_s + platform.call("wait_idle", SITE)
    woken = platform.call("counters")["woken"]
    say(f"{woken:,} twins had looked at their rules {idle_s:.0f} s later")
    return {"fees_s": fees_s, "idle_s": idle_s, "woken": woken}


def _runs(here: Stand, ours: Ours, readings: int, runs: int, say: Say) -> Iterator[dict[str, Any]]:
    here.round = LAGS
    with child("publisher", PublisherRole, here.servers["broker"].url, CONNECTIONS, ours.acked) as publisher:
        for number in range(runs):
            run = ours.run(publisher, readings)
            say(f"{ours.meters:,} twins, run {number + 1}: {run['rate']:,.0f} readings/s")
            yield run


def _restart(here: Stand) -> float:
    began = time.monotonic()
    with platform_child(here, counter()) as platform:
        platform.call("open")
        platform.call("start")
        taken_s = time.monotonic() - began
        platform.call("stop")
    return taken_s


def repeat(path: Path, meters: int) -> None:
    """Repeat the rows of the three patterns until there are so many meters."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -200000")
    for table, names in TABLES.items():
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
        patterns = [_pattern(database, table, names, columns, number) for number in range(PATTERNS)]
        marks = ", ".join("?" for _ in columns)
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        with database:
            database.executemany(insert, _rows(patterns, columns, meters))
    database.close()


def _pattern(database: sqlite3.Connection, table: str, names: str, columns: list[str], number: int) -> tuple[Any, ...]:
    own = device_id(number) if names in ("meter", "device") else f"t-{number:06d}"
    query = f"SELECT {', '.join(columns)} FROM {table} WHERE site = ? AND {names} = ?"
    rows: list[tuple[Any, ...]] = database.execute(query, (SITE, own)).fetchall()
    if len(rows) != 1:
        raise RuntimeError(f"{table} has {len(rows)} rows of {own}; the repetition no longer fits the tables")
    return rows[0]


def _rows(patterns: list[tuple[Any, ...]], columns: list[str], meters: int) -> Iterator[list[Any]]:
    for number in range(PATTERNS, meters):
        first = number % PATTERNS
        old, new, gateway = f"{first:06d}", f"{number:06d}", f"gw-{number % GATEWAYS:02d}"
        chain = chain_end(number)
        row = []
        for column, value in zip(columns, patterns[first], strict=True):
            if column in ("opening", "head_qty", "to_qty"):
                row.append(chain)
            elif column in ("head_ts", "to_ts") and value is not None:
                row.append(START_MS)
            elif isinstance(value, str) and value != SITE:
                text = value.replace(f"t-{old}", f"t-{new}").replace(f"em-{old}", f"em-{new}")
                text = text.replace(f"gw-{first:02d}", gateway)
                row.append(text.replace(f'"opening_wh":{opening_wh(first)},', f'"opening_wh":{chain},'))
            else:
                row.append(value)
        yield row


def chain_end(number: int) -> int:
    """The register of a meter at 10:00, from the law of `load.reading`, Wh."""
    return opening_wh(number) + (number % LAGS + 1) * (5 + number % 78)

"""A site of a million meters: filled quickly, rebuilt from SQL as after a lost Redis, and read by portions.

Importing a million tenants by the registry would take minutes and measure the registry. So three tenants are imported,
one of each price, and their rows of SQL are repeated with other ids and registers: what the rebuild reads is what the
registry would have written, except for the journals and acts of the opening credits, which a rebuild does not look at
(so `verify` would miss them). Everything after that is the platform's own.

Each meter's chain ends at 10:00 sharp where its lag lets it, and the load begins a quarter of an hour later: so the
first reading of a twin after the rebuild posts as seldom as any, one in fifteen.

A part of the meters is read twice. The first time each twin learns what only its device can tell, its relay above all,
and its rules begin to work, which is told apart. Before the second time the process forgets all twins, as if the rest
of the million had been read meanwhile: so every reading is of a twin that comes from Redis, the worst that a process
with a memory of 200 000 groups can meet. Timers are left alone (no scheduler): a rebuild wakes every twin once, and
the third size of the sites is where that is seen.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tests.bench import machine, rivals
from tests.bench.apart import Keep
from tests.bench.child import Child, ChildError, Counter, counter
from tests.bench.load import LAGS, START_MS, opening_wh
from tests.bench.roles import PlatformRole, PublisherRole
from tests.bench.runs import CONNECTIONS, Ours, Say, Stand, child, platform_child, stand

SITE = "million"
PATTERNS = 3
GATEWAYS = 50
TELL_EVERY_S = 2.0
UNTIMED = ("ingest", "ledger", "commands")
TABLES = {
    "tenant": "tenant", "device": "device", "supply": "tenant", "register_epoch": "meter", "energy": "meter",
    "account": "tenant", "act_head": "group_id",
}  # fmt: skip
"""What is repeated, and the column that names the pattern's tenant or meter."""


def measure_million(meters: int, readings: int, runs: int, folder: Path, say: Say, keep: Keep) -> dict[str, Any]:
    """Seconds of filling and rebuilding, bytes a meter, and readings/s among twins that nobody remembers; what is known
    is kept after every step."""
    found: dict[str, Any] = {"meters": meters, "first": [], "runs": []}
    with stand(folder / "million", say, ("broker",)) as here:
        with platform_child(here, counter()) as platform:
            platform.call("open")
            platform.call("import_directly", SITE, PATTERNS)
            platform.call("stop")
        began = time.monotonic()
        repeat(folder / "million" / "twinmeter.sqlite3", meters)
        found["fill_s"] = time.monotonic() - began
        keep(found)
        say(f"{meters:,} meters are in SQL after {found['fill_s']:.0f} s")
        before, acked = rivals.used_memory(here.redis_url), counter()
        with child("platform", PlatformRole, here.settings, acked, UNTIMED) as platform:
            platform.call("open")
            found["rebuild_s"] = _rebuilt(platform, acked, found, keep)
            found["rebuilt_bytes"] = (rivals.used_memory(here.redis_url) - before) / meters
            say(f"rebuilt in {found['rebuild_s']:.0f} s, {found['rebuilt_bytes']:,.0f} B of Redis a meter")
            found["platform_rebuilt"] = machine.resident_bytes(platform.pid)
            keep(found)
            platform.call("start")
            for name, run in _runs(here, Ours(here, SITE, meters, platform, acked), readings, runs, say):
                found[name].append(run)
                keep(found)
            found["platform_resident"] = machine.resident_bytes(platform.pid)
            streams = rivals.stream_bytes(here.redis_url, SITE)
            found["redis_bytes"] = (rivals.used_memory(here.redis_url) - before - streams) / meters
            found["postings"], found["counters"] = platform.call("postings", SITE), platform.call("counters")
            platform.call("stop")
        keep(found)
        found["restart_s"] = _restart(here, say)
        say(f"restarted on a million twins in {found['restart_s']:.1f} s")
    return found


def _rebuilt(platform: Child, made: Counter, found: dict[str, Any], keep: Keep) -> float:
    """Seconds of the rebuild; how far it is, is kept meanwhile."""
    began = time.monotonic()
    platform.send("rebuild", SITE)
    while not platform.answers(TELL_EVERY_S):
        if made.value:
            found["rebuilding"] = {"twins": made.value, "seconds": time.monotonic() - began}
            keep(found)
    found.pop("rebuilding", None)
    return float(platform.result())


def _runs(
    here: Stand, ours: Ours, readings: int, runs: int, say: Say
) -> Iterator[tuple[Literal["first", "runs"], dict[str, Any]]]:
    """The first readings after the rebuild, then the same meters' next ones, none of them remembered."""
    with child("publisher", PublisherRole, here.servers["broker"].url, CONNECTIONS, ours.acked) as publisher:
        for name, minutes in (("first", LAGS), ("runs", LAGS + 1)):
            here.begin_round(ours.site, ours.meters, minutes)
            for number in range(runs):
                run = ours.run(publisher, readings)
                say(f"{ours.meters:,} twins, {name}, run {number + 1}: {run['rate']:,.0f} readings/s")
                yield name, run  # type: ignore[misc]
            ours.platform.call("forget", ours.site)


def _restart(here: Stand, say: Say) -> float:
    began = time.monotonic()
    with platform_child(here, counter()) as platform:
        platform.call("open")
        platform.call("start")
        taken_s = time.monotonic() - began
        try:
            platform.call("stop")
        except ChildError as error:
            say(f"the services did not stop, and are killed: {str(error)[-60:]}")
    return taken_s


def repeat(path: Path, meters: int) -> None:
    """Repeat the rows of the three patterns until there are so many meters. Triggers are laid aside meanwhile."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -200000")
    database.execute("PRAGMA temp_store = MEMORY")
    database.execute(_NUMBERS, (meters,))
    with database:
        for table, names in TABLES.items():
            triggers = database.execute(_TRIGGERS, (table,)).fetchall()
            for name, _ in triggers:
                database.execute(f"DROP TRIGGER {name}")
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
            _patterns(database, table, names, columns)
            fields = ", ".join(_repeated(database, column) for column in columns)
            database.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {fields} {_FROM}")
            database.execute("DROP TABLE temp.pattern")
            for _, definition in triggers:
                database.execute(definition)
    database.close()


_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
_OPENING = """'"opening_wh":' || {} || ','"""
_CHAIN_END = f"(i * 7919 % 900000000 + (i % {LAGS} + 1) * (5 + i % 78))"
"""`chain_end` as SQL."""
_NUMBERS = f"""
CREATE TEMP TABLE number AS WITH RECURSIVE number (i) AS (
 VALUES ({PATTERNS}) UNION ALL SELECT i + 1 FROM number WHERE i + 1 < ?)
SELECT i, i % {PATTERNS} AS pattern, printf('t-%06d', i) AS tenant, printf('em-%06d', i) AS meter,
 printf('gw-%02d', i % {GATEWAYS}) AS gateway, {_CHAIN_END} AS chain FROM number
"""
_FROM = "FROM temp.number n CROSS JOIN temp.pattern p ON p.pattern_number = n.pattern"


def _patterns(database: sqlite3.Connection, table: str, names: str, columns: list[str]) -> None:
    """The rows of the imported tenants where SQL finds them, each with its number."""
    database.execute(
        f"CREATE TEMP TABLE pattern AS SELECT {', '.join(columns)}, CAST(substr({names}, -6) AS INTEGER)"
        f" AS pattern_number FROM {table} WHERE site = ? AND {names} GLOB ? ORDER BY pattern_number",
        (SITE, "em-*" if names in ("meter", "device") else "t-*"),
    )
    (found,) = database.execute("SELECT count(*) FROM temp.pattern").fetchone()
    if found != PATTERNS:
        raise RuntimeError(f"{table} has {found} rows of {PATTERNS}; the repetition no longer fits the tables")


def _repeated(database: sqlite3.Connection, column: str) -> str:
    """The SQL of a column's value for the meter `i`: the pattern's with other ids, gateway and register."""
    if column in ("opening", "head_qty", "to_qty"):
        return "n.chain"
    if column in ("head_ts", "to_ts"):
        return f"CASE WHEN p.{column} IS NULL THEN NULL ELSE {START_MS} END"
    values = [str(value) for (value,) in database.execute(f"SELECT {column} FROM temp.pattern")]
    swaps = {
        "'t-' || printf('%06d', p.pattern_number)": ("t-00000", "n.tenant"),
        "'em-' || printf('%06d', p.pattern_number)": ("em-00000", "n.meter"),
        "printf('gw-%02d', p.pattern_number)": ("gw-0", "n.gateway"),
        _OPENING.format("(p.pattern_number * 7919)"): ('"opening_wh"', _OPENING.format("n.chain")),
    }
    text = f"p.{column}"
    for old, (sign, new) in swaps.items():
        if any(sign in value for value in values):
            text = f"replace({text}, {old}, {new})"
    return text


def chain_end(number: int) -> int:
    """The register of a meter at 10:00, from the law of `load.reading`, Wh."""
    return opening_wh(number) + (number % LAGS + 1) * (5 + number % 78)

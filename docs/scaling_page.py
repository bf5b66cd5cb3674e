# ruff: noqa: E501 -- the prose of the page is wrapped as Markdown, not as code
"""The page about scale: what so many meters need, from measured costs, with the arithmetic shown.

Costs that `make bench` measures are read from `docs/benchmarks.json`, where they have been measured; the others stand
in one table here. Make the page anew when either changes; `make bench BENCH_ARGS=--update-docs` does.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

MEASURED: Final = Path(__file__).with_name("benchmarks.json")
ONE_POSTING_IN: Final = 15
"""The load of the benchmarks posts once in so many readings."""


class Cost(NamedTuple):
    """A measured cost, and where it is from."""

    value: float
    unit: str
    meaning: str
    source: str


_WRITTEN: Final = {
    "ingest_us": Cost(150.5, "us CPU", "ingest, a reading: packets, decode, route, load, decide, commit", "benchmarks, stages"),
    "ledger_us": Cost(211.0, "us CPU", "ledger on SQLite, a posting (14.1 us a reading, one posting in fifteen)", "benchmarks, stages"),
    "redis_us": Cost(43.9, "us CPU", "Redis, a reading at 100 000 twins (21.3 at 1 000)", "benchmarks"),
    "broker_us": Cost(14.3, "us CPU", "Mosquitto, a reading in and out", "benchmarks"),
    "redis_meter_b": Cost(1_300, "B", "Redis, a meter with its tenant and breaker", "benchmarks"),
    "redis_entry_b": Cost(525, "B", "Redis, a posting in the effect stream while the ledger is behind", "MEMORY USAGE of 1 152 postings of 12 meters"),
    "message_b": Cost(270, "B", "a reading on a wire: 190 of payload, topic, headers of MQTT, TCP and IP", "benchmarks and arithmetic"),
    "filter_b": Cost(1_029, "B", "Mosquitto, a filter of a session, where a site is divided by device", "50 000 filters, resident memory"),
    "sql_posting_b": Cost(1_612, "B", "PostgreSQL, a posting: interval, price, journal, two legs, with indexes", "tests.bench.partitioning"),
    "sql_postings_s": Cost(1_873, "/s", "PostgreSQL, postings by one writer with every guard on, beside other work on both cores", "tests.bench.partitioning"),
    "history_b": Cost(13, "B", "recorded history, a message, compressed", "docs/replay.md"),
}  # fmt: skip
"""Costs as they were measured once; the first five give way to `docs/benchmarks.json`."""


def _measured(found: dict[str, Any]) -> dict[str, Cost]:
    """Costs from the results of `make bench`, those that it has."""
    data = {name: part["data"] for name, part in found.get("parts", {}).items()}
    sites = data.get("sites", {})
    costs: dict[str, Cost] = {}
    if stages := sites.get("stages"):
        spent = {name: median(run[name] for run in stages) for name in stages[0]}
        posting = spent["ledger posting"]
        ingest = sum(value for name, value in spent.items() if name not in ("ledger posting", "redis"))
        told = f"ledger on SQLite, a posting ({posting:.1f} us a reading, one posting in fifteen)"
        costs["ingest_us"] = _WRITTEN["ingest_us"]._replace(value=round(ingest, 1))
        costs["ledger_us"] = Cost(float(round(posting * ONE_POSTING_IN)), "us CPU", told, "benchmarks, stages")
    if runs := sites.get("throughput", {}).get("large"):
        redis, broker = (median(run["cpu_with_ledger_us"][name] for run in runs) for name in ("redis", "broker"))
        twins = f"{sites['plan']['large']:,}".replace(",", " ")
        meaning = f"Redis, a reading at {twins} twins"
        costs["redis_us"] = Cost(round(redis, 1), "us CPU", meaning, "benchmarks")
        costs["broker_us"] = _WRITTEN["broker_us"]._replace(value=round(broker, 1))
    if "after" in (memory := sites.get("memory", {})):
        each = (memory["after"] - memory["before"]) / memory["meters"]
        costs["redis_meter_b"] = _WRITTEN["redis_meter_b"]._replace(value=float(round(each)))
    return costs


def costs() -> dict[str, Cost]:
    """All that the page is made from."""
    found = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    return _WRITTEN | _measured(found)


COSTS: Final = costs()

FILL: Final = 0.5
"""A core is planned to be used by half: the other half is for backlogs, rebuilds and the hour after an outage."""
DAY_S: Final = 86_400


class Case(NamedTuple):
    """A park to be planned."""

    name: str
    meters: int
    every_s: int
    posting_s: int


CASES: Final = (
    Case("1 M meters, a reading a minute", 1_000_000, 60, 900),
    Case("10 M meters, a reading in 15 minutes", 10_000_000, 900, 900),
    Case("10 M meters, the same, posted once in 6 hours", 10_000_000, 900, 21_600),
)


def _cost(name: str) -> float:
    return COSTS[name].value


def page() -> str:
    """The whole page."""
    return "\n".join([*_head(), *_costs(), *_cases(), *_walls(), *_how()]) + "\n"


def _head() -> list[str]:
    return [
        "# Scaling",
        "",
        "What many meters need, part by part, by arithmetic from measured costs. Every figure below the first table follows from it; none is a promise,",
        "for nothing here was run at this size. Costs are CPU on the machine of [benchmarks](benchmarks.md), with all parts on its two cores.",
        "",
    ]


def _costs() -> list[str]:
    rows = [
        f"| `{name}` | {cost.value:,g} {cost.unit} | {cost.meaning} | {cost.source} |" for name, cost in COSTS.items()
    ]
    return ["## Costs", "", "| name | value | of what | from |", "|---|---:|---|---|", *rows, "",
            f"`fill` = {FILL:g}: a core is planned to be used by half, so that a backlog drains and an outage is caught up.", ""]  # fmt: skip


def _cases() -> list[str]:
    return [line for case in CASES for line in _case(case)]


def _case(case: Case) -> list[str]:
    readings = case.meters / case.every_s
    postings = case.meters / max(case.posting_s, case.every_s)
    rows_day = postings * DAY_S
    return [
        f"## {case.name}",
        "",
        "| part | arithmetic | need |",
        "|---|---|---:|",
        f"| readings | {case.meters:,} / {case.every_s} s | {readings:,.0f} /s |",
        f"| postings | {case.meters:,} / {max(case.posting_s, case.every_s)} s | {postings:,.0f} /s |",
        _cores("broker CPU", readings, "broker_us"),
        f"| broker memory for filters | {case.meters:,} x filter_b, only for divided sites | {_size(case.meters * _cost('filter_b'))} |",
        _cores("ingest CPU", readings, "ingest_us"),
        _cores("Redis CPU", readings, "redis_us"),
        f"| Redis memory | {case.meters:,} x redis_meter_b | {_size(case.meters * _cost('redis_meter_b'))} |",
        "| Redis memory, an hour without the ledger | postings x 3 600 x redis_entry_b |"
        f" {_size(postings * 3600 * _cost('redis_entry_b'))} |",
        _cores("ledger CPU", postings, "ledger_us"),
        f"| PostgreSQL writers | postings / sql_postings_s / fill | {postings / _cost('sql_postings_s') / FILL:,.1f} |",
        f"| PostgreSQL intervals a day | postings x 86 400 | {rows_day / 1e6:,.0f} M |",
        f"| PostgreSQL rows a day | x 5 (interval, price, journal, two legs) | {rows_day * 5 / 1e6:,.0f} M |",
        f"| PostgreSQL growth | intervals x sql_posting_b | {_size(rows_day * _cost('sql_posting_b'))} a day |",
        f"| recorded history | readings x 86 400 x history_b | {_size(readings * DAY_S * _cost('history_b'))} a day |",
        f"| network at the broker | readings x message_b x 2 (in, out), 3 with the recorder | {readings * _cost('message_b') * 16 / 1e6:,.0f} to"
        f" {readings * _cost('message_b') * 24 / 1e6:,.0f} Mbit/s |",
        "",
    ]


def _cores(part: str, rate: float, cost: str) -> str:
    used = rate * _cost(cost) / 1e6
    return f"| {part} | {rate:,.0f} x {cost} / 1 000 000 / fill | {used / FILL:,.1f} cores ({used:,.2f} used) |"


def _size(size_b: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_b >= factor:
            return f"{size_b / factor:,.1f} {unit}"
    return f"{size_b:,.0f} B"


def _walls() -> list[str]:
    site = 1e6 / _cost("redis_us")
    ingest = 1e6 / _cost("ingest_us")
    broker = 1e6 / _cost("broker_us")
    ledger = 1e6 / _cost("ledger_us")
    return [
        "## The next walls",
        "",
        "| wall | arithmetic | where it stands |",
        "|---|---|---:|",
        f"| one ingest process | 1 000 000 / ingest_us | {ingest:,.0f} readings/s |",
        f"| one site: its Redis node is one thread | 1 000 000 / redis_us | {site:,.0f} readings/s |",
        f"| | x 60 s at a reading a minute | {site * 60 / 1e6:,.1f} M meters a site |",
        f"| one Mosquitto: one thread | 1 000 000 / broker_us | {broker:,.0f} readings/s |",
        f"| one site's ledger: one owner a site | 1 000 000 / ledger_us | {ledger:,.0f} postings/s |",
        "| one PostgreSQL primary, one writer | sql_postings_s | " + f"{_cost('sql_postings_s'):,.0f} postings/s |",
        "",
        "In this order for parks of ordinary size: **SQL first**, in rows and in bytes, and above all for many meters that are read seldom, where every reading",
        "posts. The cheapest step is a longer posting interval (`interval` in the site file): money moves with each reading anyway, only its ledger",
        "rows become fewer; the samples stay beside the row. (The same setting is taken for the usual time between two samples, so look at rules that use it.) Then writers: journals are chained a site, so one site has one",
        "writer at a time and several sites have several; the primary's disk takes them all. **Ingest** is next and divides by processes. **Redis** divides by",
        "sites over a cluster; a single site beyond a node's thread is a wall that only several sites of one park move. **The broker**: several, each with sites of",
        "its own, and as many installations; one installation reads one broker.",
        "",
        "Not measured here, and to be found out before such a park is built: brokers with a million connections (gateways make them thousands), PostgreSQL at terabytes,",
        "several machines and the network between them, a rebuild of millions of twins against a cluster.",
        "",
    ]


def _how() -> list[str]:
    return [
        "## How to divide",
        "",
        "Nothing is divided unless it is asked for. For several processes:",
        "",
        "1. Give every process the same `TWINMETER_INGEST_SHARDS` (some four times as many as processes will ever run; it is cheap, and changing it later means",
        "   stopping all of them once), its own `TWINMETER_HOST`, and start as many of each service as wanted: `twinmeter ingest`, `ledger`, `commands`, `scheduler`,",
        "   `recorder`. Whoever has nothing to do stands by.",
        "2. `twinmeter shards` shows owners, ages and changes of owner; exit 1 while some work has no owner.",
        "3. A site with more devices than `TWINMETER_SHARD_SPREAD` (5 000) is divided over all shards; smaller ones stay whole. Messages of unknown devices of",
        "   a divided site are not heard (ADR 0033).",
        "4. `TWINMETER_LEASE_S` (10) is how long work stands still when a process dies without a word; an orderly stop hands over at once.",
        "5. Several sites: `redis+cluster://` for the twins (ADR 0034). A large ledger: `twinmeter ledger partition` in a quiet hour (ADR 0035).",
        "",
        "Back to one: set the shards to 1, let the sessions beyond it empty themselves (`twinmeter shards` lists them until then), then to 0.",
        "",
    ]

"""What rules cost a reading, by how many are loaded and how many it touches, with and without a trace.

Seven rules touch the reading, as in a park that deducts and watches power, voltage, current, power factor, temperature
and leakage; all others are loaded, enabled, and about something else. Measured is the CPU time of one decision on one
reading in this process, the same readings through every policy in turn; the rules' own share is what a decision costs
more than under a policy without rules. The register does not move, so every clause of all seven is looked at and
nothing is charged: what a charge costs is rating and posting, and no matter of rules.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any
from zoneinfo import ZoneInfo

from billing.tariff import compile_tariff
from rules.ruleset import compile_ruleset
from twin.core.decide import decide
from twin.core.messages import Birth, ContractsChanged, CreditsPosted, Telemetry
from twin.core.model import BreakerContract, Contract, Group, MeterContract
from twin.core.policy import SitePolicy
from twin.core.view import TWIN_MODEL

LOADED = (1, 10, 100, 1_000)
TOUCHED = 7
START = 1_767_888_000_000
INTERVAL_MS = 10_000
ZONE = ZoneInfo("Asia/Shanghai")

TOUCHING: tuple[dict[str, Any], ...] = (
    {
        "on": ["reading.registers"],
        "when": 'reading.quality == "good" && reading.delta > 0',
        "then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}],
    },
    {"on": ["reading.power_w"], "when": "reading.power_w > p.limit_w", "for": "30s"},
    {"on": ["reading.voltage_mv"], "when": "max(reading.voltage_mv) > 265000", "for": "10s"},
    {"on": ["reading.current_ma"], "when": "max(reading.current_ma) > meter.imax_ma"},
    {"on": ["reading.pf_milli"], "when": "reading.pf_milli < 850 && reading.power_w > 2000", "for": "30m"},
    {"on": ["reading.temperature_dc"], "when": "reading.temperature_dc > 850"},
    {"on": ["reading.leakage_ma"], "when": "reading.leakage_ma > 30"},
)
ELSEWHERE: dict[str, Any] = {"on": ["reading.frequency_mhz"], "when": "reading.frequency_mhz < 49500"}


RULES_A_FILE = 250
"""More rules than a file may hold are several files."""


def policy_of(loaded: int, *, trace: bool = False) -> SitePolicy:
    """A policy with so many rules, of which at most seven touch the readings of this module."""
    alarm = {"scope": {"twin": "meter"}, "then": [{"alarm": {"severity": "major"}}]}
    chosen = [*TOUCHING[:loaded], *[ELSEWHERE] * max(0, loaded - TOUCHED)]
    rules = [{**alarm, **rule, "id": f"rule-{number}"} for number, rule in enumerate(chosen)]
    documents = [
        {
            "apiVersion": "twinmeter.rules/v1",
            "ruleset": f"bench-{at}",
            "version": 1,
            "params": {"limit_w": {"type": "int", "unit": "W", "default": 6000}},
            "rules": rules[at : at + RULES_A_FILE],
        }
        for at in range(0, len(rules), RULES_A_FILE)
    ]
    tariff = {
        "apiVersion": "twinmeter.tariff/v1",
        "tariff": "flat",
        "utility": "electricity",
        "versions": [{"from": "2020-01-01T00:00:00", "mode": "flat", "price": "1.0000"}],
    }
    return SitePolicy(
        site="bench",
        zone=ZONE,
        currency="CNY",
        interval_ms=900_000,
        tariffs={"flat": compile_tariff(tariff, str(ZONE))},
        rulesets=[compile_ruleset(document, TWIN_MODEL) for document in documents],
        trace=trace,
    )


def twin_of(policy: SitePolicy) -> Group:
    """A tenant with credit and one meter that is connected."""
    contract = Contract("t", account="t")
    meter = MeterContract("m", tariff="flat", breaker="m", interval_ms=INTERVAL_MS, supply_from=START, imax_a=60)
    born = ContractsChanged(1, START, contract, (meter,), (BreakerContract("m", meters=("m",)),), None, {"m": 0})
    group = Group("bench", "t")
    for message in (born, Birth("m", "s", START, "closed"), CreditsPosted(2, 10**12, 10**12, START)):
        group = decide(group, message, START, policy).group
    return group


def readings(count: int, first: int = 1) -> list[Telemetry]:
    """Readings of a healthy meter that uses nothing."""
    channels = {
        "voltage_mv": [229_800, 230_100, 231_000],
        "current_ma": [1_830, 2_000, 1_500],
        "pf_milli": 987,
        "temperature_dc": 412,
        "leakage_ma": 2,
        "power_w": 1_240,
    }
    return [
        Telemetry("m", "s", number, START + number * INTERVAL_MS, {"import_wh": 0, **channels})
        for number in range(first, first + count)
    ]


def cpu_us(policy: SitePolicy, count: int) -> float:
    """CPU microseconds a reading under a policy."""
    group, messages = twin_of(policy), readings(count)
    began = time.process_time_ns()
    for message in messages:
        group = decide(group, message, message.ts, policy).group
    return (time.process_time_ns() - began) / 1_000 / count


def measure(count: int = 500, runs: int = 40) -> list[dict[str, Any]]:
    """One row for each policy: what its least disturbed run cost more than the least disturbed one without rules, the
    median of that difference over the runs, and the whole decision."""
    policies = [(0, False), *((loaded, False) for loaded in LOADED), (TOUCHED, False), (TOUCHED, True)]
    made = [policy_of(loaded, trace=trace) for loaded, trace in policies]
    found: list[list[float]] = [[] for _ in policies]
    for _ in range(runs):
        for place, policy in enumerate(made):
            found[place].append(cpu_us(policy, count))
    rows = []
    for (loaded, trace), times in list(zip(policies, found, strict=True))[1:]:
        shares = [whole - bare for whole, bare in zip(times, found[0], strict=True)]
        rows.append(
            {
                "loaded": loaded,
                "touched": min(loaded, TOUCHED),
                "trace": trace,
                "rules_us": round(min(times) - min(found[0]), 1),
                "median_us": round(statistics.median(shares), 1),
                "decision_us": round(min(times), 1),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as lines of text."""
    lines = ["rules loaded  touched  trace  rules us  (median)  whole decision us"]
    for row in rows:
        trace = "on" if row["trace"] else "off"
        share = f"{row['rules_us']:8.1f}  ({row['median_us']:6.1f})"
        lines.append(f"{row['loaded']:12d}  {row['touched']:7d}  {trace:>5}  {share}  {row['decision_us']:17.1f}")
    return lines


if __name__ == "__main__":
    print("\n".join(table(measure(*map(int, sys.argv[1:])))))

"""Fleet scenarios: files of the schema `fleet.v1`, read, checked and resolved.

Durations become milliseconds, local instants Unix milliseconds, id patterns lists. Whatever the file leaves to chance
is drawn from sources seeded by the scenario's seed and the name of what is drawn, so adding a group changes no other.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from schemas.documents import load_checked
from schemas.durations import parse_duration
from simulators.faults import DelayRange, Span

JITTER_SHARE = 10


class ScenarioError(ValueError):
    """A scenario that reads well but does not fit together; the message names the place."""


class Recharge(msgspec.Struct, frozen=True):
    """How one simulated tenant recharges: money as decimal strings, as it is sent."""

    tenant: str
    when_below: str
    amount: str
    after: DelayRange
    times: int | None
    channel: str


class Scenario(msgspec.Struct, frozen=True):
    """A checked scenario. `groups`, `faults` and `events` stay documents; `fleet` turns them into devices."""

    site: str
    seed: int
    zone: str
    start_ms: int
    interval_ms: int
    groups: list[dict[str, Any]]
    faults: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    recharges: list[Recharge] = []


def load_scenario(path: str | Path) -> Scenario:
    """Read and check a scenario file.

    Raises `schemas.documents.DocumentError` for a file that breaks its schema, ScenarioError for one that does not fit.
    """
    return parse_scenario(load_checked(Path(path), "fleet").data)


def parse_scenario(document: dict[str, Any]) -> Scenario:
    """A scenario from a document that already passed `fleet.v1.json`."""
    zone = ZoneInfo(document["timezone"])
    start = datetime.fromisoformat(document["start"]).replace(tzinfo=zone)
    return Scenario(
        site=document["site"],
        seed=document["seed"],
        zone=document["timezone"],
        start_ms=int(start.timestamp()) * 1000,
        interval_ms=parse_duration(document["interval"]),
        groups=list(document["groups"]),
        faults=list(document.get("faults", [])),
        events=list(document.get("events", [])),
        recharges=[_recharge(person) for person in document.get("people", [])],
    )


def ids_of(spec: Any) -> list[str]:
    """The ids of a list, or of a pattern with `{n}` or `{n:03d}` and a range with both ends."""
    if spec is None:
        return []
    if isinstance(spec, dict):
        return [spec["pattern"].format(n=n) for n in range(spec["from"], spec["to"] + 1)]
    return list(spec)


def duration_range(spec: Any, default: DelayRange) -> DelayRange:
    """A duration or `[least, greatest]`."""
    if spec is None:
        return default
    if isinstance(spec, str):
        spec = [spec, spec]
    least_ms, greatest_ms = (parse_duration(text) for text in spec)
    if least_ms > greatest_ms:
        raise ScenarioError(f"{spec}: the least duration comes first, the greatest second")
    return DelayRange(least_ms, greatest_ms)


def whole_number(spec: Any, rng: Random, default: int) -> int:
    """An integer, or one drawn from `[least, greatest]`."""
    if spec is None:
        return default
    if isinstance(spec, int):
        return spec
    least, greatest = spec
    if least > greatest:
        raise ScenarioError(f"{spec}: the least number comes first, the greatest second")
    return rng.randint(least, greatest)


def span_of(spec: dict[str, Any], begin_ms: int) -> Span:
    """`from` and `to` of a fault, counted from the fleet's begin."""
    from_ms = begin_ms + parse_duration(spec.get("from", "0s"))
    to_ms = begin_ms + parse_duration(spec["to"]) if "to" in spec else None
    if to_ms is not None and to_ms <= from_ms:
        raise ScenarioError(f"fault {spec['fault']}: `to` {spec['to']} is not after `from` {spec.get('from', '0s')}")
    return Span(from_ms, to_ms)


def skew_of(text: str) -> int:
    """A signed duration such as `-3h`, in ms."""
    return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text)


def _recharge(person: dict[str, Any]) -> Recharge:
    spec = person["recharge"]
    return Recharge(
        tenant=person["tenant"],
        when_below=spec["when_below"],
        amount=spec["amount"],
        after=duration_range(spec.get("after"), DelayRange(0, 0)),
        times=spec.get("times"),
        channel=spec.get("channel", "cash"),
    )

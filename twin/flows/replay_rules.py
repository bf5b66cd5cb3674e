"""A version of rules over recorded history, beside the active one: prepared, run in parts, put together.

`prepare` says what is to be replayed and what has to be assumed; `run_part` replays some of the groups (in whatever
process); `put_together` compares the sides. Twins begin as SQL knew them a day before the span: in that day only the
active rules run, so that live values, running conditions and sessions are known when both sides start alike.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec

from rules.literals import print_timestamp
from twin.core.messages import ContractsChanged
from twin.flows.policies import compile_policy
from twin.flows.replay import Replay, ReplayPart, SideState, devices_of, guards_exceeded, guards_of
from twin.flows.replay_compare import Comparison, compare_findings
from twin.ports import SiteDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twin.core.model import Group
    from twin.core.policy import SitePolicy
    from twin.ports import PendingAct
    from twin.recorded import Finding, History, HistoryExtent, Past

LEAD_MS = 24 * 3_600_000
"""So long before the span the twins begin to listen."""


class HistoryMissingError(Exception):
    """The span or the instant lies outside what is recorded; the text says what is there."""


class ReplayPlan(msgspec.Struct, frozen=True):
    """What every part of a replay works by; plain data, so that it can go to other processes."""

    site: str
    lead_ts: int
    from_ts: int
    to_ts: int
    sources: SiteDocument
    candidate: dict[str, Any]
    skew_ms: int | None
    assumptions: tuple[str, ...] = ()
    """Codes of what is assumed: `short_lead`, `new_ruleset`."""


class ReplayResult(msgspec.Struct, frozen=True):
    """Everything about a replay that people ask for."""

    site: str
    from_ts: int
    to_ts: int
    ruleset: str
    active_version: int | None
    candidate_version: int
    comparison: Comparison
    charged_nano: tuple[int, int]
    """Charged inside the span: by the active side, by the candidate."""
    charges_differ: dict[str, tuple[int, int]]
    """Tenants whose charges differ, nano-units."""
    messages: int
    undecodable: int
    failed: tuple[str, ...]
    guards_reached: tuple[str, ...]
    assumptions: tuple[str, ...]
    tenants: int
    cpu_ms: int = 0
    """CPU time that all parts took."""


async def prepare(
    history: History,
    sources: SiteDocument,
    candidate: dict[str, Any],
    from_ts: int,
    to_ts: int,
    *,
    skew_ms: int | None,
) -> ReplayPlan:
    """Plan a replay of `[from_ts, to_ts)`. Raises HistoryMissingError where nothing of that is recorded."""
    site = sources.site["site"]
    extent = await history.extent(site)
    within(extent, from_ts, to_ts, zone_of(sources))
    assert extent is not None
    assumptions = []
    if extent.from_ts > from_ts - LEAD_MS:
        assumptions.append("short_lead")
    if candidate["ruleset"] not in sources.rulesets:
        assumptions.append("new_ruleset")
    lead_ts = max(from_ts - LEAD_MS, min(extent.from_ts - 1, from_ts))
    return ReplayPlan(site, lead_ts, from_ts, to_ts, sources, candidate, skew_ms, tuple(assumptions))


def zone_of(sources: SiteDocument) -> ZoneInfo:
    """The site's time zone."""
    return ZoneInfo(sources.site["timezone"])


def within(extent: HistoryExtent | None, from_ts: int, to_ts: int, zone: ZoneInfo) -> None:
    """Raises HistoryMissingError unless some of `[from_ts, to_ts)` is recorded."""
    if extent is None:
        raise HistoryMissingError(
            "nothing is recorded of this site yet: let the recorder run (it is part of `twinmeter up`, and `twinmeter"
            " recorder` alone; TWINMETER_HISTORY_DAYS says for how many days, 0 switches it off)"
        )
    if to_ts <= extent.from_ts or from_ts > extent.to_ts:
        first, last, asked = (print_timestamp(ts, zone) for ts in (extent.from_ts, extent.to_ts, from_ts))
        span = asked if to_ts - from_ts <= 1 else f"{asked} to {print_timestamp(to_ts, zone)}"
        raise HistoryMissingError(
            f"nothing is recorded for {span}: the history of this site goes from {first} to {last}"
            " (TWINMETER_HISTORY_DAYS says how long it is kept)"
        )


def shares(names: Iterable[str], parts: int) -> list[list[str]]:
    """Groups shared out to so many processes, the same way every time."""
    found: list[list[str]] = [[] for _ in range(parts)]
    for name in sorted(names):
        found[crc32(name.encode()) % parts].append(name)
    return [names for names in found if names]


async def groups_of_span(past: Past, plan: ReplayPlan) -> set[str]:
    """Every group that is there at the beginning or appears inside the span."""
    acts = await past.acts_between(plan.site, plan.lead_ts, plan.to_ts)
    names = {item.group for item in acts if isinstance(item.act, ContractsChanged)}
    return names | {group.id for group in await past.groups_at(plan.site, plan.lead_ts)}


async def run_part(past: Past, history: History, plan: ReplayPlan, names: Sequence[str]) -> ReplayPart:
    """Replay some groups. Uses one core as well as it can: the garbage collector rests meanwhile."""
    began = time.process_time_ns()
    groups, acts = await load_groups(past, plan, names)
    active_policy = compile_policy(plan.sources, skew_ms=plan.skew_ms)
    rulesets = {**plan.sources.rulesets, plan.candidate["ruleset"]: plan.candidate}
    document = msgspec.structs.replace(plan.sources, rulesets=rulesets)
    candidate_policy = compile_policy(document, skew_ms=plan.skew_ms)
    devices = devices_of_span(groups.values(), acts)
    collects = gc.isenabled()
    gc.disable()
    try:
        part = await _run(history, plan, groups, acts, devices, active_policy, candidate_policy)
    finally:
        if collects:
            gc.enable()
    owned = set(names)
    part.active = [found for found in part.active if found.ts >= plan.from_ts]
    part.candidate = [found for found in part.candidate if found.ts >= plan.from_ts]
    part.charges = {name: pair for name, pair in part.charges.items() if name in owned}
    part.cpu_ms = (time.process_time_ns() - began) // 1_000_000
    return part


async def _run(
    history: History,
    plan: ReplayPlan,
    groups: dict[str, Group],
    acts: Sequence[PendingAct],
    devices: set[str],
    active_policy: SitePolicy,
    candidate_policy: SitePolicy,
) -> ReplayPart:
    active = SideState([(0, active_policy)], groups)
    replay = Replay(plan.site, active, groups, acts)
    async for window in history.windows(plan.site, plan.lead_ts, plan.from_ts, devices):
        replay.feed(window.messages)
    replay.finish(plan.from_ts - 1)
    before = charges_of(active.groups)
    candidate = replay.split([(0, candidate_policy)])
    replay.messages = 0
    async for window in history.windows(plan.site, plan.from_ts, plan.to_ts, devices):
        replay.feed(window.messages)
    replay.finish(plan.to_ts - 1)
    ends = charges_of(active.groups), charges_of(candidate.groups)
    charges = {
        name: (ends[0].get(name, 0) - before.get(name, 0), ends[1].get(name, 0) - before.get(name, 0))
        for name in ends[0]
    }
    return ReplayPart(
        active=active.findings,
        candidate=candidate.findings,
        active_guards=dict(active.guards),
        candidate_guards=dict(candidate.guards),
        charges=charges,
        messages=replay.messages,
        undecodable=replay.undecodable,
        failed=active.failed + candidate.failed,
        failures=[*active.failures, *candidate.failures],
    )


async def load_groups(past: Past, plan: ReplayPlan, names: Sequence[str]) -> tuple[dict[str, Group], list[PendingAct]]:
    """Groups as they were when the lead begins, with the gateways in front of them, and the acts of the span."""
    wanted = set(names)
    acts = await past.acts_between(plan.site, plan.lead_ts, plan.to_ts, wanted)
    groups = {group.id: group for group in await past.groups_at(plan.site, plan.lead_ts, wanted)}
    missing = {f"@{device}" for device in devices_of_span(groups.values(), acts)} - groups.keys() - wanted
    for group in await past.groups_at(plan.site, plan.lead_ts, missing):
        if group.gateway is not None:
            groups[group.id] = group
    return groups, acts


def devices_of_span(groups: Iterable[Group], acts: Sequence[PendingAct]) -> set[str]:
    """Devices whose messages some groups need, from their contracts at the beginning and from those that came later."""
    found = {device for group in groups for device in devices_of(group)}
    for item in acts:
        if isinstance(item.act, ContractsChanged):
            found |= {meter.id for meter in item.act.meters} | {breaker.id for breaker in item.act.breakers}
            found |= {meter.gateway for meter in item.act.meters if meter.gateway}
            found |= {breaker.gateway for breaker in item.act.breakers if breaker.gateway}
            found |= {item.act.gateway} if item.act.gateway else set()
    return found


def charges_of(groups: dict[str, Group]) -> dict[str, int]:
    """Charged so far by tenant, nano-units."""
    return {name: group.tenant.charges_nano for name, group in groups.items() if group.tenant is not None}


def guards_reached(plan: ReplayPlan, parts: Sequence[ReplayPart]) -> list[str]:
    """Rules whose guard all parts together have reached: where there are several parts, they must be run as one."""
    rulesets = {**plan.sources.rulesets, plan.candidate["ruleset"]: plan.candidate}
    found: set[str] = set()
    for documents, spent in (
        (plan.sources.rulesets, [part.active_guards for part in parts]),
        (rulesets, [part.candidate_guards for part in parts]),
    ):
        source = msgspec.structs.replace(plan.sources, rulesets=documents)
        found.update(guards_exceeded(spent, guards_of(compile_policy(source, skew_ms=None))))
    return sorted(found)


def put_together(plan: ReplayPlan, parts: Sequence[ReplayPart], reached: Sequence[str] = ()) -> ReplayResult:
    """The parts as one result."""
    active: list[Finding] = sorted(found for part in parts for found in part.active)
    candidate: list[Finding] = sorted(found for part in parts for found in part.candidate)
    charges = {name: pair for part in parts for name, pair in part.charges.items()}
    known = plan.sources.rulesets.get(plan.candidate["ruleset"])
    return ReplayResult(
        site=plan.site,
        from_ts=plan.from_ts,
        to_ts=plan.to_ts,
        ruleset=plan.candidate["ruleset"],
        active_version=known["version"] if known else None,
        candidate_version=plan.candidate["version"],
        comparison=compare_findings(active, candidate),
        charged_nano=(sum(pair[0] for pair in charges.values()), sum(pair[1] for pair in charges.values())),
        charges_differ={name: pair for name, pair in charges.items() if pair[0] != pair[1]},
        messages=sum(part.messages for part in parts),
        undecodable=sum(part.undecodable for part in parts),
        failed=tuple(line for part in parts for line in part.failures),
        guards_reached=tuple(reached),
        assumptions=plan.assumptions,
        tenants=len(charges),
        cpu_ms=sum(part.cpu_ms for part in parts),
    )

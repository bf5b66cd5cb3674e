"""Why a rule fired, or did not: for now, from the live twins; for an instant of the past, by replaying up to it.

The past begins with what SQL knew a day before the instant (contracts, totals, locks, and what each rule remembered)
and goes on with the recorded messages of the group, under the rules and tariffs that were in force at each moment.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from rules.explain import Record
from rules.literals import print_timestamp
from twin.core.asking import explain_rule
from twin.flows.policies import compile_policy
from twin.flows.replay import Replay, SideState
from twin.flows.replay_rules import (
    LEAD_MS,
    HistoryMissingError,
    ReplayPlan,
    devices_of_span,
    load_groups,
    within,
    zone_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.model import Group
    from twin.core.policy import SitePolicy
    from twin.flows.policies import CompiledPolicies
    from twin.ports import Clock, Registry, TwinStore
    from twin.recorded import History, Past


class UnknownTwinError(LookupError):
    """No tenant and no device of the site has this id."""


class Parts(Protocol):
    """What explaining needs of an installation; `api.bootstrap.Platform` has it all."""

    @property
    def store(self) -> TwinStore: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def policies(self) -> CompiledPolicies: ...

    @property
    def history(self) -> History: ...

    @property
    def past(self) -> Past: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def skew_ms(self) -> int | None: ...


class Moment(msgspec.Struct, frozen=True):
    """A group at an instant, with the policy and the guard counts of that instant."""

    group: Group
    policy: SitePolicy
    guards: Mapping[str, int]
    at: int


async def explain(parts: Parts, site: str, rule: str, twin: str, at: int | None = None) -> list[Record]:
    """Records of a rule for a tenant or a device, now or at an instant (Unix ms).

    Raises UnknownTwinError, UnknownRuleError, WrongTwinError; HistoryMissingError for an instant that is not recorded.
    """
    moment = await moment_of(parts, site, twin, at)
    return explain_rule(moment.group, moment.policy, moment.guards, rule, twin, moment.at)


async def moment_of(parts: Parts, site: str, twin: str, at: int | None) -> Moment:
    """The group of a tenant or device now, or as it was at an instant."""
    now = parts.clock.now()
    if at is not None and at < now:
        return await _past_moment(parts, site, twin, at)
    if at is not None and at > now:
        zone = zone_of(await parts.registry.policy_sources(site))
        asked, present = print_timestamp(at, zone), print_timestamp(now, zone)
        raise HistoryMissingError(f"{asked} has not come yet; now is {present}")
    name = await _group_name(parts, site, twin)
    group = (await parts.store.load(site, [name])).get(name)
    if group is None:
        raise UnknownTwinError(f"site {site} has no tenant and no device {twin!r}")
    policy = await parts.policies.policy(site)
    guards = await parts.store.guards_used(site, policy.guard_windows, now=now) if policy.guard_windows else {}
    return Moment(group, policy, guards, now)


async def _group_name(parts: Parts, site: str, twin: str) -> str:
    """The group of a device, or the tenant's own."""
    if (await parts.store.load(site, [twin])).get(twin) is not None:
        return twin
    name = await parts.store.group_of(site, twin)
    if name is None:
        raise UnknownTwinError(f"site {site} has no tenant and no device {twin!r}")
    return name


async def _past_moment(parts: Parts, site: str, twin: str, at: int) -> Moment:
    past = await rewind(parts, site, twin, at, at + 1)
    async for window in parts.history.windows(site, past.lead_ts, at + 1, past.devices):
        await asyncio.to_thread(past.replay.feed, window.messages)
    past.replay.finish(at)
    group = past.side.groups.get(past.name)
    if group is None:
        raise UnknownTwinError(f"{twin!r} was not known at site {site} at that instant")
    return Moment(group, past.side.policy, past.side.guards_used(at), at)


class Rewound(msgspec.Struct, frozen=True):
    """One group as it was a while before an instant, ready to be led up to it by the recorded messages of `devices`."""

    replay: Replay
    side: SideState
    name: str
    lead_ts: int
    devices: set[str]


async def rewind(parts: Parts, site: str, twin: str, at: int, to_ts: int, *, trace: bool = False) -> Rewound:
    """The group of a tenant or device a day before `at`, or where the history begins; `trace` puts evaluations aside.

    Raises UnknownTwinError, and HistoryMissingError unless some of `[at, to_ts)` is recorded.
    """
    sources = await parts.registry.policy_sources(site)
    extent = await parts.history.extent(site)
    silent = extent is not None and extent.to_ts < at <= extent.to_ts + LEAD_MS
    asked = extent.to_ts if silent and extent is not None else at  # nothing came since, which is no gap
    within(extent, asked, max(to_ts, asked + 1), zone_of(sources))
    assert extent is not None
    lead_ts = max(at - LEAD_MS, min(extent.from_ts - 1, at))
    name = await _past_group_name(parts, site, twin, at)
    plan = ReplayPlan(site, lead_ts, at, to_ts, sources, {}, parts.skew_ms)
    groups, acts = await load_groups(parts.past, plan, [name])
    timeline = [
        (since, compile_policy(document, skew_ms=parts.skew_ms))
        for since, document in await parts.past.sources_between(site, lead_ts, to_ts)
    ]
    for _, policy in timeline:
        policy.trace = trace
    side = SideState(timeline, groups)
    return Rewound(Replay(site, side, groups, acts), side, name, lead_ts, devices_of_span(groups.values(), acts))


async def _past_group_name(parts: Parts, site: str, twin: str, at: int) -> str:
    """The group that held a device then; a device may have gone to another tenant since."""
    for group in await parts.past.groups_at(site, at):
        if twin == group.id or twin in group.meters or twin in group.breakers:
            return group.id
        if group.gateway is not None and group.gateway.id == twin:
            return group.id
    return await _group_name(parts, site, twin)

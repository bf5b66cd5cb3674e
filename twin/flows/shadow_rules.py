"""Shadow mode: a version of rules evaluated on what really happens, without acting.

Theory of operation. A shadow run is a replay that never ends: it begins a day before its start with the twins as SQL
knew them, catches up with the recorded history, and then follows its tail, some seconds behind, so that acts of people
that are just being committed are not passed over. Both sides live in the memory of this process; the store of the
twins is never touched. What either side does is written down as findings, each once, so a run that starts anew after a
restart replays what it had and adds nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from twin.flows.policies import compile_policy, fingerprint
from twin.flows.replay import Replay, SideState
from twin.flows.replay_rules import LEAD_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.core.policy import SitePolicy
    from twin.ports import Clock, Registry, SiteDocument
    from twin.recorded import Finding, History, Past, Recorded, RuleBook, Shadow, Shadows, Side

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
LAG_MS = 5_000
SLICE = 100
"""So many messages are decided on before others of this process have their turn."""
PLATFORM = "platform"


class Parts(Protocol):
    """What shadow runs need of an installation; `api.bootstrap.Platform` has it all."""

    @property
    def registry(self) -> Registry: ...

    @property
    def history(self) -> History: ...

    @property
    def past(self) -> Past: ...

    @property
    def rule_book(self) -> RuleBook: ...

    @property
    def shadows(self) -> Shadows: ...

    @property
    def clock(self) -> Clock: ...


class ShadowRunner:
    """Keeps every running shadow at the tail of its site's history."""

    def __init__(self, parts: Parts, *, skew_ms: int | None) -> None:
        self._parts = parts
        self._skew_ms = skew_ms
        self._lag_ms = 0 if skew_ms is None else LAG_MS
        self._runs: dict[int, ShadowRun] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until told to stop."""
        while not stop.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)

    async def look(self) -> None:
        """Bring every running shadow up to now; one that cannot go on ends as `failed`, with the reason."""
        running = await self._parts.shadows.running()
        for gone in self._runs.keys() - {shadow.id for shadow in running}:
            del self._runs[gone]
        for shadow in running:
            try:
                await self._follow(shadow)
            except (OSError, ConnectionError):
                raise
            except Exception as error:
                log.exception("shadow run failed", site=shadow.site, ruleset=shadow.ruleset)
                self._runs.pop(shadow.id, None)
                await self._end(shadow, "failed", f"{type(error).__name__}: {error}"[:500])

    async def _follow(self, shadow: Shadow) -> None:
        sources = await self._parts.registry.policy_sources(shadow.site)
        active = sources.rulesets.get(shadow.ruleset)
        if active is not None and active["version"] == shadow.version:
            await self._end(shadow, "activated", "the version was activated")
            return
        run = self._runs.get(shadow.id)
        if run is None:
            candidate = await self._parts.rule_book.version_document(shadow.site, shadow.ruleset, shadow.version)
            assert candidate is not None  # versions are never removed
            run = ShadowRun(shadow, candidate, self._skew_ms)
            await run.begin(self._parts, sources)
            self._runs[shadow.id] = run
        run.use(sources)
        await run.catch_up(self._parts, self._parts.clock.now() - self._lag_ms)
        await self._parts.shadows.keep(shadow, run.found(), seen_ts=run.seen_ts, messages=run.messages)

    async def _end(self, shadow: Shadow, state: str, detail: str) -> None:
        now = self._parts.clock.now()
        await self._parts.shadows.stop(shadow.site, shadow.ruleset, who=PLATFORM, now=now, state=state, detail=detail)


class ShadowRun:
    """One run in memory: both sides, and how far in the history they are."""

    def __init__(self, shadow: Shadow, candidate: dict[str, Any], skew_ms: int | None) -> None:
        self.shadow = shadow
        self.seen_ts = 0
        self.messages = 0
        self._candidate_document = candidate
        self._skew_ms = skew_ms
        self._version = ""
        self._replay: Replay | None = None
        self._sides: tuple[SideState, SideState] | None = None
        self._seq = 0
        self._acts_ts = 0
        self._waiting: list[Recorded] = []

    async def begin(self, parts: Parts, sources: SiteDocument) -> None:
        """Load the twins as they were a day before the start, and let the active rules alone run up to it."""
        site, start = self.shadow.site, self.shadow.started_ts
        lead_ts = start - LEAD_MS
        extent = await parts.history.extent(site)
        if extent is None or extent.from_ts > lead_ts:
            lead_ts = min(start, extent.from_ts - 1 if extent is not None else start)
        self._version = fingerprint(sources)
        active, candidate = self._policies(sources)
        groups = {group.id: group for group in await parts.past.groups_at(site, lead_ts)}
        acts = await parts.past.acts_between(site, lead_ts, start)
        side = SideState([(0, active)], groups)
        self._replay = replay = Replay(site, side, groups, acts)
        async for window in parts.history.windows(site, lead_ts, start):
            await self._feed(window.messages)
        replay.finish(start)
        self._sides = side, replay.split([(0, candidate)])
        side.findings.clear()
        self.seen_ts = self._acts_ts = start
        replay.messages = 0

    def use(self, sources: SiteDocument) -> None:
        """Take over what people have changed since the last look."""
        assert self._sides is not None
        if fingerprint(sources) != self._version:
            self._version = fingerprint(sources)
            for side, policy in zip(self._sides, self._policies(sources), strict=True):
                side.change_policy(policy)

    async def catch_up(self, parts: Parts, until: int) -> None:
        """Decide on everything that was received up to an instant."""
        replay = self._replay
        assert replay is not None
        if until < self.seen_ts:
            return
        async for window in parts.history.tail(self.shadow.site, self._seq):
            self._seq = max(self._seq, window.seq)
            self._waiting += [message for message in window.messages if message.received_at >= self.seen_ts]
        replay.add_acts(await parts.past.acts_between(self.shadow.site, self._acts_ts, until))
        self._acts_ts = max(self._acts_ts, until)
        ready = [message for message in self._waiting if message.received_at <= until]
        self._waiting = [message for message in self._waiting if message.received_at > until]
        await self._feed(sorted(ready, key=lambda message: message.received_at))
        replay.finish(until)
        self.seen_ts = until
        self.messages = replay.messages

    def found(self) -> list[tuple[Side, Finding]]:
        """What both sides did since the last time this was asked."""
        assert self._sides is not None
        start = self.shadow.started_ts
        active, candidate = self._sides
        found: list[tuple[Side, Finding]] = [("active", one) for one in active.findings if one.ts >= start]
        found += [("candidate", one) for one in candidate.findings if one.ts >= start]
        active.findings.clear()
        candidate.findings.clear()
        return found

    async def _feed(self, messages: Sequence[Recorded]) -> None:
        assert self._replay is not None
        for first in range(0, len(messages), SLICE):
            self._replay.feed(messages[first : first + SLICE])
            await asyncio.sleep(0)

    def _policies(self, sources: SiteDocument) -> tuple[SitePolicy, SitePolicy]:
        rulesets = {**sources.rulesets, self.shadow.ruleset: self._candidate_document}
        document = msgspec.structs.replace(sources, rulesets=rulesets)
        return (
            compile_policy(sources, skew_ms=self._skew_ms),
            compile_policy(document, skew_ms=self._skew_ms),
        )

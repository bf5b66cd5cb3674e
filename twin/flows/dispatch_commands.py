"""Dispatch: commands that the twins created are published, once each as far as the world allows.

The configuration of a device goes the same way, retained: the newest version that its twin still wants, and none that
is older, so what the broker keeps is never set back.

A command may be seen twice here (we died after publishing); it is published again only while the twin still waits
for it, and the device answers a repeat from its memory. A command is never retained and carries its expiry to the
broker, so it cannot switch anything later.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from schemas.topics import device_topic
from twin.core.effects import CommandChanged, ConfigWanted
from twin.core.messages import CommandSent, ConfigSent
from twin.flows.translate import command_payload, config_payload
from twin.journeys import ids_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.flows.apply_messages import Applier
    from twin.journeys import Journeys
    from twin.ports import Clock, EffectStream, Entry, Publisher, TwinStore

MOST_FOLLOWED = 10_000
"""Commands under way whose causes are remembered."""

log = structlog.get_logger(__name__)


class CommandDispatcher:
    """Consumer that publishes commands."""

    name = "commands"

    def __init__(
        self,
        stream: EffectStream,
        store: TwinStore,
        applier: Applier,
        publisher: Publisher,
        clock: Clock,
        journeys: Journeys | None = None,
    ) -> None:
        self._journeys = journeys
        self._causes: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        """The messages that led to commands which are under way; only where somebody follows them."""
        self._stream = stream
        self._store = store
        self._applier = applier
        self._publisher = publisher
        self._clock = clock
        self.sent = 0
        self.configured = 0

    async def start(self, site: str) -> None:
        """Join the stream where this consumer left it."""
        await self._stream.join(site, self.name)

    async def consume(self, site: str, entries: Sequence[Entry]) -> None:
        """Publish what is still wanted."""
        for entry in entries:
            for effect in entry.effects:
                if isinstance(effect, ConfigWanted):
                    await self._configure(site, entry.group, effect)
                if not isinstance(effect, CommandChanged):
                    continue
                if self._journeys is not None:
                    self._follow(entry, effect)
                if effect.state == "created":
                    await self._dispatch(site, entry.group, effect)

    def _follow(self, entry: Entry, effect: CommandChanged) -> None:
        """Every step of a command belongs to the messages that led to it, not to those that told of the step."""
        assert self._journeys is not None
        ids = self._causes.get(effect.cmd) or ids_of(entry)
        if not ids:
            return
        self._causes[effect.cmd] = ids
        while len(self._causes) > MOST_FOLLOWED:
            self._causes.popitem(last=False)
        facts = {"cmd": effect.cmd, "device": effect.device, "target": effect.target, "reason": effect.reason}
        now_ns = time.time_ns()
        self._journeys.step(f"command {effect.state}", ids, began_ns=now_ns, ended_ns=now_ns, **facts)

    async def idle(self, site: str) -> None:
        """Nothing to do."""

    async def _dispatch(self, site: str, group: str, effect: CommandChanged) -> None:
        now = self._clock.now()
        if now >= effect.exp or not await self._still_wanted(site, group, effect):
            return
        device = await self._applier.device_of(site, effect.device)
        began_ns = time.time_ns()
        await self._publisher.publish(
            device_topic(site, device, "cmd"),
            command_payload(effect),
            expiry_s=max(1, (effect.exp - now) // 1000),
            correlation=effect.cmd.encode(),
            response_topic=device_topic(site, device, "ack"),
        )
        self.sent += 1
        if self._journeys is not None and (ids := self._causes.get(effect.cmd)):
            facts = {"cmd": effect.cmd, "device": device, "target": effect.target, "fence": effect.fence}
            self._journeys.step("command published", ids, began_ns=began_ns, ended_ns=time.time_ns(), **facts)
        sent = CommandSent(effect.device, effect.cmd, self._clock.now())
        await self._applier.apply(site, {group: [sent]}, beyond_bound=True)

    async def _configure(self, site: str, group: str, effect: ConfigWanted) -> None:
        """Publish a version, unless the twin has a newer one. Where the broker has not taken it, it comes again: the
        entry is not acknowledged."""
        groups = await self._store.load(site, [group])
        breaker = groups[group].breakers.get(effect.device) if group in groups else None
        if breaker is None or (breaker.cfg is not None and breaker.cfg.ver > effect.ver):
            return
        device = await self._applier.device_of(site, effect.device)
        await self._publisher.publish(device_topic(site, device, "cfg"), config_payload(effect), retain=True)
        self.configured += 1
        sent = ConfigSent(effect.device, effect.ver, self._clock.now())
        await self._applier.apply(site, {group: [sent]}, beyond_bound=True)

    async def _still_wanted(self, site: str, group: str, effect: CommandChanged) -> bool:
        """Not when the twin has moved on. What we see of the twin may be older than the effect, but never newer
        than it is."""
        groups = await self._store.load(site, [group])
        breaker = groups[group].breakers.get(effect.device) if group in groups else None
        if breaker is None or breaker.fence > effect.fence:
            return False
        command = breaker.command
        return command is None or command.id != effect.cmd or command.state == "created"

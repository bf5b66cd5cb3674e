"""Dispatch: commands that the twins created are published, once each as far as the world allows.

A command may be seen twice here (we died after publishing); it is published again only while the twin still waits
for it, and the device answers a repeat from its memory. A command is never retained and carries its expiry to the
broker, so it cannot switch anything later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from schemas.topics import device_topic
from twin.core.effects import CommandChanged
from twin.core.messages import CommandSent
from twin.flows.translate import command_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.flows.apply_messages import Applier
    from twin.ports import Clock, EffectStream, Entry, Publisher, TwinStore

log = structlog.get_logger(__name__)


class CommandDispatcher:
    """Consumer that publishes commands."""

    name = "commands"

    def __init__(
        self, stream: EffectStream, store: TwinStore, applier: Applier, publisher: Publisher, clock: Clock
    ) -> None:
        self._stream = stream
        self._store = store
        self._applier = applier
        self._publisher = publisher
        self._clock = clock
        self.sent = 0

    async def start(self, site: str) -> None:
        """Join the stream where this consumer left it."""
        await self._stream.join(site, self.name)

    async def consume(self, site: str, entries: Sequence[Entry]) -> None:
        """Publish what is still wanted."""
        for entry in entries:
            for effect in entry.effects:
                if isinstance(effect, CommandChanged) and effect.state == "created":
                    await self._dispatch(site, entry.group, effect)

    async def _dispatch(self, site: str, group: str, effect: CommandChanged) -> None:
        now = self._clock.now()
        if now >= effect.exp or not await self._still_wanted(site, group, effect):
            return
        device = await self._applier.device_of(site, effect.device)
        await self._publisher.publish(
            device_topic(site, device, "cmd"),
            command_payload(effect),
            expiry_s=max(1, (effect.exp - now) // 1000),
            correlation=effect.cmd.encode(),
            response_topic=device_topic(site, device, "ack"),
        )
        self.sent += 1
        await self._applier.apply(site, {group: [CommandSent(effect.device, effect.cmd, self._clock.now())]})

    async def _still_wanted(self, site: str, group: str, effect: CommandChanged) -> bool:
        """Not when the twin has moved on. What we see of the twin may be older than the effect, but never newer
        than it is."""
        groups = await self._store.load(site, [group])
        breaker = groups[group].breakers.get(effect.device) if group in groups else None
        if breaker is None or breaker.fence > effect.fence:
            return False
        command = breaker.command
        return command is None or command.id != effect.cmd or command.state == "created"

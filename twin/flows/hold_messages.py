"""Messages of devices on their way: held while a meter goes from one payer to the next, and heard once it has arrived.

Theory of operation. A hand-over is two commits of two groups with the ledger in between, so for a moment, or for as
long as the ledger is away, nobody has the meter. The directory leads to the group that has let go of it; that group
does not hold the device, and so a message for it is held: in the store, as it came, in its order, and only then
acknowledged. Somebody looks every second whether the device has arrived and hands what is held to ingest once more.
What comes directly in that second is older news to nobody: a reading that is overtaken completes the past.

The same way goes what a process decided to send to a group that its memory alone still knows as the holder.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from schemas.topics import parse_topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twin.core.model import Group
    from twin.flows.apply_messages import Applier
    from twin.ports import Delivery, HeldMessage, TwinStore

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
PAGE = 500


def holds(group: Group, device: str) -> bool:
    """Whether messages of a device are this group's concern."""
    gateway = group.gateway is not None and group.gateway.id == device
    return gateway or device in group.meters or device in group.breakers


async def is_elsewhere(store: TwinStore, site: str, device: str, group: str) -> bool:
    """Whether a device that a group does not hold is on its way, or with another group by now. Asked of the store, not
    of what is remembered."""
    store.forget_holder(site, device)
    name = await store.group_of(site, device)
    return name is not None and (name != group or not await _is_held_by(store, site, device, name))


async def _is_held_by(store: TwinStore, site: str, device: str, name: str) -> bool:
    group = (await store.load(site, [name])).get(name)
    return group is not None and holds(group, device)


class HeldMessages:
    """Hands held messages on to `hear`, which decides on a batch; `look` is one round over all sites. `store` remembers
    nothing: what other processes have done counts."""

    def __init__(
        self, store: TwinStore, applier: Applier, hear: Callable[[Sequence[Delivery]], Awaitable[None]]
    ) -> None:
        self._store = store
        self._applier = applier
        self._hear = hear

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop. Raises StoreLostError when the twins must be rebuilt."""
        while not stop.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)

    async def look(self) -> int:
        """One round; returns how many messages were handed on. Killed in between, it hands them on twice."""
        done = 0
        for site in await self._store.sites():
            after, waiting = "", set[str]()
            while page := await self._store.held(site, after=after, limit=PAGE):
                after = page[-1].id
                ready = [one for one in page if not await self._waits(site, one, waiting)]
                if ready:
                    await self._hear(ready)
                    await self._store.pass_on(site, [one.id for one in ready])
                    done += len(ready)
        if done:
            log.info("messages of meters that changed hands are heard", messages=done)
        return done

    async def _waits(self, site: str, message: HeldMessage, waiting: set[str]) -> bool:
        """`waiting` are the devices that had not arrived when they were first met in this round: once one message
        waits, all behind it do."""
        topic = parse_topic(message.topic)
        if topic is None:
            return False
        device = topic[1]
        if device in waiting:
            return True
        point = await self._applier.point_of(site, device) or device
        name = await self._store.group_of(site, point)
        if name is None or await _is_held_by(self._store, site, point, name):
            return False
        waiting.add(device)
        return True

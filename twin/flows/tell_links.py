"""Links: who has taken a meter from another group learns how the gateway in front of it is.

Whether a gateway can be reached is told to the groups with a device behind it (`twin.flows.ingest_batch`). A meter on
its way between two groups is in none, and so it would arrive with what its last group knew: commands would go out to a
gateway that is away, or wait for one that is back. The word is asked for after the meter has arrived, so that whatever
the gateway says later finds the new group by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.messages import ContractsChanged, LinkChanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twin.core.messages import Message
    from twin.core.model import Connection
    from twin.flows.apply_messages import Applier
    from twin.ports import TwinStore


class Links:
    """Tells arrived meters of their gateways. `store` remembers nothing: the word of another process counts."""

    def __init__(self, store: TwinStore, applier: Applier) -> None:
        self._store = store
        self._applier = applier

    async def tell_arrived(
        self, site: str, acts: Mapping[str, Sequence[Message]], *, wait_for_room: bool = True
    ) -> None:
        """After these acts were applied: the present word of each gateway with a meter that came by one of them.

        Raises StoreFullError where the effect stream is full and the caller does not want to wait.
        """
        for group, each in acts.items():
            for gateway in sorted(_in_front_of_arrived(each)):
                await self._tell(site, group, gateway, wait_for_room)

    async def _tell(self, site: str, group: str, gateway: str, wait_for_room: bool) -> None:
        """Until the gateway has said nothing else meanwhile: ingest may tell the group a newer word at the same time,
        and ours is not to be the last one then."""
        told: Connection | None = None
        while (conn := await self._connection(site, gateway)) is not None and conn != told:
            if conn.state not in ("online", "offline"):
                return
            word = LinkChanged(gateway, conn.state, conn.sid, conn.since)
            await self._applier.apply(site, {group: [word]}, wait_for_room=wait_for_room)
            told = conn

    async def _connection(self, site: str, gateway: str) -> Connection | None:
        holder = await self._store.group_of(site, gateway)
        if holder is None:
            return None
        group = (await self._store.load(site, [holder])).get(holder)
        known = group.gateway if group is not None else None
        return known.conn if known is not None and known.id == gateway else None


def _in_front_of_arrived(acts: Iterable[Message]) -> set[str]:
    found: set[str] = set()
    for act in acts:
        if isinstance(act, ContractsChanged) and act.handed:
            arrived = {one.meter.id for one in act.handed} | {one.breaker.id for one in act.handed if one.breaker}
            behind = [(one.id, one.gateway) for one in act.meters] + [(one.id, one.gateway) for one in act.breakers]
            found |= {gateway for device, gateway in behind if gateway is not None and device in arrived}
    return found

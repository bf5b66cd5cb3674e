"""Proof of warnings: what a tenant was told of its balance is told to its twin, which cuts nobody off without that.

The notice is on record before the twin hears of it. A crash between the two is made up for when the notice comes again;
a rebuild reads the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.arrears import WARNINGS
from twin.core.messages import WarningDelivered

if TYPE_CHECKING:
    from twin.core.effects import NotificationWanted
    from twin.flows.apply_messages import Applier
    from twin.ports import Clock, NoticeBook


class ProvingBook:
    """A notice book that tells the twins which warnings were delivered."""

    def __init__(self, book: NoticeBook, applier: Applier, clock: Clock) -> None:
        self._book = book
        self._applier = applier
        self._clock = clock

    async def was_told(self, site: str, notice: NotificationWanted) -> bool:
        """Whether this very notice was delivered before."""
        known = await self._book.was_told(site, notice)
        if known:
            await self._prove(site, notice)
        return known

    async def told(self, site: str, notice: NotificationWanted, proof: str) -> None:
        """Record the delivery with the channel's own id for it, then tell the twin."""
        await self._book.told(site, notice, proof)
        await self._prove(site, notice)

    async def withheld(self, site: str, notice: NotificationWanted, state: str, why: str) -> None:
        """Record that a notice was not told: that proves nothing."""
        await self._book.withheld(site, notice, state, why)

    async def shelf_of(self, site: str, twin: str, notice: NotificationWanted) -> str:
        """Until when, by whom and for what the alarm of a notice is shelved."""
        return await self._book.shelf_of(site, twin, notice)

    async def leader_of(self, site: str, notice: NotificationWanted, together: str, *, within_ms: int) -> str:
        """Which notice tells for the group of this one."""
        return await self._book.leader_of(site, notice, together, within_ms=within_ms)

    async def _prove(self, site: str, notice: NotificationWanted) -> None:
        if notice.template in WARNINGS and notice.to == "tenant":
            word = WarningDelivered(notice.tenant, notice.template, self._clock.now())
            await self._applier.apply(site, {notice.tenant: [word]}, beyond_bound=True)

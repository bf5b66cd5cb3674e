"""Deliver acts: what SQL has decided reaches the twins, in order and once, however often we die in between.

An act is written to SQL together with an entry that says "not delivered". The flow that made it delivers it at
once; whatever a crash left undelivered is found by the sweep. The twin refuses what it has already, so delivering
twice is harmless.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from twin.core.acts import ActOutOfOrderError
from twin.core.messages import ContractsChanged
from twin.core.model import Group
from twin.flows.find_lost_acts import why_went_back
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twin.flows.apply_messages import Applier
    from twin.flows.find_lost_acts import ActMarks
    from twin.flows.rebuild_twins import Store
    from twin.flows.tell_links import Links
    from twin.ports import Ledger, PendingAct

log = structlog.get_logger(__name__)

SWEEP_BATCH = 1_000
SWEEP_EVERY_S = 1.0
NOT_IN_SQL = "0:lost"
"""A mark that no act has."""
SWEEPS_PER_LOOK = 5
"""Sweeps between two looks at whether SQL is still the database that the twins were told by."""


class ActDelivery:
    """Delivers pending acts to their twins."""

    def __init__(
        self, store: Store, ledger: Ledger, applier: Applier, marks: ActMarks, links: Links | None = None
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._applier = applier
        self._marks = marks
        self._links = links
        """Tells meters that have arrived of their gateways; none where nobody stands behind a gateway."""
        self._noted: dict[str, str] = {}
        """The mark that the store is known to have, by site: another one there was noted by another process, or the
        store went back in time."""

    async def deliver(self, acts: Sequence[PendingAct], *, wait_for_room: bool = True) -> int:
        """Deliver acts, oldest first within each group; returns how many were confirmed by their twin.

        Raises StoreLostError where SQL went back under the twins: they would take a new act for one that they have.
        Raises StoreFullError where the effect stream is full and the caller does not want to wait.
        """
        ordered = sorted(acts, key=lambda pending: (pending.site, pending.group, pending.act.seq))
        done = 0
        for site, of_site in groupby(ordered, key=lambda pending: pending.site):
            batch = list(of_site)
            await self._require_same_history(site)
            await self._doubt_where_store_went_back(site)
            await self._create_groups(site, batch)
            messages = {group: [item.act for item in items] for group, items in groupby(batch, key=lambda p: p.group)}
            outcome = await self._applier.apply(site, messages, wait_for_room=wait_for_room)
            for failure in outcome.failures:
                if isinstance(failure.error, ActOutOfOrderError):
                    log.info("an earlier act is missing, the sweep delivers it first", group=failure.group)
                else:
                    log.error("act could not be applied", group=failure.group, error=repr(failure.error))
            if self._links is not None:  # before SQL notes the delivery: who is killed here tells it the next time
                arrived = {group: messages[group] for group in outcome.groups}
                await self._links.tell_arrived(site, arrived, wait_for_room=wait_for_room)
            reached = {group: after.acts_seq for group, after in outcome.groups.items()}
            await self._ledger.delivered(site, reached)
            await self._require_in_sql(site, reached)
            await self._note(site)
            done += sum(len(messages[group]) for group in outcome.groups)
        return done

    async def sweep(self, *, wait_for_room: bool = True) -> int:
        """Deliver what is still undelivered anywhere; returns how many were confirmed. Raises as `deliver`."""
        pending = await self._ledger.undelivered(None, limit=SWEEP_BATCH)
        return await self.deliver(pending, wait_for_room=wait_for_room) if pending else 0

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until told to stop. Raises StoreLostError where SQL went back under the twins of a site."""
        sweeps = 0
        while not stop.is_set():
            if sweeps % SWEEPS_PER_LOOK == 0:
                await self.require_same_history()
                await self.doubt_lost()
            sweeps += 1
            if await self.sweep() < SWEEP_BATCH:
                await asyncio.sleep(SWEEP_EVERY_S)

    async def require_same_history(self) -> None:
        """Look at every site, whether or not there is anything to deliver. Raises StoreLostError."""
        for site in await self._store.sites():
            await self._require_same_history(site)

    async def doubt_lost(self) -> int:
        """Redis went back to where it did not have some acts yet: they are delivered again; returns how many.

        Nothing else need tell: an act that only adds credit leaves no effect in the stream.
        """
        lost = 0
        for site in await self._store.sites():
            mark = await self._store.act_mark(site)
            if mark:
                lost += await self._marks.doubt_after(site, mark)
        if lost:
            log.warning("acts that the twins had lost are delivered again", acts=lost)
        return lost

    async def _doubt_where_store_went_back(self, site: str) -> None:
        """Before a delivery moves the mark: acts behind an older mark would never be looked for again.

        Also where the mark is the one that we have noted: another process may have noted a newer one, and the store
        gone back to ours. Doubting what another process has just delivered does no harm, it is delivered twice.
        """
        mark = await self._store.act_mark(site)
        if mark:
            await self._marks.doubt_after(site, mark)
        self._noted[site] = mark

    async def _note(self, site: str) -> None:
        """Mark SQL's newest act, unless the store has another mark than a moment ago: then the next look decides."""
        noted = self._noted.get(site)
        if await self._store.act_mark(site) != noted:
            return
        newest = await self._marks.newest()
        # Asked last: where SQL goes back in this moment, either the old mark is missing now or the new one will be.
        if not noted or await self._marks.has(noted):
            await self._store.note_act_mark(site, newest)
            self._noted[site] = newest

    async def _require_in_sql(self, site: str, reached: Mapping[str, int]) -> None:
        """SQL may have gone back after the acts were read from it, and to behind its mark: then twins have been told
        what SQL does not know, and the mark is to say so to everybody. Raises StoreLostError."""
        behind = await self._marks.behind(site, reached)
        if behind:
            await self._store.note_act_mark(site, NOT_IN_SQL)
            raise StoreLostError(f"site {site!r}: twins of {', '.join(behind[:5])} have acts that SQL has lost")

    async def _require_same_history(self, site: str) -> None:
        reason = await why_went_back(self._marks, self._store, site)
        if reason:
            raise StoreLostError(f"site {site!r}: {reason}")

    async def _create_groups(self, site: str, batch: Sequence[PendingAct]) -> None:
        starting = {item.group for item in batch if isinstance(item.act, ContractsChanged)}
        if starting:
            known = await self._store.load(site, sorted(starting))
            missing = [Group(site, name) for name in sorted(starting - known.keys())]
            if missing:
                await self._store.add_groups(site, missing, wake=0)

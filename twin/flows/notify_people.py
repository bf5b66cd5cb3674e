"""Notices: what the rules want people to know goes out through the notifier; the ledger keeps the proof of delivery.

A notice goes to whom it is for and to nobody else: what the operator is to know is not sent to the tenant, also where
it is about one. A notice to both is two, told and proved apart. Two kinds are not told, and the record says why: those
of an alarm that somebody has shelved, and those of an alarm that belongs to a group (`group_by`) for which another
notice has told already.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from twin.contacts import Addressees
from twin.core.effects import NotificationWanted
from twin.flows.group_notices import TOGETHER_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.flows.group_notices import AlarmGroups
    from twin.ports import Contacts, EffectStream, Entry, NoticeBook, Notifier

SUPPRESSED, GROUPED = "suppressed", "grouped"


class NoticeSender:
    """Consumer that tells people."""

    name = "notices"

    def __init__(
        self, stream: EffectStream, notifier: Notifier, book: NoticeBook, groups: AlarmGroups, contacts: Contacts
    ) -> None:
        self._stream = stream
        self._contacts = contacts
        self._notifier = notifier
        self._book = book
        self._groups = groups
        self.sent = 0
        self.withheld: Counter[str] = Counter()

    async def start(self, site: str) -> None:
        """Join the stream where this consumer left it."""
        await self._stream.join(site, self.name)

    async def consume(self, site: str, entries: Sequence[Entry]) -> None:
        """Deliver each notice and record the proof; one that was told already is not told again."""
        wanted = [
            (entry, effect) for entry in entries for effect in entry.effects if isinstance(effect, NotificationWanted)
        ]
        notices = [(entry, notice) for entry, effect in wanted for notice in effect.by_recipient()]
        names = [await self._groups.name(site, entry, notice) for entry, notice in notices]
        members = Counter(names)
        for (entry, notice), together in zip(notices, names, strict=True):
            if await self._book.was_told(site, notice):
                continue
            state, why = await self._reason_not_to(site, entry, notice, together)
            if state:
                await self._book.withheld(site, notice, state, why)
                self.withheld[state] += 1
                continue
            data: dict[str, Any] = {**notice.data, "alarms": members[together]} if together else notice.data
            people = await self._contacts.people(site, notice.tenant, notice.to)
            addressees = Addressees(notice.to, people, notice.channels)
            proof = await self._notifier.notify(site, notice.tenant, notice.template, data, addressees)
            await self._book.told(site, notice, proof)
            self.sent += 1

    async def idle(self, site: str) -> None:
        """Nothing to do."""

    async def _reason_not_to(
        self, site: str, entry: Entry, notice: NotificationWanted, together: str
    ) -> tuple[str, str]:
        """(state, why) of a notice that is not to be told; two empty texts for one that is."""
        twin = notice.twin or str(notice.data.get("meter") or entry.group)
        shelved = await self._book.shelf_of(site, twin, notice)
        if shelved:
            return SUPPRESSED, shelved
        if together:
            leader = await self._book.leader_of(site, notice, together, within_ms=TOGETHER_MS)
            if leader:
                return GROUPED, leader
        return "", ""

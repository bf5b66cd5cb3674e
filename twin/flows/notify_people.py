"""Notices: what the rules want people to know goes out through the notifier; the ledger keeps the proof of delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.effects import NotificationWanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.ports import EffectStream, Entry, NoticeBook, Notifier


class NoticeSender:
    """Consumer that tells people."""

    name = "notices"

    def __init__(self, stream: EffectStream, notifier: Notifier, book: NoticeBook) -> None:
        self._stream = stream
        self._notifier = notifier
        self._book = book
        self.sent = 0

    async def start(self, site: str) -> None:
        """Join the stream where this consumer left it."""
        await self._stream.join(site, self.name)

    async def consume(self, site: str, entries: Sequence[Entry]) -> None:
        """Deliver each notice and record the proof; one that was told already is not told again."""
        for entry in entries:
            for effect in entry.effects:
                if isinstance(effect, NotificationWanted) and not await self._book.was_told(site, effect):
                    proof = await self._notifier.notify(site, effect.tenant, effect.template, effect.data)
                    await self._book.told(site, effect, proof)
                    self.sent += 1

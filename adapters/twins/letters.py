"""Messages that no twin has taken: dead letters, kept for people to look at, and held ones, which wait for their twin.

While a meter is handed over there is a moment, and as long as the ledger is away more than that, in which one group has
let go of it and the next does not have it yet. What the device says meanwhile is held here, word for word and in order,
until somebody has the device again. Both streams are bounded and survive a rebuild of the twins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from adapters.twins.codec import DEAD_PAYLOAD_MAX, decode_dead_letter, encode_dead_letter
from adapters.twins.entry_id import order
from adapters.twins.keys import site_keys
from twin.ports import HeldMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapters.twins.connection import Reaching
    from twin.ports import DeadLetter

DEAD_LETTERS_MAX: Final = 10_000
HELD_MAX: Final = 100_000
"""Most messages of one site that wait for their twins; a device says about one a minute."""


class RedisLetters:
    """The part of the Redis store that keeps messages."""

    _client: Any
    _reaching: Reaching

    async def dead_letter(self, site: str, letters: Sequence[DeadLetter]) -> None:
        """Append to the site's dead letters; the newest 10 000 are kept, with the first 16 KiB of each payload."""
        keys = site_keys(site)
        pipe = self._client.pipeline(transaction=False)
        for letter in letters:
            pipe.xadd(keys.dead, encode_dead_letter(letter), maxlen=DEAD_LETTERS_MAX, approximate=True)
        if letters:
            with self._reaching:
                await pipe.execute()

    async def dead_letters(self, site: str, *, limit: int) -> list[DeadLetter]:
        """The newest dead letters of a site, newest first."""
        with self._reaching:
            rows = await self._client.xrevrange(site_keys(site).dead, count=limit)
        return [decode_dead_letter(fields) for _, fields in rows]

    async def hold(self, site: str, messages: Sequence[HeldMessage]) -> int:
        """Hold messages in their order until their device has arrived; returns how many, the first ones, there was
        room for. May be told twice: what is held twice is heard twice."""
        keys = site_keys(site)
        with self._reaching:
            room = max(0, HELD_MAX - await self._client.xlen(keys.held)) if messages else 0
            pipe = self._client.pipeline(transaction=False)
            for message in messages[:room]:
                pipe.xadd(keys.held, {"topic": message.topic, "payload": message.payload, "at": message.at})
            if messages[:room]:
                await pipe.execute()
        return len(messages[:room])

    async def held(self, site: str, *, after: str = "", limit: int) -> list[HeldMessage]:
        """Held messages newer than the id `after`, oldest first."""
        with self._reaching:
            rows = await self._client.xrange(site_keys(site).held, min=f"({after}" if after else "-", count=limit)
        return [
            HeldMessage(row[b"topic"].decode(), row[b"payload"], int(row[b"at"]), name.decode()) for name, row in rows
        ]

    async def pass_on(self, site: str, ids: Sequence[str]) -> None:
        """These held messages have been heard: forget them."""
        if ids:
            with self._reaching:
                await self._client.xdel(site_keys(site).held, *ids)


class MemoryLetters:
    """The part of the store in memory that keeps messages."""

    def __init__(self, site: Callable[[str], Any]) -> None:
        self._site = site

    async def dead_letter(self, site: str, letters: Sequence[DeadLetter]) -> None:
        """Append to the site's dead letters; the newest 10 000 are kept, with the first 16 KiB of each payload."""
        state = self._site(site)
        for letter in letters:
            state.dead.append(replace(letter, payload=letter.payload[:DEAD_PAYLOAD_MAX]))
        del state.dead[:-DEAD_LETTERS_MAX]

    async def dead_letters(self, site: str, *, limit: int) -> list[DeadLetter]:
        """The newest dead letters of a site, newest first."""
        newest: list[DeadLetter] = self._site(site).dead[::-1][:limit]
        return newest

    async def hold(self, site: str, messages: Sequence[HeldMessage]) -> int:
        """Hold messages until their device has arrived; returns how many, the first ones, there was room for."""
        state = self._site(site)
        taken = messages[: max(0, HELD_MAX - len(state.held))]
        for message in taken:
            state.held_count += 1
            state.held.append(replace(message, id=f"{state.held_count}-0"))
        return len(taken)

    async def held(self, site: str, *, after: str = "", limit: int) -> list[HeldMessage]:
        """Held messages newer than the id `after`, oldest first."""
        behind = order(after) if after else (0, 0)
        return [one for one in self._site(site).held if order(one.id) > behind][:limit]

    async def pass_on(self, site: str, ids: Sequence[str]) -> None:
        """These held messages have been heard: forget them."""
        state, gone = self._site(site), set(ids)
        state.held = [one for one in state.held if one.id not in gone]

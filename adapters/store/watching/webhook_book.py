"""The `WebhookBook` port over an SQL database: which outside systems are still to be called, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from twin.ports import WebhookCall

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

_DUE = (
    "SELECT site, id, rule, twin, ts, name, data, attempts FROM webhook_call"
    " WHERE state = 'wanted' AND (next_ts IS NULL OR next_ts <= ?) ORDER BY next_ts, id LIMIT ?"
)
_AGAIN = "UPDATE webhook_call SET attempts = ?, next_ts = ?, answer = ? WHERE site = ? AND id = ? AND state = 'wanted'"
_SETTLED = (
    "UPDATE webhook_call SET state = ?, attempts = ?, answer = ?, settled_ts = ?, next_ts = NULL"
    " WHERE site = ? AND id = ? AND state = 'wanted'"
)


class SqlWebhookBook:
    """Calls in the order in which they are due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, now: int, *, limit: int) -> list[tuple[str, WebhookCall]]:
        """(site, call) of what is wanted and due, the longest waiting first."""
        rows = await self._database.fetch(_DUE, now, limit)
        return [
            (site, WebhookCall(number, rule, twin, ts, name, msgspec.json.decode(data), attempts))
            for site, number, rule, twin, ts, name, data, attempts in rows
        ]

    async def again(self, site: str, call: WebhookCall, attempts: int, next_ts: int, answer: str) -> None:
        """Try it again at an instant (Unix ms)."""
        async with self._database.write() as tx:
            await tx.execute(_AGAIN, attempts, next_ts, answer, site, call.id)

    async def settled(self, site: str, call: WebhookCall, state: str, attempts: int, answer: str, now: int) -> None:
        """It is `delivered`, or has `failed` for good."""
        async with self._database.write() as tx:
            await tx.execute(_SETTLED, state, attempts, answer, now, site, call.id)

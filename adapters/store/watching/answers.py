"""Answers once given to calls from outside, kept so that the repetition of a call gets the very same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.journals.idempotency import answered

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

_KEEP = (
    "INSERT INTO idempotent_answer (site, scope, key, input_hash, answer, ts) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (site, scope, key) DO NOTHING"
)


class SqlAnswers:
    """Answers in SQL, by the key of the call within a scope. `digest` is a hash of what was asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def given(self, site: str, scope: str, key: str, digest: str) -> str | None:
        """The answer given before, or None.

        Raises MoneyRefusedError `idempotency_conflict` where the key came with another content.
        """
        async with self._database.snapshot() as tx:
            return await answered(tx, site, scope, key, digest)

    async def keep(self, site: str, scope: str, key: str, digest: str, answer: str, ts: int) -> str:
        """Keep an answer; of two calls at once the first is kept, and both get it. Raises like `given`."""
        async with self._database.write() as tx:
            await tx.execute(_KEEP, site, scope, key, digest, answer, ts)
            kept = await answered(tx, site, scope, key, digest)
        assert kept is not None
        return kept

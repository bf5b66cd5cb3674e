"""Calls that may come twice: the same key with the same input gets the same answer and changes nothing again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from twin.ports import MoneyRefusedError

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction

_SELECT = "SELECT input_hash, answer FROM idempotent_answer WHERE site = ? AND scope = ? AND key = ?"
_INSERT = "INSERT INTO idempotent_answer (site, scope, key, input_hash, answer, ts) VALUES (?, ?, ?, ?, ?, ?)"


def input_hash(*values: Any) -> str:
    """SHA-256 of the input of a call, in an encoding that keeps fields apart."""
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()


def conflict(key: str) -> MoneyRefusedError:
    """The refusal of a key that was used before with another input."""
    return MoneyRefusedError("idempotency_conflict", f"key {key!r} was used before with another content")


async def answered(tx: Transaction, site: str, scope: str, key: str, digest: str) -> str | None:
    """The answer given before to this key, or None.

    Raises MoneyRefusedError `idempotency_conflict` where the key came with another input.
    """
    rows = await tx.fetch(_SELECT, site, scope, key)
    if not rows:
        return None
    known, answer = rows[0]
    if known != digest:
        raise conflict(key)
    return str(answer)


async def remember(tx: Transaction, site: str, scope: str, key: str, digest: str, answer: str, ts: int) -> None:
    """Keep the answer of a call, in the transaction that carried it out."""
    await tx.execute(_INSERT, site, scope, key, digest, answer, ts)

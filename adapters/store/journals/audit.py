"""The audit record: who did what to what, and how it was before and after. Append-only by trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction

_AUDIT = BulkInsert("audit", "site ts:bigint who what subject state_before state_after")


class AuditEntry(msgspec.Struct, frozen=True):
    """One audited act. `before` and `after` are plain data; None where there was or is nothing."""

    ts: int
    who: str
    what: str
    subject: str
    before: Any = None
    after: Any = None


async def record_audit(tx: Transaction, site: str, entries: Sequence[AuditEntry]) -> None:
    """Write audit entries in the transaction of what they tell of."""
    await _AUDIT.run(
        tx,
        [
            (site, entry.ts, entry.who, entry.what, entry.subject, _json(entry.before), _json(entry.after))
            for entry in entries
        ],
    )


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()

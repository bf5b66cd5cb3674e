"""The locks that stand in SQL, as twins have them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from twin.core.model import Lock

if TYPE_CHECKING:
    from typing import Any

    from adapters.store.engine.database import Transaction

_LOCKS = (
    "SELECT breaker, lock, who, why, ts, until, rule, rule_version FROM standing_lock WHERE site = ? AND active {which}"
    " ORDER BY breaker, lock"
)


async def standing_locks(
    tx: Transaction, site: str, condition: str = "", *values: Any
) -> defaultdict[str, dict[str, Lock]]:
    """Locks by breaker and kind; `condition` (constant SQL, `AND ...`) narrows them down."""
    locks: defaultdict[str, dict[str, Lock]] = defaultdict(dict)
    for breaker, lock, *said in await tx.fetch(_LOCKS.format(which=condition), site, *values):
        locks[breaker][lock] = Lock(*said)
    return locks

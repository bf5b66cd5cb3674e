"""The `Ledger` and `NoticeBook` ports over an SQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.journals import money_acts, outbox
from adapters.store.journals.lock_acts import LockWish, change_lock
from adapters.store.posting import ledger_writer, notices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapters.store.engine.database import Database
    from twin.core.effects import NotificationWanted
    from twin.ports import Entry, PendingAct, Receipt, TopUp


class SqlLedger:
    """Posted energy and money, and the acts that carry SQL's decisions to the twins."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def position(self, site: str) -> str:
        """Id of the last effect-stream entry whose rows are committed; LookupError for an unknown site."""
        return await ledger_writer.position(self._database, site)

    async def post(self, site: str, entries: Sequence[Entry]) -> dict[str, list[int]]:
        """Write a batch of entries in one transaction; see `ledger_writer.post`."""
        return await ledger_writer.post(self._database, site, entries)

    async def top_up(self, site: str, top_up: TopUp) -> Receipt:
        """Credit a payment once; see `money_acts.top_up` for the refusals."""
        return await money_acts.top_up(self._database, site, top_up)

    async def place_lock(
        self, site: str, *, breaker: str, lock: str, who: str, why: str, ts: int, key: str, until: int | None = None
    ) -> PendingAct:
        """Record a person's lock; idempotent by (who, key). LookupError for an unknown breaker."""
        return await change_lock(self._database, site, LockWish(True, breaker, lock, who, why, ts, key, until))

    async def release_lock(
        self, site: str, *, breaker: str, lock: str, who: str, why: str, ts: int, key: str
    ) -> PendingAct:
        """Record that a person releases a lock; idempotent by (who, key). LookupError for an unknown breaker."""
        return await change_lock(self._database, site, LockWish(False, breaker, lock, who, why, ts, key))

    async def undelivered(self, site: str | None, *, limit: int) -> list[PendingAct]:
        """Acts not yet confirmed by their twin, oldest first."""
        return await outbox.undelivered(self._database, site, limit=limit)

    async def doubt_deliveries(self, newest: int) -> None:
        """Count the newest acts as undelivered again."""
        await outbox.doubt(self._database, newest)

    async def delivered(self, site: str, taken: Mapping[str, int]) -> None:
        """Each of these groups' twins has every act up to its sequence number."""
        await outbox.delivered(self._database, site, taken)


class SqlNoticeBook:
    """Which notices were delivered, with proof; `now` tells the instant (Unix ms) of a delivery."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now

    async def was_told(self, site: str, notice: NotificationWanted) -> bool:
        """Whether this very notice was delivered before."""
        return await notices.was_told(self._database, site, notice)

    async def told(self, site: str, notice: NotificationWanted, proof: str) -> None:
        """Record the delivery."""
        await notices.told(self._database, site, notice, proof, self._now())

    async def shelf_of(self, site: str, twin: str, notice: NotificationWanted) -> str:
        """Why the notice of this twin is not to be told: its alarm is shelved."""
        return await notices.shelf_of(self._database, site, twin, notice)

    async def leader_of(self, site: str, notice: NotificationWanted, together: str, *, within_ms: int) -> str:
        """Which other notice tells for this one's group of alarms."""
        return await notices.leader_of(self._database, site, notice, together, within_ms=within_ms)

    async def withheld(self, site: str, notice: NotificationWanted, state: str, why: str) -> None:
        """Record that a notice was not told."""
        await notices.withheld(self._database, site, notice, state, why, self._now())

"""What auditors ask of a ledger, over an SQL database: trial balance, anchors, export, the check against anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.proofs.anchors import Anchor, anchor_line, anchors, check_kept_anchors, read_anchor, take_anchor
from adapters.store.proofs.ledger_export import export_ledger
from adapters.store.proofs.trial_balance import TrialBalance, trial_balance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapters.store.engine.database import Database
    from adapters.store.proofs.verify_finding import Finding


class SqlProofs:
    """Proofs of one database. Every call raises LookupError for an unknown site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def trial_balance(self, site: str, *, until: int | None = None, detailed: bool = False) -> TrialBalance:
        """Sums of all legs by control account, or by account; they come to zero."""
        return await trial_balance(self._database, site, until=until, detailed=detailed)

    async def take_anchor(self, site: str, now: int) -> Anchor:
        """The anchor of the last day that has ended, made where there is none yet."""
        return await take_anchor(self._database, site, now)

    async def anchors(self, site: str, *, from_day: int = 0) -> list[Anchor]:
        """Anchors from a day (yyyymmdd) on, oldest first."""
        return await anchors(self._database, site, from_day=from_day)

    def against(self, site: str, lines: Sequence[str]) -> AsyncIterator[Finding]:
        """What of a ledger contradicts anchors kept elsewhere. Raises ValueError for a line that is no anchor."""
        return check_kept_anchors(self._database, site, [read_anchor(line) for line in lines if line.strip()])

    def export(self, site: str, now: int) -> AsyncIterator[bytes]:
        """The ledger as lines of JSON, for `billing.ledger_proof`."""
        return export_ledger(self._database, site, now)

    def line(self, anchor: Anchor) -> str:
        """An anchor as one line of JSON, to be kept elsewhere."""
        return anchor_line(anchor)

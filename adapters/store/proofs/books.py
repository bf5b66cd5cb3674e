"""The `Books` of verification over an SQL database: its own proof, what twins must agree with, and the sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.proofs.verify import MeterHead, ledger_heads, verify_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Database
    from adapters.store.proofs.verify_finding import Finding, Progress

_ACTS = "SELECT group_id, seq FROM act_head WHERE site = ?"
_METERS = "SELECT count(DISTINCT meter) FROM register_epoch WHERE site = ?"
_RATED = (
    "SELECT utility, count(*), sum(to_qty - from_qty) FROM rating WHERE site = ? AND active"
    " GROUP BY utility ORDER BY utility"
)
_MONEY = "SELECT COALESCE(sum(credits_nano), 0), COALESCE(sum(charges_nano), 0) FROM account WHERE site = ?"
_JOURNALS = "SELECT journal_seq FROM site WHERE id = ?"


class LedgerMarks(msgspec.Struct, frozen=True):
    """What SQL says, for comparing with twins: (epoch, end of its chain) by meter, totals by tenant, acts by group."""

    heads: dict[str, tuple[int, int]]
    credits_nano: dict[str, int]
    charges_nano: dict[str, int]
    acts: dict[str, int]


class LedgerTotals(msgspec.Struct, frozen=True):
    """How much there is. Energy in Wh, water in litres, money in nano-units."""

    meters: int
    rows: int
    energy_wh: int
    water_l: int
    journals: int
    credits_nano: int
    charges_nano: int


class SqlBooks:
    """Reads for verification; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def findings(
        self, site: str, progress: Progress | None = None, *, deep: int | None = None
    ) -> AsyncIterator[Finding]:
        """Everything in SQL that does not hold; `deep` as in `verify_sql`."""
        return verify_sql(self._database, site, progress, deep=deep)

    async def marks(self, site: str) -> LedgerMarks:
        """What twins must agree with. The acts are read last: one that came meanwhile excuses a difference."""
        heads: dict[str, tuple[int, int]] = {}
        credits_nano: dict[str, int] = {}
        charges_nano: dict[str, int] = {}
        async for item in ledger_heads(self._database, site):
            if isinstance(item, MeterHead):
                heads[item.meter] = (item.epoch, item.posted)
            else:
                credits_nano[item.tenant] = item.credits_nano
                charges_nano[item.tenant] = item.charges_nano
        acts = {row[0]: row[1] for row in await self._database.fetch(_ACTS, site)}
        return LedgerMarks(heads, credits_nano, charges_nano, acts)

    async def totals(self, site: str) -> LedgerTotals:
        """Sums of what there is, from one instant of the database."""
        async with self._database.snapshot() as tx:
            meters = (await tx.fetch(_METERS, site))[0][0]
            rated = {utility: (int(rows), int(quantity)) for utility, rows, quantity in await tx.fetch(_RATED, site)}
            credits_nano, charges_nano = (await tx.fetch(_MONEY, site))[0]
            journals = await tx.fetch(_JOURNALS, site)
        return LedgerTotals(
            meters=meters,
            rows=sum(rows for rows, _ in rated.values()),
            energy_wh=rated.get("electricity", (0, 0))[1],
            water_l=rated.get("water", (0, 0))[1],
            journals=journals[0][0] if journals else 0,
            credits_nano=int(credits_nano),
            charges_nano=int(charges_nano),
        )

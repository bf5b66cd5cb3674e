"""The trial balance: every account's sums of legs, by control account, which must come to zero together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

_SUMS = (
    "SELECT l.account, sum(CASE WHEN l.amount_nano > 0 THEN l.amount_nano ELSE 0 END) AS came,"
    " sum(CASE WHEN l.amount_nano < 0 THEN l.amount_nano ELSE 0 END) AS went FROM leg l{joined} WHERE l.site = ?{until}"
    " GROUP BY l.account ORDER BY l.account"
)
_JOINED = " JOIN journal j ON j.site = l.site AND j.seq = l.seq"
_MANY: Final = {"tenant": "wallets", "debt": "debts", "deposit": "deposits"}
"""Families with an account for each tenant, and the control account that they are shown as."""


class BalanceRow(msgspec.Struct, frozen=True):
    """One line: a control account, how many accounts it stands for, and what came onto them and went off (nano)."""

    account: str
    accounts: int
    came_nano: int
    went_nano: int

    @property
    def net_nano(self) -> int:
        """What stands on it."""
        return self.came_nano + self.went_nano


class TrialBalance(msgspec.Struct, frozen=True):
    """The lines in alphabetical order. `off_nano` is their sum: zero, or the books are broken."""

    rows: tuple[BalanceRow, ...]

    @property
    def off_nano(self) -> int:
        """The sum of all lines."""
        return sum(row.net_nano for row in self.rows)


async def trial_balance(
    database: Database, site: str, *, until: int | None = None, detailed: bool = False
) -> TrialBalance:
    """Sums of all legs of a site; of journals before `until` (Unix ms) where given; `detailed`: a line an account.

    Raises LookupError for an unknown site.
    """
    async with database.snapshot() as tx:
        if not await tx.fetch("SELECT 1 FROM site WHERE id = ?", site):
            raise LookupError(f"site {site!r} is not in the database; import its site file first")
        sql = _SUMS.format(joined=_JOINED if until is not None else "", until=" AND j.ts < ?" if until else "")
        sums = await tx.fetch(sql, site, *([until] if until else []))
    lines: dict[str, BalanceRow] = {}
    for account, came, went in sums:
        name = account if detailed else control_account(account)
        known = lines.get(name, BalanceRow(name, 0, 0, 0))
        lines[name] = BalanceRow(name, known.accounts + 1, known.came_nano + int(came), known.went_nano + int(went))
    return TrialBalance(tuple(lines[name] for name in sorted(lines)))


def control_account(account: str) -> str:
    """The control account that an account belongs to; itself where there is one of it."""
    family, colon, _ = account.partition(":")
    return _MANY.get(family, account) if colon else account

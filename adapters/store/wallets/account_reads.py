"""Plain reads of accounts for screens and the command line: states, debts, refunds, requests. Newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.account_acts import account_state
from adapters.store.journals.accounts import deposit
from adapters.store.journals.approvals import Approval, approval_of, approvals
from adapters.store.journals.read_models import CursorError, Page
from adapters.store.journals.wallet_booking import wallet_totals
from adapters.store.sites.queries import MOST_PER_PAGE

if TYPE_CHECKING:
    from adapters.store.engine.database import Database

_DEBTS = (
    "SELECT debt, kind, origin, principal_nano, remaining_nano, share_percent, cap_nano, priority, reason, actor, ts,"
    " state FROM debt WHERE site = ? AND tenant = ? ORDER BY state DESC, kind DESC, priority, id LIMIT 1000"
)
_REFUNDS = (
    "SELECT id, refund, tenant, payment, amount_nano, channel, reason, actor, ts, state, approval, reference, detail,"
    " settled_by, settled_ts FROM refund WHERE site = ? AND id < ?{more} ORDER BY id DESC LIMIT ?"
)
_CHANGES = (
    "SELECT state, who, why, bill, ts FROM account_state WHERE site = ? AND tenant = ? ORDER BY seq DESC LIMIT 100"
)
_PROTECTED = "SELECT protected_until, emergency_credit_nano FROM tenant WHERE site = ? AND tenant = ?"
_DEPOSIT = "SELECT COALESCE(sum(amount_nano), 0) FROM leg WHERE site = ? AND account = ?"
_NEWEST = 2**63 - 1


class DebtEntry(msgspec.Struct, frozen=True):
    """A debt of a tenant; amounts in nano-units."""

    debt: str
    kind: str
    origin: str
    principal_nano: int
    remaining_nano: int
    share_percent: int
    cap_nano: int | None
    priority: int
    reason: str
    actor: str
    ts: int
    state: str


class RefundEntry(msgspec.Struct, frozen=True):
    """A refund and what became of it."""

    refund: str
    tenant: str
    payment: str
    amount_nano: int
    channel: str
    reason: str
    actor: str
    ts: int
    state: str
    approval: str
    reference: str
    detail: str
    settled_by: str
    settled_ts: int | None


class StateChange(msgspec.Struct, frozen=True):
    """An account was opened, was being closed, was closed."""

    state: str
    who: str
    why: str
    bill: str
    ts: int


class AccountEntry(msgspec.Struct, frozen=True):
    """An account as posted: what the twin has charged and not posted yet is missing."""

    tenant: str
    state: str
    credits_nano: int
    charges_nano: int
    emergency_credit_nano: int
    deposit_nano: int
    protected_until: int | None
    debts: tuple[DebtEntry, ...]
    changes: tuple[StateChange, ...]


class SqlAccountReads:
    """Reads of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, site: str, tenant: str) -> AccountEntry:
        """One account. Raises MoneyRefusedError `unknown_tenant`."""
        async with self._database.snapshot() as tx:
            state = await account_state(tx, site, tenant)
            totals = await wallet_totals(tx, site, tenant)
            protected_until, emergency_nano = (await tx.fetch(_PROTECTED, site, tenant))[0]
            held = (await tx.fetch(_DEPOSIT, site, deposit(tenant)))[0][0]
            debts = [DebtEntry(*tuple(row)) for row in await tx.fetch(_DEBTS, site, tenant)]
            changes = [StateChange(*tuple(row)) for row in await tx.fetch(_CHANGES, site, tenant)]
        money = (totals.credits_nano, totals.charges_nano, emergency_nano, int(held))
        return AccountEntry(tenant, state, *money, protected_until, tuple(debts), tuple(changes))

    async def refunds(
        self,
        site: str,
        *,
        tenant: str | None = None,
        state: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[RefundEntry]:
        """Refunds, of one tenant or in one state where asked."""
        chosen = {"tenant": tenant, "state": state}
        more = "".join(f" AND {name} = ?" for name, value in chosen.items() if value)
        values = [value for value in chosen.values() if value]
        shown = _limit(limit)
        rows = await self._database.fetch(_REFUNDS.format(more=more), site, _before(cursor), *values, shown + 1)
        items = [RefundEntry(*tuple(row)[1:]) for row in rows[:shown]]
        return Page(items, str(rows[shown - 1][0]) if len(rows) > shown else None)

    async def requests(
        self, site: str, *, state: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[Approval]:
        """Requests for a second person's agreement, in one state where asked."""
        shown = _limit(limit)
        rows = await approvals(self._database, site, state=state, before=_before(cursor), limit=shown + 1)
        items = [approval for _, approval in rows[:shown]]
        return Page(items, str(rows[shown - 1][0]) if len(rows) > shown else None)

    async def request(self, site: str, approval: str) -> Approval | None:
        """One request; None for an unknown one."""
        return await approval_of(self._database, site, approval)


def _limit(limit: int) -> int:
    return max(1, min(limit, MOST_PER_PAGE))


def _before(cursor: str | None) -> int:
    if cursor is None:
        return _NEWEST
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 19 or int(cursor) > _NEWEST:
        raise CursorError(f"{cursor!r} is not a cursor; pass on the `next` of the page before")
    return int(cursor)

"""What tests of accounts share: callers, amounts, and the invariants of money by plain SQL."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.wallets.accounts_desk import SqlAccounts
from billing.money import NANO_PER_UNIT
from tests.unit.adapters.store.park import NOW, SITE
from twin.ports import Caller, Outcome, Receipt, TopUp

YUAN = NANO_PER_UNIT


class Till:
    """A desk with callers that never use a key twice unless told to."""

    def __init__(self, database: Database, site: str = SITE) -> None:
        self.database = database
        self.site = site
        self.desk = SqlAccounts(database)
        self.ledger = SqlLedger(database)
        self.keys = 0

    def caller(self, who: str = "bob", *, key: str | None = None, why: str = "test", ts: int = NOW) -> Caller:
        """Somebody who acts, under a fresh key."""
        self.keys += 1
        return Caller(who, why, ts, key or f"key-{self.keys}")

    async def pay(self, tenant: str, yuan: int, *, key: str | None = None, reference: str | None = None) -> Receipt:
        """A recharge by cash."""
        self.keys += 1
        key = key or f"pay-{self.keys}"
        wish = TopUp(tenant, yuan * YUAN, "cash", f"R-{key}" if reference is None else reference, key, "bob", NOW)
        return await self.ledger.top_up(self.site, wish)

    async def agree(self, outcome: Outcome, who: str = "ann", *, approve: bool = True) -> Any:
        """A second person decides what an act has asked for."""
        return await self.desk.decide(self.site, outcome.body["approval"], who, approve, "seen", NOW)

    async def balance(self, tenant: str) -> int:
        """Whole units of a wallet; fails where it is not whole."""
        sql = "SELECT credits_nano - charges_nano FROM account WHERE site = ? AND tenant = ?"
        rows = await self.database.fetch(sql, self.site, tenant)
        whole, rest = divmod(rows[0][0] if rows else 0, YUAN)
        assert rest == 0
        return int(whole)

    async def on(self, account: str) -> int:
        """Whole units booked on an account."""
        sql = "SELECT COALESCE(sum(amount_nano), 0) FROM leg WHERE site = ? AND account = ?"
        return int((await self.database.fetch(sql, self.site, account))[0][0]) // YUAN


async def must_hold(database: Database, site: str = SITE) -> None:
    """The invariants of money, by plain SQL and no code of the product."""
    journals = await database.fetch(
        "SELECT j.seq, count(l.id), sum(l.amount_nano) FROM journal j LEFT JOIN leg l ON l.site = j.site"
        " AND l.seq = j.seq WHERE j.site = ? GROUP BY j.seq ORDER BY j.seq",
        site,
    )
    assert [row[0] for row in journals] == list(range(1, len(journals) + 1)), "journals are numbered without gaps"
    assert all(row[1] >= 2 and int(row[2]) == 0 for row in journals), "every journal sums to zero"
    legs: defaultdict[str, int] = defaultdict(int)
    by_account = "SELECT account, sum(amount_nano) FROM leg WHERE site = ? GROUP BY account"
    for account, amount in await database.fetch(by_account, site):
        legs[account] += int(amount)
    projections = "SELECT account, credits_nano, charges_nano FROM account WHERE site = ?"
    for account, credits_nano, charges_nano in await database.fetch(projections, site):
        assert credits_nano - charges_nano == legs[account], f"{account} is the sum of its legs"
    await _payments_and_refunds(database, site, legs)
    await _debts(database, site, legs)


async def _payments_and_refunds(database: Database, site: str, legs: dict[str, int]) -> None:
    async def total(sql: str) -> int:
        return int((await database.fetch(sql, site))[0][0])

    refunds = "SELECT COALESCE(sum(amount_nano), 0) FROM refund WHERE site = ? AND state "
    waiting = await total(refunds + "IN ('requested', 'approved')")
    assert legs.get("payable:refunds", 0) == waiting, "what is set aside is what waits"
    paid = await total("SELECT COALESCE(sum(amount_nano), 0) FROM payment WHERE site = ?")
    corrected = await total(
        "SELECT COALESCE(sum(c.amount_nano), 0) FROM correction c JOIN payment p ON p.site = c.site"
        " AND p.journal_seq = c.original_seq WHERE c.site = ?"
    )
    clearing = sum(amount for account, amount in legs.items() if account.startswith("clearing:"))
    assert clearing == await total(refunds + "= 'paid'") + corrected - paid, "channels: in minus out"
    for payment, amount, back, taken in await database.fetch(
        "SELECT p.payment, p.amount_nano, (SELECT COALESCE(sum(r.amount_nano), 0) FROM refund r WHERE r.site = p.site"
        " AND r.payment = p.payment AND r.state NOT IN ('failed', 'cancelled')),"
        " (SELECT COALESCE(sum(c.amount_nano), 0) FROM correction c WHERE c.site = p.site"
        " AND c.original_seq = p.journal_seq) FROM payment p WHERE p.site = ?",
        site,
    ):
        assert int(back) + int(taken) <= amount, f"{payment} never gives back more than it was"


async def _debts(database: Database, site: str, legs: dict[str, int]) -> None:
    owed: defaultdict[str, int] = defaultdict(int)
    for tenant, debt, principal, remaining, recovered in await database.fetch(
        "SELECT d.tenant, d.debt, d.principal_nano, d.remaining_nano, (SELECT COALESCE(sum(r.amount_nano), 0)"
        " FROM debt_recovery r WHERE r.site = d.site AND r.debt = d.debt) FROM debt d WHERE d.site = ?",
        site,
    ):
        assert principal - int(recovered) == remaining >= 0, f"{debt} shrinks by its recoveries"
        owed[f"debt:{tenant}"] += remaining
    for account in [name for name in legs if name.startswith("debt:")]:
        assert legs[account] == -owed[account], f"{account} is what the debts still are"

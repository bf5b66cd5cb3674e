"""What tests of accounts share: callers, amounts, and the invariants of money by plain SQL."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from adapters.store.account_acts import Caller, Outcome
from adapters.store.accounts_desk import SqlAccounts
from adapters.store.database import Database
from adapters.store.ledger import SqlLedger
from billing.money import NANO_PER_UNIT
from tests.unit.adapters.store.park import NOW, SITE
from twin.ports import Receipt, TopUp

YUAN = NANO_PER_UNIT


class Till:
    """A desk with callers that never use a key twice unless told to."""

    def __init__(self, database: Database) -> None:
        self.database = database
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
        return await self.ledger.top_up(SITE, wish)

    async def agree(self, outcome: Outcome, who: str = "ann", *, approve: bool = True) -> Any:
        """A second person decides what an act has asked for."""
        return await self.desk.decide(SITE, outcome.body["approval"], who, approve, "seen", NOW)

    async def balance(self, tenant: str) -> int:
        """Whole units of a wallet; fails where it is not whole."""
        sql = "SELECT credits_nano - charges_nano FROM account WHERE site = ? AND tenant = ?"
        rows = await self.database.fetch(sql, SITE, tenant)
        whole, rest = divmod(rows[0][0] if rows else 0, YUAN)
        assert rest == 0
        return int(whole)

    async def on(self, account: str) -> int:
        """Whole units booked on an account."""
        sql = "SELECT COALESCE(sum(amount_nano), 0) FROM leg WHERE site = ? AND account = ?"
        return int((await self.database.fetch(sql, SITE, account))[0][0]) // YUAN


async def must_hold(database: Database) -> None:
    """The invariants of money, by plain SQL and no code of the product."""
    journals = await database.fetch("SELECT j.seq, count(l.id), sum(l.amount_nano) FROM journal j LEFT JOIN leg l"
                                    " ON l.site = j.site AND l.seq = j.seq GROUP BY j.seq ORDER BY j.seq")  # fmt: skip
    assert [row[0] for row in journals] == list(range(1, len(journals) + 1)), "journals are numbered without gaps"
    assert all(row[1] >= 2 and int(row[2]) == 0 for row in journals), "every journal sums to zero"
    legs: defaultdict[str, int] = defaultdict(int)
    for account, amount in await database.fetch("SELECT account, sum(amount_nano) FROM leg GROUP BY account"):
        legs[account] += int(amount)
    for account, credits_nano, charges_nano in await database.fetch(
        "SELECT account, credits_nano, charges_nano FROM account"
    ):
        assert credits_nano - charges_nano == legs[account], f"{account} is the sum of its legs"
    await _payments_and_refunds(database, legs)
    debts: defaultdict[str, int] = defaultdict(int)
    for tenant, remaining in await database.fetch("SELECT tenant, sum(remaining_nano) FROM debt GROUP BY tenant"):
        debts[f"debt:{tenant}"] = int(remaining)
    for account in [name for name in legs if name.startswith("debt:")]:
        assert legs[account] == -debts[account], f"{account} is what the debts still are"
    for debt, principal, remaining, recovered in await database.fetch(
        "SELECT d.debt, d.principal_nano, d.remaining_nano, (SELECT COALESCE(sum(r.amount_nano), 0)"
        " FROM debt_recovery r WHERE r.site = d.site AND r.debt = d.debt) FROM debt d"
    ):
        assert principal - int(recovered) == remaining >= 0, f"{debt} shrinks by its recoveries"


async def _payments_and_refunds(database: Database, legs: dict[str, int]) -> None:
    waiting = await database.fetch(
        "SELECT COALESCE(sum(amount_nano), 0) FROM refund WHERE state IN ('requested', 'approved')"
    )
    assert legs.get("payable:refunds", 0) == int(waiting[0][0]), "what is set aside is what waits"
    paid = await database.fetch("SELECT COALESCE(sum(amount_nano), 0) FROM payment")
    refunded = await database.fetch("SELECT COALESCE(sum(amount_nano), 0) FROM refund WHERE state = 'paid'")
    corrected = await database.fetch(
        "SELECT COALESCE(sum(c.amount_nano), 0) FROM correction c JOIN payment p ON p.journal_seq = c.original_seq"
    )
    clearing = sum(amount for account, amount in legs.items() if account.startswith("clearing:"))
    assert clearing == int(refunded[0][0]) + int(corrected[0][0]) - int(paid[0][0]), "channels: in minus out"
    for payment, amount, back, taken in await database.fetch(
        "SELECT p.payment, p.amount_nano, (SELECT COALESCE(sum(r.amount_nano), 0) FROM refund r WHERE r.site = p.site"
        " AND r.payment = p.payment AND r.state NOT IN ('failed', 'cancelled')),"
        " (SELECT COALESCE(sum(c.amount_nano), 0) FROM correction c"
        " WHERE c.site = p.site AND c.original_seq = p.journal_seq) FROM payment p"
    ):
        assert int(back) + int(taken) <= amount, f"{payment} never gives back more than it was"

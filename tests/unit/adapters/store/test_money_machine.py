"""Recharges, refunds, corrections, debts, charges and closings in any order and at once: no money is lost or made.

A state machine drives a real database of each engine. Every step runs several acts at the same time; after it the
invariants of `money.py` are checked by plain SQL, and cash in minus cash out as the callers were told is what the
clearing accounts say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from adapters.store.engine.database import Database, open_database
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from tests.integration.servers import fresh_name
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.engines import ENGINES, fresh_url
from tests.unit.adapters.store.money import YUAN, Till, must_hold
from tests.unit.adapters.store.park import NOW, charge, document, entry
from twin.ports import Caller, MoneyRefusedError, Outcome, Receipt, TopUp

TENANTS = ("t-001", "t-002")
LIMITS = {"refund_above": "20", "correction_above": "20", "write_off_above": "20", "transfer_above": "20"}
AMOUNTS = st.integers(1, 60)
WHO = st.sampled_from(TENANTS)
KEYS = st.integers(1, 6)
ACTS = st.one_of(
    st.tuples(st.just("pay"), WHO, AMOUNTS, KEYS),
    st.tuples(st.just("refund"), WHO, AMOUNTS, st.booleans()),
    st.tuples(st.just("settle"), st.booleans(), st.integers(0, 5)),
    st.tuples(st.just("decide"), st.booleans()),
    st.tuples(st.just("correct"), WHO, st.none() | AMOUNTS, st.integers(0, 5)),
    st.tuples(st.just("transfer"), AMOUNTS),
    st.tuples(st.just("manual"), WHO, st.integers(-60, 60)),
    st.tuples(st.just("debt"), WHO, AMOUNTS, st.sampled_from(["arrears", "deposit", "other"])),
    st.tuples(st.just("write_off"), WHO),
    st.tuples(st.just("close"), st.sampled_from(["keep", "refund", "debt", "write_off"])),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("charge"), st.integers(1, 40)),
)


class MoneyMachine(RuleBasedStateMachine):
    """One site of one database."""

    url: ClassVar[str] = ""

    @initialize()
    def park(self) -> None:
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.site = fresh_name("park")
        self.cash = 0
        self.paid: dict[str, tuple[str, int]] = {}
        self.refunds: dict[str, tuple[str, int]] = {}
        self.settled: set[str] = set()
        self.requests: list[str] = []
        self.qty = 0
        self.entries = 0
        self.lock = asyncio.Lock()
        self.run(self._open())

    async def _open(self) -> None:
        self.database: Database = await open_database(self.url)
        limits = {"approval": {**LIMITS, "manual_above": "20"}, "site": self.site}
        await SqlRegistry(self.database).apply(document(**limits), who="test", now=NOW)
        async with self.database.write() as tx:
            sql = "UPDATE supply SET to_ts = ? WHERE site = ? AND tenant = 't-001'"
            await tx.execute(sql, NOW, self.site)
        self.till = Till(self.database, self.site)

    @rule(acts=st.lists(ACTS, min_size=1, max_size=6))
    def at_once(self, acts: list[tuple[Any, ...]]) -> None:
        """Several people act at the same time."""
        self.run(self._burst([getattr(self, f"_{act[0]}")(*act[1:]) for act in acts]))

    @rule(who=WHO, yuan=AMOUNTS)
    def replayed(self, who: str, yuan: int) -> None:
        """A channel repeats its notice twenty times at once."""
        key = fresh_name("notice")
        self.run(self._burst([self._topped(who, yuan, key) for _ in range(20)]))
        assert sum(1 for name in self.paid if name == key) <= 1

    @rule(who=WHO, parts=st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=2, max_size=5))
    def given_back(self, who: str, parts: list[tuple[int, bool]]) -> None:
        """A payment is refunded and taken back by several people at once, from a wallet that has more than it."""
        key = fresh_name("paid")
        self.run(self._burst([self._topped(who, 50, key), self._manual(who, 20)]))
        if key in self.paid:
            payment = self.paid[key][0]
            acts = [
                self._refund_of(who, payment, yuan) if back else self._correct_of(who, payment, yuan)
                for yuan, back in parts
            ]
            self.run(self._burst(acts))

    @rule(who=WHO, yuan=AMOUNTS, paid=st.lists(AMOUNTS, min_size=1, max_size=4))
    def owing(self, who: str, yuan: int, paid: list[int]) -> None:
        """A debt, and payments at once that pay it off."""
        self.run(self._burst([self._debt(who, yuan, "deposit")]))
        self.run(self._burst([self._topped(who, amount, fresh_name("owed")) for amount in paid]))

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "till"):
            self.run(self._check())

    def teardown(self) -> None:
        if hasattr(self, "till"):
            self.run(self._prove())
            self.runner.close()

    async def _burst(self, acts: list[Awaitable[Any]]) -> None:
        for answer in await asyncio.gather(*acts, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, MoneyRefusedError):
                raise answer

    async def _check(self) -> None:
        await must_hold(self.database, self.site)
        sql = "SELECT COALESCE(sum(amount_nano), 0) FROM leg WHERE site = ? AND account LIKE 'clearing:%'"
        assert int((await self.database.fetch(sql, self.site))[0][0]) == -self.cash * YUAN

    async def _prove(self) -> None:
        assert [finding async for finding in verify_sql(self.database, self.site)] == []
        await self.database.close()

    async def _topped(self, tenant: str, yuan: int, key: str) -> None:
        wish = TopUp(tenant, yuan * YUAN, "cash", f"{self.site}-{key}", key, "bob", NOW)
        receipt: Receipt = await self.till.ledger.top_up(self.site, wish)
        if not receipt.repeated:
            assert key not in self.paid
            self.paid[key] = (receipt.payment, yuan)
            self.cash += yuan

    async def _pay(self, tenant: str, yuan: int, key: int) -> None:
        await self._topped(tenant, yuan, f"k-{key}")

    def _asked(self, outcome: Outcome) -> Outcome:
        if "approval" in outcome.body:
            self.requests.append(outcome.body["approval"])
        return outcome

    async def _refund(self, tenant: str, yuan: int, to_source: bool) -> None:
        payments = sorted(payment for payment, _ in self.paid.values())
        await self._refund_of(tenant, payments[-1] if to_source and payments else "", yuan)

    async def _refund_of(self, tenant: str, payment: str, yuan: int) -> None:
        wish = {"tenant": tenant, "payment": payment, "amount_nano": yuan * YUAN, "channel": "cash"}
        outcome = self._asked(await self.till.desk.refund(self.site, wish, self.till.caller()))
        self.refunds[outcome.body["refund"]] = (tenant, yuan)

    async def _settle(self, works: bool, place: int) -> None:
        refunds = sorted(self.refunds)
        if not refunds:
            return
        name = refunds[place % len(refunds)]
        tenant, yuan = self.refunds[name]
        if works:
            await self.till.desk.pay_refund(self.site, tenant, name, f"W-{name}", self.till.caller())
            if name not in self.settled:
                self.settled.add(name)
                self.cash -= yuan
        else:
            await self.till.desk.fail_refund(self.site, tenant, name, self.till.caller())

    async def _decide(self, approve: bool) -> None:
        if not self.requests:
            return
        approval = self.requests[-1]
        decision = await self.till.desk.decide(self.site, approval, "ann", approve, "", NOW)
        body = decision.approval.body
        if approve and decision.approval.kind == "correction" and not decision.repeated:
            await self._corrected(decision.approval.id, body)

    async def _corrected(self, approval: str, body: dict[str, Any]) -> None:
        """Cash that a correction says never came; read from the row, as the wish may have meant all that was left."""
        sql = (
            "SELECT c.amount_nano FROM correction c JOIN payment p ON p.site = c.site"
            " AND p.journal_seq = c.original_seq WHERE c.site = ? AND c.approval = ?"
        )
        for (amount_nano,) in await self.database.fetch(sql, self.site, approval):
            assert body["amount_nano"] in (None, amount_nano)
            self.cash -= amount_nano // YUAN

    async def _correct(self, tenant: str, yuan: int | None, place: int) -> None:
        payments = sorted(payment for payment, _ in self.paid.values())
        if not payments:
            return
        await self._correct_of(tenant, payments[place % len(payments)], yuan)

    async def _correct_of(self, tenant: str, payment: str, yuan: int | None) -> None:
        amount_nano = None if yuan is None else yuan * YUAN
        outcome = await self.till.desk.correct(self.site, tenant, payment, amount_nano, self.till.caller())
        if self._asked(outcome).body["state"] == "done":
            self.cash += outcome.body["amount_nano"] // YUAN

    async def _transfer(self, yuan: int) -> None:
        self._asked(await self.till.desk.transfer(self.site, *TENANTS, yuan * YUAN, self.till.caller()))

    async def _manual(self, tenant: str, yuan: int) -> None:
        self._asked(await self.till.desk.manual(self.site, tenant, yuan * YUAN, self.till.caller()))

    async def _debt(self, tenant: str, yuan: int, origin: str) -> None:
        wish = {"tenant": tenant, "amount_nano": yuan * YUAN, "kind": "instalment", "origin": origin}
        await self.till.desk.create_debt(self.site, {**wish, "share_percent": 50}, self.till.caller())

    async def _write_off(self, tenant: str) -> None:
        self._asked(await self.till.desk.write_off(self.site, tenant, None, self.till.caller()))

    async def _close(self, rest: str) -> None:
        wish = {"tenant": "t-001", "bill": "", "rest": rest, "channel": "cash", "to": ""}
        outcome = await self.till.desk.close(self.site, wish, self.till.caller())
        left = Outcome(outcome.body.get("rest", {}))
        if "refund" in self._asked(left).body:
            self.refunds[left.body["refund"]] = ("t-001", left.body["amount_nano"] // YUAN)

    async def _reopen(self) -> None:
        await self.till.desk.reopen(self.site, "t-001", self.till.caller())

    async def _charge(self, qty: int) -> None:
        """The twin charges whole units, so that every balance stays one."""
        async with self.lock:
            effect = charge(self.qty, self.qty + qty, price_micro=YUAN)
            self.qty += qty
            self.entries += 1
            await self.till.ledger.post(self.site, [entry(self.entries, effect)])


@pytest.fixture(params=ENGINES)
def machine_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One database for all examples; each makes a site of its own."""
    return fresh_url(request, tmp_path, request.param)


def test_no_order_of_acts_loses_or_makes_money(machine_url: str) -> None:
    machine: Callable[[], MoneyMachine] = type("Machine", (MoneyMachine,), {"url": machine_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=8,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_a_closing_and_a_recharge_at_once_end_in_one_of_two_ways(park: Database) -> None:
    """Either the recharge came first and stands in the way, or the account was closed and refuses it."""
    till = Till(park)
    async with park.write() as tx:
        await tx.execute("UPDATE supply SET to_ts = ? WHERE tenant = 't-002'", NOW)
    wish = {"tenant": "t-002", "bill": "", "rest": "keep", "channel": "", "to": ""}
    caller = Caller("bob", "moves out", NOW, "close-1")
    closed, *paid = await asyncio.gather(
        till.desk.close(till.site, wish, caller), *(till.pay("t-002", 5) for _ in range(3)), return_exceptions=True
    )
    assert isinstance(closed, Outcome)
    credited = sum(isinstance(answer, Receipt) for answer in paid)
    assert await till.balance("t-002") == 5 * credited
    assert (closed.body["account_state"] == "closed") == (credited == 0)
    await must_hold(park)

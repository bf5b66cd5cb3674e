"""Accounts: every act on them, by one person or by two, on both engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.money import YUAN, Till, must_hold
from tests.unit.adapters.store.park import NOW, SITE, charge, document, entry
from twin.core.messages import ContractsChanged
from twin.ports import Allocation, Caller, Instalment, MoneyRefusedError

T = "t-002"
LENIENT = {"refund_above": "1000", "write_off_above": "1000", "supply_guarantee": False}


@pytest.fixture
async def till(park: Database) -> Till:
    """The park's desk."""
    return Till(park)


async def lenient(database: Database, **more: Any) -> None:
    """The site lets one person decide."""
    await SqlRegistry(database).apply(document(approval=LENIENT, **more), who="test", now=NOW)


async def refused(code: str, awaitable: Any) -> None:
    with pytest.raises(MoneyRefusedError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value


async def sound(till: Till) -> None:
    await must_hold(till.database)
    assert [finding async for finding in verify_sql(till.database, SITE)] == []


async def test_a_refund_is_set_aside_agreed_to_and_paid_out(till: Till) -> None:
    payment = (await till.pay(T, 100)).payment
    wish = {"tenant": T, "payment": payment, "amount_nano": 60 * YUAN, "channel": ""}
    asked = await till.desk.refund(SITE, wish, till.caller())
    assert (asked.body["state"], await till.balance(T)) == ("requested", 40)
    await refused("insufficient", till.desk.transfer(SITE, T, "t-001", 41 * YUAN, till.caller()))
    await refused("refund_above_payment", till.desk.refund(SITE, wish, till.caller()))
    refund = asked.body["refund"]
    await refused("refund_not_approved", till.desk.pay_refund(SITE, T, refund, "W-1", till.caller()))
    await refused("own_approval", till.agree(asked, "bob"))
    await till.agree(asked)
    paid = await till.desk.pay_refund(SITE, T, refund, "W-1", till.caller())
    again = await till.desk.pay_refund(SITE, T, refund, "W-1", till.caller())
    assert (paid.body["state"], again.body["state"], await till.on("clearing:cash")) == ("paid", "paid", -40)
    await refused("refund_settled", till.desk.fail_refund(SITE, T, refund, till.caller()))
    await sound(till)


@pytest.mark.parametrize("how", ["rejected", "failed", "cancelled", "expired"])
async def test_a_refund_that_is_not_paid_out_is_on_the_wallet_again(till: Till, how: str) -> None:
    await till.pay(T, 100)
    wish = {"tenant": T, "payment": "", "amount_nano": 60 * YUAN, "channel": "cash"}
    asked = await till.desk.refund(SITE, wish, till.caller())
    if how == "rejected":
        assert len((await till.agree(asked, approve=False)).acts) == 1
        await refused("approval_settled", till.agree(asked, "zoe"))
    elif how == "cancelled":
        await refused("own_approval", till.desk.cancel_request(SITE, asked.body["approval"], "ann", "no", NOW))
        await till.desk.cancel_request(SITE, asked.body["approval"], "bob", "no", NOW)
    elif how == "expired":
        assert await till.desk.expire_requests(SITE, NOW) == []
        late = NOW + 73 * 3_600_000
        await refused("approval_settled", till.desk.decide(SITE, asked.body["approval"], "ann", True, "", late))
        assert await till.desk.expire_requests(SITE, late) == []
    else:
        await till.agree(asked)
        await till.desk.fail_refund(SITE, T, asked.body["refund"], till.caller())
    assert await till.balance(T) == 100
    await sound(till)


async def test_a_payment_is_taken_back_once_and_never_beyond_itself(till: Till) -> None:
    payment = (await till.pay(T, 90)).payment
    part = await till.desk.correct(SITE, T, payment, 30 * YUAN, till.caller())
    assert (part.body["amount_nano"], await till.balance(T)) == (-30 * YUAN, 60)
    await refused("correction_above_entry", till.desk.correct(SITE, T, payment, 61 * YUAN, till.caller()))
    await till.desk.correct(SITE, T, payment, None, till.caller())
    await refused("corrected", till.desk.correct(SITE, T, payment, None, till.caller()))
    wish = {"tenant": T, "payment": payment, "amount_nano": YUAN, "channel": ""}
    await till.pay(T, 10)
    await refused("refund_above_payment", till.desk.refund(SITE, wish, till.caller()))
    await refused("not_correctable", till.desk.correct(SITE, "t-001", "1", None, till.caller()))
    await refused("unknown_entry", till.desk.correct(SITE, "t-001", payment, None, till.caller()))
    memo = (await till.database.fetch("SELECT memo FROM journal WHERE kind = 'correction' ORDER BY seq"))[0][0]
    assert memo.startswith("corrects journal 2 (topup:")
    await sound(till)


async def test_a_large_correction_and_a_large_manual_entry_need_two(till: Till) -> None:
    payment = (await till.pay(T, 500)).payment
    asked = await till.desk.correct(SITE, T, payment, None, till.caller())
    assert (asked.body["state"], await till.balance(T)) == ("requested", 500)
    decision = await till.agree(asked)
    assert (len(decision.acts), await till.balance(T)) == (1, 0)
    repeated = await till.agree(asked)
    assert (repeated.repeated, repeated.acts, await till.balance(T)) == (True, [], 0)
    debit = await till.desk.manual(SITE, T, -101 * YUAN, till.caller())
    await till.agree(debit)
    small = await till.desk.manual(SITE, T, 100 * YUAN, till.caller())
    assert (small.body["state"], await till.balance(T), await till.on("adjustments")) == ("done", -1, 1)
    undone = await till.desk.correct(SITE, T, str(small.body["journal"]), None, till.caller())
    assert (undone.body["amount_nano"], await till.balance(T)) == (-100 * YUAN, -101)
    rows = await till.database.fetch("SELECT state_after FROM audit WHERE what = 'correction' ORDER BY id")
    assert '"asked_by":"bob"' in rows[0][0]
    await sound(till)


async def test_arrears_become_a_debt_that_later_payments_pay_off(till: Till) -> None:
    await till.desk.manual(SITE, T, -100 * YUAN, till.caller())
    wish = {"tenant": T, "amount_nano": 80 * YUAN, "kind": "instalment", "origin": "arrears"}
    terms = {"share_percent": 50, "cap_nano": 40 * YUAN, "priority": 1}
    await refused("not_in_arrears", till.desk.create_debt(SITE, {**wish, "amount_nano": 101 * YUAN}, till.caller()))
    made = await till.desk.create_debt(SITE, {**wish, **terms}, till.caller())
    debt = made.body["debt"]
    assert (await till.balance(T), await till.on(f"debt:{T}")) == (-20, -80)
    first = await till.pay(T, 60, key="k-1")
    assert first.allocation == Allocation((Instalment(debt, 30 * YUAN, 50 * YUAN),), 20 * YUAN, 0, 10 * YUAN)
    assert (await till.pay(T, 60, key="k-1")).allocation == first.allocation
    capped = await till.pay(T, 60)
    assert capped.allocation.instalments == (Instalment(debt, 10 * YUAN, 40 * YUAN),)
    assert await till.balance(T) == 60
    await till.desk.cancel_debt(SITE, T, debt, till.caller())
    assert (await till.balance(T), await till.on(f"debt:{T}")) == (20, 0)
    await refused("debt_settled", till.desk.cancel_debt(SITE, T, debt, till.caller()))
    await sound(till)


async def test_debts_are_paid_in_their_order_and_a_deposit_comes_back(till: Till) -> None:
    wish = {"tenant": T, "origin": "deposit", "amount_nano": 30 * YUAN}
    old = await till.desk.create_debt(SITE, {**wish, "kind": "accumulated", "priority": 1}, till.caller())
    slow = {"kind": "instalment", "priority": 9, "share_percent": 20}
    new = await till.desk.create_debt(SITE, {**wish, **slow, "origin": "other"}, till.caller())
    receipt = await till.pay(T, 50)
    order = [(one.debt, one.amount_nano // YUAN) for one in receipt.allocation.instalments]
    assert order == [(new.body["debt"], 10), (old.body["debt"], 30)]
    assert (await till.balance(T), await till.on(f"deposit:{T}"), await till.on(f"debt:{T}")) == (10, 30, -20)
    await refused("insufficient", till.desk.return_deposit(SITE, T, 31 * YUAN, till.caller()))
    await till.desk.return_deposit(SITE, T, 30 * YUAN, till.caller())
    asked = await till.desk.write_off_debt(SITE, T, new.body["debt"], till.caller())
    await till.agree(asked)
    assert (await till.balance(T), await till.on("write-off"), await till.on(f"debt:{T}")) == (40, -20, 0)
    await sound(till)


async def test_what_a_corrected_payment_paid_off_is_owed_again_beside_the_wallet(till: Till) -> None:
    """The wallet sinks by no more than the payment had raised it: nobody is cut off because of somebody's slip."""
    wish = {"tenant": T, "origin": "deposit", "amount_nano": 30 * YUAN}
    slow = await till.desk.create_debt(SITE, {**wish, "kind": "instalment", "share_percent": 20}, till.caller())
    old = await till.desk.create_debt(SITE, {**wish, "kind": "accumulated"}, till.caller())
    payment = (await till.pay(T, 50)).payment
    assert (await till.balance(T), await till.on(f"debt:{T}")) == (10, -20)

    part = await till.desk.correct(SITE, T, payment, 10 * YUAN, till.caller())
    assert part.body["owed_again_nano"] == 8 * YUAN
    assert (await till.balance(T), await till.on(f"debt:{T}")) == (8, -28)
    await till.desk.correct(SITE, T, payment, None, till.caller())
    assert (await till.balance(T), await till.on(f"debt:{T}")) == (0, -60)

    rows = await till.database.fetch(
        "SELECT kind, share_percent, principal_nano, reason FROM debt WHERE state = 'open'"
    )
    again = sorted((row[0], row[1], row[2] // YUAN) for row in rows if " " in row[3])
    assert again == [("accumulated", 100, 6), ("accumulated", 100, 24), ("instalment", 20, 2), ("instalment", 20, 8)]
    assert {row[3].split(":")[0] for row in rows if ":" in row[3]} == {slow.body["debt"], old.body["debt"]}
    await sound(till)
    assert (await till.pay(T, 100)).allocation.instalments
    await sound(till)


async def test_a_payment_repays_arrears_then_emergency_credit(park: Database) -> None:
    tenants = document().site["tenants"]
    tenants[1]["emergency_credit"] = "30.00"
    await lenient(park, tenants=tenants)
    till = Till(park)
    await till.desk.manual(SITE, T, -50 * YUAN, till.caller())
    assert (await till.pay(T, 25)).allocation == Allocation((), 20 * YUAN, 5 * YUAN, 0)
    assert (await till.pay(T, 40)).allocation == Allocation((), 0, 25 * YUAN, 15 * YUAN)


async def test_balance_moves_between_wallets_and_arrears_are_given_up(till: Till) -> None:
    done = await till.desk.transfer(SITE, "t-001", T, 70 * YUAN, till.caller())
    assert (len(done.acts), await till.balance("t-001"), await till.balance(T)) == (2, 30, 70)
    await refused("insufficient", till.desk.transfer(SITE, "t-001", T, 31 * YUAN, till.caller()))
    spent = till.desk.transfer(SITE, "t-001", T, 30 * YUAN, till.caller(), charges_nano=1)
    await refused("insufficient", spent)
    await refused("same_wallet", till.desk.transfer(SITE, T, T, YUAN, till.caller()))
    await refused("unknown_tenant", till.desk.transfer(SITE, T, "t-404", YUAN, till.caller()))
    await refused("not_in_arrears", till.desk.write_off(SITE, T, None, till.caller()))
    await till.desk.manual(SITE, "t-001", -90 * YUAN, till.caller())
    asked = await till.desk.write_off(SITE, "t-001", None, till.caller())
    await till.agree(asked)
    assert (await till.balance("t-001"), await till.on("write-off"), await till.on("transfers")) == (0, -60, 0)
    await sound(till)


async def test_an_account_is_opened_and_the_site_file_tells_it(till: Till) -> None:
    wish = {"id": "t-new", "name": "新店", "mode": "prepaid", "opening_credit": "20.00", "emergency_credit": "5"}
    opened = await till.desk.open(SITE, wish, till.caller())
    assert isinstance(opened.acts[0].act, ContractsChanged)
    assert await till.balance("t-new") == 20
    exported = await SqlRegistry(till.database).document(SITE)
    assert next(tenant for tenant in exported.site["tenants"] if tenant["id"] == "t-new") == wish
    assert (await SqlRegistry(till.database).difference(exported)).lines == ()
    await refused("tenant_exists", till.desk.open(SITE, wish, till.caller()))
    for wrong in ({**wish, "id": "t x"}, {"id": "t-x"}, {**wish, "id": "t-x", "emergency_credit": "-1"}):
        await refused("tenant_entry", till.desk.open(SITE, wrong, till.caller()))
    await sound(till)


async def test_a_supply_is_guaranteed_until_an_instant_by_two(till: Till) -> None:
    asked = await till.desk.guarantee(SITE, T, NOW + 86_400_000, till.caller())
    decision = await till.agree(asked)
    act = decision.acts[0].act
    assert isinstance(act, ContractsChanged)
    assert act.contract is not None
    assert act.contract.protected_until == NOW + 86_400_000
    exported = await SqlRegistry(till.database).document(SITE)
    assert exported.site["tenants"][1]["protected_until"] == "2026-01-02T08:00:00+08:00"
    await refused("guarantee", till.desk.guarantee(SITE, T, NOW, till.caller()))
    await lenient(till.database, tenants=exported.site["tenants"])
    lifted = await till.desk.guarantee(SITE, T, None, till.caller())
    assert lifted.acts[0].act.contract.protected_until is None  # type: ignore[union-attr]


async def moved_out(till: Till) -> None:
    """The supply of the tenant ends."""
    await till.database.fetch("SELECT 1")
    async with till.database.write() as tx:
        await tx.execute("UPDATE supply SET to_ts = ? WHERE tenant = ?", NOW, T)


def closing(**more: Any) -> dict[str, Any]:
    return {"tenant": T, "bill": "", "rest": "keep", "channel": "", "to": "", **more}


async def test_an_account_closes_when_nothing_stands_in_the_way(till: Till) -> None:
    await till.ledger.post(SITE, [entry(1, charge(0, 101))])
    await till.pay(T, 50)
    await refused("still_supplied", till.desk.close(SITE, closing(), till.caller()))
    await moved_out(till)
    await refused("unposted_charges", till.desk.close(SITE, closing(), till.caller(), charges_nano=1))
    await refused("rest", till.desk.close(SITE, closing(rest="debt"), till.caller()))
    kept = await till.desk.close(SITE, closing(), till.caller())
    assert (kept.body["account_state"], kept.body["waiting"]) == ("closing", ["balance 49.914150000"])
    asked = await till.desk.close(SITE, closing(rest="refund", channel="cash"), till.caller())
    refund = asked.body["rest"]
    assert refund["amount_nano"] == 49_910_000_000
    assert asked.body["waiting"] == [
        f"refund {refund['refund']} is not paid out",
        "request A1 waits for a second person",
    ]
    await till.desk.decide(SITE, refund["approval"], "ann", True, "", NOW)
    await till.desk.pay_refund(SITE, T, refund["refund"], "", till.caller())
    closed = await till.desk.close(SITE, closing(), till.caller())
    assert (closed.body["account_state"], closed.body["waiting"]) == ("closed", [])
    await refused("account_closed", till.pay(T, 1))
    await refused("account_closed", till.desk.manual(SITE, T, YUAN, till.caller()))
    await till.desk.reopen(SITE, T, till.caller())
    await refused("account_open", till.desk.reopen(SITE, T, till.caller()))
    await till.pay(T, 1)
    await sound(till)


@pytest.mark.parametrize("rest", ["transfer", "debt", "write_off"])
async def test_what_is_left_at_a_move_out(till: Till, rest: str) -> None:
    await moved_out(till)
    await till.desk.manual(SITE, T, (20 if rest == "transfer" else -20) * YUAN, till.caller())
    done = await till.desk.close(SITE, closing(rest=rest, to="t-001"), till.caller())
    if rest == "write_off":
        await till.agree(type(done)(done.body["rest"]))
        done = await till.desk.close(SITE, closing(), till.caller())
    assert done.body["account_state"] == "closed"
    assert await till.balance(T) == 0
    await sound(till)


async def test_the_same_key_does_it_once_a_hundred_times_at_once(till: Till) -> None:
    async def once(_: int) -> Any:
        return await till.desk.manual(SITE, T, 3 * YUAN, Caller("bob", "gift", NOW, "same"))

    answers = await asyncio.gather(*map(once, range(100)))
    assert {answer.body["journal"] for answer in answers} == {answers[0].body["journal"]}
    assert sum(not answer.repeated for answer in answers) == 1
    assert await till.balance(T) == 3
    await refused("idempotency_conflict", till.desk.manual(SITE, T, 4 * YUAN, Caller("bob", "gift", NOW, "same")))


async def test_a_hoarding_limit_holds_against_parallel_recharges(park: Database) -> None:
    tenants = document().site["tenants"]
    tenants[1]["params"] = {}
    await lenient(park)
    async with park.write() as tx:
        await tx.execute("UPDATE tenant SET params = ? WHERE tenant = ?", '{"hoarding_limit": "100"}', T)
    till = Till(park)
    answers = await asyncio.gather(*(till.pay(T, 30) for _ in range(10)), return_exceptions=True)
    assert sum(not isinstance(answer, Exception) for answer in answers) == 3
    assert {answer.code for answer in answers if isinstance(answer, MoneyRefusedError)} == {"hoarding"}
    assert await till.balance(T) == 90


async def test_a_site_without_a_row_and_wrong_callers_are_named(till: Till) -> None:
    with pytest.raises(LookupError, match="'nowhere' is not in the database"):
        await till.desk.manual("nowhere", T, YUAN, till.caller())
    await refused("reason", till.desk.manual(SITE, T, YUAN, till.caller(why=" ")))
    await refused("key", till.desk.manual(SITE, T, YUAN, till.caller(key="k" * 201)))
    await refused("amount", till.desk.manual(SITE, T, 0, till.caller()))
    await refused("unknown_approval", till.desk.decide(SITE, "A9", "ann", True, "", NOW))

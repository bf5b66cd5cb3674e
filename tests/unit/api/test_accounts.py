"""Accounts over HTTP: acts by one person and by two, idempotent, told to the twins; and the books for auditors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient, Response

from api.http.problems import CATALOGUE
from billing.ledger_proof import LedgerProof
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer

ROOT = f"/api/v1/sites/{SITE}"
TENANT = f"{ROOT}/tenants/t-001"


class Desk:
    """Two people at their screens."""

    def __init__(self, client: AsyncClient, second: str) -> None:
        self.client = client
        self.second = bearer(second)
        self.keys = 0

    async def act(self, path: str, key: str | None = None, **body: Any) -> Response:
        """An act of the administrator."""
        self.keys += 1
        headers = {**ADMIN, "Idempotency-Key": key or f"k-{self.keys}"}
        return await self.client.post(path, json={"reason": "test", **body}, headers=headers)

    async def done(self, path: str, **body: Any) -> dict[str, Any]:
        """The same, which must work."""
        answer = await self.act(path, **body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def agree(self, approval: str, how: str = "approve") -> Response:
        """The second person decides."""
        path = f"{ROOT}/approvals/{approval}/{how}"
        return await self.client.post(path, json={"reason": "seen"}, headers=self.second)

    async def get(self, path: str) -> Any:
        """Read something."""
        answer = await self.client.get(path, headers=ADMIN)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pay(self, amount: str, key: str) -> dict[str, Any]:
        """A top-up by cash."""
        answer = await self.client.post(
            f"{TENANT}/topups",
            json={"amount": amount, "channel": "cash", "reference": key},
            headers={**ADMIN, "Idempotency-Key": key},
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@pytest.fixture
async def desk(client: AsyncClient, stage: Stage) -> Desk:
    """The administrator, and somebody of finance."""
    return Desk(client, await stage.token("finance", name="ann"))


async def test_a_refund_from_request_to_payout(desk: Desk) -> None:
    payment = (await desk.pay("80.00", "p-1"))["payment"]
    asked = await desk.done(f"{TENANT}/refunds", payment=payment, amount="30.00")
    assert (asked["state"], asked["amount"]) == ("requested", "30.000000000")
    assert (await desk.get(TENANT))["balance"] == "150.000000000"
    own = await desk.client.post(f"{ROOT}/approvals/A1/approve", json={"reason": "me"}, headers=ADMIN)
    assert (own.status_code, own.json()["code"]) == (409, "own_approval")
    agreed = await desk.agree("A1")
    assert (agreed.status_code, agreed.json()["state"], agreed.json()["decided_by"]) == (200, "approved", "ann")
    assert (await desk.agree("A1")).headers["idempotency-hit"] == "true"
    path = f"{TENANT}/refunds/{asked['refund']}"
    assert (await desk.done(f"{path}/paid", reference="W-1"))["state"] == "paid"
    late = await desk.act(f"{path}/failed")
    assert (late.status_code, late.json()["code"]) == (409, "refund_settled")
    [row] = (await desk.get(f"{TENANT}/refunds?state=paid"))["items"]
    assert (row["refund"], row["approval"], row["reference"]) == (asked["refund"], "A1", "W-1")
    [request] = (await desk.get(f"{ROOT}/approvals?state=approved"))["items"]
    assert (request["kind"], request["asked_by"]) == ("refund.approve", "admin")


async def test_a_refused_refund_is_on_the_twins_wallet_again(desk: Desk) -> None:
    payment = (await desk.pay("80.00", "p-1"))["payment"]
    await desk.done(f"{TENANT}/refunds", payment=payment, amount="30.00")
    assert (await desk.agree("A1", "reject")).status_code == 200
    assert (await desk.get(TENANT))["balance"] == "180.000000000"


async def test_a_debt_is_paid_out_of_recharges_and_shown_in_the_receipt(desk: Desk) -> None:
    made = await desk.done(f"{TENANT}/debts", amount="20.00", origin="deposit", share_percent=50, cap_per_month="30.00")
    assert (made["debt"], made["share_percent"], made["cap"]) == ("D2", 50, "30.000000000")
    receipt = await desk.pay("30.00", "p-1")
    assert receipt["allocation"] == {
        "instalments": [{"debt": "D2", "amount": "15.000000000", "remaining": "5.000000000"}],
        "arrears": "0.000000000",
        "emergency_credit": "0.000000000",
        "balance": "15.000000000",
    }
    assert await desk.pay("30.00", "p-1") == receipt
    account = await desk.get(f"{TENANT}/account")
    assert (account["balance"], account["debts"][0]["remaining"]) == ("115.000000000", "5.000000000")
    assert (await desk.get(TENANT))["balance"] == "115.000000000"
    asked = await desk.done(f"{TENANT}/debts/D2/write-off")
    assert (await desk.agree(asked["approval"])).status_code == 200
    assert (await desk.act(f"{TENANT}/debts/D2/cancel")).json()["code"] == "debt_settled"


async def test_a_wrong_entry_is_taken_back_and_balance_moves(desk: Desk) -> None:
    entered = await desk.done(f"{TENANT}/entries", amount="-7.50")
    assert (entered["amount"], (await desk.get(TENANT))["balance"]) == ("-7.500000000", "92.500000000")
    back = await desk.done(f"{TENANT}/corrections", original=str(entered["journal"]))
    assert (back["original"], back["amount"]) == (entered["journal"], "7.500000000")
    moved = await desk.done(f"{TENANT}/transfers", to="t-002", amount="40.00")
    assert (moved["to"], moved["amount"]) == ("t-002", "-40.000000000")
    assert [(await desk.get(f"{ROOT}/tenants/{name}"))["balance"] for name in ("t-001", "t-002")] == [
        "60.000000000",
        "40.000000000",
    ]
    for amount in ("0", "0.001", "x", "2000000.00"):
        answer = await desk.act(f"{TENANT}/entries", amount=amount)
        assert (answer.status_code, answer.json()["code"]) == (422, "amount"), amount
    assert (await desk.act(f"{TENANT}/write-offs")).json()["code"] == "not_in_arrears"
    assert (await desk.act(f"{TENANT}/deposit-returns", amount="1.00")).json()["code"] == "insufficient"


async def test_charges_that_are_not_posted_cannot_be_spent_again(desk: Desk, stage: Stage) -> None:
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=130_000, power_w=100)
    answer = await desk.act(f"{TENANT}/transfers", to="t-002", amount="100.00")
    assert (answer.status_code, answer.json()["code"]) == (409, "insufficient")
    assert answer.json()["detail"] == "the balance is 91.500000000, less than 100.000000000"


async def test_an_account_is_opened_supplied_with_a_guarantee_and_closed(desk: Desk, stage: Stage) -> None:
    opened = await desk.done(f"{ROOT}/tenants", id="t-009", mode="prepaid", name={"zh": "新店"}, opening_credit="12.34")
    assert (opened["state"], opened["opening_credit"]) == ("done", "12.34")
    assert (await desk.get(f"{ROOT}/tenants/t-009"))["balance"] == "12.340000000"
    again = await desk.act(f"{ROOT}/tenants", id="t-009", mode="prepaid")
    assert (again.status_code, again.json()["code"]) == (409, "tenant_exists")
    until = stage.clock.now() + 86_400_000
    asked = await desk.done(f"{ROOT}/tenants/t-009/guarantee", until=until)
    refused = await desk.agree(asked["approval"])
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    desk.second = bearer(await stage.token("manager", name="max"))
    assert (await desk.agree(asked["approval"])).status_code == 200
    group = (await stage.store.load(SITE, ["t-009"]))["t-009"]
    assert group.contract is not None
    assert group.contract.protected_until == until
    assert (await desk.act(f"{TENANT}/close")).json()["code"] == "still_supplied"
    asked = await desk.done(f"{ROOT}/tenants/t-009/close", rest="refund", channel="cash")
    assert asked["account_state"] == "closing"
    assert len(asked["waiting"]) == 2
    assert (await desk.agree(asked["rest"]["approval"])).status_code == 200
    await desk.done(f"{ROOT}/tenants/t-009/refunds/{asked['rest']['refund']}/paid")
    closed = await desk.done(f"{ROOT}/tenants/t-009/close", bill="final")
    assert (closed["account_state"], closed["waiting"]) == ("closed", [])
    assert (await desk.act(f"{ROOT}/tenants/t-009/entries", amount="1.00")).json()["code"] == "account_closed"
    await desk.done(f"{ROOT}/tenants/t-009/reopen")
    changes = (await desk.get(f"{ROOT}/tenants/t-009/account"))["changes"]
    assert [change["state"] for change in changes] == ["open", "closed", "closing", "open"]


async def test_a_hundred_equal_acts_at_once_are_one(desk: Desk) -> None:
    acts = (desk.act(f"{TENANT}/entries", key="storm", amount="3.00") for _ in range(100))
    answers = await asyncio.gather(*acts)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotency-hit" not in answer.headers for answer in answers) == 1
    assert (await desk.get(TENANT))["balance"] == "103.000000000"
    other = await desk.act(f"{TENANT}/entries", key="storm", amount="4.00")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_what_is_not_there_is_told(desk: Desk) -> None:
    nobody = f"{ROOT}/tenants/t-404"
    for path, body, code in (
        (f"{nobody}/entries", {"amount": "1.00"}, "unknown_tenant"),
        (f"{nobody}/refunds", {"payment": "P1", "amount": "1.00"}, "unknown_tenant"),
        (f"{TENANT}/refunds", {"payment": "P999", "amount": "1.00"}, "unknown_payment"),
        (f"{TENANT}/refunds/R9/paid", {}, "unknown_refund"),
        (f"{TENANT}/debts/D9/cancel", {}, "unknown_debt"),
        (f"{TENANT}/corrections", {"original": "P999"}, "unknown_entry"),
        ("/api/v1/sites/nowhere/tenants/t-001/entries", {"amount": "1.00"}, "unknown_site"),
        (f"{ROOT}/approvals/A9/approve", {}, "unknown_approval"),
    ):
        answer = await desk.act(path, **body)
        assert (answer.status_code, answer.json()["code"]) == (CATALOGUE[code].status, code), path
    chinese = {**ADMIN, "Idempotency-Key": "zh", "Accept-Language": "zh"}
    answer = await desk.client.post(f"{TENANT}/write-offs", json={"reason": "x"}, headers=chinese)
    assert answer.json()["title"] == "没有这么多欠费"


async def test_the_books_balance_are_anchored_and_proved_from_their_export(desk: Desk, stage: Stage) -> None:
    await desk.pay("30.00", "p-1")
    await desk.done(f"{TENANT}/entries", amount="-5.00")
    balance = await desk.get(f"{ROOT}/ledger/trial-balance")
    assert balance["off"] == "0.000000000"
    lines = {row["account"]: (row["accounts"], row["net"]) for row in balance["items"]}
    assert lines["clearing:cash"] == (1, "-30.000000000")
    assert lines["adjustments"] == (1, "5.000000000")
    assert (await desk.get(f"{ROOT}/ledger/trial-balance?detailed=true"))["off"] == "0.000000000"
    headers = {**ADMIN}
    taken = (await desk.client.post(f"{ROOT}/ledger/anchors", headers=headers)).json()
    assert taken["day"] == 20260101
    assert (await desk.get(f"{ROOT}/ledger/anchors"))["items"] == [taken]
    export = await desk.client.get(f"{ROOT}/ledger/export", headers=headers)
    assert export.headers["content-disposition"] == f'attachment; filename="ledger-{SITE}.jsonl"'
    proof = LedgerProof({taken["journal_seq"]: taken["journal_hash"]})
    faults = [fault for line in export.content.splitlines() for fault in proof.line(line)]
    assert [*faults, *proof.close()] == []
    assert proof.payments == 1


async def test_a_tenant_moves_out_with_a_final_bill_and_the_rest_refunded(desk: Desk, stage: Stage) -> None:
    for device, register in (("em-001", {"import_wh": 130_000}), ("wm-001", {"volume_l": 100})):
        await stage.connect("t-001", device)
        await stage.read("t-001", device, 1, **register)
    await stage.post()
    stage.clock.at += 3_600_000
    left = await desk.done(f"{TENANT}/move-out", readings={"em-001": 140_000})
    assert (left["account_state"], left["meters"]) == ("closing", ["em-001", "wm-001"])
    early = await desk.act(f"{TENANT}/close")
    assert early.status_code == 409, early.text
    for _ in range(4):
        await stage.post()
        await stage.delivery.sweep()
    # 20 kWh at 0.85, and 100 litres at the price of water
    asked = await desk.done(f"{TENANT}/close", bill="final", rest="refund", channel="cash")
    assert asked["bill"].startswith("202601-t-001-F"), asked
    assert asked["account_state"] == "closing"
    await desk.agree(asked["rest"]["approval"])
    await desk.done(f"{TENANT}/refunds/{asked['rest']['refund']}/paid")
    closed = await desk.done(f"{TENANT}/close", bill=asked["bill"])
    assert (closed["account_state"], closed["waiting"]) == ("closed", [])
    account = await desk.get(f"{TENANT}/account")
    assert (account["balance"], account["changes"][0]["bill"]) == ("0.000000000", asked["bill"])
    assert (await desk.act(f"{TENANT}/close", bill="nothing")).json()["code"] == "account_closed"

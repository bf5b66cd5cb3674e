"""Payment channels: what they tell is credited once; what is forged, changed or out of time changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from httpx import AsyncClient, Response

from tests.unit.api.parks import OTHER_SITE, SITE
from tests.unit.api.stage import ADMIN, Stage, bearer, open_client, open_stage
from twin.flows.take_payments import FORGED_AT_ONCE
from twin.payments import PaymentChannel, signature_of

SECRET, OLD, OTHERS = "k" * 40, "o" * 40, "x" * 40
WECHAT = PaymentChannel("wechat", SITE, "m-1", (SECRET, OLD))
ALIPAY = PaymentChannel("alipay", SITE, "m-2", (SECRET,), answer="text")
ELSEWHERE = PaymentChannel("elsewhere", OTHER_SITE, "m-3", (OTHERS,))


@pytest.fixture
async def stage(tmp_path: Path, migrated: Path) -> AsyncIterator[Stage]:
    """A platform with three channels, one of them of the other site."""
    async with open_stage(tmp_path, migrated) as opened:
        opened.payments.channels = {one.name: one for one in (WECHAT, ALIPAY, ELSEWHERE)}
        yield opened


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[AsyncClient]:
    async with open_client(stage) as opened:
        yield opened


def notice(**changed: Any) -> bytes:
    told = {"merchant": "m-1", "transaction": "4200001", "state": "paid", "tenant": "t-001", "amount_fen": 5_000}
    return msgspec.json.encode({**told, "currency": "CNY", **changed})


async def tell(
    client: AsyncClient, body: bytes, *, channel: str = "wechat", secret: str = SECRET, ago_s: int = 0, header: str = ""
) -> Response:
    signed = header or signature_of(secret, channel, int(time.time()) - ago_s, body)
    return await client.post(
        f"/api/v1/payments/{channel}", content=body,
        headers={"Content-Type": "application/json", "Twinmeter-Signature": signed},
    )  # fmt: skip


async def payments_of(stage: Stage, tenant: str = "t-001", site: str = SITE) -> list[tuple[str, int]]:
    page = await stage.queries.payments(site, tenant=tenant)
    return [(one.reference, one.amount_nano) for one in page.items]


async def balance_of(client: AsyncClient, tenant: str = "t-001") -> str:
    return (await client.get(f"/api/v1/sites/{SITE}/tenants/{tenant}", headers=ADMIN)).json()["credits"]


async def audited(stage: Stage, site: str = SITE) -> list[dict[str, Any]]:
    page = await stage.queries.audit(site, limit=1000)
    return [one.after | {"who": one.who} for one in page.items if one.what == "payment_refused"]


async def test_a_payment_is_credited_once_and_reaches_the_twin(client: AsyncClient, stage: Stage) -> None:
    before = await balance_of(client)
    answer = await tell(client, notice())
    assert (answer.status_code, answer.json()) == (200, {"code": "SUCCESS", "message": "credited"})
    after = await balance_of(client)
    assert float(after) - float(before) == 50
    again = await tell(client, notice(), ago_s=200)
    assert (again.status_code, again.json()["message"]) == (200, "repeated")
    assert await payments_of(stage) == [("4200001", 50 * 10**9)]
    assert await balance_of(client) == after


async def test_a_hundred_at_once_credit_once(client: AsyncClient, stage: Stage) -> None:
    answers = await asyncio.gather(*(tell(client, notice()) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["message"] for answer in answers) == ["credited"] + ["repeated"] * 99
    assert await payments_of(stage) == [("4200001", 50 * 10**9)]


async def test_a_channel_that_wants_text_gets_text(client: AsyncClient) -> None:
    body = notice(merchant="m-2")
    answer = await tell(client, body, channel="alipay")
    assert (answer.status_code, answer.text) == (200, "success")
    assert answer.headers["content-type"].startswith("text/plain")
    refused = await tell(client, body, channel="alipay", secret=OTHERS)
    assert (refused.status_code, refused.text) == (401, "fail")


async def test_both_secrets_are_valid_while_one_follows_the_other(client: AsyncClient) -> None:
    assert (await tell(client, notice(), secret=OLD)).status_code == 200


GOOD = notice()
NOW = int(time.time())
FORGERIES = {
    "no signature": {"header": " "},
    "another secret": {"secret": OTHERS},
    "of another channel": {"header": signature_of(SECRET, "alipay", NOW, GOOD)},
    "of another body": {"header": signature_of(SECRET, "wechat", NOW, notice(amount_fen=1))},
    "another time than signed": {"header": signature_of(SECRET, "wechat", 9, GOOD).replace("t=9,", f"t={NOW},")},
    "a probe": {"header": f"t={NOW},v1=WECHATPAY/SIGNTEST/{'0' * 40}"},
    "no hash": {"header": f"t={NOW},v1={'0' * 63}"},
    "replayed after the window": {"ago_s": 3_600},
    "from the future": {"ago_s": -3_600},
}  # fmt: skip


async def test_a_forgery_changes_nothing_and_is_audited(client: AsyncClient, stage: Stage) -> None:
    before = await balance_of(client)
    for number, (what, how) in enumerate(FORGERIES.items(), start=1):
        answer = await tell(client, GOOD, **how)
        assert (answer.status_code, answer.json()["code"]) == (401, "FAIL"), what
        assert (await payments_of(stage), await balance_of(client)) == ([], before), what
        newest, *earlier = await audited(stage)
        assert len(earlier) == number - 1, what
        assert (newest["who"], newest["code"]) == ("channel:wechat", "stale" if "ago_s" in how else "signature"), what


REFUSED = {
    "another merchant": ({"merchant": "m-9"}, 400, "merchant"),
    "another currency": ({"currency": "USD"}, 400, "currency"),
    "no amount": ({"amount_fen": 0}, 400, "malformed"),
    "less than nothing": ({"amount_fen": -5_000}, 400, "malformed"),
    "a fraction": ({"amount_fen": 50.5}, 400, "malformed"),
    "text": ({"amount_fen": "5000"}, 400, "malformed"),
    "beyond measure": ({"amount_fen": 10**18}, 400, "malformed"),
    "a number that is none": ({"transaction": "a b"}, 400, "malformed"),
    "more than agreed": ({"discount_fen": 1}, 400, "malformed"),
    "nobody": ({"tenant": "t-999"}, 404, "unknown_tenant"),
    "a tenant of another site": ({"tenant": "o-001"}, 404, "unknown_tenant"),
}


async def test_what_cannot_be_is_refused_and_audited(client: AsyncClient, stage: Stage) -> None:
    for number, (what, (changed, status, code)) in enumerate(REFUSED.items(), start=1):
        answer = await tell(client, notice(**changed))
        assert (answer.status_code, answer.json()["code"]) == (status, "FAIL"), what
        assert await payments_of(stage) == [], what
        newest, *earlier = await audited(stage)
        assert (newest["code"], len(earlier)) == (code, number - 1), what


async def test_the_same_number_with_another_amount_or_tenant_is_a_conflict(client: AsyncClient, stage: Stage) -> None:
    await tell(client, notice())
    assert (await tell(client, notice(amount_fen=5_001))).status_code == 409
    assert (await tell(client, notice(tenant="t-002"))).status_code == 409
    assert await payments_of(stage) == [("4200001", 50 * 10**9)]
    assert await payments_of(stage, "t-002") == []
    assert [row["code"] for row in await audited(stage)] == ["duplicate_reference", "idempotency_conflict"]


async def test_a_payment_that_the_desk_has_booked_is_not_credited_again(client: AsyncClient, stage: Stage) -> None:
    url = f"/api/v1/sites/{SITE}/tenants/t-001/topups"
    body = {"amount": "50.00", "channel": "wechat", "reference": "4200001"}
    assert (await client.post(url, json=body, headers={**ADMIN, "Idempotency-Key": "desk"})).status_code == 201
    answer = await tell(client, notice())
    assert (answer.status_code, answer.json()["message"]) == (200, "repeated")
    assert len(await payments_of(stage)) == 1


async def test_a_channel_credits_its_own_site_only(client: AsyncClient, stage: Stage) -> None:
    body = notice(merchant="m-3")
    answer = await tell(client, body, channel="elsewhere", secret=OTHERS)
    assert answer.status_code == 404, "the tenant is one of another site"
    assert await payments_of(stage) == []
    assert await audited(stage) == []
    assert [row["code"] for row in await audited(stage, OTHER_SITE)] == ["unknown_tenant"]


async def test_an_unknown_channel_is_nothing(client: AsyncClient) -> None:
    assert (await tell(client, notice(), channel="nobody")).status_code == 404
    assert (await tell(client, notice() + b" " * 20_000)).status_code == 413


async def test_a_flood_of_forgeries_leaves_few_rows(client: AsyncClient, stage: Stage) -> None:
    for _ in range(FORGED_AT_ONCE + 30):
        await tell(client, notice(), secret=OTHERS)
    assert len(await audited(stage)) == FORGED_AT_ONCE
    assert stage.payments.counted["forged"] == FORGED_AT_ONCE + 30
    assert (await tell(client, notice())).status_code == 200, "and hinders nobody"


async def test_a_flood_of_what_was_overheard_leaves_few_rows(client: AsyncClient, stage: Stage) -> None:
    for _ in range(FORGED_AT_ONCE + 5):
        assert (await tell(client, notice(), ago_s=3_600)).status_code == 401
    assert [row["code"] for row in await audited(stage)] == ["stale"] * FORGED_AT_ONCE


async def test_closed_before_and_after_it_was_paid(client: AsyncClient, stage: Stage) -> None:
    for state in ("closed", "paid", "closed"):
        assert (await tell(client, notice(state=state))).status_code == 200
    assert await payments_of(stage) == [("4200001", 50 * 10**9)]


async def test_a_refund_is_paid_out_once_and_never_before_it_was_agreed(client: AsyncClient, stage: Stage) -> None:
    told = notice(state="refunded", transaction="5000001", refund="R1", amount_fen=2_000)
    assert (await tell(client, told)).status_code == 404, "before it was asked for"
    await tell(client, notice())
    payment = (await stage.queries.payments(SITE, tenant="t-001")).items[0].payment
    asked = await client.post(
        f"/api/v1/sites/{SITE}/tenants/t-001/refunds",
        json={"payment": payment, "amount": "20.00", "reason": "moved"}, headers={**ADMIN, "Idempotency-Key": "r"},
    )  # fmt: skip
    refund = asked.json()["refund"]
    told = notice(state="refunded", transaction="5000001", refund=refund, amount_fen=2_000)
    other = notice(state="refunded", transaction="5000001", refund=refund, amount_fen=2_001)
    assert (await tell(client, other)).status_code == 404, "of another amount"
    assert (await tell(client, told)).status_code == 409, "before a second person has agreed"
    second = bearer(await stage.token("manager", site=SITE), **{"Idempotency-Key": "a"})
    url = f"/api/v1/sites/{SITE}/approvals/{asked.json()['approval']}/approve"
    agreed = await client.post(url, json={"reason": "right"}, headers=second)
    assert agreed.status_code in (200, 202), agreed.text
    answers = [await tell(client, told) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3, answers[0].text
    waiting = await stage.payments._book.refund(SITE, refund)
    assert waiting is not None
    assert waiting.state == "paid"


# --- statements ---------------------------------------------------------------------------------------------------


async def test_a_statement_finds_what_never_arrived_and_credits_it_once(client: AsyncClient, stage: Stage) -> None:
    await tell(client, notice())
    await tell(client, notice(transaction="4200009", amount_fen=100))
    rows = [("4200001", "t-001", 5_000), ("4200002", "t-002", 700), ("4200003", "t-999", 1), ("4200009", "t-001", 101)]
    body = {"rows": [dict(zip(("transaction", "tenant", "amount_fen"), row, strict=True)) for row in rows[:3]]}
    body["rows"].append({"transaction": "4200009", "tenant": "t-001", "amount_fen": 101})
    url = f"/api/v1/sites/{SITE}/payments/wechat/statement"

    async def verdicts(**more: Any) -> list[str]:
        answer = await client.post(url, json={**body, **more}, headers=ADMIN)
        assert answer.status_code == 200, answer.text
        return [row["verdict"] for row in answer.json()["rows"]]

    assert await verdicts() == ["credited", "missing", "missing", "differs"]
    assert await payments_of(stage, "t-002") == []
    assert await verdicts(credit=True) == ["credited", "added", "refused", "differs"]
    assert await verdicts(credit=True) == ["credited", "credited", "refused", "differs"]
    late = await tell(client, notice(transaction="4200002", tenant="t-002", amount_fen=700))
    assert late.json()["message"] == "repeated", "the call that comes after all"
    assert await payments_of(stage, "t-002") == [("4200002", 7 * 10**9)]


async def test_a_statement_shows_what_only_we_have(client: AsyncClient, stage: Stage) -> None:
    await tell(client, notice())
    url = f"/api/v1/sites/{SITE}/payments/wechat/statement"
    now = stage.clock.now()
    answer = await client.post(url, json={"rows": [], "since": now - 1000, "until": now + 1000}, headers=ADMIN)
    assert len(answer.json()["only_ours"]) == 1
    for role, status in (("om", 403), ("tenant", 403), ("finance", 200)):
        tenant = "t-001" if role == "tenant" else None
        by = bearer(await stage.token(role, site=SITE, tenant=tenant))
        assert (await client.post(url, json={"rows": []}, headers=by)).status_code == status
    elsewhere = f"/api/v1/sites/{SITE}/payments/elsewhere/statement"
    assert (await client.post(elsewhere, json={"rows": []}, headers=ADMIN)).status_code == 404

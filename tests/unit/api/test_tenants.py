"""Tenants over HTTP: balances, ledger, top-ups."""

from __future__ import annotations

import asyncio

from httpx import AsyncClient

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer

TENANT = f"/api/v1/sites/{SITE}/tenants/t-001"
TOP_UP = {"amount": "50.00", "channel": "cash", "reference": "R-1"}


async def test_balance_is_the_twins_with_nine_decimals(client: AsyncClient, stage: Stage) -> None:
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_001, power_w=100)
    answer = await client.get(TENANT, headers=ADMIN)
    assert answer.status_code == 200
    body = answer.json()
    # 100.00 credited less 1 Wh at 0.85 per kWh
    assert (body["id"], body["balance"], body["charges"]) == ("t-001", "99.999150000", "0.000850000")
    assert (body["mode"], body["state"], body["locks"], body["held"]) == ("prepaid", "NORMAL", [], [])
    assert body["devices"] == ["em-001", "wm-001"]
    assert answer.headers["etag"] == f'"{body["revision"]}"'


async def test_a_known_revision_is_not_sent_again(client: AsyncClient) -> None:
    etag = (await client.get(TENANT, headers=ADMIN)).headers["etag"]
    same = await client.get(TENANT, headers={**ADMIN, "If-None-Match": f"W/{etag}"})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    other = await client.get(TENANT, headers={**ADMIN, "If-None-Match": '"0"'})
    assert other.status_code == 200


async def test_top_up_reaches_ledger_and_twin_once(client: AsyncClient) -> None:
    first = await client.post(f"{TENANT}/topups", json=TOP_UP, headers={**ADMIN, "Idempotency-Key": "k-1"})
    assert first.status_code == 201
    assert "idempotency-hit" not in first.headers
    assert first.json()["credits"] == "150.000000000"
    assert (await client.get(TENANT, headers=ADMIN)).json()["balance"] == "150.000000000"
    again = await client.post(f"{TENANT}/topups", json=TOP_UP, headers={**ADMIN, "Idempotency-Key": "k-1"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-hit"] == "true"
    assert (await client.get(TENANT, headers=ADMIN)).json()["balance"] == "150.000000000"


async def test_a_key_or_a_reference_is_not_used_twice(client: AsyncClient) -> None:
    keyed = {**ADMIN, "Idempotency-Key": "k-1"}
    await client.post(f"{TENANT}/topups", json=TOP_UP, headers=keyed)
    other = await client.post(f"{TENANT}/topups", json={**TOP_UP, "amount": "51.00"}, headers=keyed)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    same_reference = await client.post(f"{TENANT}/topups", json=TOP_UP, headers={**ADMIN, "Idempotency-Key": "k-2"})
    assert (same_reference.status_code, same_reference.json()["code"]) == (409, "duplicate_reference")
    assert (await client.get(TENANT, headers=ADMIN)).json()["balance"] == "150.000000000"


async def test_a_hundred_equal_top_ups_at_once_are_one(client: AsyncClient, stage: Stage) -> None:
    headers = {**ADMIN, "Idempotency-Key": "storm"}
    answers = await asyncio.gather(*(client.post(f"{TENANT}/topups", json=TOP_UP, headers=headers) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotency-hit" not in answer.headers for answer in answers) == 1
    assert (await client.get(TENANT, headers=ADMIN)).json()["balance"] == "150.000000000"
    payments = (await client.get(f"{TENANT}/payments", headers=ADMIN)).json()["items"]
    assert [payment["amount"] for payment in payments] == ["50.000000000"]


REFUSED_AMOUNTS = (50, 50.0, "50.001", "0", "0.00", "-5", "1e3", "", " 5", "５", "1000000.01", "9" * 30, None, ["5"])


async def test_amounts_that_are_refused(client: AsyncClient) -> None:
    for amount in REFUSED_AMOUNTS:
        wish = {**TOP_UP, "amount": amount}
        answer = await client.post(f"{TENANT}/topups", json=wish, headers={**ADMIN, "Idempotency-Key": "k"})
        assert answer.status_code == 422, (amount, answer.text)
        assert [error["field"] for error in answer.json()["errors"]] == ["amount"], amount
    assert (await client.get(TENANT, headers=ADMIN)).json()["balance"] == "100.000000000"


async def test_other_fields_that_are_refused(client: AsyncClient) -> None:
    for change, field in (
        ({"channel": "Cash Desk"}, "channel"),
        ({"channel": None}, "channel"),
        ({"reference": "x" * 201}, "reference"),
        ({"balance": "1"}, "body"),
    ):
        headers = {**ADMIN, "Idempotency-Key": "k"}
        answer = await client.post(f"{TENANT}/topups", json={**TOP_UP, **change}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation"), change
        assert [error["field"] for error in answer.json()["errors"]] == [field], change


async def test_a_money_call_needs_a_key(client: AsyncClient) -> None:
    for headers in (ADMIN, {**ADMIN, "Idempotency-Key": ""}, {**ADMIN, "Idempotency-Key": "with a blank"}):
        answer = await client.post(f"{TENANT}/topups", json=TOP_UP, headers=headers)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]


async def test_the_ledger_tells_who_did_it_newest_first(client: AsyncClient, stage: Stage) -> None:
    secret = await stage.token("finance", name="front-desk")
    for number in ("1", "2", "3"):
        wish = {"amount": f"{number}.00", "channel": "cash", "reference": f"R-{number}"}
        await client.post(f"{TENANT}/topups", json=wish, headers=bearer(secret, **{"Idempotency-Key": number}))
    first = (await client.get(f"{TENANT}/ledger?limit=2", headers=ADMIN)).json()
    assert [row["amount"] for row in first["items"]] == ["3.000000000", "2.000000000"]
    assert {row["actor"] for row in first["items"]} == {"front-desk"}
    rest = (await client.get(f"{TENANT}/ledger?limit=2&cursor={first['next']}", headers=ADMIN)).json()
    assert [row["amount"] for row in rest["items"]] == ["1.000000000", "100.000000000"]
    assert rest["next"] is None
    payments = (await client.get(f"{TENANT}/payments?limit=2", headers=ADMIN)).json()
    assert [row["reference"] for row in payments["items"]] == ["R-3", "R-2"]
    rest = (await client.get(f"{TENANT}/payments?cursor={payments['next']}", headers=ADMIN)).json()
    assert [row["reference"] for row in rest["items"]] == ["R-1"]


async def test_tenants_in_pages(client: AsyncClient) -> None:
    first = (await client.get(f"/api/v1/sites/{SITE}/tenants?limit=1", headers=ADMIN)).json()
    assert [(row["id"], row["balance"]) for row in first["items"]] == [("t-001", "100.000000000")]
    rest = (await client.get(f"/api/v1/sites/{SITE}/tenants?cursor={first['next']}", headers=ADMIN)).json()
    assert [row["id"] for row in rest["items"]] == ["t-002"]
    assert rest["next"] is None


async def test_a_foreign_cursor_is_refused(client: AsyncClient) -> None:
    answer = await client.get(f"{TENANT}/ledger?cursor=abc", headers=ADMIN)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


async def test_a_top_up_of_nobody_is_unknown(client: AsyncClient) -> None:
    url = f"/api/v1/sites/{SITE}/tenants/t-404/topups"
    answer = await client.post(url, json=TOP_UP, headers={**ADMIN, "Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_tenant")
    url = "/api/v1/sites/nowhere/tenants/t-404/topups"
    answer = await client.post(url, json=TOP_UP, headers={**ADMIN, "Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_site")

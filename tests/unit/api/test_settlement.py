"""Settlement and bills over HTTP: started in the background, followed, listed, permitted to those who may."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import AsyncClient

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, START, Stage, bearer

BASE = f"/api/v1/sites/{SITE}"
DAY_MS = 86_400_000
FEBRUARY = 1_769_875_200_000
"""2026-02-01T00:00:00 in Shanghai."""


def keyed(key: str, headers: dict[str, str] = ADMIN) -> dict[str, str]:
    """Headers of an act."""
    return {**headers, "Idempotency-Key": key}


async def used(stage: Stage) -> None:
    """Two readings of a meter, before and after the month's end, posted."""
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=125_000)
    stage.clock.at = FEBRUARY
    await stage.read("t-001", "em-001", 2, import_wh=130_000)
    stage.clock.at = FEBRUARY + DAY_MS
    await stage.read("t-001", "em-001", 3, import_wh=131_000)
    await stage.post()


async def settled(client: AsyncClient, stage: Stage, **body: Any) -> dict[str, Any]:
    """Start a settlement, wait for it, and ask how it went."""
    answer = await client.post(
        f"{BASE}/settlements", json={"month": 202601, "missing": "settle", **body}, headers=keyed("s-1")
    )
    assert answer.status_code == 202, answer.text
    await stage.settlement.rest()
    return (await client.get(f"{BASE}/settlements/202601", headers=ADMIN)).json()


async def test_a_month_is_settled_and_its_bills_are_read(client: AsyncClient, stage: Stage) -> None:
    await used(stage)
    run = await settled(client, stage)
    assert run["state"] == "done", run
    assert run["trouble"] == ""
    assert run["steps"]["fees"] >= 1
    listed = (await client.get(f"{BASE}/bills", params={"month": 202601}, headers=ADMIN)).json()["items"]
    mine = next(row for row in listed if row["holder"] == "t-001")
    assert mine["state"] == "issued"
    assert mine["number"]
    whole = (await client.get(f"{BASE}/bills/{mine['id']}", headers=ADMIN)).json()
    assert whole["id"] == mine["id"]
    energy = [
        line for section in whole["wallets"][0]["meters"] for line in section["lines"] if line["kind"] == "energy"
    ]
    assert sum(line["quantity"] for line in energy) == 10_000
    by_number = await client.get(f"{BASE}/bills/{mine['number']}", headers=ADMIN)
    assert by_number.json()["id"] == mine["id"]
    again = await client.post(f"{BASE}/settlements", json={"month": 202601, "missing": "settle"}, headers=keyed("s-1"))
    assert (again.status_code, again.headers["idempotency-hit"]) == (202, "true")
    runs = (await client.get(f"{BASE}/settlements", headers=ADMIN)).json()
    assert [one["month"] for one in runs] == [202601]


async def test_correcting_and_pushing(client: AsyncClient, stage: Stage) -> None:
    await used(stage)
    await settled(client, stage)
    listed = (await client.get(f"{BASE}/bills", headers=ADMIN)).json()["items"]
    first = next(row for row in listed if row["holder"] == "t-001")
    body = {"why": "the name was wrong"}
    made = await client.post(f"{BASE}/bills/{first['id']}/corrections", json=body, headers=keyed("c-1"))
    assert made.status_code == 202, made.text
    assert made.json()["id"] == f"{first['id']}-R2"
    refused = await client.post(f"{BASE}/bills/{first['id']}/corrections", json=body, headers=keyed("c-2"))
    assert (refused.status_code, refused.json()["code"]) == (409, "replaced")
    pushed = await client.post(f"{BASE}/bill-pushes", json={"month": 202601}, headers=keyed("p-1"))
    assert pushed.json()["failed"] == 0
    rows = (await client.get(f"{BASE}/bill-pushes/202601", headers=ADMIN)).json()
    assert {row["state"] for row in rows} == {"delivered"}
    assert f"{first['id']}-R2" in {row["bill"] for row in rows}


async def test_a_price_and_a_final_bill(client: AsyncClient, stage: Stage) -> None:
    await used(stage)
    price = {"month": 202601, "scope": "utility:electricity", "price": "0.83", "why": "invoice of the grid"}
    answer = await client.post(f"{BASE}/settlement-prices", json=price, headers=keyed("pr-1"))
    assert answer.json()["revision"] == 1
    wrong = await client.post(
        f"{BASE}/settlement-prices", json={**price, "scope": "tariff:nothing"}, headers=keyed("pr-2")
    )
    assert (wrong.status_code, wrong.json()["code"]) == (422, "unknown_tariff")
    final = await client.post(f"{BASE}/tenants/t-001/final-bills", json={"at": stage.clock.now()}, headers=keyed("f-1"))
    assert final.status_code == 202, final.text
    assert final.json()["state"] == "issued"
    future = await client.post(
        f"{BASE}/tenants/t-001/final-bills", json={"at": stage.clock.now() + 1}, headers=keyed("f-2")
    )
    assert future.status_code == 422


async def test_refusals(client: AsyncClient, stage: Stage) -> None:
    open_month = await client.post(f"{BASE}/settlements", json={"month": 202601}, headers=keyed("o-1"))
    assert (open_month.status_code, open_month.json()["code"]) == (409, "month_open")
    assert (await client.get(f"{BASE}/settlements/202512", headers=ADMIN)).json()["code"] == "unknown_settlement"
    assert (await client.get(f"{BASE}/bills/202601-nobody", headers=ADMIN)).json()["code"] == "unknown_bill"
    assert stage.clock.now() == START


@pytest.mark.parametrize(("role", "status"), [("om", 403), ("tenant", 403), ("finance", 409), ("manager", 409)])
async def test_only_those_who_handle_money_settle(client: AsyncClient, stage: Stage, role: str, status: int) -> None:
    tenant = "t-001" if role == "tenant" else None
    secret = await stage.token(role, site=SITE, tenant=tenant)
    answer = await client.post(f"{BASE}/settlements", json={"month": 202601}, headers=keyed("r-1", bearer(secret)))
    assert answer.status_code == status


async def test_a_tenant_sees_its_own_issued_bills(client: AsyncClient, stage: Stage) -> None:
    await used(stage)
    await settled(client, stage)
    secret = await stage.token("tenant", site=SITE, tenant="t-001")
    own = await client.get(f"{BASE}/tenants/t-001/bills", headers=bearer(secret))
    assert [row["holder"] for row in own.json()["items"]] == ["t-001"]
    other = await client.get(f"{BASE}/tenants/t-002/bills", headers=bearer(secret))
    assert other.status_code == 404

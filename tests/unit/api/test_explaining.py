"""Ledger lines explained over HTTP: in both languages, for staff, and for a tenant on the own ledger alone."""

from __future__ import annotations

from httpx import AsyncClient

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer

HERE = f"/api/v1/sites/{SITE}"
MINUTE_MS = 60_000


async def charged(stage: Stage) -> None:
    """Two readings of a shop, posted to the ledger."""
    await stage.connect("t-001", "em-001")
    for seq, register in ((1, 120_000), (2, 120_400)):
        await stage.read("t-001", "em-001", seq, import_wh=register, power_w=400)
        stage.clock.at += 60 * MINUTE_MS
    await stage.read("t-001", "em-001", 3, import_wh=120_400, power_w=0)
    await stage.post()


async def test_a_charge_is_told_from_its_readings(client: AsyncClient, stage: Stage) -> None:
    await charged(stage)
    line = (await client.get(f"{HERE}/tenants/t-001/ledger", headers=ADMIN)).json()["items"][0]
    assert line["kind"] == "charge"
    own = f"{HERE}/tenants/t-001/ledger/{line['seq']}/explanation"
    english = (await client.get(own, params={"lang": "en"}, headers=ADMIN)).json()
    assert english["accounts"]["tenant:t-001:wallet"] == line["amount"]
    assert "computed again from the readings: the same" in english["text"]
    assert "reading 120.000" in english["text"]
    chinese = (await client.get(own, headers={**ADMIN, "Accept-Language": "zh-CN"})).json()
    assert "由读数重算：一致" in chinese["text"]
    assert chinese["tree"] == english["tree"]
    by_number = await client.get(f"{HERE}/journals/{line['seq']}/explanation", params={"lang": "en"}, headers=ADMIN)
    assert by_number.json() == english


async def test_a_tenant_sees_the_own_lines_and_no_others(client: AsyncClient, stage: Stage) -> None:
    await charged(stage)
    seq = (await client.get(f"{HERE}/tenants/t-001/ledger", headers=ADMIN)).json()["items"][0]["seq"]
    mine = bearer(await stage.token("tenant", site=SITE, tenant="t-001"))
    others = bearer(await stage.token("tenant", site=SITE, tenant="t-002"))
    path = f"{HERE}/tenants/t-001/ledger/{seq}/explanation"
    assert (await client.get(path, headers=mine)).status_code == 200
    assert (await client.get(path, headers=others)).status_code in (403, 404)
    foreign = await client.get(f"{HERE}/tenants/t-002/ledger/{seq}/explanation", headers=others)
    unknown = await client.get(f"{HERE}/tenants/t-002/ledger/99999/explanation", headers=others)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_ledger_line")
    assert unknown.json()["code"] == foreign.json()["code"]
    assert (await client.get(f"{HERE}/journals/{seq}/explanation", headers=mine)).status_code == 403

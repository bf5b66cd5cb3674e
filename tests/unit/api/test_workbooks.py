"""Tenants and meters from Excel over HTTP: template, preview, agreement, repetition, refusals."""

from __future__ import annotations

import io
from typing import Any

import openpyxl
import pytest
from httpx import AsyncClient, Response

from tests.unit.adapters.documents.workbooks import cell, saved, workbook
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from twin.workbook import DEVICES, SUPPLIES, TENANTS

BASE = f"/api/v1/sites/{SITE}/workbook"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TYPED = {**ADMIN, "Content-Type": XLSX}


def newcomers(**changes: Any) -> bytes:
    """A workbook with a new tenant, a new meter and the supply between them."""
    return workbook(
        tenants=[{"id": "t-100", "name.zh": "新茶馆", "mode": "预付费", "opening_credit": 88.5} | changes],
        devices=[{"id": "em-100", "kind": "电表", "opening": 12.345, "phases": "单相", "imax_a": 60, "relay": "是"}],
        supplies=[{"tenant": "t-100", "meter": "em-100", "tariff": "shop-flat", "from": "2026-01-01"}],
    )


async def preview(client: AsyncClient, data: bytes) -> dict[str, Any]:
    """What would change."""
    answer = await client.post(f"{BASE}/preview", content=data, headers=TYPED)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def send(client: AsyncClient, data: bytes, plan: str, key: str = "k-1") -> Response:
    """Import."""
    return await client.post(BASE, content=data, params={"plan": plan}, headers={**TYPED, "Idempotency-Key": key})


async def test_preview_agree_import_and_again(stage: Stage, client: AsyncClient) -> None:
    data = newcomers()
    shown = await preview(client, data)
    assert (shown["problems"], shown["rows"]) == ([], {"tenants": 1, "devices": 1, "supplies": 1})
    assert shown["lines"] == [
        "+ device em-100 electricity_meter", "+ tenant t-100 prepaid", "+ supply em-100 of t-100 by shop-flat",
    ]  # fmt: skip
    assert (await client.get(f"/api/v1/sites/{SITE}/tenants/t-100", headers=ADMIN)).status_code == 404
    answer = await send(client, data, shown["plan"])
    assert (answer.status_code, answer.json()["changes"]) == (202, 3)
    tenant = (await client.get(f"/api/v1/sites/{SITE}/tenants/t-100", headers=ADMIN)).json()
    assert tenant["balance"] == "88.500000000"
    repeated = await send(client, data, shown["plan"])
    assert repeated.json() == answer.json()
    assert repeated.headers["idempotency-hit"] == "true"
    again = await preview(client, data)
    assert (again["lines"], again["refused"]) == ([], [])
    assert (await send(client, data, again["plan"], "k-2")).json()["changes"] == 0
    audit = await stage.database.fetch("SELECT who, what FROM audit WHERE what = 'site.import' ORDER BY id DESC")
    assert audit[0][0] == "admin"
    document = await stage.registry.document(SITE)
    device = next(entry for entry in document.site["devices"] if entry["id"] == "em-100")
    assert device["opening_wh"] == 12_345


async def test_what_nobody_saw_is_not_written(stage: Stage, client: AsyncClient) -> None:
    shown = await preview(client, newcomers())
    other = newcomers(opening_credit=1_000_000, mode="后付费")
    answer = await send(client, other, shown["plan"])
    assert (answer.status_code, answer.json()["code"]) == (409, "plan_changed")
    assert "+ tenant t-100 postpaid" in answer.json()["preview"]["lines"]
    assert (await client.get(f"/api/v1/sites/{SITE}/tenants/t-100", headers=ADMIN)).status_code == 404
    key = {**TYPED, "Idempotency-Key": "k"}
    assert (await client.post(BASE, content=other, headers=key)).status_code == 422


async def test_the_template_filled_and_sent_back_changes_nothing(stage: Stage, client: AsyncClient) -> None:
    answer = await client.get(BASE, params={"filled": "true"}, headers=ADMIN)
    assert answer.headers["content-type"] == XLSX
    shown = await preview(client, answer.content)
    assert (shown["problems"], shown["lines"], shown["refused"]) == ([], [], [])
    assert shown["rows"]["tenants"] >= 2
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    sheet = book[TENANTS.title]
    sheet["B2"] = "新名字"
    changed = await preview(client, saved(book))
    assert [line.partition(":")[0] for line in changed["lines"]] == [f"~ tenant {sheet['A2'].value} name"]


async def test_problems_of_the_whole_site_are_told_at_their_cells(client: AsyncClient) -> None:
    data = workbook(
        tenants=[{"id": "t-100"}, {"id": "t-100"}, {"id": "t-101"}],
        devices=[{"id": "em-100"}, {"id": "em-101", "kind": "电表", "gateway": "gw-nowhere"},
                 {"id": "em-102", "kind": "水表", "phases": 3}, {"id": "br-9", "kind": "断路器", "opening": 5}],
        supplies=[
            {"tenant": "t-404", "meter": "em-001", "tariff": "shop-flat"},
            {"tenant": "t-100", "meter": "em-404", "tariff": "shop-flat"},
            {"tenant": "t-100", "meter": "em-101", "tariff": "nothing"},
            {"tenant": "t-100", "meter": "em-101"},
            {"tenant": "t-100", "meter": "em-101", "tariff": "shop-flat", "breaker": "br-404"},
        ],
    )  # fmt: skip
    shown = await preview(client, data)
    told = {f"{problem['sheet']}!{problem['cell']}" for problem in shown["problems"]}
    assert told >= {
        cell(TENANTS, "id", 3), cell(DEVICES, "id", 2), cell(DEVICES, "gateway", 3), cell(DEVICES, "phases", 4),
        cell(DEVICES, "opening", 5), cell(SUPPLIES, "tenant", 2), cell(SUPPLIES, "meter", 3),
        cell(SUPPLIES, "tariff", 4), cell(SUPPLIES, "breaker", 6),
    }  # fmt: skip
    assert all(problem["zh"] and problem["en"] for problem in shown["problems"])
    answer = await send(client, data, shown["plan"])
    assert (answer.status_code, answer.json()["code"]) == (422, "workbook")
    assert any(cell(SUPPLIES, "tariff", 4) == error["field"] for error in answer.json()["errors"])


async def test_what_only_the_registry_knows_has_its_cell_too(client: AsyncClient) -> None:
    data = workbook(
        tenants=[{"id": "t-100"}, {"id": "t-101"}],
        devices=[{"id": "em-100", "kind": "电表"}],
        supplies=[
            {"tenant": "t-100", "meter": "em-100", "tariff": "shop-flat", "from": "2026-01-01", "to": "2025-01-01"},
            {"tenant": "t-101", "meter": "em-100", "tariff": "shop-flat"},
        ],
    )
    shown = await preview(client, data)
    assert f"{SUPPLIES.title}!{cell(SUPPLIES, 'to', 2).rpartition('!')[2]}" in {
        f"{problem['sheet']}!{problem['cell']}" for problem in shown["problems"]
    }
    assert all(problem["zh"].startswith("与园区资料不符") for problem in shown["problems"])


async def test_a_workbook_of_another_site_is_refused(client: AsyncClient) -> None:
    answer = await client.get(BASE, headers=ADMIN)
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    book["说明 Read me"]["B2"] = "elsewhere"
    assert "elsewhere" in (await preview(client, saved(book)))["problems"][0]["zh"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"x" * (10 * 1024 * 1024 + 1), XLSX, 413, "too_large"),
        (b"{}", "application/json", 415, "unsupported_media_type"),
        (b"id,name", "text/csv", 415, "unsupported_media_type"),
    ],
)
async def test_uploads_that_are_not_taken(
    client: AsyncClient, content: bytes, kind: str, status: int, code: str
) -> None:
    answer = await client.post(f"{BASE}/preview", content=content, headers={**ADMIN, "Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_bomb_is_a_problem_and_no_failure(client: AsyncClient) -> None:
    assert "xlsx" in (await preview(client, b"PK\x03\x04 nothing"))["problems"][0]["zh"]


async def test_heads_only(stage: Stage, client: AsyncClient) -> None:
    for role, status in (("manager", 200), ("finance", 403), ("om", 403)):
        headers = bearer(await stage.token(role, site=SITE), **{"Content-Type": XLSX})
        answer = await client.post(f"{BASE}/preview", content=newcomers(), headers=headers)
        assert answer.status_code == status, role
    answer = await client.post("/api/v1/sites/nowhere/workbook/preview", content=newcomers(), headers=TYPED)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_site")

"""Reports, statements and bills over HTTP: numbers, files, who may see them, what is refused."""

from __future__ import annotations

import csv
import io
import itertools
from decimal import Decimal

import msgspec
import openpyxl
import pypdfium2
import pytest
from httpx import AsyncClient, Response

from adapters.documents import fonts
from adapters.store.journals.journal_book import open_book
from adapters.store.journals.wallet_booking import book_credit
from billing.bill import Bill, encode_bill
from tests.unit.adapters.documents.bills import full_bill
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, START, Stage, bearer
from twin.ports import TopUp

BASE = f"/api/v1/sites/{SITE}"
SPAN = {"from": "2026-01", "to": "2026-01"}


@pytest.fixture
async def busy(stage: Stage) -> Stage:
    """A park in which something was used and paid."""
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_000)
    stage.clock.at += 900_000
    await stage.read("t-001", "em-001", 2, import_wh=124_321)
    stage.clock.at += 3 * 3_600_000
    await stage.read("t-001", "em-001", 3, import_wh=125_000)
    await stage.post()
    wish = TopUp("t-001", 12_340_000_000, "wechat", "=cmd|'x'", "k-1", "=lin", START)
    await stage.ledger.top_up(SITE, wish)
    return stage


async def get(client: AsyncClient, path: str, **params: str) -> Response:
    """A read by the administrator, which succeeds."""
    answer = await client.get(f"{BASE}/{path}", params={**SPAN, **params}, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer


async def booked(stage: Stage, accounts: str) -> Decimal:
    """What is on some accounts, by plain SQL, in units."""
    sql = "SELECT COALESCE(SUM(amount_nano), 0) FROM leg WHERE site = ? AND account LIKE ?"
    return Decimal((await stage.database.fetch(sql, SITE, accounts))[0][0]).scaleb(-9)


async def test_json_reports_say_what_the_ledger_holds(busy: Stage, client: AsyncClient) -> None:
    revenue = (await get(client, "reports/revenue")).json()
    assert Decimal(revenue["total"]) == await booked(busy, "revenue:%") > 0
    assert sum(Decimal(item["amount"]) for item in revenue["items"]) == Decimal(revenue["total"])
    energy = (await get(client, "reports/energy")).json()
    assert energy["complete"]
    used = sum(item["quantity"] for item in energy["items"])
    daily = (await get(client, "reports/energy", by="day", tenant="t-001")).json()
    assert sum(item["quantity"] for item in daily["items"]) == used > 0
    assert {item["time"] for item in daily["items"]} == {20260102}
    recharge = (await get(client, "reports/recharge")).json()
    assert recharge["items"] == [
        {"day": 20260102, "channel": "wechat", "kind": "topup", "count": 1, "amount": "12.340000000"}
    ]
    overview = (await get(client, "reports/overview")).json()
    assert overview["revenue"] == revenue["total"]
    assert Decimal(overview["prepaid"]) + Decimal(overview["arrears"]) == await booked(busy, "tenant:%")
    assert overview["months"][-1]["month"] == 202601
    ranking = (await get(client, "reports/ranking", by="electricity")).json()
    assert ranking["items"][0]["tenant"] == "t-001"
    assert ranking["items"][0]["electricity_wh"] == used


async def test_arrears(busy: Stage, client: AsyncClient) -> None:
    assert (await get(client, "reports/arrears")).json()["items"] == []
    async with busy.database.write() as tx:
        book = await open_book(tx, SITE)
        await book_credit(
            tx, book, tenant="t-001", amount_nano=-500 * 10**9, kind="fee", contra="revenue:electricity",
            reference="fee:1", actor="test", memo="", ts=busy.clock.now(),
        )  # fmt: skip
        await book.flush(tx)
    owing = (await get(client, "reports/arrears")).json()
    assert [item["tenant"] for item in owing["items"]] == ["t-001"]
    ages = ("days_0_30", "days_31_60", "days_61_90", "over_90")
    assert sum(Decimal(owing["items"][0][age]) for age in ages) == -Decimal(owing["total"])
    before = (await get(client, "reports/arrears", at="2025-12-31")).json()
    assert before["items"] == []
    assert before["at"] == 1_767_196_799_999


async def test_every_report_as_every_file(busy: Stage, client: AsyncClient) -> None:
    for report, (form, start) in itertools.product(
        ["revenue", "energy", "recharge", "arrears", "ranking"],
        [("csv", "\ufeff".encode()), ("xlsx", b"PK"), ("pdf", b"%PDF")],
    ):
        answer = await get(client, f"exports/{report}", format=form)
        name = f"{SITE}-{report}-20260101-20260131.{form}"
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert answer.content.startswith(start)
        if form == "xlsx":
            sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).active
            assert sheet is not None
            assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)


async def test_totals_in_the_sheet_equal_the_ledger(busy: Stage, client: AsyncClient) -> None:
    answer = await get(client, "exports/revenue", format="xlsx", lang="zh")
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).active
    assert sheet is not None
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0][0] == "月份"
    assert rows[1][1] == "电"
    assert Decimal(str(rows[-1][-1])) == await booked(busy, "revenue:%")
    assert rows[-1][0] == "合计 Total"


async def test_a_statement_balances_and_is_no_formula(busy: Stage, client: AsyncClient) -> None:
    answer = await get(client, "tenants/t-001/statement", format="csv", lang="en")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert Decimal(rows[-1]["Balance"]) == await booked(busy, "tenant:t-001:wallet")
    assert sum(Decimal(row["Amount"]) for row in rows) == Decimal(rows[-1]["Balance"])
    assert {row["By"] for row in rows} >= {"'=lin"}
    assert rows[0]["Time"].endswith("+08:00")
    assert any(row["Amount"].startswith("-") for row in rows)
    ledger = await get(client, "ledger/file", format="csv", lang="en")
    legs = list(csv.DictReader(io.StringIO(ledger.content.decode("utf-8-sig"))))
    assert sum(Decimal(leg["Amount"]) for leg in legs) == 0
    assert len(legs) == (await busy.database.fetch("SELECT COUNT(*) FROM leg WHERE site = ?", SITE))[0][0]
    printed = await get(client, "tenants/t-001/statement")
    text = pypdfium2.PdfDocument(printed.content)[0].get_textpage().get_text_bounded()
    assert "期末 Closing" in text
    assert "老王面馆" in text


async def test_tenants_get_their_own_statement_and_no_report(busy: Stage, client: AsyncClient) -> None:
    own = bearer(await busy.token("tenant", site=SITE, tenant="t-001"))
    assert (await client.get(f"{BASE}/tenants/t-001/statement", params=SPAN, headers=own)).status_code == 200
    other = await client.get(f"{BASE}/tenants/t-002/statement", params=SPAN, headers=own)
    assert (other.status_code, other.json()["code"]) == (404, "unknown_tenant")
    for path in ("reports/revenue", "exports/revenue", "reports/overview", "ledger/file"):
        assert (await client.get(f"{BASE}/{path}", headers=own)).status_code == 403
    engineer = bearer(await busy.token("om", site=SITE))
    assert (await client.get(f"{BASE}/reports/energy", headers=engineer)).status_code == 200
    assert (await client.get(f"{BASE}/reports/revenue", headers=engineer)).status_code == 403


REFUSED: list[tuple[str, dict[str, str], str]] = [
    ("reports/revenue", {"from": "2026-13"}, "from"),
    ("reports/revenue", {"from": "January"}, "from"),
    ("reports/revenue", {"from": "2026-03", "to": "2026-01"}, "to"),
    ("reports/revenue", {"from": "1990-01", "to": "2026-01"}, "to"),
    ("reports/energy", {"from": "2024-01", "to": "2026-01", "by": "day"}, "to"),
    ("reports/recharge", {"from": "2024-01", "to": "2026-01"}, "to"),
    ("exports/energy", {"from": "2024-01", "to": "2026-01", "by": "day"}, "to"),
    ("exports/revenue", {"by": "day"}, "by"),
    ("reports/arrears", {"at": "2026-02-30"}, "at"),
    ("tenants/t-001/statement", {"from": "x"}, "from"),
    ("exports/revenue", {"format": "exe"}, "format"),
    ("exports/nothing", {}, "report"),
]


async def test_what_cannot_be_meant_is_refused_by_field(client: AsyncClient) -> None:
    for path, params, field in REFUSED:
        answer = await client.get(f"{BASE}/{path}", params=params, headers=ADMIN)
        assert answer.status_code == 422, (path, params, answer.text)
        assert answer.json()["errors"][0]["field"] == field


async def test_unknown_sites_and_tenants(client: AsyncClient) -> None:
    for path in ("reports/overview", "reports/revenue", "reports/arrears", "exports/revenue", "ledger/file"):
        answer = await client.get(f"/api/v1/sites/nowhere/{path}", headers=ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_site"), path
    answer = await client.get(f"{BASE}/tenants/nobody/statement", headers=ADMIN)
    assert answer.json()["code"] == "unknown_tenant"


async def test_without_a_font_a_pdf_is_refused_with_what_to_do(
    busy: Stage, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "KNOWN", ())
    answer = await client.get(f"{BASE}/tenants/t-001/statement", params=SPAN, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (503, "document")
    assert "fonts-wqy-microhei" in answer.json()["detail"]
    assert (await get(client, "tenants/t-001/statement", format="xlsx")).content.startswith(b"PK")


async def store(stage: Stage, bill: Bill) -> None:
    """A bill in the table, as settlement writes it."""
    values = {
        "site": SITE, "bill": bill.id, "kind": bill.kind, "holder": bill.holder.id, "month": bill.month, "revision": 1,
        "state": bill.state, "series": "P1-2026-", "number": None if bill.state == "draft" else 1,
        "from_ts": bill.from_ts, "to_ts": bill.to_ts, "corrects": None, "replaced_by": None, "drafted_ts": bill.to_ts,
        "issued_ts": bill.issued_ts, "who": "test", "opening_nano": bill.opening_nano,
        "charges_nano": bill.charges_nano, "credits_nano": bill.credits_nano, "closing_nano": bill.closing_nano,
        "journal_seq": bill.journal_seq, "document": encode_bill(bill).decode(), "digest": "0" * 64,
    }  # fmt: skip
    async with stage.database.write() as tx:
        sql = f"INSERT INTO bill ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
        await tx.execute(sql, *values.values())


async def test_bills_as_files_for_those_they_are_for(stage: Stage, client: AsyncClient) -> None:
    await store(stage, full_bill())
    draft = msgspec.structs.replace(full_bill(), id="B-20", state="draft", number="", issued_ts=None, anchor="")
    await store(stage, draft)
    own = bearer(await stage.token("tenant", site=SITE, tenant="t-001"))
    other = bearer(await stage.token("tenant", name="other", site=SITE, tenant="t-002"))
    for form, start in (("pdf", b"%PDF"), ("xlsx", b"PK")):
        for headers in (ADMIN, own):
            answer = await client.get(f"{BASE}/bills/B-18/file", params={"format": form}, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.content.startswith(start)
            assert f'.{form}"' in answer.headers["content-disposition"]
    assert (await client.get(f"{BASE}/bills/B-20/file", headers=ADMIN)).status_code == 200
    for headers, bill in ((other, "B-18"), (own, "B-20"), (ADMIN, "B-404"), (own, "B-404")):
        answer = await client.get(f"{BASE}/bills/{bill}/file", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_bill")

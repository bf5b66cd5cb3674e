"""Reading workbooks: every cell, every trap, everything that could be sent to hurt us."""

from __future__ import annotations

import io
import random
import zipfile
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.documents import site_reader, zip_guard
from adapters.documents.cell_values import CellError, read_cell
from adapters.documents.site_reader import read_workbook
from adapters.documents.site_template import site_workbook
from tests.unit.adapters.documents.workbooks import HEADS, cell, saved, workbook
from tests.unit.adapters.store.park import document
from twin.workbook import DEVICES, SUPPLIES, TENANTS, Field, Sheet


def field(sheet: Sheet, key: str) -> Field:
    """A field by its key."""
    return next(found for found in sheet.fields if found.key == key)


@pytest.mark.parametrize(
    ("sheet", "key", "value", "read"),
    [
        (TENANTS, "id", " ｔ－００１\u3000", "t-001"),
        (TENANTS, "id", 1001, "1001"),
        (TENANTS, "id", 1001.0, "1001"),
        (TENANTS, "id", "\u200b007\ufeff", "007"),
        (TENANTS, "mode", "预付费", "prepaid"),
        (TENANTS, "mode", "后付费 postpaid", "postpaid"),
        (TENANTS, "opening_credit", 100, "100.00"),
        (TENANTS, "opening_credit", 0.1, "0.10"),
        (TENANTS, "opening_credit", -12.345, "-12.345"),
        (TENANTS, "opening_credit", "１，２３４.５", "1234.50"),
        (TENANTS, "opening_credit", "¥50", "50.00"),
        (TENANTS, "area_m2", 80.5, "80.5"),
        (TENANTS, "area_m2", "80", "80"),
        (TENANTS, "households", 3.0, 3),
        (TENANTS, "contact.phone", 13900000000, "13900000000"),
        (TENANTS, "name.zh", " 老王面馆 ", "老王面馆"),
        (DEVICES, "kind", "电表", "electricity_meter"),
        (DEVICES, "relay", "是", True),
        (DEVICES, "relay", False, False),
        (DEVICES, "relay", "√", True),
        (DEVICES, "phases", 3, 3),
        (DEVICES, "phases", "单相", 1),
        (DEVICES, "opening", 1834.22, 1_834_220),
        (DEVICES, "opening", "0.001", 1),
        (SUPPLIES, "from", datetime(2026, 1, 31, 8, 30), "2026-01-31T08:30:00"),
        (SUPPLIES, "from", date(2026, 1, 31), "2026-01-31T00:00:00"),
        (SUPPLIES, "from", "2026/1/31", "2026-01-31T00:00:00"),
        (SUPPLIES, "from", "2026年1月31日 8:05", "2026-01-31T08:05:00"),
    ],
)
def test_what_can_be_read_in_one_way(sheet: Sheet, key: str, value: Any, read: Any) -> None:
    assert read_cell(field(sheet, key), value, "General") == read


@pytest.mark.parametrize(
    ("sheet", "key", "value", "said"),
    [
        (TENANTS, "id", "老王", "编号"),
        (TENANTS, "id", 1.5, "不能作为编号"),
        (TENANTS, "id", 10**16, "不能作为编号"),
        (TENANTS, "id", datetime(2026, 1, 1), "日期"),
        (TENANTS, "mode", "free", "预付费"),
        (TENANTS, "opening_credit", "a lot", "不是数字"),
        (TENANTS, "opening_credit", datetime(2026, 1, 1), "日期"),
        (TENANTS, "opening_credit", True, "逻辑值"),
        (TENANTS, "opening_credit", 1e12, "太大"),
        (TENANTS, "emergency_credit", -1, "负数"),
        (TENANTS, "area_m2", 0.0001, "小数"),
        (TENANTS, "households", 1.5, "整数"),
        (TENANTS, "contact.email", "nobody", "邮箱"),
        (TENANTS, "language", "Chinese", "语言"),
        (TENANTS, "name.zh", "x" * 201, "200"),
        (TENANTS, "name.zh", "a\nb", "控制字符"),
        (DEVICES, "relay", "maybe", "是"),
        (DEVICES, "opening", -1, "读数"),
        (DEVICES, "opening", 1.0005, "三位小数"),
        (DEVICES, "imax_a", 0, "整数"),
        (SUPPLIES, "from", "2026-02-30", "不是日期"),
        (SUPPLIES, "from", 46053, "不是日期"),
    ],
)
def test_what_cannot_be_read_says_what_would_be_right(sheet: Sheet, key: str, value: Any, said: str) -> None:
    with pytest.raises(CellError) as refused:
        read_cell(field(sheet, key), value, "General")
    assert said in refused.value.zh
    assert refused.value.en.isascii() or str(value) in refused.value.en


def test_leading_zeros_that_only_the_format_shows_are_kept() -> None:
    assert read_cell(field(TENANTS, "id"), 7, "0000") == "0007"


def test_all_problems_at_once_each_at_its_cell() -> None:
    data = workbook(
        tenants=[{"id": "t 1", "mode": "x"}, {"mode": "prepaid"}, {"id": "t-2", "opening_credit": "many"}],
        supplies=[{"tenant": "t-2", "meter": "em-1", "tariff": "t", "from": "yesterday"}],
    )
    found = read_workbook(data)
    assert [str(problem.place) for problem in found.problems] == [
        cell(TENANTS, "id", 2), cell(TENANTS, "mode", 2), cell(TENANTS, "id", 3), cell(TENANTS, "opening_credit", 4),
        cell(SUPPLIES, "from", 2),
    ]  # fmt: skip
    assert all(problem.zh and problem.en for problem in found.problems)


def test_formulas_and_errors_are_refused_and_ids_as_numbers_noted() -> None:
    data = workbook(tenants=[{"id": "=1+1"}, {"id": "t-1", "opening_credit": "=SUM(A1:A3)"}, {"id": 17}])
    found = read_workbook(data)
    assert [(str(problem.place), problem.zh[:4]) for problem in found.problems] == [
        (cell(TENANTS, "id", 2), "这是公式"),
        (cell(TENANTS, "opening_credit", 3), "这是公式"),
    ]
    assert [str(note.place) for note in found.notes] == [cell(TENANTS, "id", 4)]
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "租户"
    sheet.append(["租户编号"])
    sheet.append(["#N/A"])
    sheet["A2"].data_type = "e"
    assert read_workbook(saved(book)).problems[0].zh == "这是错误值 #N/A"


def test_headings_are_found_in_either_language_and_order() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "tenants"
    sheet.append(["名称", " TENANT  ID ", "Colour", "租户编号"])
    sheet.append(["茶馆", "t-1", "red", None])
    found = read_workbook(saved(book))
    assert [str(problem.place) for problem in found.problems] == ["tenants!C1", "tenants!D1"]
    assert found.rows["tenants"][0].values == {"name.zh": "茶馆", "id": "t-1"}
    sheet["B1"] = "x"
    sheet["D1"] = None
    assert [problem.en for problem in read_workbook(saved(book)).problems][-1] == "column Tenant id is missing"
    assert "none of the sheets" in read_workbook(saved(openpyxl.Workbook())).problems[0].en


def test_the_template_reads_back_what_it_was_filled_with() -> None:
    site = document()
    site.site["tenants"][0] |= {"contact": {"phone": "+86 139"}, "area_m2": "80.5", "name": {"zh": "=1+1", "en": "x"}}
    found = read_workbook(site_workbook(site, filled=True))
    assert found.problems == []
    assert found.site == "park-1"
    tenants = {row.values["id"]: row.values for row in found.rows["tenants"]}
    assert tenants["t-001"] == {
        "id": "t-001", "name.zh": "=1+1", "name.en": "x", "mode": "prepaid", "opening_credit": "100.00",
        "contact.phone": "+86 139", "area_m2": "80.5",
    }  # fmt: skip
    devices = {row.values["id"]: row.values for row in found.rows["devices"]}
    assert devices["em-001"] == {
        "id": "em-001", "kind": "electricity_meter", "gateway": "gw-01", "relay": True, "opening": 120_000, "phases": 1,
        "imax_a": 60, "remote_close": True,
    }  # fmt: skip
    assert len(found.rows["supplies"]) == 3
    empty = read_workbook(site_workbook(site, filled=False))
    assert (empty.problems, [len(rows) for rows in empty.rows.values()]) == ([], [0, 0, 0])


def test_the_template_has_drop_downs_text_ids_and_no_formulas() -> None:
    book = openpyxl.load_workbook(io.BytesIO(site_workbook(document(), filled=True)))
    assert book.sheetnames == ["说明 Read me", "租户 Tenants", "设备 Devices", "用能 Supplies", "选项 Lists"]
    assert book["选项 Lists"].sheet_state == "hidden"
    rules = [rule.formula1 for rule in book["设备 Devices"].data_validations.dataValidation]
    assert '"电表 electricity_meter,水表 water_meter,断路器 breaker"' in rules
    assert book["租户 Tenants"]["A2"].number_format == "@"
    assert not [c for sheet in book for row in sheet.iter_rows() for c in row if c.data_type == "f"]


# ------------------------------------------------------------------ files that want to hurt


def parts_of(data: bytes) -> dict[str, bytes]:
    """The parts of a workbook."""
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        return {name: parts.read(name) for name in parts.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    """Parts as a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return out.getvalue()


GOOD = workbook(tenants=[{"id": "t-1"}])
SHEET = "xl/worksheets/sheet1.xml"
NOISE = random.Random(1).randbytes(1_048_570).hex().encode()
"""Two chunks of the search, less a few bytes, so that what follows stands across their border."""
ENTITY = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({SHEET: ENTITY + b"<worksheet>&e;</worksheet>"}, "文档类型"),
        ({"xl/sharedStrings.xml": ENTITY + b"<sst/>"}, "文档类型"),
        ({SHEET: ENTITY.decode().encode("utf-16")}, "UTF-8"),
        ({SHEET: b" " * 3_000_000 + b"<!DOCTYPE x>"}, "过大"),
        ({SHEET: b"<x>" + NOISE + b"<!DOCTYPE x>"}, "文档类型"),
        ({"xl/vbaProject.bin": b"x"}, "宏"),
        ({"xl/externalLinks/externalLink1.xml": b"<x/>"}, "链接"),
        ({f"xl/x{number}.txt": b"" for number in range(400)}, "过多"),
        ({"bomb.xml": b"\x20" * 40_000_000}, "过大"),
        ({SHEET: b"<worksheet><sheetData><row"}, "xlsx"),
        ({"[Content_Types].xml": b"<x/>"}, "xlsx"),
    ],
)
def test_dangerous_files_are_refused(changes: dict[str, bytes], said: str) -> None:
    found = read_workbook(zipped({**parts_of(GOOD), **changes}))
    assert len(found.problems) == 1, found.problems
    assert said in found.problems[0].zh
    assert "passwd" not in found.problems[0].en
    assert found.rows.get("tenants", []) == []


def test_lies_about_sizes_are_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(zipped({**parts_of(GOOD), "big.xml": b"a" * 2_000_000}))
    start = data.rindex(b"PK\x01\x02", 0, data.rindex(b"big.xml"))
    data[start + 24 : start + 28] = (10).to_bytes(4, "little")
    found = read_workbook(bytes(data))
    assert len(found.problems) == 1
    monkeypatch.setattr(zip_guard, "LARGEST_WHOLE", 1000)
    assert "解压后" in read_workbook(GOOD).problems[0].zh
    monkeypatch.setattr(zip_guard, "LARGEST_FILE", 10)
    assert "超过" in read_workbook(GOOD).problems[0].zh


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"id,name\n", bytes.fromhex("d0cf11e0a1b11ae1") + b"x" * 512])
def test_what_is_no_workbook(data: bytes) -> None:
    found = read_workbook(data)
    assert len(found.problems) == 1
    assert found.problems[0].zh


def test_a_million_rows_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_reader, "MOST_ROWS", 50)
    many = workbook(tenants=[{"id": f"t-{number}"} for number in range(60)])
    found = read_workbook(many)
    assert [str(problem.place) for problem in found.problems] == ["租户 Tenants!A52"]
    assert len(found.rows["tenants"]) == 50
    rows = b"".join(b'<row r="%d"/>' % number for number in range(3, 300_000))
    parts = parts_of(GOOD)
    parts[SHEET] = parts[SHEET].replace(b"</sheetData>", rows + b"</sheetData>")
    padded = read_workbook(zipped(parts))
    assert (padded.problems, len(padded.rows["tenants"])) == ([], 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(min_size=1, max_size=40), st.integers(0, len(GOOD) - 40))
def test_a_damaged_file_is_told_and_never_raises(noise: bytes, where: int) -> None:
    found = read_workbook(GOOD[:where] + noise + GOOD[where + len(noise) :])
    assert found.problems or found.rows


def test_every_field_has_a_heading_of_its_own() -> None:
    for sheet in (TENANTS, DEVICES, SUPPLIES):
        assert (
            len({field.zh for field in sheet.fields})
            == len({field.en for field in sheet.fields})
            == len(HEADS[sheet.key])
        )

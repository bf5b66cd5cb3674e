"""Bills as PDF and Excel: what they say equals the bill, nothing is a box, nothing is a formula."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from decimal import Decimal
from pathlib import Path

import msgspec
import openpyxl
import pypdfium2
import pytest

from adapters.documents import fonts
from adapters.documents.bill_pdf import bill_pdf
from adapters.documents.bill_xlsx import AGREES, CREDITS, LINES, OVERVIEW, READINGS, bill_xlsx
from adapters.documents.fonts import FontMissingError, open_font
from billing.bill import Bill, Party
from billing.money import cents_half_up, format_nano
from tests.unit.adapters.documents.bills import full_bill, long_bill, wallet, water_meter

EVIL = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("http://x.example","y")', "http://x.example", "007")


def pdf_text(data: bytes) -> str:
    """All text of a PDF, without blanks: how a line was broken does not matter. Radicals count as their characters."""
    document = pypdfium2.PdfDocument(data)
    text = "".join(page.get_textpage().get_text_bounded() for page in document)
    return unicodedata.normalize("NFKC", "".join(text.split()))


def squeezed(text: str) -> str:
    """The same of an expected text."""
    return unicodedata.normalize("NFKC", "".join(text.split()))


def exact(value: object) -> Decimal:
    """A cell's number as the decimal that a person reads."""
    assert isinstance(value, int | float | str)
    return Decimal(repr(value) if isinstance(value, float) else value)


def test_the_pdf_says_what_the_bill_says() -> None:
    bill = full_bill()
    text = pdf_text(bill_pdf(bill))
    for words in (
        "示范园区物业管理有限公司", "Example Park Property Management Co., Ltd.", "P1-2026-000018", bill.anchor,
        bill.holder.name["zh"], "王先生", "2026-01-01 ~ 2026-01-31", "1,834.22 kWh", "换表 replaced", "第2档 T2",
        "峰 peak", "深谷 deep", "免费量 Free", "基价 base 1.2034 + fund 0.0150", "31 天 days", "公共照明分摊",
        "更正 corrects P1-2025-000017", "微信 WeChat", "多充 paid too much", "水表 Water meter wm-001", "Page 2 / 2",
    ):  # fmt: skip
        assert squeezed(words) in text, words
    for nano in (bill.opening_nano, bill.credits_nano, bill.charges_nano, bill.closing_nano):
        assert format_nano(nano) in text
    for line in (line for section in bill.wallets for line in section.lines):
        assert format_nano(line.amount_nano) in text
    due = -cents_half_up(bill.closing_nano)
    assert squeezed(f"Amount due: {due // 100}.{due % 100:02d}") in text


def test_pages_are_numbered_and_none_is_blank() -> None:
    data = bill_pdf(long_bill())
    document = pypdfium2.PdfDocument(data)
    assert len(document) >= 4
    for number, page in enumerate(document, 1):
        text = squeezed(page.get_textpage().get_text_bounded())
        assert f"Page{number}/{len(document)}" in text
        assert "P1-2026-000018" in text
        shades = page.render(scale=0.5).to_pil().convert("L").histogram()
        assert sum(shades[:120]) > 500


def test_the_font_travels_with_the_file() -> None:
    data = bill_pdf(full_bill())
    document = pypdfium2.PdfDocument(data)
    for page in document:
        names = {obj.get_font().get_base_name() for obj in page.get_objects([pypdfium2.raw.FPDF_PAGEOBJ_TEXT])}
        assert names
        assert all("WenQuanYi" in name or "+" in name for name in names), names
    assert b"/FontFile2" in data


def test_a_character_without_a_glyph_is_named_instead_of_boxed() -> None:
    font = open_font()
    assert not font.has("𠮷")
    bill = full_bill(holder=Party("t-9", {"zh": "𠮷野家\n店"}))
    text = pdf_text(bill_pdf(bill))
    assert "[U+20BB7]野家店" in text
    assert all(font.has(character) for character in font.printable("老王𠮷\x00\ud800面馆"))


def test_without_a_font_nothing_is_printed_and_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fonts, "KNOWN", ())
    with pytest.raises(FontMissingError, match=r"请安装中文字体.*apt-get install fonts-wqy-microhei"):
        bill_pdf(full_bill())
    broken = tmp_path / "font.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.setenv("TWINMETER_FONT", str(broken))
    with pytest.raises(FontMissingError, match=r"font\.ttf"):
        bill_pdf(full_bill())


def test_the_same_bill_gives_the_same_bytes() -> None:
    assert bill_pdf(full_bill()) == bill_pdf(full_bill())
    assert bill_xlsx(full_bill()) == bill_xlsx(full_bill())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"state": "draft", "number": "", "issued_ts": None, "anchor": ""}, "草稿 DRAFT B-18"),
        ({"state": "corrected", "replaced_by": "B-19"}, "已被更正 REPLACED → B-19"),
        ({"kind": "final", "corrects": "B-1"}, "结清账单 Final statement"),
    ],
)
def test_states_are_told(more: dict[str, object], words: str) -> None:
    assert squeezed(words) in pdf_text(bill_pdf(full_bill(**more)))


def test_a_bill_without_anything() -> None:
    bill = full_bill(wallets=(wallet("t-001", ()),), warnings=())
    assert "100.000000000" in pdf_text(bill_pdf(bill))
    assert openpyxl.load_workbook(io.BytesIO(bill_xlsx(bill)))[OVERVIEW]["A1"].value


def test_the_sheets_equal_the_bill() -> None:
    bill = full_bill()
    book = openpyxl.load_workbook(io.BytesIO(bill_xlsx(bill)), data_only=True)
    rows = list(book[LINES].iter_rows(min_row=2, values_only=True))
    lines = [line for section in bill.wallets for line in section.lines]
    assert len(rows) == len(lines) + 1
    for row, line in zip(rows, lines, strict=False):
        assert exact(row[10]) * 10**9 == line.amount_nano
        assert exact(row[9]) * 100 == cents_half_up(line.amount_nano)
        assert row[6] is None or exact(row[6]) * 1000 == line.quantity
        assert row[8] is None or exact(row[8]) * 10**6 == line.price_micro
    assert exact(rows[-1][10]) * 10**9 == bill.charges_nano
    assert exact(rows[-1][9]) * 100 == cents_half_up(bill.charges_nano)
    paid = list(book[CREDITS].iter_rows(min_row=2, values_only=True))
    assert exact(paid[-1][6]) * 10**9 == bill.credits_nano
    readings = list(book[READINGS].iter_rows(min_row=2, values_only=True))
    assert sum(exact(row[7]) * 1000 for row in readings if row[8] == "kWh") == 340_334
    cells = {cell.value for row in book[OVERVIEW].iter_rows() for cell in row}
    assert bill.anchor in cells
    assert [cell for cell in cells if cell == AGREES]
    closing = {exact(cell) for cell in cells if isinstance(cell, int | float)}
    assert Decimal(bill.closing_nano).scaleb(-9) in closing


def test_check_cells_are_formulas_over_all_lines() -> None:
    book = openpyxl.load_workbook(io.BytesIO(bill_xlsx(full_bill())))
    sheet = book[LINES]
    formulas = [cell.value for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    last = sheet.max_row
    assert formulas == [
        f"=IF(ABS(SUM('{LINES}'!K2:K{last - 1})-'{LINES}'!K{last})<0.000001,\"一致 OK\",\"不符 MISMATCH\")"
    ]


@pytest.mark.parametrize("evil", EVIL)
def test_no_text_becomes_a_formula_or_a_link(evil: str) -> None:
    bill = full_bill()
    section = msgspec.structs.replace(water_meter(), name={"zh": evil}, meter=evil)
    credit = msgspec.structs.replace(bill.wallets[0].credits[0], memo=evil, reference=evil, channel=evil)
    dirty = msgspec.structs.replace(
        bill,
        holder=Party(evil, {"zh": evil}),
        wallets=(wallet(evil, (section,), credits=(credit,), name={"zh": evil}),),
        warnings=({"zh": evil},),
    )
    data = bill_xlsx(dirty)
    _only_checks_are_formulas(data)
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        assert not [name for name in parts.namelist() if "_rels/sheet" in name]
        assert not any(b"<hyperlink" in parts.read(name) for name in parts.namelist())
    assert bill_pdf(dirty).startswith(b"%PDF")


def _only_checks_are_formulas(data: bytes) -> None:
    for sheet in openpyxl.load_workbook(io.BytesIO(data)):
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type != "f" or str(cell.value).startswith("=IF(ABS(SUM("), cell.value


def test_amounts_that_excel_cannot_hold_stand_as_text() -> None:
    bill: Bill = full_bill()
    huge = wallet("t-001", bill.wallets[0].meters, opening_nano=1_234_567_890_123_456_789)
    book = openpyxl.load_workbook(io.BytesIO(bill_xlsx(full_bill(wallets=(huge,)))), data_only=True)
    cells = {cell.value for row in book[OVERVIEW].iter_rows() for cell in row}
    assert format_nano(huge.closing_nano) in cells

"""The workbook that people fill in: headings in both languages, text columns for ids, drop-downs, what is there now."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from xlsxwriter.utility import xl_col_to_name

from adapters.documents.workbook import Book
from twin.workbook import DEVICES, README, SHEETS, SUPPLIES, TENANTS, Field, Sheet

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

    from twin.ports import SiteDocument

LISTS: Final = "选项 Lists"
_ROOM: Final = 5_000
"""Rows below the last one that get formats and drop-downs, too."""
_GUIDE: Final = (
    ("怎么用 How to", "在各工作表中填写，空单元格保持原值；不会删除任何内容。",
     "Fill in the sheets; an empty cell leaves what is there; nothing is ever removed."),
    ("编号 Ids", "只用字母、数字、_ 和 -；已设为文本格式，前导零不会丢失。",
     "Letters, digits, _ and - only; the columns are text, so leading zeros stay."),
    ("起码 Opening", "以 kWh 或 m³ 填写，最多三位小数；平台接管之前的用量不计费。",
     "In kWh or m³ with at most three decimals; what was used before is charged to nobody."),
    ("时间 Times", "园区当地时间，例如 2026-01-31 或 2026-01-31 08:00。",
     "Local time of the site, such as 2026-01-31 or 2026-01-31 08:00."),
    ("公式 Formulas", "不接受公式、宏和外部链接，请粘贴数值。", "No formulas, macros or links: paste values."),
)  # fmt: skip


def site_workbook(document: SiteDocument, *, filled: bool) -> bytes:
    """A workbook for a site; `filled` with the tenants, meters and supplies that it has now."""
    out = io.BytesIO()
    book = Book(out, ZoneInfo(document.site["timezone"]))
    _readme(book, document)
    lists = _Lists(book, document)
    for sheet in SHEETS:
        rows = _rows(sheet, document) if filled else []
        _sheet(book, sheet, rows, lists)
    lists.close()
    book.close()
    return out.getvalue()


def _readme(book: Book, document: SiteDocument) -> None:
    sheet = book.sheet(README)
    sheet.set_column(0, 0, 18)
    sheet.set_column(1, 2, 64)
    book.text(sheet, 0, 0, "租户与表计 Tenants and meters", book.format(bold=True, font_size=14))
    book.text(sheet, 1, 0, "园区 Site", book.format(bold=True))
    book.text(sheet, 1, 1, document.site["site"])
    for row, (name, zh, en) in enumerate(_GUIDE, 3):
        book.text(sheet, row, 0, name, book.format(bold=True))
        book.text(sheet, row, 1, zh, book.format(text_wrap=True))
        book.text(sheet, row, 2, en, book.format(text_wrap=True))


class _Lists:
    """The hidden sheet whose columns the drop-downs offer."""

    def __init__(self, book: Book, document: SiteDocument) -> None:
        site = document.site
        devices = site.get("devices", ())
        self._entries: dict[str, list[str]] = {
            "tariffs": sorted(document.tariffs),
            "gateways": sorted(entry["id"] for entry in site.get("gateways", ())),
            "meters": sorted(entry["id"] for entry in devices if entry["kind"].endswith("_meter")),
            "devices": sorted(entry["id"] for entry in devices),
            "tenants": sorted(entry["id"] for entry in site.get("tenants", ())),
        }
        self._book = book

    def rule(self, field: Field) -> dict[str, Any] | None:
        """The drop-down of a column. What it does not offer may be written all the same where new ids come in."""
        if field.choices:
            source: Any = [f"{choice.zh} {choice.en}" for choice in field.choices]
            return {"validate": "list", "source": source, "ignore_blank": True}
        entries = self._entries.get(field.names, [])
        if not entries:
            return None
        column = xl_col_to_name(list(self._entries).index(field.names))
        source = f"='{LISTS}'!${column}$1:${column}${len(entries)}"
        strict = field.names in ("tariffs", "gateways")
        return {
            "validate": "list",
            "source": source,
            "ignore_blank": True,
            "error_type": "stop" if strict else "warning",
        }

    def close(self) -> None:
        """Write the sheet, hidden and last."""
        sheet = self._book.sheet(LISTS)
        for column, entries in enumerate(self._entries.values()):
            for row, entry in enumerate(entries):
                self._book.text(sheet, row, column, entry)
        sheet.hide()


def _sheet(book: Book, sheet: Sheet, rows: list[list[Any]], lists: _Lists) -> None:
    worksheet = book.sheet(sheet.title)
    for column, field in enumerate(sheet.fields):
        text = field.kind in ("id", "text", "choice", "yes_no")
        worksheet.set_column(column, column, field.width, book.format(num_format="@" if text else "General"))
        heading = f"{field.zh} {field.en}{'*' if field.required else ''}"
        shade = "#FCE8D5" if field.required else "#DCE6F1"
        book.text(worksheet, 0, column, heading, book.format(bold=True, shade=shade, text_wrap=True))
        rule = lists.rule(field)
        if rule is not None:
            worksheet.data_validation(1, column, len(rows) + _ROOM, column, rule)
    worksheet.freeze_panes(1, 1)
    for number, row in enumerate(rows, 1):
        for column, (field, value) in enumerate(zip(sheet.fields, row, strict=True)):
            _put(book, worksheet, number, column, field, value)


def _put(book: Book, worksheet: Worksheet, row: int, column: int, field: Field, value: Any) -> None:
    if value is None:
        return
    if field.choices:
        choice = next(choice for choice in field.choices if choice.value == value)
        book.text(worksheet, row, column, f"{choice.zh} {choice.en}", book.format(num_format="@"))
    elif field.kind in ("money", "credit", "weight"):
        worksheet.write_number(row, column, Decimal(value), book.format())
    elif field.kind == "register":
        worksheet.write_number(row, column, Decimal(value).scaleb(-3), book.format(num_format="0.00#"))
    elif field.kind == "count":
        worksheet.write_number(row, column, value, book.format())
    else:
        book.text(worksheet, row, column, str(value), book.format(num_format="@"))


def _rows(sheet: Sheet, document: SiteDocument) -> list[list[Any]]:
    """What the site has now, as rows of a sheet."""
    if sheet is SUPPLIES:
        entries = [
            {**supply, "tenant": tenant["id"]}
            for tenant in document.site.get("tenants", ())
            for supply in tenant.get("supplies", ())
        ]
    else:
        entries = list(document.site.get({TENANTS.key: "tenants", DEVICES.key: "devices"}[sheet.key], ()))
    return [[_value(field.key, entry) for field in sheet.fields] for entry in entries]


def _value(key: str, entry: dict[str, Any]) -> Any:
    outer, _, inner = key.partition(".")
    if key == "opening":
        return entry.get("opening_wh", entry.get("opening_l"))
    if outer in ("name", "location"):
        words = entry.get(outer)
        if isinstance(words, dict):
            return words.get(inner or "zh")
        return words if inner in ("", "zh") else None
    return entry.get(outer, {}).get(inner) if inner else entry.get(key)

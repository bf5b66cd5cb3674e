"""Workbooks for tests of the import, made with openpyxl: what people send."""

from __future__ import annotations

import io
from typing import Any

import openpyxl

from twin.workbook import DEVICES, SUPPLIES, TENANTS, Sheet

HEADS = {sheet.key: [field.key for field in sheet.fields] for sheet in (TENANTS, DEVICES, SUPPLIES)}


def workbook(**sheets: list[dict[str, Any]]) -> bytes:
    """A workbook with rows by field (`tenants`, `devices`, `supplies`)."""
    book = openpyxl.Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for sheet in (TENANTS, DEVICES, SUPPLIES):
        if sheet.key in sheets:
            _fill(book.create_sheet(sheet.title), sheet, sheets[sheet.key])
    return saved(book)


def saved(book: openpyxl.Workbook) -> bytes:
    """The bytes of a workbook."""
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _fill(worksheet: Any, sheet: Sheet, rows: list[dict[str, Any]]) -> None:
    worksheet.append([f"{field.zh} {field.en}{'*' if field.required else ''}" for field in sheet.fields])
    for row in rows:
        unknown = row.keys() - set(HEADS[sheet.key])
        assert not unknown, unknown
        worksheet.append([row.get(key) for key in HEADS[sheet.key]])


def cell(sheet: Sheet, key: str, row: int) -> str:
    """The name of a field's cell, with its sheet."""
    return f"{sheet.title}!{openpyxl.utils.get_column_letter(HEADS[sheet.key].index(key) + 1)}{row}"

"""Excel files written row by row, in which no text is ever a formula and every number is exact.

Theory of operation. Text goes into the file as shared or inline strings by `write_string`, never by the guessing
`write`, and the library's own guesses (formulas, links, numbers in text) are switched off. Numbers go in as exact
decimals. Excel keeps fifteen digits of a number, so an amount that has more stands as text, rather than wrong. In
`streaming` mode each row leaves memory for a temporary file when the next one begins.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from xlsxwriter import Workbook

from adapters.documents.values import as_date, is_words, local_clock, plain_text, said
from billing.money import cents_half_up

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO
    from zoneinfo import ZoneInfo

    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

    from billing.tables import Kind, Row, Table

CREATED: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands in every file, so that a file depends on its content alone."""
MOST_ROWS: Final = 1_048_000
"""Rows of one sheet; Excel has a few more, which headings and totals need."""
MOST_DIGITS: Final = 15
LONGEST_TEXT: Final = 32_000
OPTIONS: Final = {
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "in_memory": False,
    "remove_timezone": True,
}
_NUMBERS: Final[dict[Kind, tuple[int, str]]] = {
    "money": (9, "#,##0.00;[Red]-#,##0.00"),
    "exact": (9, "#,##0.000000000;[Red]-#,##0.000000000"),
    "price": (6, "0.0000##"),
    "quantity": (3, "#,##0.00#"),
    "count": (0, "#,##0"),
}
_FORMS: Final[dict[Kind, str]] = {"instant": "yyyy-mm-dd hh:mm:ss", "day": "yyyy-mm-dd"}
_ILLEGAL: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535), "�")


class Book:
    """An Excel file being written, with the formats that its sheets share."""

    def __init__(self, out: BinaryIO | Path | str, zone: ZoneInfo, *, streaming: bool = False) -> None:
        options = {**OPTIONS, "constant_memory": streaming}
        self.zone = zone
        self._book = Workbook(out if not hasattr(out, "joinpath") else str(out), options)
        self._book.set_properties({"created": CREATED, "comments": "twinmeter"})
        self._formats: dict[tuple[Any, ...], Format] = {}
        self._names: set[str] = set()

    def sheet(self, name: str) -> Worksheet:
        """A new sheet, its name made one that Excel accepts and that no other sheet has."""
        clean = "".join("_" if character in "[]:*?/\\" else character for character in name).strip("'")[:28] or "_"
        chosen, number = clean, 2
        while chosen.lower() in self._names:
            chosen, number = f"{clean}~{number}", number + 1
        self._names.add(chosen.lower())
        return self._book.add_worksheet(chosen)

    def format(self, kind: Kind = "text", *, bold: bool = False, shade: str = "", **more: Any) -> Format:
        """The format of a kind of value."""
        key = (kind, bold, shade, *sorted(more.items()))
        if key not in self._formats:
            entries: dict[str, Any] = {"valign": "top", "font_name": "Microsoft YaHei", "font_size": 10, **more}
            number = _NUMBERS[kind][1] if kind in _NUMBERS else _FORMS.get(kind, "")
            entries |= {"num_format": number} if number else {}
            entries |= {"bold": True} if bold else {}
            entries |= {"bg_color": shade} if shade else {}
            self._formats[key] = self._book.add_format(entries)
        return self._formats[key]

    def put(self, sheet: Worksheet, row: int, column: int, kind: Kind, value: Any, form: Format | None = None) -> None:
        """One value as a typed cell; None is an empty one."""
        form = form or self.format(kind)
        if value is None:
            sheet.write_blank(row, column, None, form)
        elif kind in _NUMBERS:
            number = exact_number(kind, value)
            if number is None:
                sheet.write_string(row, column, plain_text(kind, value, self.zone), form)
            else:
                sheet.write_number(row, column, number, form)
        elif kind == "instant":
            sheet.write_datetime(row, column, local_clock(value, self.zone), form)
        elif kind == "day":
            sheet.write_datetime(row, column, as_date(value), form)
        else:
            self.text(sheet, row, column, plain_text(kind, value, self.zone), form)

    def text(self, sheet: Worksheet, row: int, column: int, text: str, form: Format | None = None) -> None:
        """A text cell, whatever the text looks like; characters that no XML can hold become U+FFFD."""
        clean = text.translate(_ILLEGAL).encode("utf-8", "replace").decode()[:LONGEST_TEXT]
        sheet.write_string(row, column, clean, form or self.format())

    def close(self) -> None:
        """Write the file."""
        self._book.close()


class TableSheets:
    """One table over as many sheets as its rows need, with headings, filters and a row of totals at the end."""

    def __init__(self, book: Book, table: Table, language: str) -> None:
        self._book = book
        self._table = table
        self._language = language
        self._sheet: Worksheet | None = None
        self._row = 0
        self._formats = [book.format(column.kind) for column in table.columns]
        self._begin()

    def rows(self, rows: Iterable[Row]) -> None:
        """Some rows."""
        for row in rows:
            if self._row > MOST_ROWS:
                self._finish()
                self._begin()
            assert self._sheet is not None
            for place, (column, value) in enumerate(zip(self._table.columns, row, strict=True)):
                if is_words(column):
                    text = said(column, value, self._language)
                    self._book.text(self._sheet, self._row, place, text, self._formats[place])
                else:
                    self._book.put(self._sheet, self._row, place, column.kind, value, self._formats[place])
            self._row += 1

    def totals(self, row: Row) -> None:
        """The last row, in bold."""
        assert self._sheet is not None
        for place, (column, value) in enumerate(zip(self._table.columns, row, strict=True)):
            form = self._book.format(column.kind, bold=True, shade="#EEF2F7")
            kind: Kind = "text" if isinstance(value, str) or value is None else column.kind
            self._book.put(self._sheet, self._row, place, kind, value, form)
        self._row += 1

    def close(self) -> None:
        """No more rows."""
        self._finish()

    def _begin(self) -> None:
        name = {"zh": self._table.zh, "en": self._table.en}.get(self._language, self._table.zh)
        sheet = self._sheet = self._book.sheet(name)
        for place, column in enumerate(self._table.columns):
            sheet.set_column(place, place, column.width)
        heading = self._book.format(bold=True, shade="#DCE6F1", text_wrap=True)
        for place, column in enumerate(self._table.columns):
            self._book.text(sheet, 0, place, column.heading(self._language), heading)
        sheet.freeze_panes(1, 0)
        self._row = 1

    def _finish(self) -> None:
        assert self._sheet is not None
        self._sheet.autofilter(0, 0, max(self._row - 1, 1), len(self._table.columns) - 1)


def exact_number(kind: Kind, value: int) -> Decimal | None:
    """A value in base units as the decimal a cell shows; None where Excel could not keep all of its digits."""
    number = Decimal(value).scaleb(-_NUMBERS[kind][0]).normalize()
    digits = len(number.as_tuple().digits)
    return number if digits <= MOST_DIGITS else None


def cents_number(amount_nano: int) -> Decimal:
    """Nano-units as a decimal of whole cents, rounded half up."""
    return Decimal(cents_half_up(amount_nano)).scaleb(-2)

"""Reading a workbook of tenants and meters: every cell checked, every problem told at its cell, nothing evaluated.

Formulas are refused rather than computed: their cached values may be old, and what they would become is not ours to
know. Rows are read one by one and their number is bounded, so a sheet with a million rows ends early.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import ParseError

import openpyxl
from defusedxml.common import DefusedXmlException
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from adapters.documents.cell_values import CellError, clean, read_cell
from adapters.documents.zip_guard import UnsafeFileError, must_be_safe
from twin.workbook import README, SHEETS, SITE_CELL, CellProblem, Field, Place, Sheet, SheetRow, Workbook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_ROWS: Final = 20_000
MOST_BLANK: Final = 2_000
"""Empty rows in a row after which a sheet is taken to be over."""
MOST_COLUMNS: Final = 60
MOST_PROBLEMS: Final = 500


def read_workbook(data: bytes) -> Workbook:
    """What an Excel file says, with every problem found. A file that cannot be opened safely is one problem."""
    found = Workbook()
    try:
        must_be_safe(data)
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=False, keep_links=False)
    except UnsafeFileError as error:
        found.wrong(Place("", ""), error.zh, error.en)
        return found
    except (InvalidFileException, zipfile.BadZipFile, ParseError, DefusedXmlException, KeyError, ValueError,
            TypeError, IndexError, AttributeError, OSError) as error:  # fmt: skip
        found.wrong(Place("", ""), f"不是有效的 .xlsx 文件 ({error})", f"this is no readable .xlsx file ({error})")
        return found
    try:
        _read_book(book, found)
    except (ParseError, DefusedXmlException, KeyError, ValueError, TypeError, IndexError, OSError) as error:
        found.wrong(Place("", ""), f"文件已损坏 ({error})", f"the file is damaged ({error})")
    finally:
        book.close()
    return found


def _read_book(book: Any, found: Workbook) -> None:
    known = {_loose(name): name for name in book.sheetnames}
    if _loose(README) in known:
        found.site = clean(str(book[known[_loose(README)]][SITE_CELL].value or ""))
    seen = 0
    for sheet in SHEETS:
        loose = [_loose(word) for word in (sheet.title, sheet.zh, sheet.en)]
        name = next((known[word] for word in loose if word in known), "")
        if name:
            seen += 1
            _SheetReading(sheet, name, found).read(book[name])
    if not seen:
        names = "、".join(sheet.title for sheet in SHEETS)
        found.wrong(Place("", ""), f"没有找到工作表 {names}", f"none of the sheets {names} is there; take the template")


class _SheetReading:
    """One sheet being read."""

    def __init__(self, sheet: Sheet, name: str, found: Workbook) -> None:
        self.sheet = sheet
        self.name = name
        self.found = found
        self.columns: dict[int, Field] = {}

    def read(self, worksheet: Any) -> None:
        """All rows of the sheet; problems go to the workbook."""
        worksheet.reset_dimensions()
        rows = self.found.rows.setdefault(self.sheet.key, [])
        blank = 0
        for number, cells in enumerate(worksheet.iter_rows(max_col=MOST_COLUMNS), 1):
            if number == 1:
                if not self._read_head(cells):
                    return
                continue
            if all(_is_empty(cell.value) for cell in cells):
                blank += 1
                if blank > MOST_BLANK:
                    return
                continue
            blank = 0
            if len(rows) >= MOST_ROWS:
                self._wrong(
                    number, 0, f"超过 {MOST_ROWS} 行，请分成几个文件", f"more than {MOST_ROWS} rows; split the file"
                )
                return
            rows.append(self._row(number, cells))
            if len(self.found.problems) >= MOST_PROBLEMS:
                return

    def _read_head(self, cells: Sequence[Any]) -> bool:
        """Which column is which field; False where the sheet cannot be read."""
        names = {_loose(word): field for field in self.sheet.fields for word in _names_of(field)}
        for place, cell in enumerate(cells):
            if _is_empty(cell.value):
                continue
            field = names.get(_loose(str(cell.value)))
            if field is None:
                self._wrong(1, place, f"未知的列 {cell.value!r}", f"unknown column {cell.value!r}; take the template's")
            elif field in self.columns.values():
                self._wrong(1, place, f"列 {field.zh} 出现两次", f"column {field.en} is there twice")
            else:
                self.columns[place] = field
        missing = [field for field in self.sheet.fields if field.required and field not in self.columns.values()]
        for field in missing:
            self._wrong(1, 0, f"缺少列 {field.zh}", f"column {field.en} is missing")
        return not missing

    def _row(self, number: int, cells: Sequence[Any]) -> SheetRow:
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for place, field in self.columns.items():
            cell = cells[place] if place < len(cells) else None
            if cell is None or _is_empty(cell.value):
                continue
            places[field.key] = Place(self.name, f"{get_column_letter(place + 1)}{number}")
            try:
                values[field.key] = self._value(field, cell, places[field.key])
            except CellError as error:
                self._wrong(number, place, error.zh, error.en)
        for place, field in self.columns.items():
            if field.required and field.key not in places:
                self._wrong(number, place, f"{field.zh} 必填", f"{field.en} is required")
        return SheetRow(self.name, number, values, places)

    def _value(self, field: Field, cell: Any, place: Place) -> Any:
        if cell.data_type == "f":
            raise CellError("这是公式；请复制后“选择性粘贴-数值”", "this is a formula: copy it and paste its value")
        if cell.data_type == "e":
            raise CellError(f"这是错误值 {cell.value}", f"this is the error {cell.value}")
        value = read_cell(field, cell.value, str(cell.number_format or ""))
        if isinstance(cell.value, str) and field.kind == "id" and cell.value != value:
            self.found.notes.append(CellProblem(place, f"读作 {value}", f"read as {value}"))
        if isinstance(cell.value, int | float) and field.kind == "id" and not isinstance(cell.value, bool):
            self.found.notes.append(
                CellProblem(
                    place,
                    f"编号是数字，读作 {value}；若有前导零，请设为“文本”",
                    f"the id is a number, read as {value}; format the cell as text where it begins with zeros",
                )
            )
        return value

    def _wrong(self, number: int, column: int, zh: str, en: str) -> None:
        self.found.wrong(Place(self.name, f"{get_column_letter(column + 1)}{number}"), zh, en)


def _names_of(field: Field) -> Iterator[str]:
    yield from (field.zh, field.en, field.key, f"{field.zh} {field.en}")
    yield from (f"{field.zh}*", f"{field.zh} {field.en}*", f"{field.en}*")


def _loose(text: str) -> str:
    """A name without what people vary: case, blanks, width."""
    return "".join(clean(text).lower().split())


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not clean(value))

"""A table as PDF: title, what it covers, rows as they come, totals; for statements and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.documents.fonts import open_font
from adapters.documents.pages import ACCENT, GREY, Align, Field, Pages, PrintedTable
from adapters.documents.values import is_words, said, shown_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO
    from zoneinfo import ZoneInfo

    from billing.tables import Column, Row, Table

_MOST_COLUMNS_UPRIGHT = 6
_NUMBERS = frozenset({"count", "money", "exact", "price", "quantity"})


class TablePdf:
    """One table being printed. Raises FontMissingError at once where there is no font to print with."""

    def __init__(
        self, out: BinaryIO, table: Table, zone: ZoneInfo, language: str, heading: Sequence[str], issuer: str
    ) -> None:
        self._table = table
        self._zone = zone
        self._language = language
        title = {"zh": table.zh, "en": table.en}.get(language, f"{table.zh} {table.en}")
        wide = len(table.columns) > _MOST_COLUMNS_UPRIGHT
        self._pages = Pages(out, open_font(), _Edge(issuer, title), title, wide=wide)
        pages = self._pages
        pages.paragraph(issuer, 12, colour=ACCENT, bold=True)
        pages.paragraph(title, 15, bold=True)
        for line in heading:
            pages.paragraph(line, 9, colour=GREY)
        pages.down(8)
        self._grid = PrintedTable(pages, [_field(column, language) for column in table.columns], 7.5)

    def rows(self, rows: Iterable[Row]) -> None:
        """Some rows."""
        self._grid.rows([self._shown(row) for row in rows])

    def totals(self, row: Row) -> None:
        """A row of totals."""
        self._grid.rows([self._shown(row)], total=True)

    def close(self) -> None:
        """Finish the file."""
        self._pages.close()

    def _shown(self, row: Row) -> list[str]:
        return [self._cell(column, value) for column, value in zip(self._table.columns, row, strict=True)]

    def _cell(self, column: Column, value: Any) -> str:
        if is_words(column):
            return said(column, value, self._language)
        return value if isinstance(value, str) else shown_text(column.kind, value, self._zone)


class _Edge:
    """What stands on every page of a table."""

    def __init__(self, issuer: str, title: str) -> None:
        self.issuer = issuer
        self.title = title

    def head(self, pages: Pages) -> None:
        """From the second page on, which table this is."""
        if pages.number == 1:
            return
        pages.write(pages.left, pages.height - 34, f"{self.issuer} · {self.title}", 8, colour=GREY)
        pages.y = pages.height - 42
        pages.rule()
        pages.down(8)

    def foot(self, pages: Pages) -> None:
        """The page's number."""
        pages.page_number(pages.right, pages.bottom - 18, 7)


def _field(column: Column, language: str) -> Field:
    align: Align = "right" if column.kind in _NUMBERS else "left"
    heading = column.heading(language) if language in ("zh", "en") else f"{column.zh}\n{column.en}"
    return Field(heading, column.width, align, small=column.kind == "exact")

"""Tables as CSV, chunk by chunk, that no spreadsheet program takes for formulas.

Theory of operation. A spreadsheet program that opens a CSV file takes a cell for a formula when it begins with `=`,
`+`, `-` or `@` (some also with their full-width forms, with `|` or `%`, or after a tab, a carriage return or a NUL). A
tenant who chooses such a name would run it on the accountant's machine (CWE-1236). Cells of text columns that begin so,
blanks before it included, get an apostrophe in front. Numbers come from number columns only and stay as they are:
`-5.00` remains a number. The byte order mark tells Excel that the file is UTF-8.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from adapters.documents.values import is_words, plain_text, said

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

    from billing.tables import Row, Table

BYTE_ORDER_MARK = "\ufeff"
DANGEROUS = frozenset("=+-@|%＝＋－＠\t\r\n\0")
_BLANKS = " \u00a0\u3000\u200b\u2060\ufeff\v\f"


def defused(text: str) -> str:
    """A text that a spreadsheet program shows as it is: with an apostrophe in front where it would be run."""
    first = text.lstrip(_BLANKS)[:1]
    return f"'{text}" if first in DANGEROUS and first else text


class CsvWriter:
    """Writes one table; each call gives the bytes that it adds to the file."""

    def __init__(self, table: Table, zone: ZoneInfo, language: str) -> None:
        self._table = table
        self._zone = zone
        self._language = language
        self._buffer = io.StringIO(newline="")
        self._writer = csv.writer(self._buffer)

    def head(self) -> bytes:
        """Byte order mark and headings."""
        self._buffer.write(BYTE_ORDER_MARK)
        self._writer.writerow([column.heading(self._language) for column in self._table.columns])
        return self._taken()

    def rows(self, rows: Iterable[Row]) -> bytes:
        """Some rows."""
        columns = self._table.columns
        for row in rows:
            self._writer.writerow([
                defused(said(column, value, self._language)) if is_words(column)
                else plain_text(column.kind, value, self._zone)
                for column, value in zip(columns, row, strict=True)
            ])  # fmt: skip
        return self._taken()

    def _taken(self) -> bytes:
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return text.encode("utf-8", "replace")

"""Documents as the platform hands them out: bills whole, tables piece by piece.

A table is written as its rows come, in bounded memory: CSV leaves at once, Excel and PDF grow in a file that has no
name and is gone when it was sent. What writes and reads Excel and PDF is loaded with the first document: most commands
and services never make one, and would start a third of a second later.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Literal, Protocol

from adapters.documents.csv_text import CsvWriter
from billing.tables import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from zoneinfo import ZoneInfo

    from billing.bill import Bill
    from billing.tables import Row, Table
    from twin.ports import SiteDocument
    from twin.workbook import Workbook

Format = Literal["csv", "xlsx", "pdf"]
CHUNK = 64 * 1024
MOST_PRINTED = 10_000
"""Rows of a PDF: three hundred pages, which nobody reads, but some must file."""
_IN_MEMORY = 4 * 1024 * 1024


class TableFile(Protocol):
    """A file of one table. Each call gives the bytes that are ready; `end` gives the rest."""

    def head(self) -> bytes: ...
    def rows(self, rows: Iterable[Row]) -> bytes: ...
    def totals(self, row: Row) -> bytes: ...
    def end(self) -> Iterator[bytes]: ...


class SiteDocuments:
    """Makes documents. Raises DocumentError where the machine lacks what one needs."""

    def bill(self, bill: Bill, form: Literal["xlsx", "pdf"]) -> bytes:
        """A bill as a file."""
        if form == "pdf":
            from adapters.documents.bill_pdf import bill_pdf

            return bill_pdf(bill)
        from adapters.documents.bill_xlsx import bill_xlsx

        return bill_xlsx(bill)

    def read_workbook(self, data: bytes) -> Workbook:
        """What an Excel file says of tenants and meters, with every problem at its cell."""
        from adapters.documents.site_reader import read_workbook

        return read_workbook(data)

    def site_workbook(self, document: SiteDocument, *, filled: bool) -> bytes:
        """The workbook that people fill in for a site; `filled` with what is there now."""
        from adapters.documents.site_template import site_workbook

        return site_workbook(document, filled=filled)

    def table(
        self, form: Format, table: Table, zone: ZoneInfo, language: str, heading: Sequence[str], issuer: str
    ) -> TableFile:
        """A table to be filled. `heading` says what it covers, in a PDF; `language` is `zh`, `en` or `both`."""
        if form == "csv":
            return _CsvFile(CsvWriter(table, zone, language))
        if form == "xlsx":
            return _ExcelFile(table, zone, language)
        return _PdfFile(table, zone, language, heading, issuer)


class _CsvFile:
    """CSV; totals are left out, because they are no data."""

    def __init__(self, writer: CsvWriter) -> None:
        self._writer = writer

    def head(self) -> bytes:
        return self._writer.head()

    def rows(self, rows: Iterable[Row]) -> bytes:
        return self._writer.rows(rows)

    def totals(self, row: Row) -> bytes:  # noqa: ARG002 -- see above
        return b""

    def end(self) -> Iterator[bytes]:
        return iter(())


class _Growing:
    """A file that grows aside and is sent at its end."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 -- closed by `end`

    def head(self) -> bytes:
        return b""

    def _sent(self) -> Iterator[bytes]:
        with self._file as file:
            file.seek(0)
            while chunk := file.read(CHUNK):
                yield chunk


class _ExcelFile(_Growing):
    def __init__(self, table: Table, zone: ZoneInfo, language: str) -> None:
        from adapters.documents.workbook import Book, TableSheets

        super().__init__()
        self._book = Book(self._file, zone, streaming=True)  # type: ignore[arg-type]
        self._sheets = TableSheets(self._book, table, language)

    def rows(self, rows: Iterable[Row]) -> bytes:
        self._sheets.rows(rows)
        return b""

    def totals(self, row: Row) -> bytes:
        self._sheets.totals(row)
        return b""

    def end(self) -> Iterator[bytes]:
        self._sheets.close()
        self._book.close()
        return self._sent()


class _PdfFile(_Growing):
    def __init__(self, table: Table, zone: ZoneInfo, language: str, heading: Sequence[str], issuer: str) -> None:
        from adapters.documents.table_pdf import TablePdf

        super().__init__()
        self._count = 0
        self._pdf = TablePdf(self._file, table, zone, language, heading, issuer)  # type: ignore[arg-type]

    def rows(self, rows: Iterable[Row]) -> bytes:
        rows = list(rows)
        self._count += len(rows)
        if self._count > MOST_PRINTED:
            raise DocumentError(
                f"超过 {MOST_PRINTED} 行，不宜打印，请导出 xlsx 或 csv。"
                f" More than {MOST_PRINTED} rows are too many to print: take xlsx or csv, or a shorter span."
            )
        self._pdf.rows(rows)
        return b""

    def totals(self, row: Row) -> bytes:
        self._pdf.totals(row)
        return b""

    def end(self) -> Iterator[bytes]:
        self._pdf.close()
        return self._sent()

"""Pages of a PDF: text, lines and tables from top to bottom, with a heading and a footer on every page.

Theory of operation. Rows are drawn as they come and a page is given away as soon as it is full, so a statement of a
hundred thousand rows needs no more memory than its compressed pages. The number of pages is known only at the end: each
footer refers to one form, which is drawn then. Files depend on their content alone (no time, no random id), so that the
same bill gives the same bytes. Bold is the same font with a thin outline: the free Chinese fonts have one weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfgen.canvas import Canvas

from adapters.documents.wrapping import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

    from adapters.documents.fonts import Font

MARGIN = 42.0
LINE = 1.36
"""Distance of lines in font sizes."""
INK = (0.10, 0.12, 0.16)
GREY = (0.42, 0.45, 0.50)
PALE = (0.945, 0.955, 0.97)
RULE = (0.80, 0.83, 0.87)
ACCENT = (0.07, 0.31, 0.55)
ALERT = (0.72, 0.15, 0.11)
_PAGES = "pages"
_CELL = 4.6

Align = Literal["left", "right", "center"]
Colour = tuple[float, float, float]


class Field(msgspec.Struct, frozen=True):
    """One column of a printed table: its share of the width, and where its text stands."""

    heading: str
    share: float
    align: Align = "left"
    small: bool = False


class Edge(Protocol):
    """Draws what stands on every page."""

    def head(self, pages: Pages) -> None: ...
    def foot(self, pages: Pages) -> None: ...


class Pages:
    """A PDF being written; `y` is where the next thing goes, in points from the bottom."""

    def __init__(self, out: BinaryIO, font: Font, edge: Edge, title: str, *, wide: bool = False) -> None:
        self.font = font
        self.width, self.height = landscape(A4) if wide else A4
        self.canvas = Canvas(out, pagesize=(self.width, self.height), pageCompression=1, invariant=1)
        self.canvas.setTitle(title)
        self.canvas.setCreator("twinmeter")
        self.canvas.setProducer("twinmeter")
        self.left, self.right = MARGIN, self.width - MARGIN
        self.bottom = MARGIN + 20
        self.number = 0
        self.y = 0.0
        self._edge = edge
        self._number_size = 0.0
        self.new_page()

    @property
    def inner(self) -> float:
        """Width between the margins."""
        return float(self.right - self.left)

    def new_page(self) -> None:
        """Give away the page and begin the next."""
        if self.number:
            self._edge.foot(self)
            self.canvas.showPage()
        self.number += 1
        self.y = self.height - MARGIN
        self._edge.head(self)

    def room(self, points: float) -> None:
        """A new page where less than so much is left of this one."""
        if self.y - points < self.bottom:
            self.new_page()

    def down(self, points: float) -> None:
        """Leave some space."""
        self.y -= points

    def write(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        colour: Colour = INK,
        bold: bool = False,
        align: Align = "left",
    ) -> None:
        """One line of text with its baseline at `y`; `x` is its left, right or middle."""
        text = self.font.printable(text)
        if align != "left":
            width = self.font.width(text, size)
            x -= width if align == "right" else width / 2
        line = self.canvas.beginText(x, y)
        line.setFont(self.font.name, size)
        line.setFillColorRGB(*colour)
        if bold:
            # Small Chinese characters run together under the outline that makes large ones bold.
            self.canvas.setLineWidth(size * (0.03 if size >= 10 else 0.016 if size >= 8 else 0.005))
            line.setStrokeColorRGB(*colour)
            line.setTextRenderMode(2)
        line.textOut(text)
        if bold:
            line.setTextRenderMode(0)
        self.canvas.drawText(line)

    def paragraph(
        self,
        text: str,
        size: float,
        *,
        width: float | None = None,
        x: float | None = None,
        colour: Colour = INK,
        bold: bool = False,
    ) -> None:
        """Text in as many lines as it needs."""
        start = self.left if x is None else x
        for line in self.lines(text, size, width or self.right - start):
            self.room(size * LINE)
            self.y -= size * LINE
            self.write(start, self.y + size * 0.3, line, size, colour=colour, bold=bold)

    def lines(self, text: str, size: float, width: float) -> list[str]:
        """How a text breaks within a width."""
        return wrapped(self.font.printable(text), width, lambda part: self.font.width(part, size))

    def rule(self, colour: Colour = RULE, thickness: float = 0.5) -> None:
        """A line across the page."""
        self.canvas.setStrokeColorRGB(*colour)
        self.canvas.setLineWidth(thickness)
        self.canvas.line(self.left, self.y, self.right, self.y)

    def box(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled rectangle, `y` its lower edge."""
        self.canvas.setFillColorRGB(*colour)
        self.canvas.rect(x, y, width, height, stroke=0, fill=1)

    def table(
        self,
        fields: Sequence[Field],
        rows: Iterable[Sequence[str]],
        *,
        size: float = 8,
        totals: Iterable[Sequence[str]] = (),
    ) -> None:
        """A table whose headings are repeated on every page; `totals` stand below it in bold."""
        grid = PrintedTable(self, fields, size)
        grid.rows(rows)
        grid.rows(totals, total=True)

    def page_number(self, right: float, y: float, size: float) -> None:
        """The page's number and, once it is known, how many there are."""
        room = self.font.width("000", size)
        self.write(right - room, y, f"页 Page {self.number} / ", size, colour=GREY, align="right")
        self.canvas.saveState()
        self.canvas.translate(right - room, y)
        self.canvas.doForm(_PAGES)
        self.canvas.restoreState()
        self._number_size = size

    def close(self) -> None:
        """Finish the last page and the file."""
        self._edge.foot(self)
        self.canvas.showPage()
        if self._number_size:
            size = self._number_size
            self.canvas.beginForm(_PAGES, 0, -size, 10 * size, size)
            self.write(0, 0, str(self.number), size, colour=GREY)
            self.canvas.endForm()
        self.canvas.save()


class PrintedTable:
    """A table that takes its rows as they come; its headings are repeated on every page."""

    def __init__(self, pages: Pages, fields: Sequence[Field], size: float = 8) -> None:
        self.pages = pages
        self.fields = fields
        self.size = size
        whole = sum(field.share for field in fields)
        self.widths = [pages.inner * field.share / whole for field in fields]
        self._broken: tuple[Sequence[str], list[list[str]]] | None = None
        self._head = [field.heading for field in fields]
        # Headings alone at the foot of a page help nobody.
        pages.room(self.height(self._head) + 3 * size * LINE)
        self.draw(self._head, heading=True)

    def rows(self, rows: Iterable[Sequence[str]], *, total: bool = False) -> None:
        """Some rows; `total`: they stand out."""
        for row in rows:
            if self.pages.y - self.height(row) < self.pages.bottom:
                self.pages.new_page()
                self.draw(self._head, heading=True)
            self.draw(row, total=total)

    def height(self, row: Sequence[str]) -> float:
        """Height of a row in points."""
        most = max(
            len(lines) * self._size(field) * LINE for field, lines in zip(self.fields, self._lines(row), strict=True)
        )
        return most + _CELL

    def draw(self, row: Sequence[str], *, heading: bool = False, total: bool = False) -> None:
        """One row at the present height; moves down by it."""
        pages, height = self.pages, self.height(row)
        if heading or total:
            pages.box(pages.left, pages.y - height, pages.inner, height, PALE)
        x = pages.left
        for field, width, lines in zip(self.fields, self.widths, self._lines(row), strict=True):
            size = self._size(field)
            at = {"left": x + _CELL, "right": x + width - _CELL, "center": x + width / 2}[field.align]
            y = pages.y - _CELL * 0.5 - size * 1.03
            for line in lines:
                colour = ACCENT if heading else INK
                pages.write(at, y, line, size, colour=colour, bold=heading or total, align=field.align)
                y -= size * LINE
            x += width
        pages.y -= height
        pages.rule(ACCENT if heading else RULE, 0.7 if heading else 0.4)

    def _size(self, field: Field) -> float:
        return self.size - 1.2 if field.small else self.size

    def _lines(self, row: Sequence[str]) -> list[list[str]]:
        if self._broken is None or self._broken[0] is not row:
            lines = [
                [
                    line
                    for part in text.split("\n")
                    for line in self.pages.lines(part, self._size(field), width - 2 * _CELL)
                ]
                for field, width, text in zip(self.fields, self.widths, row, strict=True)
            ]
            self._broken = (row, lines)
        return self._broken[1]

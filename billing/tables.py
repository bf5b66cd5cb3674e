"""Tables that people take home: what each column means, in which unit its values come, and its names in two languages.

A table knows nothing of files. Whoever writes one as CSV, Excel or PDF takes the rows as plain values in base units
(nano-units, Wh, litres, Unix ms) and shows them by the kind of their column, so that every format shows the same.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Kind = Literal["text", "name", "count", "money", "exact", "price", "quantity", "instant", "day", "month"]
"""What a column's values are.

`name`: a text by language. `money`: nano-units, shown in cents rounded half up, away from zero. `exact`: nano-units
with every decimal. `price`: micro-units per kWh or m3. `quantity`: Wh or litres, shown as kWh or m3. `instant`: Unix
ms. `day`: yyyymmdd. `month`: yyyymm. None is an empty cell in each of them.
"""
Row = Sequence[Any]


class Column(msgspec.Struct, frozen=True):
    """One column: `key` for programs, headings for people, a width in characters of an Excel sheet."""

    key: str
    zh: str
    en: str
    kind: Kind = "text"
    width: int = 12
    words: str = ""
    """The vocabulary that says what a text column's codes are called; empty where it has none."""

    def heading(self, language: str) -> str:
        """The name in one language (`zh`, `en`), or in both with any other word."""
        return {"zh": self.zh, "en": self.en}.get(language, f"{self.zh} {self.en}")


class DocumentError(RuntimeError):
    """A document cannot be made on this machine; the text says what to do, in both languages."""


class Table(msgspec.Struct, frozen=True):
    """Columns under a title. `name` makes the name of a file."""

    name: str
    zh: str
    en: str
    columns: tuple[Column, ...]

    def row_of(self, item: object) -> tuple[Any, ...]:
        """The row of an item that has the columns' keys as attributes."""
        return tuple(getattr(item, column.key) for column in self.columns)

    def totals(self, sums: dict[str, int]) -> tuple[Any, ...]:
        """A row of sums by column, with a word for it in the first column."""
        return tuple(
            sums.get(column.key) if place or column.key in sums else "合计 Total"
            for place, column in enumerate(self.columns)
        )


def trimmed(value: int, decimals: int, least: int) -> str:
    """An integer of `10**-decimals` parts as decimal text, without trailing zeros beyond `least` decimals.

    `trimmed(12_340_000_000, 9, 2)` is `"12.34"`.
    """
    digits = f"{abs(value):0{decimals + 1}d}"
    whole, part = digits[:-decimals], digits[-decimals:].rstrip("0")
    sign = "-" if value < 0 else ""
    part = part.ljust(least, "0")
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


def cents_text(cents: int) -> str:
    """Whole cents as decimal text: `-5` is `"-0.05"`."""
    whole, part = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{part:02d}"

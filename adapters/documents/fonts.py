"""The font of printed documents: one with Chinese glyphs, a subset of which goes into each PDF.

PDF programs have no Chinese glyphs of their own to fall back on, so a file that only names a font shows boxes on the
next machine. We read a TrueType font from the system and embed the glyphs that are used. Where there is none, nothing
is printed and the error says what to install: a bill full of boxes is worse than no bill.
"""

from __future__ import annotations

import os
import threading
import zlib
from functools import lru_cache
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont

from billing.tables import DocumentError

VARIABLE = "TWINMETER_FONT"
PACKAGE = "fonts-wqy-microhei"
KNOWN = (
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/wenquanyi/wqy-microhei/wqy-microhei.ttc",
    "/usr/share/fonts/wqy-microhei/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/wqy-zenhei/wqy-zenhei.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/simhei.ttf",
)
"""Fonts that have Latin and Chinese glyphs as TrueType outlines, the one we look at first."""
_NEEDED = "账单电表水费中文Aa0¥[]+"
_LOCK = threading.Lock()


class FontMissingError(DocumentError):
    """No font with Chinese glyphs is installed; the text says what to do, in both languages."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}。请安装中文字体 (Debian: apt-get install {PACKAGE})，或用 {VARIABLE} 指定字体文件。 "
            f"No font with Chinese glyphs to print with: install one (Debian: apt-get install {PACKAGE}) or name a"
            f" TrueType file in {VARIABLE}."
        )


class Font:
    """A registered font: its name for the PDF library, and which characters it can show."""

    def __init__(self, name: str, path: str, glyphs: frozenset[int]) -> None:
        self.name = name
        self.path = path
        self._glyphs = glyphs

    def width(self, text: str, size: float) -> float:
        """Width of a text in points."""
        return float(pdfmetrics.stringWidth(text, self.name, size))

    def has(self, character: str) -> bool:
        """Whether the font can show a character."""
        return ord(character) in self._glyphs

    def printable(self, text: str) -> str:
        """The text without what cannot be shown: a character without a glyph is named by its number, not boxed."""
        if all(ord(character) in self._glyphs and character >= " " for character in text):
            return text
        return "".join(self._shown(character) for character in text)

    def _shown(self, character: str) -> str:
        if character in "\n\t\r\v\f":
            return " "
        if ord(character) in self._glyphs and character >= " ":
            return character
        return f"[U+{ord(character):04X}]"


def open_font() -> Font:
    """The font for printing. Raises FontMissingError where the machine has none, or the one named cannot be used."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return _load(named)
    for path in KNOWN:
        if Path(path).is_file():
            return _load(path)
    raise FontMissingError("没有可用于打印的中文字体")


def _load(path: str) -> Font:
    with _LOCK:
        return _registered(path)


@lru_cache(maxsize=4)
def _registered(path: str) -> Font:
    name = f"twinmeter-{zlib.crc32(path.encode()):08x}"
    try:
        font = TTFont(name, path, subfontIndex=0)
    except (TTFError, OSError, ValueError) as error:
        raise FontMissingError(f"字体文件 {path} 无法使用 ({error})") from None
    glyphs = frozenset(number for number, glyph in font.face.charToGlyph.items() if glyph)
    lacking = [character for character in _NEEDED if ord(character) not in glyphs]
    if lacking:
        raise FontMissingError(f"字体文件 {path} 缺少字形 {''.join(lacking)}")
    pdfmetrics.registerFont(font)
    return Font(name, path, glyphs)

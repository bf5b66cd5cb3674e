"""One cell of a workbook as a plain value, or what is wrong with it.

People type ids as numbers, decimals as text, dates in a dozen ways, and blanks and full-width characters without seeing
them. What can be read in one way only is read, and noted where it looked different; the rest is refused with what would
be right. A number comes as the binary fraction that Excel keeps: its shortest decimal is what the person typed.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twin.workbook import Field

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_LOCAL = re.compile(
    r"([0-9]{4})[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})日?(?:[T ]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?)?"
)
_PHONE = re.compile(r"[+0-9 ()-]{3,32}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,4})?")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
_MOST_EXACT = 10**15
_SHAPES = {
    "contact.phone": (_PHONE, "电话号码，如 +86 139 0000 0000", "a telephone number such as +86 139 0000 0000"),
    "contact.email": (_EMAIL, "邮箱地址", "a mail address"),
    "language": (_LANGUAGE, "语言代码，如 zh", "a language code such as zh"),
}


class CellError(Exception):
    """A cell that cannot be read; what would be right, in both languages."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh = zh
        self.en = en


def read_cell(field: Field, value: Any, number_format: str) -> Any:
    """The value of a cell that is not empty. Raises CellError."""
    match field.kind:
        case "id":
            return _read_id(value, number_format)
        case "choice" | "yes_no":
            return _read_choice(field, value)
        case "money" | "credit" | "weight":
            return _read_amount(field, value)
        case "count":
            return _read_count(field, value)
        case "register":
            return _read_register(value)
        case "local":
            return _read_local(value)
        case _:
            return _read_text(field, value)


def clean(text: str) -> str:
    """A text as it is meant: no invisible characters, no blanks around it, full-width characters as usual ones."""
    return unicodedata.normalize("NFKC", text.translate(_INVISIBLE)).strip()


def _read_id(value: Any, number_format: str) -> str:
    if isinstance(value, bool | datetime | date | time):
        raise CellError(
            "编号被 Excel 识别成了日期或逻辑值，请把单元格设为“文本”后重新输入",
            "Excel took the id for a date or a truth value: format the cell as text and type it again",
        )
    if isinstance(value, int | float):
        if value != int(value) or not 0 <= value < _MOST_EXACT:
            raise CellError(f"{value} 不能作为编号；请设为“文本”", f"{value} is no id; format the cell as text")
        zeros = len(number_format) if number_format.strip("0") == "" else 0
        return str(int(value)).rjust(zeros, "0")
    text = clean(str(value))
    if not _ID.fullmatch(text):
        raise CellError(
            f"编号 {text!r} 只能用 1 至 64 个字母、数字、_ 或 -", f"{text!r} is no id: 1 to 64 letters, digits, _ or -"
        )
    return text


def _read_choice(field: Field, value: Any) -> Any:
    if isinstance(value, bool) and field.kind == "yes_no":
        return value
    if isinstance(value, float) and value == int(value):
        value = int(value)
    text = clean(str(value)).lower()
    more = {"true": True, "1": True, "y": True, "√": True, "false": False, "0": False, "n": False, "×": False}
    if field.kind == "yes_no" and text in more:
        return more[text]
    for choice in field.choices:
        if text in (
            choice.zh.lower(),
            choice.en.lower(),
            str(choice.value).lower(),
            f"{choice.zh} {choice.en}".lower(),
        ):
            return choice.value
    zh, en = "、".join(choice.zh for choice in field.choices), ", ".join(choice.en for choice in field.choices)
    raise CellError(f"{text!r} 不是可选值：{zh}", f"{text!r} is not one of {en}")


def _decimal(value: Any) -> Decimal:
    """An exact number. Raises CellError for what is none."""
    if isinstance(value, bool | datetime | date | time):
        raise CellError(
            "应为数字，单元格却是日期或逻辑值；请把格式改为“常规”",
            "a number is wanted, but the cell holds a date or a truth value: change its format",
        )
    if isinstance(value, int | float):
        if abs(value) >= _MOST_EXACT or value != value:
            raise CellError(f"{value} 太大", f"{value} is too large")
        return Decimal(repr(value) if isinstance(value, float) else value)
    text = clean(str(value)).replace(",", "").removeprefix("¥").removeprefix("+").strip()
    if not _DECIMAL.fullmatch(text):
        raise CellError(f"{text!r} 不是数字，例如 12.50", f"{text!r} is no number such as 12.50")
    return Decimal(text)


def _read_amount(field: Field, value: Any) -> str:
    number = _decimal(value)
    places = 3 if field.kind == "weight" else 9
    text = f"{number.normalize():f}"
    decimals = len(text.partition(".")[2])
    if decimals > places:
        raise CellError(f"{text} 的小数超过 {places} 位", f"{text} has more than {places} decimals")
    if field.kind != "money" and number < 0:
        raise CellError(f"{text} 不能为负数", f"{text} must not be negative")
    if abs(number) >= 10**9:
        raise CellError(f"{text} 太大", f"{text} is too large")
    if text in ("-0", ""):
        text = "0"
    whole, _, part = text.partition(".")
    return f"{whole}.{part.ljust(2, '0')}" if field.kind != "weight" else text


def _read_count(field: Field, value: Any) -> int:
    number = _decimal(value)
    if number != number.to_integral_value() or not field.least <= number <= field.most:
        raise CellError(
            f"{number} 应为 {field.least} 至 {field.most} 的整数",
            f"{number} must be a whole number from {field.least} to {field.most}",
        )
    return int(number)


def _read_register(value: Any) -> int:
    scaled = _decimal(value) * 1000
    if scaled != scaled.to_integral_value() or not 0 <= scaled <= 2**53:
        raise CellError(
            f"{value} 应为不小于 0、最多三位小数的读数",
            f"{value} must be a reading of zero or more with at most three decimals",
        )
    return int(scaled)


def _read_local(value: Any) -> str:
    if isinstance(value, datetime):
        return value.replace(microsecond=0, tzinfo=None).isoformat()
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00"
    match = _LOCAL.fullmatch(clean(str(value))) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        parts = [int(part or 0) for part in match.groups()]
        return datetime(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]).isoformat()  # noqa: DTZ001 -- local
    except ValueError:
        raise CellError(
            f"{value!r} 不是日期，例如 2026-01-31 或 2026-01-31 08:00",
            f"{value!r} is no date such as 2026-01-31 or 2026-01-31 08:00",
        ) from None


def _read_text(field: Field, value: Any) -> str:
    if isinstance(value, bool | datetime | date | time):
        raise CellError(
            "应为文字，单元格却是日期或逻辑值；请设为“文本”",
            "text is wanted, but the cell holds a date or a truth value: format it as text",
        )
    if isinstance(value, float) and value == int(value):
        value = int(value)
    text = str(value).translate(_INVISIBLE).strip()
    if field.key in _SHAPES:
        pattern, zh, en = _SHAPES[field.key]
        text = clean(text)
        if not pattern.fullmatch(text):
            raise CellError(f"{text!r} 不是{zh}", f"{text!r} is not {en}")
    if len(text) > field.longest:
        raise CellError(f"超过 {field.longest} 个字符", f"longer than {field.longest} characters")
    if any(character < " " for character in text):
        raise CellError("含有换行等控制字符", "holds control characters such as a line break")
    return text

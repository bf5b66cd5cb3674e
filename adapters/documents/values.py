"""Values of a table as text: exact decimals, local dates, and how many characters that takes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from adapters.documents.words import VOCABULARIES, both, people_call_it
from billing.local_time import local_text
from billing.money import cents_half_up
from billing.tables import cents_text, trimmed

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from billing.tables import Column, Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plain_text(kind: Kind, value: Any, zone: ZoneInfo) -> str:
    """A value for programs to read: decimals in full, instants as ISO 8601 with the zone's offset."""
    if value is None:
        return ""
    match kind:
        case "money" | "exact":
            return trimmed(value, 9, 2)
        case "price":
            return trimmed(value, 6, 4)
        case "quantity":
            return trimmed(value, 3, 0)
        case "instant":
            return local_text(zone, value)
        case "day":
            return as_date(value).isoformat()
        case "month":
            return f"{value // 100:04d}-{value % 100:02d}"
        case _:
            return str(value)


def shown_text(kind: Kind, value: Any, zone: ZoneInfo) -> str:
    """A value for people to read: money in cents with thousands, instants by the local clock."""
    if value is None:
        return ""
    match kind:
        case "money":
            return with_thousands(cents_text(cents_half_up(value)))
        case "exact":
            return with_thousands(trimmed(value, 9, 2))
        case "quantity":
            return with_thousands(trimmed(value, 3, 2))
        case "count":
            return f"{value:,}"
        case "instant":
            return local_clock(value, zone).strftime("%Y-%m-%d %H:%M")
        case _:
            return plain_text(kind, value, zone)


def said(column: Column, value: Any, language: str) -> str:
    """What a text or name column says of a value: a code by its name, a name in the wanted language."""
    if value is None:
        return ""
    if column.kind == "name":
        return str(value.get(language) or people_call_it(value, between=" / "))
    pair = VOCABULARIES[column.words].get(value) if column.words else None
    if pair is None:
        return str(value)
    return {"zh": pair[0], "en": pair[1]}.get(language, both(pair))


def is_words(column: Column) -> bool:
    """Whether a column holds text of any sort."""
    return column.kind in ("text", "name")


def with_thousands(text: str) -> str:
    """A decimal text with commas in its whole part."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, point, part = digits.partition(".")
    return f"{sign}{int(whole):,}{point}{part}"


def as_date(number: int) -> date:
    """A day written as yyyymmdd."""
    return date(number // 10_000, number // 100 % 100, number % 100)


def local_clock(ts_ms: int, zone: ZoneInfo) -> datetime:
    """What the wall clock of the zone shows, without the zone: Excel has none."""
    return (_EPOCH + timedelta(milliseconds=ts_ms)).astimezone(zone).replace(tzinfo=None)

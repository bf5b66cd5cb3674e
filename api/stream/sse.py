"""Server-sent events as bytes, and effects as the JSON that screens get to see."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from billing.money import format_nano
from twin.core.breaker_why import nameless, told_tenants
from twin.core.effects import ActCarriedOut, AnyEffect, Caused

if TYPE_CHECKING:
    from twin.ports import Entry

_BETWEEN_US: Final = (Caused, ActCarriedOut)
"""What the platform says to itself."""
TYPES: Final = frozenset(
    str(effect.__struct_config__.tag) for effect in get_args(AnyEffect) if effect not in _BETWEEN_US
)
"""Names of all types of events."""
OF_STAFF: Final = frozenset({"care"})
"""Types that no tenant gets to see."""
OF_THE_OFFICE: Final = frozenset({"@switching_halted"})
"""Alarms about work of the staff: told by the twin of some breaker in it, and none of its tenant's business."""
HEARTBEAT: Final = b": still here\n\n"
MEDIA_TYPE: Final = "text/event-stream; charset=utf-8"


def effect_tag(effect: AnyEffect) -> str:
    """The name of an effect's type, as on the stream: `charge`, `alarm`, `command`, ..."""
    return str(effect.__struct_config__.tag)


def effect_document(effect: AnyEffect) -> dict[str, Any]:
    """An effect as plain data. Money becomes a decimal string without its unit: `amount_nano` is shown as `amount`."""
    document: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(effect).items():
        if name.endswith("_nano"):
            document[name.removesuffix("_nano")] = format_nano(value)
        elif name == "price_micro":
            document["price"] = format_nano(value * 1_000)[:-3]
        else:
            document[name] = value
    return document


def without_names(document: dict[str, Any]) -> dict[str, Any]:
    """An effect as a tenant gets to see it: nobody of the staff is named."""
    if "who" in document:
        document["who"] = nameless(document["who"])
    if isinstance(document.get("why"), dict):
        document["why"] = told_tenants(document["why"])
    return document


def entry_events(site: str, entry: Entry, types: Collection[str] | None, *, named: bool = True) -> bytes:
    """The events of one stream entry, those of the wanted types only; empty when none is left. `named`: with the names
    of staff.

    Only the last event carries the entry's id: a client that was cut off in between gets the whole entry again,
    and never misses the rest of it.
    """
    wanted = [effect for effect in entry.effects if effect_tag(effect) in (TYPES if types is None else types)]
    if not named:
        wanted = [effect for effect in wanted if getattr(effect, "rule", "") not in OF_THE_OFFICE]
    parts = []
    for place, effect in enumerate(wanted):
        head = {"site": site, "group": entry.group, "entry": entry.id}
        document = effect_document(effect) if named else without_names(effect_document(effect))
        last = entry.id if place == len(wanted) - 1 else None
        parts.append(event_bytes(effect_tag(effect), {**head, **document}, last))
    return b"".join(parts)


def event_bytes(event: str, data: dict[str, Any], entry_id: str | None = None) -> bytes:
    """One event; JSON has no raw newline, so `data` is always a single line."""
    identity = f"id: {entry_id}\n" if entry_id is not None else ""
    return f"{identity}event: {event}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"

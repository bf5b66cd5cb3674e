"""Effects that the ledger refuses: kept with their reason, shown as an incident, never in the way of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction

INCIDENT = "ledger_refused"
"""Kind of the incident that a refused effect opens on its device."""

_REFUSED = BulkInsert("refused_effect", "site entry place:bigint group_id body reason", "DO NOTHING")
_AUDIT = BulkInsert("audit", "site ts:bigint who what subject state_before state_after")
_INCIDENTS = BulkInsert(
    "incident",
    "site device kind since:bigint count:bigint detail resolved_ts:bigint",
    "(site, device, kind, since) DO UPDATE SET count = incident.count + excluded.count",
)
_OPEN = "SELECT device, max(since) FROM incident WHERE site = ? AND kind = ? AND resolved_ts IS NULL GROUP BY device"
_INT64_MAX = 2**63 - 1


class Item(msgspec.Struct, frozen=True):
    """One effect with its place in the stream."""

    entry: str
    place: int
    group: str
    effect: Any


class Refusal(msgspec.Struct, frozen=True):
    """An effect that was not posted, and why."""

    item: Item
    reason: str


async def record_refusals(tx: Transaction, site: str, refusals: Sequence[Refusal]) -> None:
    """Keep each refused effect, audit it, and open one incident a device (or count one more of an open one)."""
    if not refusals:
        return
    rows = [_refused_row(site, refusal) for refusal in refusals]
    await _REFUSED.run(tx, rows)
    await _AUDIT.run(
        tx,
        [
            (site, _instant(refusal), "ledger", "effect.refused", _device(refusal), row[4], row[5])
            for refusal, row in zip(refusals, rows, strict=True)
        ],
    )
    opened: dict[str, int] = dict(map(tuple, await tx.fetch(_OPEN, site, INCIDENT)))
    incidents: dict[tuple[str, int], tuple[int, str]] = {}
    for refusal in refusals:
        device = _device(refusal)
        since = opened.setdefault(device, _instant(refusal))
        count, _ = incidents.get((device, since), (0, ""))
        incidents[device, since] = (count + 1, clean(refusal.reason))
    counted = [(site, device, INCIDENT, since, *known, None) for (device, since), known in incidents.items()]
    await _INCIDENTS.run(tx, counted)


def clean(text: str) -> str:
    """Text that both engines can store: no NUL and no lone surrogate."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _refused_row(site: str, refusal: Refusal) -> tuple[Any, ...]:
    item = refusal.item
    try:
        body = msgspec.json.encode(item.effect).decode()
    except (UnicodeEncodeError, TypeError, ValueError):
        body = clean(repr(item.effect))
    return site, clean(item.entry), item.place, clean(item.group), body, clean(refusal.reason)


def _device(refusal: Refusal) -> str:
    effect = refusal.item.effect
    for name in ("meter", "device", "breaker", "twin", "tenant"):
        value = getattr(effect, name, "")
        if value:
            return clean(str(value))
    return clean(refusal.item.group)


def _instant(refusal: Refusal) -> int:
    effect = refusal.item.effect
    for name in ("ts", "to_ts", "since"):
        value = getattr(effect, name, None)
        if isinstance(value, int):
            return max(0, min(value, _INT64_MAX))
    return 0

"""Ratios of meters that change: each change is an event with a number, by which its epoch says whose it is.

An import changes ratios as a person does with one meter; both leave the event, so that twins made from SQL know what
they still owe (`owed_registers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.sites.contracts import ratio_of
from adapters.store.sites.site_state import METERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapters.store.engine.database import Transaction

_COUNT = "SELECT count(*) FROM meter_event WHERE site = ?"
_EVENT = "INSERT INTO meter_event (site, meter, kind, ts, body, who, why, made_ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


async def next_event(tx: Transaction, site: str) -> int:
    """The number of the next event of a site's meters. The caller holds the site's row."""
    return int((await tx.fetch(_COUNT, site))[0][0]) + 1


async def note_ratios(
    tx: Transaction,
    site: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    known: Mapping[str, int],
    *,
    who: str,
    now: int,
) -> dict[str, int]:
    """Record the meters whose entry has another ratio than before; returns the numbers of the events by meter. Those in
    `known` are recorded by the caller."""
    changed = {
        name: (ratio_of(before[name]), ratio_of(entry))
        for name, entry in after.items()
        if name in before and entry.get("kind") in METERS and ratio_of(before[name]) != ratio_of(entry)
    }
    numbers = {name: known[name] for name in changed if name in known}
    if changed.keys() == numbers.keys():
        return numbers
    number = await next_event(tx, site)
    for name, (old, new) in changed.items():
        if name in numbers:
            continue
        body = {"meter": name, "ratio": new, "ts": now, "before": old, "event": number}
        await tx.execute(_EVENT, site, name, "ratio", now, msgspec.json.encode(body).decode(), who, "import", now)
        numbers[name] = number
        number += 1
    return numbers

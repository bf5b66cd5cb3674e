"""The deepest proof: what holds of each meter is what its samples, payers and prices say, computed from the ground up.

It takes as long as rating the whole past again, so it is done where somebody asks for it, for all meters or for a
sample of them. A meter that is marked waits to be rated again: it may differ, and is named as a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.meters.meter_history import load_history, load_prices
from adapters.store.proofs.verify_finding import Finding, Seen, error
from adapters.store.sites.rerate_marks import marks_of
from billing.rerating import differences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapters.store.engine.database import Transaction

_METERS = "SELECT DISTINCT meter FROM register_epoch WHERE site = ? ORDER BY meter"
_SHOWN = 3


async def check_marks(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Meters whose rating failed and waits for a person."""
    marks = await marks_of(tx, site)
    for mark in marks:
        if mark.trouble:
            yield Finding("warning", "rerating", f"meter {mark.meter}", f"it cannot be rated again: {mark.trouble}")
    seen(len(marks))


async def check_history(tx: Transaction, site: str, seen: Seen, *, sample: int | None = None) -> AsyncIterator[Finding]:
    """What holds is what ought to hold: of every meter, or of `sample` meters spread evenly over the site."""
    prices = await load_prices(tx, site)
    marked = {mark.meter for mark in await marks_of(tx, site)}
    meters = spread([row[0] for row in await tx.fetch(_METERS, site)], sample)
    for number, meter in enumerate(meters, 1):
        try:
            history = await load_history(tx, prices, meter, 0)
        except ValueError as problem:
            yield Finding("warning", "not_rateable", f"meter {meter}", f"its past cannot be rated: {problem}")
            continue
        found = differences(history.effective, history.canonical) if history is not None else []
        for one in found[:_SHOWN]:
            where = f"meter {meter} epoch {one.epoch} interval {one.from_qty} to {one.to_qty}"
            detail = f"it is charged {one.old_amount_nano} as {one.old}, owed are {one.new_amount_nano} as {one.new}"
            if meter in marked:
                yield Finding("warning", "history", where, f"{detail}; it waits to be rated again")
            else:
                yield error("history", where, detail)
        seen(number)


def spread(meters: Sequence[str], sample: int | None) -> list[str]:
    """All meters, or so many of them, evenly spread."""
    if sample is None or sample >= len(meters):
        return list(meters)
    return [meters[place * len(meters) // sample] for place in range(sample)]

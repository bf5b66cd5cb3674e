"""Rebuild: twins made anew from SQL, when Redis was wiped, restored from old data, or no longer fits the ledger.

SQL knows every posted interval, every credit and every standing lock. What Redis alone knew since the last posting
is charged again by the next reading, because the register chain goes on exactly where SQL's chain ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from twin.flows.find_lost_acts import MarkedStore, save_what_is_lost, why_went_back
from twin.ports import TwinStore

if TYPE_CHECKING:
    from twin.flows.find_lost_acts import ActMarks
    from twin.ports import Clock, EffectStream, Ledger, Registry

log = structlog.get_logger(__name__)

LEDGER = "ledger"
"""The consumer group that acknowledges an effect only after SQL has it."""


class Store(TwinStore, MarkedStore, Protocol):
    """Twins, and the mark of the SQL history that they follow."""


async def why_rebuild(registry: Registry, store: TwinStore, stream: EffectStream, site: str) -> str:
    """Why the store's twins may not be used as they are; an empty text when they may.

    Three things must hold: the generation is the one SQL expects; the store is not older than SQL (its last effect is
    not behind SQL's position, and it knows the effect at that position); and SQL is not older than the store (nothing
    that SQL lacks was trimmed away or acknowledged).

    While this is asked, a ledger may go on: the store is held against what SQL had before, and SQL, asked once more,
    against what the store said. A rebuild for nothing would drop what waits in the stream.
    """
    generation, position = await registry.generation(site)
    known = await store.generation(site)
    if known is None:
        return "the store has no twins of this site"
    if known[0] != generation:
        return f"the store has generation {known[0]}, SQL expects {generation}"
    if _order(known[1]) < _order(position):
        return f"the store ends at effect {known[1]}, SQL has {position}: the store is older than SQL"
    if not await stream.knows(site, position):
        return f"the store does not know effect {position} that SQL has: it went back in time and was written anew"
    trimmed = await stream.trimmed_to(site)
    acknowledged = await stream.acknowledged_to(site, LEDGER)
    _, posted = await registry.generation(site)
    if _order(trimmed) > _order(posted):
        return f"effects up to {trimmed} were trimmed, SQL has only {posted}: SQL is older than the store"
    if _order(acknowledged) > _order(posted):
        return f"the ledger once had effects up to {acknowledged}, SQL has only {posted}: SQL is older than the store"
    return ""


async def rebuild(registry: Registry, store: TwinStore, clock: Clock, site: str) -> int:
    """Write all twins of a site anew under the next generation; returns how many groups."""
    generation = await registry.next_generation(site)
    _, position = await registry.generation(site)
    count = await store.replace_site(
        site, generation, registry.rebuilt_groups(site), wake=clock.now(), position=position
    )
    log.info("twins rebuilt from SQL", site=site, generation=generation, groups=count)
    return count


async def rebuild_where_needed(
    registry: Registry, store: Store, stream: EffectStream, clock: Clock, ledger: Ledger, marks: ActMarks
) -> dict[str, str]:
    """Check every site and rebuild those that need it; returns the reasons by site.

    What the twins know and SQL has lost is recorded before they are replaced.
    """
    reasons: dict[str, str] = {}
    for site in await registry.sites():
        reason = await why_rebuild(registry, store, stream, site) or await why_went_back(marks, store, site)
        if reason:
            log.warning("rebuilding twins", site=site, reason=reason)
            reasons[site] = reason
            await rebuild_and_mark(registry, store, clock, ledger, marks, site)
    return reasons


async def rebuild_and_mark(
    registry: Registry, store: Store, clock: Clock, ledger: Ledger, marks: ActMarks, site: str
) -> int:
    """Rebuild a site after saving what its twins alone know, and note SQL's history as the one they follow now."""
    await save_what_is_lost(marks, store, ledger, site, clock.now())
    mark = await marks.newest()
    count = await rebuild(registry, store, clock, site)
    await store.note_act_mark(site, mark)
    return count


def _order(entry: str) -> tuple[int, int]:
    """Stream ids `ms-n` in their order."""
    ms, _, n = entry.partition("-")
    return int(ms), int(n or 0)

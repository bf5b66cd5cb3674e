"""Import: what a site file says becomes registry rows in SQL and contracts in the twins.

The registry writes everything in one transaction, together with the acts that tell the twins. A site that has no twins
yet gets its first generation from SQL; otherwise the acts are delivered in pages. A crash in between loses nothing:
what was not delivered is found by the sweep of whoever runs next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from twin.flows.find_lost_acts import why_went_back
from twin.flows.rebuild_twins import rebuild_and_mark, why_rebuild
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from twin.flows.deliver_acts import ActDelivery
    from twin.flows.find_lost_acts import ActMarks
    from twin.flows.policies import CompiledPolicies
    from twin.flows.rebuild_twins import Store
    from twin.ports import Clock, EffectStream, Ledger, PendingAct, Registry, SiteDifference, SiteDocument

log = structlog.get_logger(__name__)

PAGE = 500
REBUILDS = 10
"""So often another process may take over while we build the first generation of a site."""
PAUSE_S = 0.5


class Parts(Protocol):
    """What an import needs of an installation; `api.bootstrap.Platform` has it all."""

    @property
    def registry(self) -> Registry: ...

    @property
    def store(self) -> Store: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def marks(self) -> ActMarks: ...

    @property
    def stream(self) -> EffectStream: ...

    @property
    def policies(self) -> CompiledPolicies: ...

    @property
    def delivery(self) -> ActDelivery: ...

    @property
    def clock(self) -> Clock: ...


class Imported(msgspec.Struct, frozen=True):
    """What came of an import. `built` groups were made from SQL, `delivered` acts confirmed by their twins."""

    difference: SiteDifference
    delivered: int = 0
    built: int = 0


async def import_site(
    parts: Parts, document: SiteDocument, *, who: str, progress: Callable[[str, int, int], object] | None = None
) -> Imported:
    """Apply a site document and bring the twins up to it. `progress` is told (what, done, of how many).

    Importing the same document again changes nothing. Raises what `Registry.apply` raises for one that does not hold
    together; then nothing was changed.
    """
    say = progress or (lambda _what, _done, _total: None)
    site = document.site["site"]
    say("registry", 0, 1)
    difference, acts = await parts.registry.apply(document, who=who, now=parts.clock.now())
    say("registry", 1, 1)
    await parts.policies.refresh(site)
    built = await _make_sure_of_twins(parts, site)
    delivered = 0
    for page in _pages(acts):
        say("twins", delivered, len(acts))
        delivered += await parts.delivery.deliver(page)
    say("twins", len(acts), len(acts))
    log.info("site imported", site=site, changes=len(difference.lines), acts=len(acts), built=built)
    return Imported(difference, delivered, built)


async def _make_sure_of_twins(parts: Parts, site: str) -> int:
    """Build the site's twins from SQL where they are missing; a running platform may be doing the same."""
    for _ in range(REBUILDS):
        reason = await why_rebuild(parts.registry, parts.store, parts.stream, site)
        reason = reason or await why_went_back(parts.marks, parts.store, site)
        if not reason:
            return 0
        log.info("building twins from SQL", site=site, reason=reason)
        try:
            return await rebuild_and_mark(parts.registry, parts.store, parts.clock, parts.ledger, parts.marks, site)
        except StoreLostError:  # another process builds them too, and was later
            await asyncio.sleep(PAUSE_S)
    raise StoreLostError(f"the twins of {site} were replaced again and again while they were built; import again")


def _pages(acts: Sequence[PendingAct]) -> Iterator[list[PendingAct]]:
    ordered = sorted(acts, key=lambda pending: (pending.site, pending.group, pending.act.seq))
    for first in range(0, len(ordered), PAGE):
        yield ordered[first : first + PAGE]

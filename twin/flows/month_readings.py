"""Which meters lack a reading after a month's end, and whether the ledger has what the twins charged of it.

A month is complete for a meter when its twin has accepted a reading at or after the end and holds no open row of the
month any more. Open rows are posted by themselves one interval later; meters that are silent are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twin.flows.settle_month import Missing
from twin.flows.verify_site import drained

if TYPE_CHECKING:
    from twin.core.model import Group
    from twin.flows.verify_site import Parts

WITHIN_S = 30.0


class Supplied(Protocol):
    """Who is supplied by which meter at an instant."""

    async def supplied(self, site: str, at: int) -> dict[str, str]:
        """Tenant by meter of all supplies in force just before an instant (Unix ms)."""
        ...


async def missing_readings(parts: Parts, supplied: Supplied, site: str, end_ts: int) -> list[Missing]:
    """Meters of supplies in force at the end of a month (Unix ms) that have no reading after it, by meter.

    Waits a while for the ledger to post what the twins have charged. A meter that the store does not know is missing.
    """
    await drained(parts, site, within_s=WITHIN_S)
    wanted = await supplied.supplied(site, end_ts)
    seen: dict[str, int | None] = {}
    waiting: set[str] = set()
    async for group in await parts.store.groups(site):
        _look(group, end_ts, seen, waiting)
    return [
        Missing(meter, tenant, seen.get(meter))
        for meter, tenant in sorted(wanted.items())
        if (seen.get(meter) or 0) < end_ts or meter in waiting
    ]


def _look(group: Group, end_ts: int, seen: dict[str, int | None], waiting: set[str]) -> None:
    for meter in group.meters.values():
        register = meter.register
        seen[meter.id] = register.seen_ts
        if register.row is not None and register.row.to_ts <= end_ts:
            waiting.add(meter.id)

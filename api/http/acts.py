"""People's acts on their way to the twins: recorded in SQL first, then delivered at once.

When the delivery fails, or an earlier act is still missing, the act is not lost: the sweep brings it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from twin.core.messages import CreditsPosted
from twin.ports import PendingAct

if TYPE_CHECKING:
    from api.http.backend import Backend
    from twin.ports import Receipt

log = structlog.get_logger(__name__)

SWEEP_LIMIT = 1_000


async def deliver(backend: Backend, pending: PendingAct) -> bool:
    """Deliver an act, with those of its group that must come before it. False when the sweep has to do it."""
    try:
        if await backend.delivery.deliver([pending]):
            return True
        waiting = await backend.ledger.undelivered(pending.site, limit=SWEEP_LIMIT)
        return bool(await backend.delivery.deliver([act for act in waiting if act.group == pending.group]))
    except Exception as error:
        # The act is committed: answering with a failure would make the caller repeat what is done.
        log.warning("act is recorded and will be delivered later", group=pending.group, error=repr(error)[:500])
        return False


def credit_act(site: str, receipt: Receipt) -> PendingAct:
    """The act by which a top-up reaches the tenant's twin."""
    act = CreditsPosted(receipt.seq, receipt.credits_nano, receipt.amount_nano, receipt.ts)
    return PendingAct(site, receipt.tenant, act)

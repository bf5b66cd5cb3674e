"""Acts whose decisions no row has yet: what a group that is made from SQL has still to carry out.

Twins made from SQL count every act as taken. Most acts are in force in SQL at once, so nothing is lost; a tenant's
consent, an approval and a change to prepayment are for the twin to decide on. Such an act is owed until the ledger has
the twin's word that it was carried out (`ActCarriedOut`), which is posted together with all that came of it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from adapters.store.journals.outbox import decode_act
from twin.core.messages import ContractsChanged, EmergencyTaken, FiringApproved
from twin.core.model import OwedAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction
    from twin.core.messages import Act

_OWED = "SELECT group_id, body FROM act WHERE site = ? AND owed = 1 AND group_id {names} ORDER BY group_id, seq"


async def owed_acts(tx: Transaction, site: str, names: str, values: Any) -> dict[str, tuple[OwedAct, ...]]:
    """What each of some groups owes, in its order; `names` and `values` are a condition on the group (`in_list`)."""
    found: defaultdict[str, list[OwedAct]] = defaultdict(list)
    for group, body in await tx.fetch(_OWED.format(names=names), site, values):
        found[group].append(_owed(decode_act(body)))
    return {group: tuple(acts) for group, acts in found.items()}


def _owed(act: Act) -> OwedAct:
    match act:
        case EmergencyTaken():
            return OwedAct("emergency", act.seq, act.ts, act.who)
        case FiringApproved():
            return OwedAct("approval", act.seq, act.ts, act.who, act.scope, act.twin, act.rule, act.until)
        case ContractsChanged():
            return OwedAct("prepaid", act.seq, act.ts)
    raise ValueError(f"an act of the kind {type(act).__name__} is never owed")

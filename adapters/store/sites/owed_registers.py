"""Registers that people told of and whose epochs no row has yet: what a twin that is made from SQL still owes.

Theory of operation. Another register is an act in the outbox and an epoch that the twin opens and the ledger posts.
Whoever makes twins from SQL counts every act as taken, delivered or not; so where the twins were lost before the epoch
was posted, the new register would be read as a rise of the old one. Each such act has a number, by which the epoch says
whose it is: acts with a number above that of the newest epoch are carried out by the new twin (`meter_life`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from twin.core.model import Successor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapters.store.engine.database import Row
    from twin.core.model import MeterContract

REPLACED = (
    "SELECT meter, kind, ts, body FROM meter_event WHERE site = ? AND meter {names}"
    " AND kind IN ('replacement', 'reset') ORDER BY id"
)


def events_by_meter(rows: Iterable[Row]) -> dict[str, list[tuple[str, int, dict[str, Any]]]]:
    """(kind, instant, body) of the acts that brought another register, by meter and in their order."""
    events: defaultdict[str, list[tuple[str, int, dict[str, Any]]]] = defaultdict(list)
    for meter, kind, ts, body in rows:
        events[meter].append((kind, ts, msgspec.json.decode(body)))
    return events


def owed_registers(
    contract: MeterContract, events: Sequence[tuple[str, int, dict[str, Any]]], posted: int
) -> tuple[Successor, ...]:
    """The registers of a meter whose act has a number above `posted`, the greatest of its epochs, oldest first."""
    ratio, digits = contract.ratio, contract.modulus // contract.ratio
    owed: list[Successor] = []
    for kind, ts, body in reversed(events):
        number = body.get("event", 0)
        if number <= posted:
            break
        opening = body["opening"] * ratio
        ratio, digits = body.get("ratio_before", ratio), body.get("digits_before", digits)
        owed.append(Successor(ts, kind, opening, body.get("final"), ratio, digits * ratio, number))
    return tuple(reversed(owed))


def newest_events(chains: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The greatest number of an act that the epochs of each meter follow."""
    posted: defaultdict[str, int] = defaultdict(int)
    for row in chains:
        posted[row["meter"]] = max(posted[row["meter"]], row["event"])
    return posted

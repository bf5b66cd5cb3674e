"""Registers and ratios that people told of and whose epochs no row has: what a twin that is made from SQL still owes.

Theory of operation. Another register, or another ratio, is an act in the outbox and an epoch that the twin opens and
the ledger posts. Whoever makes twins from SQL counts every act as taken, delivered or not; so where the twins were lost
before the epoch was posted, the new register would be read as a rise of the old one. Each such act has a number, by
which the epoch says whose it is: acts with a number above that of the newest epoch are carried out by the new twin
(`meter_life`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from adapters.store.sites.register_points import Epoch, epochs_of
from twin.core.model import Successor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapters.store.engine.database import Row, Transaction

RATIO = "ratio"
"""Kind of an event by which a meter gets another ratio."""
REPLACED = (
    "SELECT meter, kind, ts, body FROM meter_event WHERE site = ? AND meter {names}"
    " AND kind IN ('replacement', 'reset', 'ratio') ORDER BY id"
)
_POSTED = "SELECT COALESCE(max(event), 0) FROM register_epoch WHERE site = ? AND meter = ?"


def events_by_meter(rows: Iterable[Row]) -> dict[str, list[tuple[str, int, dict[str, Any]]]]:
    """(kind, instant, body) of the acts that brought another register, by meter and in their order."""
    events: defaultdict[str, list[tuple[str, int, dict[str, Any]]]] = defaultdict(list)
    for meter, kind, ts, body in rows:
        events[meter].append((kind, ts, msgspec.json.decode(body)))
    return events


def owed_registers(
    ratio: int, digits: int, events: Sequence[tuple[str, int, dict[str, Any]]], posted: int, chain_ratio: int
) -> tuple[Successor, ...]:
    """The registers and ratios of a meter whose act has a number above `posted`, the greatest of its epochs, oldest
    first. `ratio` and `digits` are those it has now, `chain_ratio` that of its last epoch."""
    owed: list[Successor] = []
    for kind, ts, body in reversed(events):
        number = body.get("event", 0)
        if number <= posted:
            break
        opening = body["opening"] * ratio if kind != RATIO else None
        before = "before" if kind == RATIO else "ratio_before"
        ratio, digits = body.get(before, ratio), body.get("digits_before", digits)
        owed.append(Successor(ts, kind, opening, body.get("final"), ratio, digits * ratio, number))
    while owed and owed[-1].opening is None and owed[-1].ratio != chain_ratio:
        owed.pop()  # the chain began after it
    return tuple(reversed(owed))


def newest_events(chains: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The greatest number of an act that the epochs of each meter follow."""
    posted: defaultdict[str, int] = defaultdict(int)
    for row in chains:
        posted[row["meter"]] = max(posted[row["meter"]], row["event"])
    return posted


async def owed_epochs(tx: Transaction, site: str, meter: str, ratio: int, digits: int) -> list[Epoch]:
    """The epochs of a meter in their order as people have told them: those of the chain, and those that the twin has
    still to open, by which a person's word of the time since then is judged. These have no `head_ts`."""
    epochs = await epochs_of(tx, site, meter)
    rows = await tx.fetch(REPLACED.format(names="= ?"), site, meter)
    if not rows or not epochs:
        return epochs
    posted = (await tx.fetch(_POSTED, site, meter))[0][0]
    owed = owed_registers(ratio, digits, events_by_meter(rows)[meter], posted, epochs[-1].ratio)
    if not owed:
        return epochs
    ratios = [*(one.ratio for one in owed[1:]), ratio]
    for one, after in zip(owed, ratios, strict=True):
        last = epochs[-1]
        begins = max(one.ts, last.opened_ts or one.ts, last.head_ts or one.ts)
        opening = one.opening
        if opening is None:
            opening = last.head_qty % one.modulus // one.ratio * after
        epochs[-1] = replace(last, ends_ts=begins, final_qty=_final(last, one))
        epochs.append(Epoch(last.epoch + 1, opening, begins, opening, None, after))
    return epochs


def _final(last: Epoch, one: Successor) -> int | None:
    """The final reading of a register that is left, unwrapped from the end of its chain; None where nobody took it."""
    if one.final is None:
        return None
    quantity = last.head_qty - last.head_qty % one.modulus + one.final * one.ratio
    return quantity if quantity >= last.head_qty else quantity + one.modulus

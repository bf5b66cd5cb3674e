"""Estimates for meters without a reading after the month's end, where a site wants a full bill all the same.

The use of the missing time is that of the last seven days with data, day for day, rated by the tariff as if it had been
read. It is a fee line of its own, due only in the settlement of its month: the next one finds it not due and takes it
back by a line that names it, while the real energy follows. So whoever was estimated pays in the end what was used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.store.bills.fee_facts import load_spans
from adapters.store.bills.fee_posting import FeeDue
from billing.rating import rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.bills.fee_facts import SiteTerms
    from adapters.store.bills.monthly_charges import Month
    from adapters.store.engine.database import Transaction

ESTIMATE = "estimate"
WEEK_MS = 7 * 86_400_000
_HEAD = (
    "SELECT epoch, head_qty, head_ts, month, month_use FROM register_epoch WHERE site = ? AND meter = ?"
    " ORDER BY epoch DESC LIMIT 1"
)
_WEEK = (
    "SELECT min(from_ts), sum(to_qty - from_qty) FROM energy WHERE site = ? AND meter = ? AND epoch = ?"
    " AND from_qty IS NOT NULL AND from_ts >= ?"
)


async def estimate_dues(
    tx: Transaction, terms: SiteTerms, month: Month, missing: Sequence[dict[str, Any]], tenants: Sequence[str]
) -> list[FeeDue]:
    """Estimates for meters (`missing`: what the run reports) of some tenants; none for a meter that never used."""
    wanted = {entry["meter"]: entry["tenant"] for entry in missing if entry["tenant"] in set(tenants)}
    if not wanted:
        return []
    due = []
    for span in await load_spans(tx, terms, month.end_ms - 1, month.end_ms, sorted(set(wanted.values()))):
        tariff = terms.tariffs.get(span.tariff)
        if wanted.get(span.meter) != span.tenant or tariff is None:
            continue
        found = await _missing_use(tx, terms.site, span.meter, month)
        if found is None:
            continue
        since, quantity, register, use = found
        rated = rate(tariff, since, month.end_ms, register, register + quantity, *use)
        due.append(
            FeeDue(
                *(ESTIMATE, span.tenant, span.meter, span.tariff, month.number),
                sum(piece.amount_nano for piece in rated.slices),
                utility=tariff.utility,
                tariff=span.tariff,
                quantity=quantity,
                unit="l" if tariff.utility == "water" else "Wh",
                estimated=True,
                facts={"from_ts": since, "to_ts": month.end_ms, "register": register},
            )
        )
    return due


async def _missing_use(
    tx: Transaction, site: str, meter: str, month: Month
) -> tuple[int, int, int, tuple[int, int]] | None:
    """(since, quantity, register, (month, use)) of the time of the month that no reading covers."""
    heads = await tx.fetch(_HEAD, site, meter)
    if not heads or heads[0][2] is None or heads[0][2] >= month.end_ms:
        return None
    epoch, register, head_ts, used_month, used = heads[0]
    begun, quantity = (await tx.fetch(_WEEK, site, meter, epoch, head_ts - WEEK_MS))[0]
    if not quantity or begun >= head_ts:
        return None
    since = max(head_ts, month.start_ms)
    estimated = int(quantity) * (month.end_ms - since) // (head_ts - begun)
    return (since, estimated, register, (used_month, used)) if estimated else None

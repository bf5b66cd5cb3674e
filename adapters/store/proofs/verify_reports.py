"""Reports: the sums that they read are what the posted rows add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.proofs.verify_finding import Finding, Seen, error
from adapters.store.reports.report_sums import differences
from billing.money import format_nano

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Transaction


async def check_reports(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Every sum by month, payer, meter, price and kind; `twinmeter report rebuild` makes them anew."""
    done = 0
    async for row in differences(tx, site):
        *named, kept, quantity, kept_nano, amount_nano = row
        where = "report of " + " ".join(str(part) for part in named if part)
        said = f"{kept} for {format_nano(int(kept_nano))} is kept"
        yield error("report_sum", where, f"{said}, the rows add up to {quantity} for {format_nano(int(amount_nano))}")
        done += 1
        seen(done)

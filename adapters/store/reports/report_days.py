# ruff: noqa: S608 -- what is put into statements are constants of this module
"""Use and its cost within any span of real time, and by local day.

An interval of a register belongs to the span that it ends in. One that crosses an edge (there was no sample for a
while) is shared by time, in whole Wh or litres; the shares of neighbouring spans sum to the interval exactly, because
each edge is rounded once for both. Adjustments are intervals of their own: taken away as they were charged, added as
they are charged now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from adapters.store.engine.database import Database
    from adapters.store.reports.report_models import Span

_POSTED = (
    "SELECT e.tenant, r.meter, r.utility, COALESCE(r.period, '') AS period, e.from_ts, e.to_ts,"
    " r.to_qty - r.from_qty AS quantity, r.price_micro FROM energy e JOIN rating r ON r.site = e.site"
    " AND r.meter = e.meter AND r.epoch = e.epoch AND r.from_qty = e.from_qty AND r.revision = 1"
    " WHERE e.site = ? AND e.from_ts <= ? AND e.to_ts > ?{posted_tenant}"
)
_BEFORE = (
    "SELECT old_tenant, meter, utility, COALESCE(old_period, ''), from_ts, to_ts, from_qty - to_qty, old_price_micro"
    " FROM adjustment WHERE site = ? AND from_ts <= ? AND to_ts > ?{old_tenant}"
)
_AFTER = (
    "SELECT tenant, meter, utility, COALESCE(period, ''), from_ts, to_ts, to_qty - from_qty, price_micro"
    " FROM adjustment WHERE site = ? AND from_ts <= ? AND to_ts > ?{tenant}"
)
_ALL = f"{_POSTED} UNION ALL {_BEFORE} UNION ALL {_AFTER}"
_INSIDE = (
    "SELECT tenant, meter, utility, period, CAST(SUM(quantity) AS BIGINT), CAST(SUM(quantity * price_micro) AS BIGINT)"
    f" FROM ({_ALL}) x WHERE from_ts >= ? AND to_ts <= ? GROUP BY tenant, meter, utility, period"
)
_CROSSING = f"SELECT * FROM ({_ALL}) x WHERE from_ts < ? OR to_ts > ?"


class Used(msgspec.Struct):
    """Used by one payer on one meter in one price period."""

    tenant: str
    meter: str
    utility: str
    period: str
    quantity: int = 0
    amount_nano: int = 0


async def used_within(database: Database, site: str, span: Span, tenant: str | None = None) -> list[Used]:
    """Use and cost within a span, by payer, meter and period; of one tenant where asked (empty: the landlord)."""
    names = {"posted_tenant": "e.tenant", "old_tenant": "old_tenant", "tenant": "tenant"}
    wanted = {key: "" if tenant is None else f" AND {column} = ?" for key, column in names.items()}
    # `from_ts <= to` and `to_ts > from`: an interval without duration on an edge is in the span that ends there.
    once = (site, span.to_ts, span.from_ts, *(() if tenant is None else (tenant,)))
    values = (*once, *once, *once)
    sums: dict[tuple[str, str, str, str], Used] = {}
    for *key, quantity, amount_nano in await database.fetch(
        _INSIDE.format(**wanted), *values, span.from_ts, span.to_ts
    ):
        _add(sums, (key[0], key[1], key[2], key[3]), quantity, amount_nano)
    for *key, from_ts, to_ts, quantity, price in await database.fetch(
        _CROSSING.format(**wanted), *values, span.from_ts, span.to_ts
    ):
        part = share_of(from_ts, to_ts, quantity, span)
        _add(sums, (key[0], key[1], key[2], key[3]), part, part * price)
    return [sums[key] for key in sorted(sums) if sums[key].quantity or sums[key].amount_nano]


def share_of(from_ts: int, to_ts: int, quantity: int, span: Span) -> int:
    """How much of an interval lies in a span, by time, in whole units."""

    def until(ts: int) -> int:
        part = (min(max(ts, from_ts), to_ts) - from_ts) * abs(quantity) // (to_ts - from_ts)
        return -part if quantity < 0 else part

    return until(span.to_ts) - until(span.from_ts)


def _add(sums: dict[tuple[str, str, str, str], Used], key: tuple[str, str, str, str], quantity: int, nano: int) -> None:
    used = sums.setdefault(key, Used(*key))
    used.quantity += quantity
    used.amount_nano += nano

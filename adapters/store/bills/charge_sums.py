# ruff: noqa: S608 -- every statement is put together from constants
"""Energy summed by wallet, meter and price: one statement over the rows of a window, kept as `charge_sum`.

Theory of operation. A *window* says what belongs to a bill: months through one, rows of `rating` and numbers of
`adjustment` and of journals up to its cuts, less an earlier window. Rows of one site are written under its lock, so
their ids grow in the order in which they become visible, and a cut taken under that lock can be repeated for ever after
with the same result. A wallet that was billed before has the window of its last bill as its earlier one: a final bill
or a correction may reach further than the last settlement. One whose last bill reaches into a later month waits for
that month's settlement.

The database sums; what comes back to this process are a few lines a meter. The scan begins at the first row that
the last settlement left for later, so it does not grow with the years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.keyed_rows import in_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Row, Transaction

_KEY = "account, meter, epoch, utility, tariff, version, month, period, tier, price_micro"
_KEPT = (
    "(SELECT w.account, w.through_month, w.cut_rating, w.cut_adjustment FROM bill_wallet w JOIN"
    " (SELECT max(id) AS id FROM bill_wallet WHERE site = ? GROUP BY account) l ON l.id = w.id) k"
)
_SUM = (
    "INSERT INTO charge_sum (site, scope, adjusted, account, meter, epoch, utility, tariff, version, month, period,"
    " tier, price_micro, quantity, amount_nano, intervals, from_qty, to_qty) "
)
_RATED = (
    f"{_SUM} SELECT ?, ?, FALSE, r.{_KEY.replace(', ', ', r.')}, sum(r.to_qty - r.from_qty), sum(r.amount_nano),"
    " count(*), min(r.from_qty), max(r.to_qty) FROM rating r{kept} WHERE r.site = ? AND r.active AND r.id >= ?"
    " AND r.id <= ? AND r.month <= ?{only}"
    f" GROUP BY r.{_KEY.replace(', ', ', r.')}"
)
_RATED_ALONE = " AND (r.id > ? OR r.month > ?) AND r.account = ?"
_RATED_KEPT = (
    " AND CASE WHEN k.account IS NULL THEN r.id > ? OR r.month > ?"
    " ELSE k.through_month <= ? AND (r.id > k.cut_rating OR r.month > k.through_month) END"
)
_NEW = "a.account, a.meter, a.epoch, a.utility, a.tariff, a.version, a.month, a.period, a.tier, a.price_micro"
_OLD = (
    "a.old_account AS account, a.meter, a.epoch, a.utility, a.old_tariff AS tariff, a.old_version AS version,"
    " a.old_month AS month, a.old_period AS period, a.old_tier AS tier, a.old_price_micro AS price_micro"
)
_SIDES = (
    f"SELECT a.number, {_NEW}, a.to_qty - a.from_qty AS quantity, a.amount_nano, a.from_qty, a.to_qty"
    " FROM adjustment a WHERE a.site = ? AND a.number <= ?"
    f" UNION ALL SELECT a.number, {_OLD}, a.from_qty - a.to_qty, -a.old_amount_nano, NULL, NULL"
    " FROM adjustment a WHERE a.site = ? AND a.number <= ?"
)
_ADJUSTED = (
    f"{_SUM} SELECT ?, ?, TRUE, s.{_KEY.replace(', ', ', s.')}, sum(s.quantity), sum(s.amount_nano), count(*),"
    f" min(s.from_qty), max(s.to_qty) FROM ({_SIDES}) s{{kept}} WHERE s.month <= ?{{only}}"
    f" GROUP BY s.{_KEY.replace(', ', ', s.')}"
)
_ADJUSTED_ALONE = " AND (s.number > ? OR s.month > ?) AND s.account = ?"
_ADJUSTED_KEPT = (
    " AND CASE WHEN k.account IS NULL THEN s.number > ? OR s.month > ?"
    " ELSE k.through_month <= ? AND (s.number > k.cut_adjustment OR s.month > k.through_month) END"
)
_BEFORE = (
    f"{_SUM} SELECT ?, ?, FALSE, account, '', 0, '', '', 0, 0, NULL, NULL, 0, 0, sum(amount_nano), sum(intervals),"
    " NULL, NULL FROM (SELECT account, amount_nano, 1 AS intervals FROM rating WHERE site = ? AND active AND id <= ?"
    f" AND month <= ? UNION ALL SELECT s.account, s.amount_nano, 1 FROM ({_SIDES}) s WHERE s.month <= ?) t"
    " GROUP BY account"
)
_LOWEST = "SELECT min(id) FROM rating WHERE site = ? AND id >= ? AND id <= ? AND month > ?"
_OF_ACCOUNT = (
    "SELECT adjusted, account, meter, epoch, utility, tariff, version, month, period, tier, price_micro, quantity,"
    " amount_nano, from_qty, to_qty FROM charge_sum WHERE site = ? AND scope = ? AND account = ?"
    " ORDER BY meter, epoch, month, tariff, version, period, tier, price_micro, adjusted"
)
OPENING = "opening"
"""Prefix of the scope that holds what was charged before the first settlement."""


class Window(msgspec.Struct, frozen=True):
    """What belongs to a bill. `end_ts` is the end of `month`: payments count by their time, energy by its month."""

    month: int
    end_ts: int
    rating: int
    adjustment: int
    seq: int


class ChargeTotal(msgspec.Struct, frozen=True):
    """Energy of one wallet at one price. `adjusted`: from adjustments, and then the quantity may be negative."""

    adjusted: bool
    account: str
    meter: str
    epoch: int
    utility: str
    tariff: str
    version: int
    month: int
    period: str | None
    tier: int | None
    price_micro: int
    quantity: int
    amount_nano: int
    from_qty: int | None
    to_qty: int | None


async def sum_window(
    tx: Transaction, site: str, scope: str, window: Window, prior: Window, low: int, account: str | None = None
) -> None:
    """Sum everything of a window that no earlier one holds into `charge_sum`, under a scope; anew where it was before.

    `low` is the first row of rating that can belong to it; with `account` only one wallet, and then `prior` is its own.
    """
    await tx.execute("DELETE FROM charge_sum WHERE site = ? AND scope = ?", site, scope)
    alone = account is not None
    kept = () if alone else (site,)
    only = (account,) if alone else (window.month,)
    join = "" if alone else f" LEFT JOIN {_KEPT} ON k.account = {{t}}.account"
    rated = _RATED.format(kept=join.format(t="r"), only=_RATED_ALONE if alone else _RATED_KEPT)
    values = (site, low, window.rating, window.month, prior.rating, prior.month)
    await tx.execute(rated, site, scope, *kept, *values, *only)
    adjusted = _ADJUSTED.format(kept=join.format(t="s"), only=_ADJUSTED_ALONE if alone else _ADJUSTED_KEPT)
    sides = (site, window.adjustment, site, window.adjustment)
    limits = (window.month, prior.adjustment, prior.month)
    await tx.execute(adjusted, site, scope, *sides, *kept, *limits, *only)


async def sum_before(tx: Transaction, site: str, scope: str, prior: Window) -> None:
    """What each wallet was charged for energy before the first settlement, one row a wallet."""
    await tx.execute("DELETE FROM charge_sum WHERE site = ? AND scope = ?", site, scope)
    sides = (site, prior.adjustment, site, prior.adjustment)
    await tx.execute(_BEFORE, site, scope, site, prior.rating, prior.month, *sides, prior.month)


async def first_left_over(tx: Transaction, site: str, window: Window, low: int) -> int:
    """The first row of rating that this window leaves for a later one: of a later month, or yet to come."""
    rows = await tx.fetch(_LOWEST, site, low, window.rating, window.month)
    return int(rows[0][0]) if rows[0][0] is not None else window.rating + 1


async def totals_of(tx: Transaction, site: str, scope: str, account: str) -> list[ChargeTotal]:
    """What a scope holds for a wallet, in the order of its meters."""
    return [_total(row) for row in await tx.fetch(_OF_ACCOUNT, site, scope, account)]


def _total(row: Row) -> ChargeTotal:
    values: Sequence[Any] = tuple(row)
    return ChargeTotal(bool(values[0]), *values[1:])


async def month_energy(
    tx: Transaction, site: str, accounts: Sequence[str], month: int
) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(quantity, nano-units) by (account, meter, tariff) of all that was used in a month, as settled so far."""
    named, values = in_list(tx, "account", accounts)
    sql = (
        "SELECT account, meter, tariff, sum(quantity), sum(amount_nano) FROM charge_sum WHERE site = ?"
        f" AND {named} AND month = ? AND meter <> '' GROUP BY account, meter, tariff"
    )
    rows = await tx.fetch(sql, site, *values, month)
    return {(row[0], row[1], row[2]): (int(row[3]), int(row[4])) for row in rows}

"""Energy: chains tile their registers, and each interval has one price.

The database says which chains and meters are sound, a range of meters at a time. Only those that are not are read row
by row, to tell what is wrong with them and where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.proofs.meter_ranges import meter_ranges
from adapters.store.proofs.verify_finding import PAGE, Finding, Seen, error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from adapters.store.engine.database import Row, Transaction

_TILED = (
    "SELECT c.meter, c.epoch, c.rows, c.broken, c.low, c.high, p.opening, p.head_qty FROM (SELECT meter, epoch,"
    " count(*) AS rows, sum(broken) AS broken, min(to_qty) AS low, max(to_qty) AS high FROM (SELECT e.meter, e.epoch,"
    " e.to_qty, CASE WHEN e.from_qty IS NOT DISTINCT FROM lag(e.to_qty) OVER (PARTITION BY e.meter, e.epoch"
    " ORDER BY e.to_qty) AND (e.from_qty IS NULL OR e.from_qty < e.to_qty) THEN 0 ELSE 1 END AS broken"
    " FROM energy e WHERE e.site = ?{within}) w GROUP BY meter, epoch) c"
    " LEFT JOIN register_epoch p ON p.site = ? AND p.meter = c.meter AND p.epoch = c.epoch"
    " ORDER BY c.meter, c.epoch"
)
_CHAIN = "SELECT from_qty, to_qty FROM energy WHERE site = ? AND meter = ? AND epoch = ? ORDER BY to_qty, id"
_EMPTY_EPOCHS = (
    "SELECT p.meter, p.epoch FROM register_epoch p WHERE p.site = ? AND NOT EXISTS"
    " (SELECT 1 FROM energy e WHERE e.site = p.site AND e.meter = p.meter AND e.epoch = p.epoch)"
    " ORDER BY p.meter, p.epoch"
)
# The comparison is exact on both engines: a product may leave 64 bits where somebody edited a price.
_PRICED = (
    "SELECT e.meter, count(*), sum(CASE WHEN r.to_qty = e.to_qty AND r.amount_nano ="
    " (CAST(e.to_qty AS NUMERIC) - e.from_qty) * r.price_micro THEN 0 ELSE 1 END) FROM energy e LEFT JOIN rating r"
    " ON r.site = ?{within_r} AND r.meter = e.meter AND r.epoch = e.epoch AND r.from_qty = e.from_qty AND r.active"
    " WHERE e.site = ?{within_e} AND e.from_qty IS NOT NULL GROUP BY e.meter ORDER BY e.meter"
)
_INTERVALS = (
    "SELECT e.meter, count(*) FROM energy e WHERE e.site = ?{within_e} AND e.from_qty IS NOT NULL GROUP BY e.meter"
)
_RATINGS = (
    "SELECT e.id, e.meter, e.epoch, e.from_qty, e.to_qty, r.id AS rating, r.to_qty AS rated_to, r.price_micro,"
    " r.amount_nano FROM energy e LEFT JOIN rating r ON r.site = e.site AND r.meter = e.meter AND r.epoch = e.epoch"
    " AND r.from_qty = e.from_qty AND r.active WHERE e.site = ? AND e.meter = ? AND e.from_qty IS NOT NULL"
    " ORDER BY e.id, r.id"
)
_ORPHAN_RATINGS = (
    "SELECT r.meter, r.epoch, r.from_qty, r.to_qty FROM rating r WHERE r.site = ?{within_r} AND NOT EXISTS"
    " (SELECT 1 FROM energy e WHERE e.site = ?{within_e} AND e.meter = r.meter AND e.epoch = r.epoch"
    " AND e.from_qty = r.from_qty)"
    " ORDER BY r.id"
)
_MONTH_USE = (
    "SELECT p.meter, p.epoch, p.month, p.month_use, (SELECT COALESCE(sum(r.to_qty - r.from_qty), 0) FROM rating r"
    " WHERE r.site = p.site AND r.meter = p.meter AND r.epoch <= p.epoch AND r.month = p.month AND r.active) AS used"
    " FROM register_epoch p WHERE p.site = ? AND (p.meter, p.epoch) > (?, ?) ORDER BY p.meter, p.epoch LIMIT ?"
)


class _Chain(msgspec.Struct):
    """One chain while its rows go by in the order of the register."""

    meter: str
    epoch: int
    opening: int | None
    head: int | None
    start: int | None = None
    end: int | None = None
    charged: int = 0

    @property
    def where(self) -> str:
        return f"meter {self.meter} epoch {self.epoch}"

    def row(self, from_qty: int | None, to_qty: int) -> Iterator[Finding]:
        """Look at the next row, by rising `to_qty`."""
        if from_qty is None:
            if self.end is not None:
                yield error(
                    "second_opening", self.where, f"a second opening row at {to_qty}, the first is at {self.start}"
                )
            self.start = to_qty if self.start is None else self.start
        elif self.end is None:
            yield error(
                "no_opening", self.where, f"the chain starts with an interval from {from_qty}, not with an opening"
            )
            self.start = from_qty
        elif from_qty > self.end:
            yield error("gap", self.where, f"nothing covers {self.end} to {from_qty}")
        elif from_qty < self.end:
            yield error("overlap", self.where, f"the interval {from_qty} to {to_qty} starts before {self.end}")
        self.charged += 0 if from_qty is None else to_qty - from_qty
        self.end = to_qty

    def close(self) -> Iterator[Finding]:
        """Look at the chain as a whole, after its last row."""
        if self.opening is None:
            yield error("no_epoch", self.where, "energy is posted for an epoch that was never opened")
            return
        if self.start != self.opening:
            yield error(
                "opening", self.where, f"the chain starts at {self.start}, the epoch was opened at {self.opening}"
            )
        if self.end != self.head:
            yield error("head", self.where, f"the chain ends at {self.end}, the epoch says {self.head}")
        if self.head is not None and self.charged != self.head - self.opening:
            detail = f"{self.charged} was charged, the register moved by {self.head - self.opening}"
            yield error("energy", self.where, detail)


async def check_chains(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Every epoch is tiled from its opening row to its head, and the energy charged is what the register moved."""
    done = 0
    async for span in meter_ranges(tx, site):
        sql = _TILED.format(within=span.within("e"))
        for row in await tx.fetch(sql, site, *span.values, site):
            if not _is_tiled(row):
                chain = _Chain(row["meter"], row["epoch"], row["opening"], row["head_qty"])
                async for finding in _walk(tx, site, chain):
                    yield finding
            done += row["rows"]
        seen(done)
    async for meter, epoch in tx.stream(_EMPTY_EPOCHS, site):
        yield error("no_opening", f"meter {meter} epoch {epoch}", "the epoch is open but its chain has no row")


def _is_tiled(row: Row) -> bool:
    """Each row starts where the one before it ends, only the first starts nowhere; both ends are the register's.

    Then the energy charged is what the register moved, too. None is empty, so that of two rows that end alike one is
    always broken, whichever of them comes first.
    """
    return not row["broken"] and (row["low"], row["high"]) == (row["opening"], row["head_qty"])


async def _walk(tx: Transaction, site: str, chain: _Chain) -> AsyncIterator[Finding]:
    """What is wrong with a chain, row by row."""
    async for from_qty, to_qty in tx.stream(_CHAIN, site, chain.meter, chain.epoch):
        for finding in chain.row(from_qty, to_qty):
            yield finding
    for finding in chain.close():
        yield finding


async def check_ratings(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Every interval has exactly one active price, for all of it, and the amount is quantity times price."""
    done = 0
    async for span in meter_ranges(tx, site):
        within = {"within_e": span.within("e"), "within_r": span.within("r")}
        values = (site, *span.values)
        intervals = {row[0]: row[1] for row in await tx.fetch(_INTERVALS.format(**within), *values)}
        for meter, pairs, wrong in await tx.fetch(_PRICED.format(**within), *values, *values):
            if wrong or pairs != intervals[meter]:
                async for finding in _prices_of(tx, site, meter):
                    yield finding
        async for meter, epoch, from_qty, to_qty in tx.stream(_ORPHAN_RATINGS.format(**within), *values, *values):
            where = f"meter {meter} epoch {epoch}"
            yield error("orphan_rating", where, f"a price for {from_qty} to {to_qty}, where no interval starts")
        done += sum(intervals.values())
        seen(done)


async def _prices_of(tx: Transaction, site: str, meter: str) -> AsyncIterator[Finding]:
    """What is wrong with the prices of a meter, interval by interval."""
    prices: list[Row] = []
    async for row in tx.stream(_RATINGS, site, meter):
        if prices and prices[0]["id"] != row["id"]:
            for finding in _check_prices(prices):
                yield finding
            prices = []
        prices.append(row)
    for finding in _check_prices(prices) if prices else ():
        yield finding


def _check_prices(prices: list[Row]) -> Iterator[Finding]:
    first = prices[0]
    where = f"meter {first['meter']} epoch {first['epoch']} interval {first['from_qty']} to {first['to_qty']}"
    active = [row for row in prices if row["rating"] is not None]
    if len(active) != 1:
        yield error("active_ratings", where, f"{len(active)} active prices instead of one")
    for row in active:
        quantity = row["to_qty"] - row["from_qty"]
        if row["rated_to"] != row["to_qty"]:
            yield error("rating_interval", where, f"its price is for the interval up to {row['rated_to']}")
        if row["amount_nano"] != quantity * row["price_micro"]:
            detail = f"{row['amount_nano']} is not {quantity} times {row['price_micro']}"
            yield error("amount", where, detail)


async def check_month_use(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """The use of the month that tiers count on, as kept with each epoch, is the sum of its intervals."""
    key: tuple[str, int] = ("", 0)
    done = 0
    while rows := await tx.fetch(_MONTH_USE, site, *key, PAGE):
        for meter, epoch, month, month_use, used in rows:
            if month_use != int(used):
                where = f"meter {meter} epoch {epoch}"
                yield error("month_use", where, f"{month_use} is kept for {month}, the intervals add up to {used}")
        key = (rows[-1][0], rows[-1][1])
        done += len(rows)
        seen(done)

"""Energy: chains tile their registers, and each interval has one price."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.verify_finding import PAGE, Finding, Seen, error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from adapters.store.database import Row, Transaction

_ENERGY = (
    "SELECT e.id, e.meter, e.epoch, e.from_qty, e.to_qty, p.opening, p.head_qty FROM energy e"
    " LEFT JOIN register_epoch p ON p.site = e.site AND p.meter = e.meter AND p.epoch = e.epoch"
    " WHERE e.site = ? AND (e.meter, e.epoch, e.to_qty, e.id) > (?, ?, ?, ?)"
    " ORDER BY e.meter, e.epoch, e.to_qty, e.id LIMIT ?"
)
_EMPTY_EPOCHS = (
    "SELECT p.meter, p.epoch FROM register_epoch p WHERE p.site = ? AND NOT EXISTS"
    " (SELECT 1 FROM energy e WHERE e.site = p.site AND e.meter = p.meter AND e.epoch = p.epoch)"
    " ORDER BY p.meter, p.epoch"
)
_RATINGS = (
    "SELECT e.id, e.meter, e.epoch, e.from_qty, e.to_qty, r.id AS rating, r.to_qty AS rated_to, r.price_micro,"
    " r.amount_nano FROM (SELECT * FROM energy WHERE site = ? AND id > ? ORDER BY id LIMIT ?) e"
    " LEFT JOIN rating r ON r.site = e.site AND r.meter = e.meter AND r.epoch = e.epoch AND r.from_qty = e.from_qty"
    " AND r.active ORDER BY e.id"
)
_ORPHAN_RATINGS = (
    "SELECT r.meter, r.epoch, r.from_qty, r.to_qty FROM rating r WHERE r.site = ? AND NOT EXISTS"
    " (SELECT 1 FROM energy e WHERE e.site = r.site AND e.meter = r.meter AND e.epoch = r.epoch"
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
    chain: _Chain | None = None
    key: tuple[str, int, int, int] = ("", 0, -1, 0)
    done = 0
    while rows := await tx.fetch(_ENERGY, site, *key, PAGE):
        for row in rows:
            if chain is None or (chain.meter, chain.epoch) != (row["meter"], row["epoch"]):
                for finding in chain.close() if chain else ():
                    yield finding
                chain = _Chain(row["meter"], row["epoch"], row["opening"], row["head_qty"])
            for finding in chain.row(row["from_qty"], row["to_qty"]):
                yield finding
        last = rows[-1]
        key = (last["meter"], last["epoch"], last["to_qty"], last["id"])
        done += len(rows)
        seen(done)
    for finding in chain.close() if chain else ():
        yield finding
    for meter, epoch in await tx.fetch(_EMPTY_EPOCHS, site):
        yield error("no_opening", f"meter {meter} epoch {epoch}", "the epoch is open but its chain has no row")


async def check_ratings(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Every interval has exactly one active price, for all of it, and the amount is quantity times price."""
    after, done = 0, 0
    while rows := await tx.fetch(_RATINGS, site, after, PAGE):
        by_interval: dict[int, list[Row]] = {}
        for row in rows:
            by_interval.setdefault(row["id"], []).append(row)
        for prices in by_interval.values():
            for finding in _check_prices(prices):
                yield finding
        after = rows[-1]["id"]
        done += len(by_interval)
        seen(done)
    for meter, epoch, from_qty, to_qty in await tx.fetch(_ORPHAN_RATINGS, site):
        where = f"meter {meter} epoch {epoch}"
        yield error("orphan_rating", where, f"a price for {from_qty} to {to_qty}, where no interval starts")


def _check_prices(prices: list[Row]) -> Iterator[Finding]:
    first = prices[0]
    where = f"meter {first['meter']} epoch {first['epoch']} interval {first['from_qty']} to {first['to_qty']}"
    active = [row for row in prices if row["rating"] is not None]
    if first["from_qty"] is None:
        if active:
            yield error("opening_rated", where, "an opening row is charged to nobody, yet it has a price")
        return
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

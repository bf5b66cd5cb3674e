"""Rating again: what is charged of a meter is brought to what its samples, payers and prices say.

Theory of operation. A meter's history is read from one instant of the database and rated without holding anything up.
Then the site's book is opened and the meter's newest adjustment is compared: if another rating came in between, it is
done again. What differs is posted as one batch of adjustments, late readings that contradict their neighbours go to
the review queue, and the mark is taken away, all in one transaction. So it can be killed at any point and started
again, and twice does nothing.

The mark stays, sticky, as long as the live twin may still post charges that were made before the change, or counts use
that is not the ledger's (for tiers and free units). What it posts then is looked at again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.journal_book import open_book
from adapters.store.meters.meter_history import load_history, load_prices
from adapters.store.posting.adjustment_posting import Posted, post_adjustments
from adapters.store.sites.rerate_marks import due_marks, mark_in_trouble, marks_of, settle_mark
from billing.rerating import differences
from twin.ports import MoneyRefusedError
from twin.rerated import Rerated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapters.store.engine.database import Database, Transaction
    from adapters.store.meters.meter_history import EpochHead, MeterHistory, SitePrices, Stray
    from adapters.store.sites.rerate_marks import Mark
    from billing.rerating import Adjustment

ACTOR = "platform"
BY_HAND = "rated again by hand"
STRAY = "contradicts_neighbours"
_ATTEMPTS = 5
_STRAYS = BulkInsert(
    "quarantined_reading",
    "site meter epoch:bigint raw_qty:bigint ts:bigint sid seq:bigint reason head_qty:bigint",
    "(site, meter, ts, sid, seq) DO NOTHING",
)
_NEWEST = "SELECT COALESCE(max(number), 0) FROM adjustment WHERE site = ? AND meter = ?"
_METERS = "SELECT DISTINCT meter FROM register_epoch WHERE site = ? ORDER BY meter"
_ALL_TIME = 0


async def rerate_site(
    database: Database,
    site: str,
    *,
    now: int,
    meters: Sequence[str] | None = None,
    from_ts: int | None = None,
    actor: str = ACTOR,
    dry_run: bool = False,
) -> AsyncIterator[Rerated]:
    """Rate meters of a site again, one after the other, and tell the outcome of each.

    Without `meters` and `from_ts` these are the marked ones, due or sticky, each from where its mark begins: what
    settlement asks for. With `from_ts` (Unix ms) they are all meters that are named, or all there are, whether marked
    or not. `dry_run` changes nothing. Raises LookupError for a site that was never imported.
    """
    marks = {one.meter: one for one in await marks_of(database, site)}
    if from_ts is None:
        names = [name for name in (sorted(marks) if meters is None else meters) if meters is not None or name in marks]
    else:
        names = list(meters) if meters is not None else [row[0] for row in await database.fetch(_METERS, site)]
    async with database.snapshot() as tx:
        prices = await load_prices(tx, site)
    for name in names:
        mark = marks.get(name)
        since = from_ts if from_ts is not None else mark.from_ts if mark else _ALL_TIME
        if mark is not None:
            since = min(since, mark.from_ts)
        yield await rerate_meter(database, prices, name, since, mark=mark, now=now, actor=actor, dry_run=dry_run)


async def rerate_meter(
    database: Database,
    prices: SitePrices,
    meter: str,
    from_ts: int,
    *,
    mark: Mark | None,
    now: int,
    actor: str = ACTOR,
    dry_run: bool = False,
) -> Rerated:
    """Rate one meter again for use since `from_ts` (Unix ms) and what depends on it, and settle its mark.

    What cannot be rated (a payer without tariff, a register that is none) is told as `trouble`, and kept on the mark.
    """
    for _ in range(_ATTEMPTS):
        try:
            async with database.snapshot() as tx:
                history = await load_history(tx, prices, meter, from_ts)
        except ValueError as error:
            return await _in_trouble(database, prices.site, meter, mark, str(error), dry_run=dry_run)
        if history is None:
            return await _nothing_posted(database, prices.site, meter, mark, dry_run=dry_run)
        found = differences(history.effective, history.canonical)
        if dry_run:
            return _told(history, found, None)
        try:
            outcome = await _post(database, history, found, mark=mark, now=now, actor=actor)
        except MoneyRefusedError as error:
            return await _in_trouble(database, prices.site, meter, mark, error.detail, dry_run=dry_run)
        if outcome is not None:
            return outcome
    return Rerated(prices.site, meter, from_ts, trouble="others rate it again at the same time; try once more")


class SqlReratings:
    """The queue of meters to be rated again, worked off by the flow `twin.flows.rerate`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def work(self, *, now: int, quiet_before: int, limit: int = 50) -> list[Rerated]:
        """Rate the marked meters of all sites that have been quiet since `quiet_before` (Unix ms), oldest first."""
        done: list[Rerated] = []
        prices: dict[str, SitePrices] = {}
        for mark in await due_marks(self._database, quiet_before, limit=limit):
            if mark.site not in prices:
                async with self._database.snapshot() as tx:
                    prices[mark.site] = await load_prices(tx, mark.site)
            done.append(
                await rerate_meter(self._database, prices[mark.site], mark.meter, mark.from_ts, mark=mark, now=now)
            )
        return done

    def rerate_site(
        self,
        site: str,
        *,
        now: int,
        meters: Sequence[str] | None = None,
        from_ts: int | None = None,
        actor: str = ACTOR,
        dry_run: bool = False,
    ) -> AsyncIterator[Rerated]:
        """As the function of this name."""
        return rerate_site(self._database, site, now=now, meters=meters, from_ts=from_ts, actor=actor, dry_run=dry_run)


async def _post(
    database: Database, history: MeterHistory, found: list[Adjustment], *, mark: Mark | None, now: int, actor: str
) -> Rerated | None:
    """Post what was found; None where another rating of the meter came first."""
    async with database.write() as tx:
        book = await open_book(tx, history.site)
        if int((await tx.fetch(_NEWEST, history.site, history.meter))[0][0]) != history.newest:
            return None
        posted = None
        if found:
            reason = mark.reason if mark is not None else BY_HAND
            posted = await post_adjustments(
                tx, book, history.meter, history.utility, found, reason=reason, actor=actor, ts=now
            )
            await book.flush(tx)
        await _review(tx, history, history.strays)
        if mark is not None:
            head = history.heads[-1]
            keep_from = _keep_from(history, head, mark)
            await settle_mark(tx, mark, keep_from=keep_from, head_ts=head.head_ts)
        return _told(history, found, posted)


def _keep_from(history: MeterHistory, head: EpochHead, mark: Mark) -> int | None:
    """From when on the mark must stay, or None where the live twin goes on as the ledger would."""
    if head.head_ts is None or head.head_ts < mark.ts:
        return mark.from_ts
    if history.counted and not _counts_alike(history, head):
        return history.start_ts
    return None


def _counts_alike(history: MeterHistory, head: EpochHead) -> bool:
    """Whether the use that tiers count on, as the live twin has it, is that of what is owed."""
    month_use = year_use = 0
    carried = [one for one in history.heads if one.carried_month]
    since = carried[-1].epoch if carried else 0
    if carried and carried[-1].carried_month == head.month:
        month_use = carried[-1].carried_use
    if carried and carried[-1].carried_month // 100 == head.month // 100:
        year_use = carried[-1].carried_year_use
    for charge in history.canonical:
        priced = charge.priced
        if charge.epoch < since or (charge.epoch == head.epoch and priced.from_qty >= head.head_qty):
            continue
        quantity = priced.to_qty - priced.from_qty
        if charge.epoch == head.epoch:
            quantity = min(priced.to_qty, head.head_qty) - priced.from_qty
        month_use += quantity if priced.month == head.month else 0
        year_use += quantity if priced.month // 100 == head.month // 100 else 0
    whole_year = history.start_month % 100 == 1
    return month_use == head.month_use and (not whole_year or year_use == head.year_use)


async def _review(tx: Transaction, history: MeterHistory, strays: Sequence[Stray]) -> None:
    rows = [
        (
            history.site,
            history.meter,
            one.epoch,
            one.raw_qty,
            one.ts,
            one.sid,
            one.seq,
            STRAY,
            history.heads[-1].head_qty,
        )
        for one in strays
    ]
    await _STRAYS.run(tx, rows)


async def _in_trouble(
    database: Database, site: str, meter: str, mark: Mark | None, trouble: str, *, dry_run: bool
) -> Rerated:
    if mark is not None and not dry_run:
        async with database.write() as tx:
            await mark_in_trouble(tx, mark, trouble)
    return Rerated(site, meter, mark.from_ts if mark else 0, trouble=trouble)


async def _nothing_posted(database: Database, site: str, meter: str, mark: Mark | None, *, dry_run: bool) -> Rerated:
    if mark is not None and not dry_run:
        async with database.write() as tx:
            await settle_mark(tx, mark, keep_from=mark.from_ts, head_ts=None)
    return Rerated(site, meter)


def _told(history: MeterHistory, found: Sequence[Adjustment], posted: Posted | None) -> Rerated:
    moved: dict[str, int] = {}
    for one in found:
        moved[one.old.account] = moved.get(one.old.account, 0) + one.old_amount_nano
        moved[one.new.account] = moved.get(one.new.account, 0) - one.new_amount_nano
    return Rerated(
        site=history.site,
        meter=history.meter,
        from_ts=history.start_ts,
        batch=posted.batch if posted else 0,
        adjustments=len(found),
        quantity=sum(one.to_qty - one.from_qty for one in found),
        moved={account: nano for account, nano in sorted(moved.items()) if nano},
        strays=len(history.strays),
        acts=posted.acts if posted else (),
    )

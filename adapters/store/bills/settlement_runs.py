# ruff: noqa: S608 -- every statement is put together from constants
"""Runs of settlement: one month of one site, its window, its steps, its report.

Theory of operation. A run is opened once a month and resumed as often as needed. Its cuts are taken under the site's
lock: first the cut of energy, on which everything is computed, and, when fees and shares are posted, the cut of
money. Whatever comes later belongs to the next bill. Each step leaves a row for each subject it is done with, written
in the transaction of its effects; so a run that was killed goes on where it stopped and does nothing twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills.charge_sums import OPENING, Window, first_left_over, sum_before, sum_window
from adapters.store.bills.fee_facts import load_terms
from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.journal_book import open_book
from billing.monthly_fees import days_of_month, month_after
from twin.ports import MoneyRefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from adapters.store.bills.fee_facts import SiteTerms
    from adapters.store.engine.database import Database, Row, Transaction

_COLUMNS = (
    "month, state, attempt, who, policy, started_ts, changed_ts, finished_ts, end_ts, prior_month, prior_end_ts,"
    " low_rating, prior_rating, prior_adjustment, prior_seq, cut_rating, cut_adjustment, cut_seq, next_low_rating,"
    " anchor, report"
)
_RUNS = f"SELECT {_COLUMNS} FROM settlement_run WHERE site = ?"
_INSERT = (
    f"INSERT INTO settlement_run (site, {_COLUMNS}) VALUES (?, ?, 'running', 1, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?,"
    " NULL, NULL, NULL, NULL, '', '{}')"
)
_STEPS = BulkInsert(
    "settlement_step",
    "site month:bigint attempt:bigint step subject ts:bigint",
    "(site, month, attempt, step, subject) DO NOTHING",
)
_CUTS = (
    "SELECT (SELECT COALESCE(max(id), 0) FROM rating WHERE site = ?),"
    " (SELECT COALESCE(max(number), 0) FROM adjustment WHERE site = ?)"
)
WAIT = "wait"


class SettlementTerms(msgspec.Struct, frozen=True):
    """The `settlement` entry of a site file."""

    day: int = 1
    hour: int = 6
    auto: bool = True
    prefix: str = ""
    missing: str = WAIT
    """A meter has no reading after the month's end: `wait` for it, `estimate` the rest, `settle` without it."""
    issue: str = "auto"
    """`auto`: drafts are issued at once. `manual`: a person looks at them first."""
    lookback: int = 2
    """Months before this one whose fees are computed again; differences are adjustments."""
    letterhead: dict[str, str] = {}


class Run(msgspec.Struct, frozen=True):
    """One settlement run as it stands."""

    site: str
    month: int
    state: str
    attempt: int
    who: str
    policy: str
    started_ts: int
    changed_ts: int
    finished_ts: int | None
    end_ts: int
    prior_month: int
    prior_end_ts: int
    low_rating: int
    prior_rating: int
    prior_adjustment: int
    prior_seq: int
    cut_rating: int | None
    cut_adjustment: int | None
    cut_seq: int | None
    next_low_rating: int | None
    anchor: str
    report: dict[str, Any]

    @property
    def first(self) -> bool:
        """Nothing was settled before: the month begins with the balances that the ledger has."""
        return self.low_rating == 0

    @property
    def scope(self) -> str:
        """Under which its sums are kept."""
        return str(self.month)

    @property
    def window(self) -> Window:
        """What belongs to it; only once all cuts are taken."""
        assert self.cut_rating is not None
        assert self.cut_adjustment is not None
        return Window(self.month, self.end_ts, self.cut_rating, self.cut_adjustment, self.cut_seq or 0)

    @property
    def prior(self) -> Window:
        """What belonged to the runs before; before the first, what had been posted by now for earlier months."""
        if not self.first:
            return Window(self.prior_month, self.prior_end_ts, self.prior_rating, self.prior_adjustment, self.prior_seq)
        return msgspec.structs.replace(self.window, month=self.prior_month, end_ts=self.prior_end_ts)


def settlement_terms(settings: dict[str, Any]) -> SettlementTerms | None:
    """How a site settles; None where its file says nothing, and then nothing is settled by itself."""
    entry = settings.get("settlement")
    return None if entry is None else msgspec.convert(entry, SettlementTerms)


async def load_run(tx: Transaction | Database, site: str, month: int) -> Run | None:
    """A run by its month (202601)."""
    rows = await tx.fetch(f"{_RUNS} AND month = ?", site, month)
    return _run(site, rows[0]) if rows else None


async def all_runs(tx: Transaction | Database, site: str, limit: int = 120) -> list[Run]:
    """The runs of a site, newest first."""
    return [_run(site, row) for row in await tx.fetch(f"{_RUNS} ORDER BY month DESC LIMIT ?", site, limit)]


async def open_run(
    tx: Transaction, site: str, month: int, *, who: str, policy: str | None, now: int, ahead: bool = False
) -> Run:
    """The run of a month: the one that exists, or a new one. Takes the site's lock. `ahead`: also before its end.

    Raises MoneyRefusedError `month_open` before the month is over, `settle_earlier` where an earlier month has to come
    first, `settle_later` for a month before the last settled one; LookupError for an unknown site; ValueError for a
    number that is no month.
    """
    await open_book(tx, site)
    known = await load_run(tx, site, month)
    terms = await load_terms(tx, site)
    if known is not None:
        return await _resumed(tx, known, policy, now)
    days = days_of_month(terms.zone, month)
    if days[-1].end_ms > now and not ahead:
        raise MoneyRefusedError("month_open", f"{month} is not over yet; settle it when it is")
    before = await all_runs(tx, site, limit=1)
    if before:
        _check_order(before[0], month)
    rule = settlement_terms(terms.settings) or SettlementTerms()
    await tx.execute(
        _INSERT,
        *(site, month, who, policy or rule.missing, now, now, days[-1].end_ms),
        *_prior(before, month, days[0].start_ms),
    )
    made = await load_run(tx, site, month)
    assert made is not None
    return made


def _check_order(last: Run, month: int) -> None:
    if month < last.month:
        raise MoneyRefusedError("settle_later", f"{last.month} is settled, {month} lies before it; correct its bills")
    if last.state != "done":
        raise MoneyRefusedError("settle_earlier", f"the settlement of {last.month} is {last.state}; finish it first")
    if month != month_after(last.month):
        raise MoneyRefusedError(
            "settle_earlier", f"the last settled month is {last.month}; the next is {month_after(last.month)}"
        )


def _prior(before: list[Run], month: int, start_ms: int) -> tuple[int, ...]:
    """prior_month, prior_end_ts, low_rating, prior_rating, prior_adjustment, prior_seq of a new run."""
    if not before:
        return month_after(month, -1), start_ms, 0, 0, 0, 0
    last = before[0]
    assert last.next_low_rating is not None
    cuts = last.window
    return last.month, last.end_ts, max(last.next_low_rating, 1), cuts.rating, cuts.adjustment, cuts.seq


async def _resumed(tx: Transaction, run: Run, policy: str | None, now: int) -> Run:
    if run.state != "waiting" and (policy is None or policy == run.policy or run.state == "done"):
        return run
    await tx.execute(
        "UPDATE settlement_run SET state = 'running', policy = ?, changed_ts = ? WHERE site = ? AND month = ?",
        *(policy or run.policy, now, run.site, run.month),
    )
    again = await load_run(tx, run.site, run.month)
    assert again is not None
    return again


async def set_state(tx: Transaction, run: Run, state: str, now: int, **report: Any) -> Run:
    """Move a run on, and put facts into its report."""
    current = await _reloaded(tx, run)
    text = msgspec.json.encode({**current.report, **report}).decode()
    await tx.execute(
        "UPDATE settlement_run SET state = ?, changed_ts = ?, finished_ts = ?, report = ? WHERE site = ? AND month = ?",
        *(state, now, now if state == "done" else None, text, run.site, run.month),
    )
    return await _reloaded(tx, run)


async def cut_energy(tx: Transaction, run: Run, now: int) -> Run:
    """Take the cut of energy, once, under the site's lock."""
    await open_book(tx, run.site)
    rating, adjustment = (await tx.fetch(_CUTS, run.site, run.site))[0]
    await tx.execute(
        "UPDATE settlement_run SET cut_rating = ?, cut_adjustment = ?, changed_ts = ?"
        " WHERE site = ? AND month = ? AND cut_rating IS NULL",
        *(rating, adjustment, now, run.site, run.month),
    )
    return await _reloaded(tx, run)


async def sum_energy(tx: Transaction, run: Run, now: int) -> Run:
    """Sum what belongs to the month, once the cut is taken; needs no lock, the cut cannot move any more."""
    if await steps_done(tx, run, "sums"):
        return run
    await sum_window(tx, run.site, run.scope, run.window, run.prior, run.low_rating)
    if run.first:
        await sum_before(tx, run.site, f"{OPENING}:{run.month}", run.prior)
    low = await first_left_over(tx, run.site, run.window, run.low_rating)
    await tx.execute(
        "UPDATE settlement_run SET next_low_rating = ?, changed_ts = ? WHERE site = ? AND month = ?",
        *(low, now, run.site, run.month),
    )
    await mark_done(tx, run, "sums", ["sums"], now)
    return await _reloaded(tx, run)


async def cut_money(tx: Transaction, run: Run, now: int) -> Run:
    """Take the cut of money, once: journals beyond it belong to the next bill. Remembers the hash of its last one."""
    book = await open_book(tx, run.site)
    await tx.execute(
        "UPDATE settlement_run SET cut_seq = ?, anchor = ?, changed_ts = ?"
        " WHERE site = ? AND month = ? AND cut_seq IS NULL",
        *(book.seq, book.head.hex(), now, run.site, run.month),
    )
    return await _reloaded(tx, run)


async def begin_again(tx: Transaction, run: Run, now: int) -> Run:
    """Throw the drafts of a run away and start over with new cuts; numbers are not given yet, so nothing is lost.

    Raises MoneyRefusedError `already_issued` once a bill of the run was issued.
    """
    await open_book(tx, run.site)
    drafts = "FROM bill WHERE site = ? AND month = ? AND kind = 'monthly' AND state {} 'draft'"
    issued = await tx.fetch(f"SELECT bill {drafts.format('<>')} LIMIT 1", run.site, run.month)
    if issued:
        raise MoneyRefusedError("already_issued", f"bill {issued[0][0]} is issued; correct it instead")
    for table in ("bill_line", "bill_wallet"):
        chosen = f"SELECT bill {drafts.format('=')}"
        await tx.execute(f"DELETE FROM {table} WHERE site = ? AND bill IN ({chosen})", run.site, run.site, run.month)
    await tx.execute(f"DELETE {drafts.format('=')}", run.site, run.month)
    await tx.execute("DELETE FROM charge_sum WHERE site = ? AND scope = ?", run.site, run.scope)
    await tx.execute(
        "UPDATE settlement_run SET state = 'running', attempt = attempt + 1, cut_rating = NULL, cut_adjustment = NULL,"
        " cut_seq = NULL, next_low_rating = NULL, anchor = '', changed_ts = ?, report = '{}'"
        " WHERE site = ? AND month = ?",
        *(now, run.site, run.month),
    )
    return await _reloaded(tx, run)


async def steps_done(tx: Transaction | Database, run: Run, step: str) -> set[str]:
    """The subjects that a step of the present attempt is done with."""
    sql = "SELECT subject FROM settlement_step WHERE site = ? AND month = ? AND attempt = ? AND step = ?"
    return {row[0] for row in await tx.fetch(sql, run.site, run.month, run.attempt, step)}


async def steps_count(tx: Transaction | Database, run: Run) -> dict[str, int]:
    """How many subjects each step is done with."""
    sql = "SELECT step, count(*) FROM settlement_step WHERE site = ? AND month = ? AND attempt = ? GROUP BY step"
    return {row[0]: int(row[1]) for row in await tx.fetch(sql, run.site, run.month, run.attempt)}


async def mark_done(tx: Transaction, run: Run, step: str, subjects: Iterable[str], now: int) -> None:
    """A step is done with these subjects; written in the transaction of what it did."""
    await _STEPS.run(tx, [(run.site, run.month, run.attempt, step, subject, now) for subject in subjects])


def months_to_compute(terms: SiteTerms, run: Run, settled: Collection[int]) -> tuple[int, ...]:
    """The month of a run, and the settled months before it whose fees are computed again."""
    rule = settlement_terms(terms.settings) or SettlementTerms()
    back = [month_after(run.month, -steps) for steps in range(rule.lookback, 0, -1)]
    return (*(month for month in back if month in settled), run.month)


async def _reloaded(tx: Transaction, run: Run) -> Run:
    again = await load_run(tx, run.site, run.month)
    assert again is not None
    return again


def _run(site: str, row: Row) -> Run:
    values = list(row)
    values[-1] = msgspec.json.decode(values[-1])
    return Run(site, *values)

"""The `SettlementBook` of the settlement flow over an SQL database: every method is one transaction."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills import settlement_runs as runs
from adapters.store.bills.bill_drafts import draft_bills
from adapters.store.bills.bill_issue import correct_bill, final_bill, issue_bill
from adapters.store.bills.fee_facts import load_terms
from adapters.store.bills.fee_posting import FeeScope, post_fees
from adapters.store.bills.month_estimates import ESTIMATE, estimate_dues
from adapters.store.bills.monthly_charges import DAILY, MONTHLY, month_dues, month_of
from adapters.store.bills.shares import SHARES, raise_incidents, share_dues
from adapters.store.engine.alone import alone
from adapters.store.engine.keyed_rows import in_list
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.journal_book import open_book
from adapters.store.sites.apportionment_entries import LANDLORD
from billing.bill import decode_bill
from billing.monthly_fees import month_after
from twin.ports import MoneyRefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from adapters.store.bills.bill_issue import BillOutcome
    from adapters.store.bills.fee_facts import SiteTerms
    from adapters.store.bills.fee_posting import FeeDue
    from adapters.store.bills.settlement_runs import Run
    from adapters.store.bills.shares import Trouble
    from adapters.store.engine.database import Database, Transaction
    from billing.bill import Bill
    from twin.ports import PendingAct

ACTOR = "settlement"
_DRAFTS = (
    "SELECT bill FROM bill WHERE site = ? AND month = ? AND kind = 'monthly' AND state = 'draft' ORDER BY holder, id"
    " LIMIT ?"
)
_PRICE = (
    "INSERT INTO settlement_price (site, month, scope, revision, price_micro, who, why, ts) SELECT ?, ?, ?,"
    " COALESCE(max(revision), 0) + 1, ?, ?, ?, ? FROM settlement_price WHERE site = ? AND month = ? AND scope = ?"
    " RETURNING revision"
)
_SITES = "SELECT id, created_ts, settings FROM site ORDER BY id"


class SqlSettlement:
    """Settlement over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def alone(self, site: str) -> AbstractAsyncContextManager[None]:
        """Hold the settlement of a site for this process; refuses with `busy` where another has it."""
        return alone(self.database, f"settlement of {site}")

    async def terms(self, site: str) -> SiteTerms:
        """Settings, tariffs and tenants of a site. Raises LookupError for an unknown one."""
        async with self.database.snapshot() as tx:
            return await load_terms(tx, site)

    async def run(self, site: str, month: int) -> Run | None:
        """A run by its month."""
        return await runs.load_run(self.database, site, month)

    async def runs(self, site: str, limit: int = 120) -> list[Run]:
        """The runs of a site, newest first."""
        return await runs.all_runs(self.database, site, limit)

    async def open(self, site: str, month: int, *, who: str, policy: str | None, now: int) -> Run:
        """Open or resume a run; see `settlement_runs.open_run`."""
        async with self.database.write() as tx:
            before = await runs.load_run(tx, site, month)
            run = await runs.open_run(tx, site, month, who=who, policy=policy, now=now)
            if before is None:
                entry = AuditEntry(now, who, "settlement.start", f"site {site}", None, {"month": month})
                await record_audit(tx, site, [entry])
            return run

    async def move(self, run: Run, state: str, now: int, **report: Any) -> Run:
        """Move a run to a state, with facts for its report."""
        async with self.database.write() as tx:
            return await runs.set_state(tx, run, state, now, **report)

    async def begin_again(self, run: Run, now: int) -> Run:
        """Drop the drafts and take the cuts anew; refuses with `already_issued`."""
        async with self.database.write() as tx:
            return await runs.begin_again(tx, run, now)

    async def freeze_energy(self, run: Run, now: int) -> Run:
        """Cut and sum the energy of the month."""
        if run.cut_rating is None:
            async with self.database.write() as tx:
                run = await runs.cut_energy(tx, run, now)
        async with self.database.write() as tx:
            return await runs.sum_energy(tx, run, now)

    async def freeze_money(self, run: Run, now: int) -> Run:
        """Cut the journals of the month."""
        if run.cut_seq is not None:
            return run
        async with self.database.write() as tx:
            return await runs.cut_money(tx, run, now)

    async def done(self, run: Run, step: str) -> set[str]:
        """Subjects that a step is done with."""
        return await runs.steps_done(self.database, run, step)

    async def counts(self, run: Run) -> dict[str, int]:
        """How many subjects each step is done with."""
        return await runs.steps_count(self.database, run)

    async def months(self, run: Run, terms: SiteTerms) -> tuple[int, ...]:
        """The months whose fees a run computes: its own, and settled ones shortly before it."""
        settled = [other.month for other in await runs.all_runs(self.database, run.site) if other.state == "done"]
        return runs.months_to_compute(terms, run, settled)

    async def charge_fees(self, run: Run, months: Sequence[int], tenants: Sequence[str], now: int) -> list[PendingAct]:
        """Post what some tenants owe beside energy and shares, as a difference to what was posted before."""
        async with self.database.write() as tx:
            return await charge_fees(tx, run, months, tenants, now)

    async def shares(self, run: Run, months: Sequence[int]) -> tuple[list[FeeDue], list[Trouble]]:
        """The shares of common use in the months, and what could not be divided; that is put on record as incidents."""
        async with self.database.write() as tx:
            return await compute_shares(tx, run, months)

    async def charge_shares(
        self, run: Run, months: Sequence[int], tenants: Sequence[str], due: Sequence[FeeDue], now: int
    ) -> list[PendingAct]:
        """Post the shares of some tenants."""
        async with self.database.write() as tx:
            return await charge_shares(tx, run, months, tenants, due, now)

    async def draft(
        self, run: Run, terms: SiteTerms, holders: Sequence[str], incomplete: Collection[str], now: int
    ) -> int:
        """Draft the bills of some holders; returns how many there were."""
        async with self.database.write() as tx:
            return await draft_bills(tx, terms, run, holders, incomplete, now)

    async def issue(self, run: Run, now: int, *, limit: int = 50) -> list[str]:
        """Issue the next drafts of a month in the order of their holders; returns their ids, none when all are."""
        async with self.database.write() as tx:
            drafts = [row[0] for row in await tx.fetch(_DRAFTS, run.site, run.month, limit)]
            for bill in drafts:
                await issue_bill(tx, run.site, bill, now)
            return drafts

    async def daily(self, site: str, months: Sequence[int], tenants: Sequence[str], now: int) -> list[PendingAct]:
        """Post fees by the day for the days that have ended."""
        async with self.database.write() as tx:
            book = await open_book(tx, site)
            terms = await load_terms(tx, site, tenants)
            due = []
            for month in months:
                due += await month_dues(tx, terms, month_of(terms, month, now), tenants, by_month=False)
            scope = FeeScope(tuple(tenants), tuple(months), DAILY)
            return await post_fees(tx, book, scope, due, actor=ACTOR, ts=now)

    async def enter_price(
        self, site: str, month: int, scope: str, price_micro: int | None, *, who: str, why: str, now: int
    ) -> int:
        """Enter the settlement price of a month for `tariff:NAME` or `utility:NAME`; None takes it back.

        Takes effect when the month is settled, or computed again. Raises MoneyRefusedError `unknown_tariff`.
        """
        async with self.database.write() as tx:
            await open_book(tx, site)
            terms = await load_terms(tx, site)
            kind, _, name = scope.partition(":")
            known = terms.tariffs if kind == "tariff" else {tariff.utility for tariff in terms.tariffs.values()}
            if kind not in ("tariff", "utility") or name not in known:
                words = ", ".join(sorted(known)) or "none"
                raise MoneyRefusedError("unknown_tariff", f"{scope!r} is no tariff or utility here; known: {words}")
            month_after(month)
            rows = await tx.fetch(_PRICE, site, month, scope, price_micro, who, why, now, site, month, scope)
            after = {"month": month, "price_micro": price_micro, "why": why}
            await record_audit(tx, site, [AuditEntry(now, who, "settlement.price", scope, None, after)])
            return int(rows[0][0])

    async def final(self, site: str, tenant: str, at: int, *, who: str, now: int) -> BillOutcome | None:
        """The final bill of a tenant who leaves at an instant. Raises MoneyRefusedError `unknown_tenant`."""
        async with self.database.write() as tx:
            book = await open_book(tx, site)
            if not await tx.fetch("SELECT 1 FROM tenant WHERE site = ? AND tenant = ?", site, tenant):
                raise MoneyRefusedError("unknown_tenant", f"site {site} has no tenant {tenant!r}")
            outcome = await final_bill(tx, book, site, tenant, at, who=who, now=now)
            entry = AuditEntry(now, who, "bill.final", f"tenant {tenant}", None, {"at": at})
            await record_audit(tx, site, [entry])
            return outcome

    async def preview(self, site: str, month: int, tenants: Collection[str], *, now: int) -> list[Bill]:
        """The bills that settling a month would make now, also before it is over; changes nothing.

        Everything is done in one transaction that is rolled back, so the ledger of the site waits as long as it takes.
        Marked meters are not rated again first. Raises like `open`; MoneyRefusedError `already_settled`.
        """
        made: list[Bill] = []
        try:
            async with self.database.write() as tx:
                made += await _made(tx, site, month, tenants, now)
                raise _RolledBackError
        except _RolledBackError:
            return made

    async def correct(self, site: str, bill: str, *, who: str, why: str, now: int) -> Bill:
        """Issue a correction of a bill; see `bill_issue.correct_bill`."""
        async with self.database.write() as tx:
            return await correct_bill(tx, site, bill, who=who, why=why, now=now)

    async def sites(self) -> list[tuple[str, int, dict[str, Any]]]:
        """(site, created at, settings) of every site."""
        return [(row[0], row[1], msgspec.json.decode(row[2])) for row in await self.database.fetch(_SITES)]


class _RolledBackError(Exception):
    """Ends a transaction that is not to be committed."""


async def _made(tx: Transaction, site: str, month: int, tenants: Collection[str], now: int) -> list[Bill]:
    run = await runs.open_run(tx, site, month, who="preview", policy=None, now=now, ahead=True)
    if run.state == "done":
        raise MoneyRefusedError("already_settled", f"{month} is settled; look at its bills")
    terms = await load_terms(tx, site)
    run = await runs.sum_energy(tx, await runs.cut_energy(tx, run, now), now)
    settled = [other.month for other in await runs.all_runs(tx, site) if other.state == "done"]
    months = runs.months_to_compute(terms, run, settled)
    everybody = sorted(terms.tenants)
    await charge_fees(tx, run, months, everybody, now)
    due, troubles = await compute_shares(tx, run, months)
    if not any(trouble.kind == "apportionment" for trouble in troubles):
        await charge_shares(tx, run, months, ["", *everybody], due, now)
    run = await runs.cut_money(tx, run, now)
    wanted = {terms.holder(name) for name in tenants} if tenants else {terms.holder(name) for name in everybody}
    await draft_bills(tx, terms, run, sorted(wanted), (), now)
    named, values = in_list(tx, "holder", sorted(wanted))
    sql = f"SELECT document FROM bill WHERE site = ? AND month = ? AND kind = 'monthly' AND {named} ORDER BY holder"  # noqa: S608
    return [decode_bill(row[0]) for row in await tx.fetch(sql, site, month, *values)]


async def charge_fees(
    tx: Transaction, run: Run, months: Sequence[int], tenants: Sequence[str], now: int
) -> list[PendingAct]:
    """Post fees of some tenants for the months of a run, and mark the step done."""
    book = await open_book(tx, run.site)
    terms = await load_terms(tx, run.site)
    due: list[FeeDue] = []
    for month in months:
        due += await month_dues(tx, terms, month_of(terms, month, now), tenants, by_month=True)
    if run.policy == ESTIMATE:
        missing = run.report.get("missing", ())
        due += await estimate_dues(tx, terms, month_of(terms, run.month, run.end_ts), missing, tenants)
    scope = FeeScope(tuple(tenants), tuple(months), (*DAILY, *MONTHLY, ESTIMATE))
    acts = await post_fees(tx, book, scope, due, actor=ACTOR, ts=now)
    await runs.mark_done(tx, run, "fees", tenants, now)
    return acts


async def compute_shares(tx: Transaction, run: Run, months: Sequence[int]) -> tuple[list[FeeDue], list[Trouble]]:
    """Shares of the months, with incidents for what could not be divided."""
    terms = await load_terms(tx, run.site)
    due: list[FeeDue] = []
    troubles: list[Trouble] = []
    for month in months:
        found, wrong = await share_dues(tx, terms, month_of(terms, month, run.end_ts))
        due += found
        troubles += wrong
    await raise_incidents(tx, run.site, troubles, run.end_ts)
    return due, troubles


async def charge_shares(
    tx: Transaction, run: Run, months: Sequence[int], tenants: Sequence[str], due: Sequence[FeeDue], now: int
) -> list[PendingAct]:
    """Post the shares of some tenants (the landlord is the tenant without a name), and mark the step done."""
    book = await open_book(tx, run.site)
    wanted = [fee for fee in due if fee.tenant in set(tenants)]
    acts = await post_fees(tx, book, FeeScope(tuple(tenants), tuple(months), SHARES), wanted, actor=ACTOR, ts=now)
    await runs.mark_done(tx, run, "shares", [tenant or "landlord" for tenant in tenants], now)
    return acts


__all__ = ["LANDLORD", "SqlSettlement", "charge_fees", "charge_shares", "compute_shares"]

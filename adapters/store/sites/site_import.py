"""Applying a site document: one transaction from the difference to the acts that bring the twins up to date.

The groups' contracts are computed from the state before and from the state after; every group in which they differ
gets one `ContractsChanged` act. Opening credits follow it as acts of their own, so that the tenant twin exists when
they arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.accounts import OPENING_EQUITY, wallet
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.journal_book import open_book
from adapters.store.sites import site_rows
from adapters.store.sites.contract_acts import ContractActs
from adapters.store.sites.contracts import all_contracts, ratio_of
from adapters.store.sites.price_changes import mark_repriced, price_changes, record_tariffs
from adapters.store.sites.ratio_changes import note_ratios
from adapters.store.sites.rerate_marks import mark_all
from adapters.store.sites.site_difference import ChainState, History, SiteChanges, compare
from adapters.store.sites.site_file import SiteError, wanted_state
from adapters.store.sites.site_state import SiteState, load_state
from billing.money import parse_money
from twin.core.messages import CreditsPosted
from twin.ports import SiteChangedError, SiteDifference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.ports import Contracts, PendingAct, SiteDocument

_CHAINS = "SELECT meter, epoch, opening, head_qty, reason FROM register_epoch WHERE site = ? ORDER BY meter, epoch"
_BOOKED = (
    "SELECT tenant, opening_credit_nano FROM tenant WHERE site = ? AND opening_credit_nano IS NOT NULL"
    " AND opening_credit_nano <> 0"
)
_DIGESTS = "SELECT ruleset, version, digest FROM ruleset_version WHERE site = ?"
_BY_HAND = (
    "SELECT ruleset FROM ruleset_activation WHERE id IN (SELECT max(id) FROM ruleset_activation WHERE site = ?"
    " GROUP BY ruleset) AND source <> 'import'"
)
_ACCOUNTS = BulkInsert(
    "account",
    "site account tenant credits_nano:bigint credits_seq:bigint charges_nano:bigint version:bigint",
    "(site, account) DO UPDATE SET credits_nano = excluded.credits_nano, credits_seq = excluded.credits_seq,"
    " version = account.version + 1",
)


async def difference(database: Database, document: SiteDocument) -> SiteDifference:
    """What `apply` would do; changes nothing. Raises SiteError for a document that does not hold together."""
    wanted = wanted_state(document)
    async with database.snapshot() as tx:
        before = await load_state(tx, wanted.site)
        changes = compare(before, wanted, await _history(tx, before, wanted, reprice=document.reprice))
    return SiteDifference(tuple(changes.lines), tuple(changes.refused))


async def apply(
    database: Database, document: SiteDocument, *, who: str, now: int
) -> tuple[SiteDifference, list[PendingAct]]:
    """Import a document at `now` (Unix ms), whole or not at all; the same one again changes nothing.

    Raises SiteError for a document that does not hold together, SiteChangedError where its difference is not the
    expected one.
    """
    wanted = wanted_state(document)
    async with database.write() as tx:
        is_new = await site_rows.ensure_site(tx, wanted.site, wanted.settings, now)
        book = await open_book(tx, wanted.site)
        before = await load_state(tx, wanted.site)
        if is_new:
            before.imported_ts = None
        history = await _history(tx, before, wanted, reprice=document.reprice)
        changes = compare(before, wanted, history)
        told = SiteDifference(tuple(changes.lines), tuple(changes.refused))
        if document.expected is not None and told.lines != document.expected:
            raise SiteChangedError(f"site {wanted.site} has changed since the difference was shown")
        if changes.empty:
            return told, []
        acts = await _Import(tx, book, before, wanted, changes, history, who, now).run({})
        return told, acts


async def amend(
    tx: Transaction,
    book: JournalBook,
    wanted: SiteState,
    *,
    who: str,
    now: int,
    ratio_events: Mapping[str, int] | None = None,
) -> tuple[SiteDifference, list[PendingAct]]:
    """Bring a site to a wanted state inside a transaction that holds its row; for acts that change one entry of it.

    What an import would refuse is refused here as well: it stands in the difference, and nothing of it is written.
    `ratio_events` are the numbers of the acts by which ratios change, by meter, where the caller records them.
    """
    before = await load_state(tx, book.site)
    history = await _history(tx, before, wanted, reprice=False)
    changes = compare(before, wanted, history)
    told = SiteDifference(tuple(changes.lines), tuple(changes.refused))
    if changes.empty:
        return told, []
    return told, await _Import(tx, book, before, wanted, changes, history, who, now).run(ratio_events or {})


class _Import:
    """One import being written."""

    def __init__(
        self,
        tx: Transaction,
        book: JournalBook,
        before: SiteState,
        wanted: SiteState,
        changes: SiteChanges,
        history: History,
        who: str,
        now: int,
    ) -> None:
        self.tx = tx
        self.book = book
        self.site = wanted.site
        self.before = before
        self.wanted = wanted
        self.changes = changes
        self.history = history
        self.who = who
        self.now = now
        self.acts = ContractActs(tx, wanted.site, who, "import", now)

    async def run(self, ratio_events: Mapping[str, int]) -> list[PendingAct]:
        self.wanted.imported_ts = self.now
        old = all_contracts(self.before, self.before.imported_ts or 0)
        new = all_contracts(self.wanted, self.now)
        _check_groups(new.values())
        await site_rows.write_changes(self.tx, self.site, self.changes, self.wanted, self.who, self.now)
        opened = await self._open_chains()
        await self.acts.load()
        entries = (self.before.devices, self.changes.devices)
        self.acts.ratios = await note_ratios(self.tx, self.site, *entries, ratio_events, who=self.who, now=self.now)
        instants = _hand_over_instants(self.changes, self.now)
        await self.acts.tell(old, new, opened, instants)
        await _mark_tenancies(self.tx, self.site, self.before, self.changes, opened, self.now)
        await self._note_prices()
        await self._open_accounts()
        await self.book.flush(self.tx)
        acts = await self.acts.write()
        entry = AuditEntry(self.now, self.who, "site.import", f"site {self.site}", None, self.changes.lines[:1000])
        await record_audit(self.tx, self.site, [entry])
        return acts

    async def _note_prices(self) -> None:
        """Tariffs that supplies have from now on, and meters whose charged energy has other prices now."""
        reprice = self.history.reprice
        supplies = self.changes.supplies
        await record_tariffs(self.tx, self.site, self.before, supplies, who=self.who, now=self.now, reprice=reprice)
        applied = [*self.changes.tariffs, *(["vacancy"] if self.changes.settings is not None else [])]
        await mark_repriced(self.tx, self.site, self.history.prices, applied, self.now)

    async def _open_chains(self) -> set[str]:
        """Register chains of supplied meters whose opening value the file tells and that are not open yet."""
        known = {row[0] for row in await self.tx.fetch(_CHAINS, self.site)}
        rows = []
        # A meter has one chain, also where one tenant follows another in the same file: it opens with the first.
        for supply in sorted(self.wanted.supplies.values(), key=lambda one: one.from_ts or 0):
            device = self.wanted.devices[supply.meter]
            opening = device.get("opening_wh", device.get("opening_l"))
            if opening is not None and supply.meter not in known and supply.in_force(self.now):
                ratio = ratio_of(device)
                rows.append((supply.meter, opening * ratio, supply.from_ts, ratio))
                known.add(supply.meter)
        await site_rows.open_chains(self.tx, self.site, rows)
        return {row[0] for row in rows}

    async def _open_accounts(self) -> None:
        """Accounts of new tenants, and opening credits that are not booked yet."""
        rows = await self.tx.fetch("SELECT account, credits_nano FROM account WHERE site = ?", self.site)
        totals: dict[str, int] = dict(map(tuple, rows))
        booked = {row[0] for row in await self.tx.fetch(_BOOKED, self.site)}
        accounts: list[tuple[Any, ...]] = []
        credited: list[tuple[Any, ...]] = []
        for tenant, entry in self.changes.tenants.items():
            account = wallet(tenant)
            amount_nano = parse_money(entry.get("opening_credit", "0"))
            if amount_nano != 0 and tenant not in booked:
                total_nano = totals.get(account, 0) + amount_nano
                seq = self._credit(tenant, account, amount_nano, total_nano)
                accounts.append((self.site, account, tenant, total_nano, seq, 0, 1))
                credited.append((amount_nano, self.site, tenant))
            elif account not in totals:
                accounts.append((self.site, account, tenant, 0, 0, 0, 1))
        await _ACCOUNTS.run(self.tx, accounts)
        if credited:
            sql = "UPDATE tenant SET opening_credit_nano = ? WHERE site = ? AND tenant = ?"
            await self.tx.execute_many(sql, credited)

    def _credit(self, tenant: str, account: str, amount_nano: int, total_nano: int) -> int:
        reference = f"opening:{tenant}"
        self.book.add(
            kind="opening",
            ts=self.now,
            reference=reference,
            actor=self.who,
            memo="opening credit of the site file",
            legs=((account, amount_nano), (OPENING_EQUITY, -amount_nano)),
        )
        seq = self.acts.next(tenant)
        self.acts.add(tenant, CreditsPosted(seq, total_nano, amount_nano, self.now, reference))
        return seq


async def carry_out(tx: Transaction, book: JournalBook, *, who: str, now: int) -> list[PendingAct]:
    """Bring the twins to the tenancies of `now` (Unix ms): supplies that ended or began since the last time change
    hands. Changes nothing where none did; the caller holds the site's row."""
    state = await load_state(tx, book.site)
    if state.imported_ts is None or state.imported_ts >= now:
        return []
    old, new = all_contracts(state, state.imported_ts), all_contracts(state, now)
    _check_groups(new.values())
    at: dict[str, int] = {}
    for row in state.supplies.values():
        for edge in (row.to_ts, row.from_ts):
            if edge is not None and state.imported_ts < edge <= now:
                at[row.meter] = edge
    acts = ContractActs(tx, book.site, who, "the time of a supply has come", now)
    await acts.load()
    await tx.execute("UPDATE site SET imported_ts = ? WHERE id = ?", now, book.site)
    await acts.tell(old, new, (), at)
    return await acts.write()


def _hand_over_instants(changes: SiteChanges, now: int) -> dict[str, int]:
    """From when on meters of changed supplies are the next one's."""
    instants: dict[str, int] = {}
    for row in changes.supplies:
        edge = row.from_ts if row.to_ts is None or row.to_ts > now else row.to_ts
        if edge is not None and edge <= now:
            instants[row.meter] = max(edge, instants.get(row.meter, edge))
    return instants


async def _mark_tenancies(
    tx: Transaction, site: str, before: SiteState, changes: SiteChanges, opened: set[str], now: int
) -> None:
    """Whoever paid for a time that is another's now: those meters are rated again from there."""
    used = {row[0] for row in await tx.fetch(_CHAINS, site)} - opened
    marks: list[tuple[str, int | None]] = []
    for row in (*changes.supplies, *changes.supplies_gone):
        if row.meter not in used:
            continue
        known = before.supplies.get(row.key)
        if known is None or row in changes.supplies_gone:
            marks.append((row.meter, row.from_ts))
        elif known.to_ts != row.to_ts:
            marks.append((row.meter, min(ts for ts in (known.to_ts, row.to_ts) if ts is not None)))
    await mark_all(tx, site, [(meter, ts) for meter, ts in marks if ts is None or ts <= now], "the tenant changed", now)


async def _history(tx: Transaction, before: SiteState, wanted: SiteState, *, reprice: bool) -> History:
    site = wanted.site
    chains: dict[str, ChainState] = {}
    for meter, epoch, opening, head, reason in await tx.fetch(_CHAINS, site):
        earlier = chains.get(meter)
        charged = head > opening or (earlier is not None and earlier.charged)
        chains[meter] = ChainState(epoch, opening, head, reason, charged)
    digests = {(name, version): digest for name, version, digest in await tx.fetch(_DIGESTS, site)}
    by_hand = frozenset(row[0] for row in await tx.fetch(_BY_HAND, site))
    booked = dict(map(tuple, await tx.fetch(_BOOKED, site)))
    return History(chains, booked, digests, by_hand, await price_changes(tx, before, wanted), reprice)


def _check_groups(groups: Iterable[Contracts]) -> None:
    """No device may be in two groups: what an import keeps can collide with what its file says."""
    owners: dict[str, str] = {}
    problems = []
    for contracts in groups:
        for name in {*(meter.id for meter in contracts.meters), *(breaker.id for breaker in contracts.breakers)}:
            owner = owners.setdefault(name, contracts.group)
            if owner != contracts.group:
                problems.append(f"device {name}: belongs to {owner} and cannot belong to {contracts.group} as well")
    if problems:
        raise SiteError(problems)

"""Drafting bills: one bill a holder, a section a wallet, written whole or not at all.

A draft says the same however often it is made from the same cuts. Bills of a month are drafted by holders in chunks; a
final bill and a correction are drafted alone, with a window of their own.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills.bill_content import BillFacts, WalletFacts, wallet_section, words
from adapters.store.bills.bill_facts import Period, Prior, load_marks, load_originals, load_priors, load_wallets
from adapters.store.bills.charge_sums import OPENING, Window
from adapters.store.bills.settlement_runs import SettlementTerms, mark_done, settlement_terms
from adapters.store.engine.bulk import BulkInsert
from adapters.store.engine.keyed_rows import in_list
from billing.bill import Bill, Issuer, Line, Party, WalletSection, check_bill, encode_bill
from billing.bill_terms import NO_READING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from adapters.store.bills.fee_facts import SiteTerms
    from adapters.store.bills.settlement_runs import Run
    from adapters.store.engine.database import Transaction
    from billing.bill import BillKind, Words

_BILL = (
    "INSERT INTO bill (site, bill, kind, holder, month, revision, state, series, number, from_ts, to_ts, corrects,"
    " replaced_by, drafted_ts, issued_ts, who, opening_nano, charges_nano, credits_nano, closing_nano, journal_seq,"
    " document, digest) VALUES (?, ?, ?, ?, ?, ?, 'draft', ?, NULL, ?, ?, ?, NULL, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_WALLETS = BulkInsert(
    "bill_wallet",
    "site bill tenant account through_month:bigint end_ts:bigint cut_rating:bigint cut_adjustment:bigint cut_seq:bigint"
    " prior_month:bigint prior_end_ts:bigint prior_rating:bigint prior_adjustment:bigint prior_seq:bigint"
    " opening_nano:bigint charges_nano:bigint credits_nano:bigint closing_nano:bigint",
)
_LINES = BulkInsert(
    "bill_line",
    "site bill place:bigint account kind name_zh name_en meter utility tariff version:bigint month:bigint period"
    " tier:bigint quantity:bigint unit price_micro:bigint amount_nano:bigint",
)
_OPENINGS = (
    "SELECT account, sum(amount_nano) FROM (SELECT account, -amount_nano AS amount_nano FROM charge_sum WHERE site = ?"
    " AND scope = ? UNION ALL SELECT account, -amount_nano FROM fee_line WHERE site = ? AND month <= ?"
    " AND journal_seq <= ? UNION ALL SELECT l.account, l.amount_nano FROM journal j JOIN leg l ON l.site = j.site"
    " AND l.seq = j.seq WHERE j.site = ? AND j.kind NOT IN ('charge', 'adjustment', 'fee', 'share') AND j.seq <= ?"
    " AND j.ts < ? AND l.account LIKE 'tenant:%:wallet') t WHERE {accounts} GROUP BY account"
)


class BillPlan(msgspec.Struct, frozen=True):
    """What a bill is to be: its identity, its period, its window."""

    id: str
    kind: BillKind
    month: int
    period: Period
    window: Window
    scope: str
    who: str
    now: int
    revision: int = 1
    corrects: str = ""
    anchor: str = ""


async def draft_bills(
    tx: Transaction, terms: SiteTerms, run: Run, holders: Sequence[str], incomplete: Collection[str], now: int
) -> int:
    """Draft the monthly bills of some holders and mark the step done; returns how many bills that were."""
    start_ms = run.prior_end_ts
    tenants = [name for name in terms.tenants if terms.holder(name) in set(holders)]
    priors = await load_priors(tx, terms.site, tenants, Prior(run.prior, 0, billed=False))
    if run.first:
        openings = await _openings(tx, terms.site, run, tenants)
        priors = {
            name: prior if prior.billed else Prior(run.prior, openings.get(name, 0), billed=False)
            for name, prior in priors.items()
        }
    made = 0
    period = Period(start_ms, run.end_ts)
    for holder, bill in _plans(run, holders, period, now):
        own = {
            name: prior
            for name, prior in priors.items()
            if terms.holder(name) == holder and not (prior.billed and prior.window.month > run.month)
        }
        made += await draft_bill(tx, terms, holder, bill, own, incomplete) is not None
    await mark_done(tx, run, "bills", holders, now)
    return made


def _plans(run: Run, holders: Sequence[str], period: Period, now: int) -> list[tuple[str, BillPlan]]:
    return [
        (
            holder,
            BillPlan(
                id=f"{run.month}-{holder}",
                kind="monthly",
                month=run.month,
                period=period,
                window=run.window,
                scope=run.scope,
                who=run.who,
                now=now,
                anchor=run.anchor,
            ),
        )
        for holder in holders
    ]


async def draft_bill(
    tx: Transaction,
    terms: SiteTerms,
    holder: str,
    plan: BillPlan,
    own: Mapping[str, Prior],
    incomplete: Collection[str] = (),
) -> Bill | None:
    """Draft one bill of a holder's wallets; None where there is nothing to bill.

    `own` are its wallets by tenant, with where their bills stand. Raises AssertionError for a bill that does not add
    up: that would be a mistake of ours, and a bill must not be made of it.
    """
    if not own:
        return None
    wallets = await load_wallets(tx, terms, plan.scope, plan.window, plan.period, dict(own))
    kept = [facts for facts in wallets.values() if not _nothing(facts, own[facts.tenant], plan)]
    if not kept:
        return None
    totals = [total for facts in kept for total in facts.totals if total.month == plan.month]
    common = BillFacts(
        terms=terms,
        month=plan.month,
        marks=await load_marks(tx, terms.site, totals, plan.period),
        originals=await load_originals(tx, terms.site, [holder]),
        incomplete=frozenset(incomplete),
    )
    sections = tuple(wallet_section(common, facts) for facts in sorted(kept, key=lambda one: _first(one, holder)))
    bill = _bill(terms, holder, plan, sections)
    problems = check_bill(bill)
    assert not problems, f"bill {bill.id} does not add up: {problems}"
    await _write(tx, terms, bill, plan, own)
    return bill


def _first(facts: WalletFacts, holder: str) -> tuple[bool, str]:
    return facts.tenant != holder, facts.tenant


def _nothing(facts: WalletFacts, prior: Prior, plan: BillPlan) -> bool:
    """Nothing happened: no supply, or one that was billed for this very month already."""
    if facts.totals or facts.fees or facts.credits:
        return False
    if plan.corrects:
        return False
    if plan.kind == "final" and prior.billed:
        return True
    return (prior.billed and prior.window.month >= plan.month) or not (facts.meters or facts.opening_nano)


async def _openings(tx: Transaction, site: str, run: Run, tenants: Sequence[str]) -> dict[str, int]:
    """Balances at the beginning of the first month that is settled, from everything the ledger had before."""
    named, texts = in_list(tx, "account", [f"tenant:{tenant}:wallet" for tenant in tenants])
    prior = run.prior
    rows = await tx.fetch(
        _OPENINGS.format(accounts=named),
        *(site, f"{OPENING}:{run.month}", site, prior.month, prior.seq, site, prior.seq, prior.end_ts, *texts),
    )
    return {row[0].split(":")[1]: int(row[1]) for row in rows}


def _bill(terms: SiteTerms, holder: str, plan: BillPlan, sections: tuple[WalletSection, ...]) -> Bill:
    settings = terms.settings
    entry = terms.tenants.get(holder, {})
    rule = settlement_terms(settings) or SettlementTerms()
    contact = {str(key): str(value) for key, value in entry.get("contact", {}).items()}
    return Bill(
        id=plan.id,
        kind=plan.kind,
        state="draft",
        revision=plan.revision,
        number="",
        issuer=Issuer(
            site=terms.site,
            name=words(settings.get("name") or terms.site),
            letterhead=rule.letterhead,
            currency=settings["currency"],
            timezone=settings["timezone"],
        ),
        holder=Party(holder, words(entry.get("name") or holder), contact, str(entry.get("language", ""))),
        month=plan.month,
        from_ts=plan.period.from_ts,
        to_ts=plan.period.to_ts,
        wallets=sections,
        corrects=plan.corrects,
        journal_seq=plan.window.seq,
        anchor=plan.anchor,
        warnings=tuple(_warnings(sections)),
    )


def _warnings(sections: Sequence[WalletSection]) -> list[Words]:
    missing = [section.meter for wallet in sections for section in wallet.meters if not section.complete]
    return [{language: text.format(meter=meter) for language, text in NO_READING.items()} for meter in missing]


async def _write(tx: Transaction, terms: SiteTerms, bill: Bill, plan: BillPlan, priors: Mapping[str, Prior]) -> None:
    document = encode_bill(bill)
    await tx.execute(
        _BILL,
        *(terms.site, bill.id, bill.kind, bill.holder.id, bill.month, bill.revision, series_of(terms, bill.month)),
        *(bill.from_ts, bill.to_ts, bill.corrects or None, plan.now, plan.who),
        *(bill.opening_nano, bill.charges_nano, bill.credits_nano, bill.closing_nano, bill.journal_seq),
        *(document.decode(), digest_of(document)),
    )
    rows = []
    for section in bill.wallets:
        cuts, before = plan.window, priors[section.tenant].window
        windows = [(one.month, one.end_ts, one.rating, one.adjustment, one.seq) for one in (cuts, before)]
        sums = (section.opening_nano, section.charges_nano, section.credits_nano, section.closing_nano)
        rows.append((terms.site, bill.id, section.tenant, section.account, *windows[0], *windows[1], *sums))
    await _WALLETS.run(tx, rows)
    lines = [(wallet.account, line) for wallet in bill.wallets for line in wallet.lines]
    places = enumerate(lines, 1)
    await _LINES.run(tx, [_line_row(terms.site, bill.id, place, account, line) for place, (account, line) in places])


def series_of(terms: SiteTerms, month: int) -> str:
    """The series that a bill of a month is numbered in: the site's prefix, `{year}` in it replaced."""
    rule = settlement_terms(terms.settings) or SettlementTerms()
    return (rule.prefix or f"{terms.site.upper()}-{{year}}-").replace("{year}", str(month // 100))


def digest_of(document: bytes) -> str:
    """SHA-256 of a stored bill, in hex."""
    return hashlib.sha256(document).hexdigest()


def _line_row(site: str, bill: str, place: int, account: str, line: Line) -> tuple[Any, ...]:
    other = line.name.get("und", "")
    named = (line.kind, line.name.get("zh", other), line.name.get("en", other), line.meter, line.utility, line.tariff)
    used = (line.version_ts, line.month, line.period, line.tier, line.quantity, line.unit or "")
    return (site, bill, place, account, *named, *used, line.price_micro, line.amount_nano)

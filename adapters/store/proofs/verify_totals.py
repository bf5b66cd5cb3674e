"""Totals: projections, payments and the outbox agree with the journals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.engine.paging import site_of_pages
from adapters.store.journals.outbox import decode_act
from adapters.store.proofs.verify_finding import PAGE, Finding, Seen, error
from twin.core.messages import CreditsPosted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Transaction

_ACCOUNTS = (
    "SELECT a.account, a.tenant, a.credits_nano, a.credits_seq, a.charges_nano,"
    " (SELECT t.body FROM act t WHERE t.site = a.site AND t.group_id = a.tenant AND t.seq = a.credits_seq) AS told"
    " FROM account a WHERE a.site = ? AND a.account > ? ORDER BY a.account LIMIT ?"
)
# One pass over all legs: a plan that looks the legs up account by account may read the journal once for each.
_POSTED = (
    "SELECT l.account, COALESCE(sum(CASE WHEN j.kind <> 'charge' THEN l.amount_nano END), 0),"
    " COALESCE(-sum(CASE WHEN j.kind = 'charge' THEN l.amount_nano END), 0) FROM leg l"
    " JOIN journal j ON j.site = l.site AND j.seq = l.seq WHERE l.site = ?"
    " AND (l.account LIKE 'tenant:%' OR l.account LIKE 'landlord:%') GROUP BY l.account"
)
_LOST_ACCOUNTS = (
    "SELECT DISTINCT l.account FROM leg l WHERE l.site = ?"
    " AND (l.account LIKE 'tenant:%' OR l.account LIKE 'landlord:%') AND NOT EXISTS"
    " (SELECT 1 FROM account a WHERE a.site = l.site AND a.account = l.account) ORDER BY l.account"
)
_PAYMENTS = (
    "SELECT p.payment, p.tenant, p.amount_nano, j.kind, (SELECT sum(l.amount_nano) FROM leg l WHERE l.site = p.site"
    " AND l.seq = p.journal_seq AND l.account = 'tenant:' || p.tenant || ':wallet') AS booked, p.id FROM payment p"
    " LEFT JOIN journal j ON j.site = p.site AND j.seq = p.journal_seq WHERE {site} = ? AND p.id > ?"
    " ORDER BY p.id LIMIT ?"
)
_UNPAID_TOPUPS = (
    "SELECT j.seq, j.reference FROM journal j WHERE j.site = ? AND j.kind = 'topup' AND NOT EXISTS"
    " (SELECT 1 FROM payment p WHERE p.site = j.site AND p.journal_seq = j.seq) ORDER BY j.seq"
)
_OUTBOX = (
    "SELECT h.group_id, h.seq, (SELECT count(*) FROM act a WHERE a.site = h.site AND a.group_id = h.group_id) AS acts,"
    " (SELECT max(a.seq) FROM act a WHERE a.site = h.site AND a.group_id = h.group_id) AS last,"
    " (SELECT max(a.seq) FROM act a WHERE a.site = h.site AND a.group_id = h.group_id AND a.delivered) AS delivered,"
    " (SELECT min(a.seq) FROM act a WHERE a.site = h.site AND a.group_id = h.group_id AND NOT a.delivered) AS waiting"
    " FROM act_head h WHERE h.site = ? AND h.group_id > ? ORDER BY h.group_id LIMIT ?"
)
_LOST_ACTS = (
    "SELECT DISTINCT a.group_id FROM act a WHERE a.site = ? AND NOT EXISTS"
    " (SELECT 1 FROM act_head h WHERE h.site = a.site AND h.group_id = a.group_id) ORDER BY a.group_id"
)
_REFUSED = (
    "SELECT id, entry, place, group_id, reason FROM refused_effect WHERE {site} = ? AND id > ? ORDER BY id LIMIT ?"
)


async def check_projections(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Each account's totals are the sums of its legs, and the last total told to the twin is the one that stands."""
    after, done = "", 0
    posted = {row[0]: (int(row[1]), int(row[2])) for row in await tx.fetch(_POSTED, site)}
    while rows := await tx.fetch(_ACCOUNTS, site, after, PAGE):
        for account, tenant, credits_nano, credits_seq, charges_nano, told in rows:
            credited, charged = posted.get(account, (0, 0))
            if credits_nano != credited:
                yield error("credits", account, f"{credits_nano} is kept, the legs add up to {credited}")
            if charges_nano != charged:
                yield error("charges", account, f"{charges_nano} is kept, the legs add up to {charged}")
            if not tenant:
                continue  # the landlord has no twin to tell
            act = decode_act(told) if told is not None else None
            known_nano = act.credits_nano if isinstance(act, CreditsPosted) else 0
            if known_nano != credits_nano:
                yield error(
                    "credits_told", account, f"act {credits_seq} tells the twin {known_nano}, not {credits_nano}"
                )
        after = rows[-1][0]
        done += len(rows)
        seen(done)
    async for (account,) in tx.stream(_LOST_ACCOUNTS, site):
        yield error("no_account", account, "it has legs but no totals")


async def check_payments(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Each payment is booked once and whole; no top-up is booked without a payment."""
    after, done = 0, 0
    sql = _PAYMENTS.format(site=site_of_pages(tx.engine, "p.site"))
    while rows := await tx.fetch(sql, site, after, PAGE):
        for payment, tenant, amount_nano, kind, booked, _ in rows:
            if kind != "topup" or booked is None or int(booked) != amount_nano:
                detail = (
                    f"{amount_nano} was paid, {booked or 0} is booked on the wallet by a {kind or 'missing'} journal"
                )
                yield error("payment", f"payment {payment} of tenant {tenant}", detail)
        after = rows[-1][5]
        done += len(rows)
        seen(done)
    async for seq, reference in tx.stream(_UNPAID_TOPUPS, site):
        yield error("topup_without_payment", f"journal {seq} ({reference})", "no payment belongs to it")


async def check_outbox(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """The acts of each group are numbered from 1 without gaps up to its counter, and delivered in order."""
    after, done = "", 0
    while rows := await tx.fetch(_OUTBOX, site, after, PAGE):
        for group, seq, acts, last, delivered, waiting in rows:
            if (acts, last or 0) != (seq, seq):
                detail = f"{acts} acts, the last numbered {last}, the counter stands at {seq}"
                yield error("outbox", f"group {group}", detail)
            if delivered is not None and waiting is not None and waiting < delivered:
                detail = f"act {waiting} is waiting although act {delivered} was delivered"
                yield error("outbox_order", f"group {group}", detail)
        after = rows[-1][0]
        done += len(rows)
        seen(done)
    async for (group,) in tx.stream(_LOST_ACTS, site):
        yield error("outbox", f"group {group}", "it has acts but no counter")


async def check_refused(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Effects that were not posted, for a person to look at."""
    after, done = 0, 0
    sql = _REFUSED.format(site=site_of_pages(tx.engine))
    while rows := await tx.fetch(sql, site, after, PAGE):
        for _, entry, place, group, reason in rows:
            yield Finding("warning", "refused_effect", f"entry {entry} effect {place} of group {group}", reason)
        after = rows[-1][0]
        done += len(rows)
        seen(done)

"""Debts beside the wallet: what a tenant owes and pays off out of later payments.

Theory of operation. A debt is a claim on the account `debt:<tenant>` (negative there). It comes from arrears, which
leave the wallet so that supply can be given again, from a deposit, or from another claim. Out of each payment comes,
in this order:

1. instalment debts, by priority: `share_percent` of the payment each, at most `cap_nano` in a local month;
2. accumulated debts, by priority: in the same way, but their share is the whole payment unless they say otherwise;
3. the wallet. There is one number for it, so the rest of the order is arithmetic: a balance below the emergency limit
   rises to it first (that restores the supply), then the used emergency credit is repaid, then the balance grows.

An instalment is a journal of its own next to the payment's, and a row of `debt_recovery`. Where a payment is corrected,
what it paid off is owed again: a new debt on the terms of the old one (which may be cleared by now), so that the wallet
does not sink by money that it never had.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from adapters.store.journals import accounts
from adapters.store.journals.account_acts import acted_ts, audit_act, doer, must_be_amount, must_not_be_closed
from adapters.store.journals.approval_policy import site_settings
from adapters.store.journals.wallet_booking import Movement, book_movements, wallet_totals
from billing.money import format_nano, parse_money
from twin.ports import Instalment, MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Row, Transaction
    from adapters.store.journals.approvals import Approval
    from adapters.store.journals.journal_book import JournalBook

INSTALMENT: Final = "instalment"
ACCUMULATED: Final = "accumulated"
KINDS: Final = (INSTALMENT, ACCUMULATED)
ARREARS: Final = "arrears"
DEPOSIT: Final = "deposit"
OTHER: Final = "other"
ORIGINS: Final = (ARREARS, DEPOSIT, OTHER)
DEFAULT_SHARE: Final = {INSTALMENT: 10, ACCUMULATED: 100}

_COLUMNS = "debt, tenant, kind, origin, principal_nano, remaining_nano, share_percent, cap_nano, priority, state"
_INSERT = (
    "INSERT INTO debt (site, debt, tenant, kind, origin, principal_nano, share_percent, cap_nano, priority, reason,"
    " actor, ts, journal_seq, remaining_nano, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open')"
)
_OPEN = (
    f"SELECT {_COLUMNS}, (SELECT COALESCE(sum(r.amount_nano), 0) FROM debt_recovery r WHERE r.site = d.site"  # noqa: S608
    " AND r.debt = d.debt AND r.how = 'instalment' AND r.month = ?) AS this_month FROM debt d"
    " WHERE site = ? AND tenant = ? AND state = 'open' ORDER BY kind DESC, priority, id"
)
_SHRINK = (
    "UPDATE debt SET remaining_nano = remaining_nano - ?, state = ? WHERE site = ? AND debt = ? AND state = 'open'"
    " RETURNING id"
)
_PAID_OFF = (
    "SELECT d.debt, d.kind, d.share_percent, d.cap_nano, d.priority, sum(r.amount_nano) AS taken_nano"
    " FROM debt_recovery r JOIN debt d ON d.site = r.site AND d.debt = r.debt"
    " WHERE r.site = ? AND r.tenant = ? AND r.payment = ? AND r.how = 'instalment'"
    " GROUP BY d.id, d.debt, d.kind, d.share_percent, d.cap_nano, d.priority ORDER BY d.id"
)
_RECOVERY = (
    "INSERT INTO debt_recovery (site, debt, tenant, how, payment, amount_nano, month, actor, ts, journal_seq)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def local_month(ts: int, timezone: str) -> int:
    """The local month of an instant as yyyymm."""
    local = datetime.fromtimestamp(ts // 1000, ZoneInfo(timezone))
    return local.year * 100 + local.month


async def instalments(tx: Transaction, site: str, tenant: str, amount_nano: int, month: int) -> list[Instalment]:
    """What the open debts of a tenant take out of a payment, in their order. Shares are of the whole payment."""
    left_nano = amount_nano
    taken = []
    for row in await tx.fetch(_OPEN, month, site, tenant):
        wanted_nano = min(amount_nano * row["share_percent"] // 100, row["remaining_nano"], left_nano)
        if row["cap_nano"] is not None:
            wanted_nano = min(wanted_nano, max(0, row["cap_nano"] - int(row["this_month"])))
        if wanted_nano > 0:
            left_nano -= wanted_nano
            taken.append(Instalment(row["debt"], wanted_nano, row["remaining_nano"] - wanted_nano))
    return taken


def instalment_movements(tenant: str, payment: str, taken: Sequence[Instalment]) -> list[Movement]:
    """The journals that take instalments off the wallet."""
    return [
        Movement("instalment", -one.amount_nano, accounts.debt(tenant), f"instalment:{payment}:{one.debt}", one.debt)
        for one in taken
    ]


async def record_instalments(
    tx: Transaction,
    site: str,
    tenant: str,
    payment: str,
    taken: Sequence[Instalment],
    *,
    month: int,
    actor: str,
    ts: int,
    first_journal: int,
) -> None:
    """Write down instalments whose journals are numbered from `first_journal` on."""
    for seq, one in enumerate(taken, first_journal):
        state = "open" if one.remaining_nano else "cleared"
        assert await tx.fetch(_SHRINK, one.amount_nano, state, site, one.debt), "the site row was locked"
        fact = (site, one.debt, tenant, INSTALMENT, payment, one.amount_nano, month, actor, ts, seq)
        await tx.execute(_RECOVERY, *fact)


class OwedAgain(msgspec.Struct, frozen=True):
    """What a corrected payment had paid off of a debt: `amount_nano` of it, on the debt's terms."""

    debt: str
    kind: str
    share_percent: int
    cap_nano: int | None
    priority: int
    amount_nano: int


async def owed_again(
    tx: Transaction, site: str, tenant: str, payment: str, paid_nano: int, corrected: tuple[int, int]
) -> list[OwedAgain]:
    """What instalments of a payment are owed again when `corrected` nano-units of it (before, after) are taken back."""
    before_nano, after_nano = corrected
    found = []
    for row in await tx.fetch(_PAID_OFF, site, tenant, payment):
        taken_nano = int(row["taken_nano"])
        amount_nano = taken_nano * after_nano // paid_nano - taken_nano * before_nano // paid_nano
        if amount_nano:
            terms = row["debt"], row["kind"], row["share_percent"], row["cap_nano"], row["priority"]
            found.append(OwedAgain(*terms, amount_nano))
    return found


def owed_again_movements(tenant: str, owed: Sequence[OwedAgain], first_journal: int) -> list[Movement]:
    """The journals that put it beside the wallet again, numbered from `first_journal` on."""
    return [
        Movement("debt", one.amount_nano, accounts.debt(tenant), f"debt:D{seq}", f"{one.debt} again")
        for seq, one in enumerate(owed, first_journal)
    ]


async def record_owed_again(
    tx: Transaction, site: str, tenant: str, owed: Sequence[OwedAgain], *, by: Approval, first_journal: int
) -> None:
    """Write down the debts whose journals are numbered from `first_journal` on."""
    for seq, one in enumerate(owed, first_journal):
        terms = (site, f"D{seq}", tenant, one.kind, ARREARS, one.amount_nano, one.share_percent, one.cap_nano)
        said = (one.priority, f"{one.debt}: {by.why}", by.decided_by, acted_ts(by), seq, one.amount_nano)
        await tx.execute(_INSERT, *terms, *said)


async def debt_terms(tx: Transaction, site: str, kind: str, wish: dict[str, Any]) -> dict[str, Any]:
    """Share and cap of a new debt: what was wished, else the site's settings `debt`, else the defaults."""
    defaults = (await site_settings(tx, site)).get("debt", {})
    share = wish.get("share_percent")
    if share is None:
        share = defaults.get("share_percent") if kind == INSTALMENT else None
    cap = wish.get("cap_nano")
    if cap is None and "cap_per_month" in defaults and kind == INSTALMENT:
        cap = parse_money(defaults["cap_per_month"])
    return {"share_percent": share or DEFAULT_SHARE[kind], "cap_nano": cap}


@doer("debt.create")
async def create(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A new debt. Arrears leave the wallet, at most as much as is owed there; other origins do not touch it."""
    tenant, amount_nano, ts = body["tenant"], body["amount_nano"], acted_ts(by)
    await must_not_be_closed(tx, site, tenant)
    must_be_amount(amount_nano)
    _check_terms(body)
    terms = await debt_terms(tx, site, body["kind"], body)
    name = f"D{book.seq + 1}"
    acts = []
    if body["origin"] == ARREARS:
        owed_nano = -(await wallet_totals(tx, site, tenant)).balance_nano
        if owed_nano < amount_nano:
            detail = f"the wallet is {format_nano(max(0, owed_nano))} in arrears, less than {format_nano(amount_nano)}"
            raise MoneyRefusedError("not_in_arrears", detail)
        movement = Movement("debt", amount_nano, accounts.debt(tenant), f"debt:{name}", by.why)
        credit = await book_movements(tx, book, tenant=tenant, movements=[movement], actor=by.decided_by, ts=ts)
        seq, acts = credit.journal_seq, [credit.pending]
    else:
        seq = _book_beside(book, tenant, "debt", name, body["origin"], amount_nano, by)
    await book.flush(tx)
    fact = (site, name, tenant, body["kind"], body["origin"], amount_nano, terms["share_percent"], terms["cap_nano"])
    said = (body.get("priority", 100), by.why, by.decided_by, ts, seq, amount_nano)
    await tx.execute(_INSERT, *fact, *said)
    answer = {"tenant": tenant, "debt": name, "kind": body["kind"], "remaining_nano": amount_nano, **terms}
    await audit_act(tx, site, by, "debt.create", tenant, {**answer, "origin": body["origin"]})
    return Outcome(answer, acts)


@doer("debt.cancel")
async def cancel(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A debt ends: what remains of it goes back to where it came from (arrears: onto the wallet again)."""
    return await _end(tx, book, site, body, by, "cancelled")


@doer("debt.write_off")
async def write_off(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A debt is given up: what remains of it is borne by us."""
    return await _end(tx, book, site, body, by, "written_off")


async def _end(
    tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval, state: str
) -> Outcome:
    row = await open_debt(tx, site, body["tenant"], body["debt"])
    tenant, name, rest_nano, ts = row["tenant"], row["debt"], row["remaining_nano"], acted_ts(by)
    acts = []
    reference = f"debt_{state}:{name}"
    if state == "cancelled" and row["origin"] == ARREARS:
        movement = Movement("debt_cancelled", -rest_nano, accounts.debt(tenant), reference, by.why)
        credit = await book_movements(tx, book, tenant=tenant, movements=[movement], actor=by.decided_by, ts=ts)
        seq, acts = credit.journal_seq, [credit.pending]
    else:
        contra = accounts.WRITE_OFF if state == "written_off" else _contra(tenant, row["origin"])
        legs = ((accounts.debt(tenant), rest_nano), (contra, -rest_nano))
        kind = f"debt_{state}"
        seq = book.add(kind=kind, ts=ts, reference=reference, actor=by.decided_by, memo=by.why, legs=legs)
    await book.flush(tx)
    await tx.fetch(_SHRINK, rest_nano, state, site, name)
    month = local_month(ts, (await site_settings(tx, site))["timezone"])
    await tx.execute(_RECOVERY, site, name, tenant, state, "", rest_nano, month, by.decided_by, ts, seq)
    answer = {"tenant": tenant, "debt": name, "state": state, "amount_nano": rest_nano}
    await audit_act(tx, site, by, f"debt.{state}", tenant, answer)
    return Outcome({**answer, "state": state}, acts)


async def open_debt(tx: Transaction, site: str, tenant: str, debt: str) -> Row:
    """An open debt of a tenant. Raises MoneyRefusedError `unknown_debt` or `debt_settled`."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM debt WHERE site = ? AND debt = ? AND tenant = ?", site, debt, tenant)  # noqa: S608
    if not rows:
        raise MoneyRefusedError("unknown_debt", f"tenant {tenant} has no debt {debt!r}")
    if rows[0]["state"] != "open":
        raise MoneyRefusedError("debt_settled", f"debt {debt} is {rows[0]['state']} already")
    return rows[0]


def _book_beside(book: JournalBook, tenant: str, kind: str, name: str, origin: str, nano: int, by: Approval) -> int:
    legs = ((accounts.debt(tenant), -nano), (_contra(tenant, origin), nano))
    who = by.decided_by
    return book.add(kind=kind, ts=acted_ts(by), reference=f"debt:{name}", actor=who, memo=by.why, legs=legs)


def _contra(tenant: str, origin: str) -> str:
    return accounts.deposit(tenant) if origin == DEPOSIT else accounts.ADJUSTMENTS


def _check_terms(body: dict[str, Any]) -> None:
    if body["kind"] not in KINDS or body["origin"] not in ORIGINS:
        raise MoneyRefusedError("debt_terms", f"a debt is one of {', '.join(KINDS)}, from {', '.join(ORIGINS)}")
    share, cap = body.get("share_percent"), body.get("cap_nano")
    if share is not None and not 1 <= share <= 100:
        raise MoneyRefusedError("debt_terms", f"a share of {share} % is not from 1 to 100")
    if cap is not None and cap <= 0:
        raise MoneyRefusedError("debt_terms", "a cap must be more than nothing; leave it out for none")

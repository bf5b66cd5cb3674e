"""Accounts: every fact beside the journals says what its journal says, and no such journal is without its fact."""

# ruff: noqa: S608 -- every part of a statement is a constant
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.store.engine.paging import site_of_pages
from adapters.store.journals.idempotency import input_hash
from adapters.store.proofs.verify_finding import PAGE, Finding, Seen, error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.store.engine.database import Row, Transaction

_PAYMENTS = (
    "SELECT p.id, p.payment, p.tenant, p.amount_nano, p.channel, p.reference, p.key, p.input_hash, p.actor, p.ts,"
    " p.journal_seq, p.credits_nano, j.reference AS said, j.memo, j.actor AS by_whom, j.ts AS booked_ts, a.body"
    " FROM payment p"
    " LEFT JOIN journal j ON j.site = p.site AND j.seq = p.journal_seq"
    " LEFT JOIN act a ON a.site = p.site AND a.group_id = p.tenant AND a.seq = p.act_seq"
    " WHERE {site} = ? AND p.id > ? ORDER BY p.id LIMIT ?"
)
_ON = "(SELECT l.amount_nano FROM leg l WHERE l.site = {t}.site AND l.seq = {seq} AND l.account = {account})"
_OF_TENANT = "'tenant:' || {t}.tenant || ':wallet'"
_DEBT = "'debt:' || {t}.tenant"
_RECOVERED = "(SELECT COALESCE(sum(v.amount_nano), 0) FROM debt_recovery v WHERE v.site = d.site AND v.debt = d.debt)"
_PAYABLE = "'payable:refunds'"


def _leg(table: str, seq: str, account: str = _OF_TENANT) -> str:
    """The amount of a journal's leg on an account (default: the wallet of the row's tenant)."""
    return _ON.format(t=table, seq=f"{table}.{seq}", account=account.format(t=table))


_FACTS: Final = (
    (
        "correction",
        f"SELECT 'correction ' || c.journal_seq, j.kind, {_leg('c', 'journal_seq')}, -c.amount_nano FROM correction c"
        " LEFT JOIN journal j ON j.site = c.site AND j.seq = c.journal_seq WHERE c.site = ?"
        " AND (j.kind IS NULL OR j.kind <> 'correction'"
        f" OR {_leg('c', 'journal_seq')} IS DISTINCT FROM -c.amount_nano"
        " OR j.memo NOT LIKE 'corrects journal ' || c.original_seq || ' (%' OR j.actor <> c.actor OR j.ts <> c.ts)",
    ),
    (
        "refund",
        f"SELECT 'refund ' || r.refund, j.kind, {_leg('r', 'reserve_seq')}, -r.amount_nano FROM refund r"
        " LEFT JOIN journal j ON j.site = r.site AND j.seq = r.reserve_seq WHERE r.site = ?"
        " AND (j.reference IS DISTINCT FROM 'refund:' || r.refund OR j.actor <> r.actor OR j.ts <> r.ts"
        f" OR {_leg('r', 'reserve_seq')} IS DISTINCT FROM -r.amount_nano)",
    ),
    (
        "refund",
        "SELECT 'refund ' || r.refund || ' ' || r.state, j.kind, "
        f"{_leg('r', 'settle_seq', _PAYABLE)}, -r.amount_nano FROM refund r"
        " LEFT JOIN journal j ON j.site = r.site AND j.seq = r.settle_seq WHERE r.site = ? AND (CASE"
        " WHEN r.state IN ('requested', 'approved') THEN r.settle_seq IS NOT NULL"
        " WHEN r.state = 'paid' THEN j.reference IS DISTINCT FROM 'refund_paid:' || r.refund"
        "  OR j.memo IS DISTINCT FROM rtrim(r.channel || ' ' || r.reference)"
        " ELSE j.reference IS DISTINCT FROM 'refund_released:' || r.refund END)",
    ),
    (
        "debt",
        f"SELECT 'debt ' || d.debt, d.state, d.remaining_nano, d.principal_nano - {_RECOVERED} FROM debt d"
        f" WHERE d.site = ? AND (d.remaining_nano <> d.principal_nano - {_RECOVERED}"
        " OR (d.state = 'open') <> (d.remaining_nano > 0))",
    ),
    (
        "debt",
        f"SELECT 'debt ' || d.debt, j.kind, {_leg('d', 'journal_seq', _DEBT)},"
        " -d.principal_nano FROM debt d LEFT JOIN journal j ON j.site = d.site AND j.seq = d.journal_seq"
        " WHERE d.site = ? AND (j.reference IS DISTINCT FROM 'debt:' || d.debt"
        f" OR {_leg('d', 'journal_seq', _DEBT)}"
        " IS DISTINCT FROM -d.principal_nano)",
    ),
    (
        "debt_recovery",
        "SELECT 'recovery of debt ' || v.debt || ' by journal ' || v.journal_seq, v.how,"
        f" {_leg('v', 'journal_seq', _DEBT)}, v.amount_nano"
        " FROM debt_recovery v WHERE v.site = ? AND "
        f"{_leg('v', 'journal_seq', _DEBT)} IS DISTINCT FROM v.amount_nano",
    ),
)
_OWNERS: Final = (
    ("topup", "payment", "p.journal_seq"),
    ("correction", "correction", "p.journal_seq"),
    ("refund", "refund", "p.reserve_seq"),
    ("refund_paid", "refund", "p.settle_seq"),
    ("refund_released", "refund", "p.settle_seq"),
    ("debt", "debt", "p.journal_seq"),
    ("instalment", "debt_recovery", "p.journal_seq"),
    ("debt_cancelled", "debt_recovery", "p.journal_seq"),
    ("debt_written_off", "debt_recovery", "p.journal_seq"),
)
"""Kinds of journals, and the table that must have a row for each."""
_BEYOND = (
    "SELECT p.payment, p.amount_nano, (SELECT COALESCE(sum(r.amount_nano), 0) FROM refund r WHERE r.site = p.site"
    " AND r.payment = p.payment AND r.state NOT IN ('failed', 'cancelled')) + (SELECT COALESCE(sum(c.amount_nano), 0)"
    " FROM correction c WHERE c.site = p.site AND c.original_seq = p.journal_seq) AS back FROM payment p"
    " WHERE p.site = ? AND (EXISTS (SELECT 1 FROM refund r WHERE r.site = p.site AND r.payment = p.payment)"
    " OR EXISTS (SELECT 1 FROM correction c WHERE c.site = p.site AND c.original_seq = p.journal_seq))"
)
_STATES = (
    "SELECT tenant, count(*), max(seq) FROM account_state WHERE site = ? GROUP BY tenant HAVING count(*) <> max(seq)"
)
_OWN_APPROVAL = (
    "SELECT approval, decided_by FROM approval WHERE site = ? AND state = 'approved' AND decided_by = asked_by"
)


async def check_payment_facts(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Every column of a payment follows from its journal and its act: an edited one is found."""
    after, done = 0, 0
    sql = _PAYMENTS.format(site=site_of_pages(tx.engine, "p.site"))
    while rows := await tx.fetch(sql, site, after, PAGE):
        for row in rows:
            wrong = _wrong_fact(row)
            if wrong:
                where = f"payment {row['payment']} of tenant {row['tenant']} (journal {row['journal_seq']})"
                yield error("payment_edited", where, f"its {wrong} is not what was booked with it")
        after = rows[-1]["id"]
        done += len(rows)
        seen(done)


def _wrong_fact(row: Row) -> str:
    """The first column of a payment that contradicts what was booked; empty where none does."""
    if row["said"] is None:
        return "journal"
    facts = {
        "number": row["payment"] == f"P{row['journal_seq']}",
        "tenant or key": row["said"] == f"topup:{row['tenant']}:{row['key']}",
        "channel or reference": row["memo"] == f"{row['channel']} {row['reference']}".rstrip(),
        "actor": row["actor"] == row["by_whom"],
        "time": row["ts"] == row["booked_ts"],
        "amount": row["input_hash"] == input_hash(row["tenant"], row["amount_nano"], row["channel"], row["reference"]),
        "total": row["body"] is not None and f'"credits_nano":{row["credits_nano"]},' in row["body"],
    }
    return next((name for name, holds in facts.items() if not holds), "")


async def check_account_facts(tx: Transaction, site: str, seen: Seen) -> AsyncIterator[Finding]:
    """Corrections, refunds, debts and states of accounts agree with their journals, both ways."""
    for place, (code, sql) in enumerate(_FACTS, 1):
        async for where, kind, booked, expected in tx.stream(sql, site):
            detail = f"{expected} is expected, {booked or 0} is booked ({kind or 'no journal'})"
            yield error(f"{code}_edited", str(where), detail)
        seen(place)
    for kind, table, column in _OWNERS:
        sql = (
            f"SELECT j.seq, j.reference FROM journal j WHERE j.site = ? AND j.kind = '{kind}' AND NOT EXISTS"
            f" (SELECT 1 FROM {table} p WHERE p.site = j.site AND {column} = j.seq) ORDER BY j.seq"
        )
        async for seq, reference in tx.stream(sql, site):
            if kind != "topup":
                yield error(f"{table}_missing", f"journal {seq} ({reference})", f"its row of {table} is gone")
    async for payment, amount_nano, back in tx.stream(_BEYOND, site):
        if int(back) > amount_nano:
            yield error("refunded_beyond", f"payment {payment}", f"{back} of {amount_nano} were given back")
    async for tenant, count, last in tx.stream(_STATES, site):
        yield error("account_state_missing", f"tenant {tenant}", f"{count} states, the last numbered {last}")
    async for approval, who in tx.stream(_OWN_APPROVAL, site):
        yield error("own_approval", f"approval {approval}", f"{who} agreed to his own request")

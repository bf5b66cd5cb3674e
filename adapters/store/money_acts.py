"""Money that comes in: a payment, its journal, the new total of credits and the act that tells the twin.

Two things make a top-up happen once: the caller's key within the tenant, and the channel's own reference. Both are
unique in the database; the site's row lock, taken first, makes the answers to a hundred parallel repetitions equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.accounts import clearing, wallet
from adapters.store.audit import AuditEntry, record_audit
from adapters.store.idempotency import conflict, input_hash
from adapters.store.journal_book import open_book
from adapters.store.outbox import append_act, next_seq
from billing.money import INT64_MAX, MoneyError, format_nano, parse_money
from twin.core.messages import CreditsPosted
from twin.ports import MoneyRefusedError, PendingAct, Receipt

if TYPE_CHECKING:
    from adapters.store.database import Database, Row, Transaction
    from adapters.store.journal_book import JournalBook
    from twin.ports import TopUp

_CREDIT = (
    "INSERT INTO account (site, account, tenant, credits_nano, credits_seq, charges_nano, version)"
    " VALUES (?, ?, ?, ?, ?, 0, 1) ON CONFLICT (site, account) DO UPDATE SET"
    " credits_nano = account.credits_nano + excluded.credits_nano, credits_seq = excluded.credits_seq,"
    " version = account.version + 1 RETURNING credits_nano"
)
_PAID = (
    "SELECT payment, tenant, amount_nano, input_hash, key, credits_nano, act_seq, ts FROM payment"
    " WHERE site = ? AND {condition}"
)
_PAYMENT = (
    "INSERT INTO payment (site, payment, tenant, amount_nano, channel, reference, key, input_hash, actor, ts,"
    " journal_seq, act_seq, credits_nano) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
HOARDING_PARAM = "hoarding_limit"
"""Rule parameter (money): a top-up that would lift the balance above it is refused."""


class Credit(msgspec.Struct, frozen=True):
    """A credit that was booked: its journal, its act, and the total it led to."""

    journal_seq: int
    credits_nano: int
    pending: PendingAct


async def book_credit(
    tx: Transaction,
    book: JournalBook,
    *,
    tenant: str,
    amount_nano: int,
    kind: str,
    contra: str,
    reference: str,
    actor: str,
    memo: str,
    ts: int,
) -> Credit:
    """Credit a tenant's wallet against another account (a negative amount debits it), and tell the twin by an act.

    The caller flushes the book. Raises MoneyRefusedError `amount` where the total would leave 64 bits.
    """
    account = wallet(tenant)
    total = await tx.fetch("SELECT credits_nano FROM account WHERE site = ? AND account = ?", book.site, account)
    if abs((total[0][0] if total else 0) + amount_nano) > INT64_MAX:
        raise MoneyRefusedError("amount", "the account cannot hold that much")
    act_seq = await next_seq(tx, book.site, tenant)
    rows = await tx.fetch(_CREDIT, book.site, account, tenant, amount_nano, act_seq)
    legs = ((account, amount_nano), (contra, -amount_nano))
    journal_seq = book.add(kind=kind, ts=ts, reference=reference, actor=actor, memo=memo, legs=legs)
    act = CreditsPosted(act_seq, rows[0][0], amount_nano, ts, reference)
    return Credit(journal_seq, rows[0][0], await append_act(tx, book.site, tenant, act))


async def top_up(database: Database, site: str, wanted: TopUp) -> Receipt:
    """Credit a payment to a tenant, once.

    Raises MoneyRefusedError with code `amount`, `key`, `channel`, `unknown_tenant`, `idempotency_conflict` (the key
    came with another content), `duplicate_reference` (the channel's reference is credited already) or `hoarding`;
    LookupError for a site that was never imported.
    """
    _check(wanted)
    digest = input_hash(wanted.tenant, wanted.amount_nano, wanted.channel, wanted.reference)
    async with database.write() as tx:
        book = await open_book(tx, site)
        known = await tx.fetch("SELECT params FROM tenant WHERE site = ? AND tenant = ?", site, wanted.tenant)
        if not known:
            raise MoneyRefusedError("unknown_tenant", f"site {site} has no tenant {wanted.tenant!r}")
        earlier = await _earlier(tx, site, wanted, digest)
        if earlier is not None:
            return earlier
        await _check_hoarding(tx, site, wanted, known[0][0])
        credit = await book_credit(
            tx,
            book,
            tenant=wanted.tenant,
            amount_nano=wanted.amount_nano,
            kind="topup",
            contra=clearing(wanted.channel),
            reference=f"topup:{wanted.tenant}:{wanted.key}",
            actor=wanted.actor,
            memo=f"{wanted.channel} {wanted.reference}".rstrip(),
            ts=wanted.ts,
        )
        await book.flush(tx)
        return await _receipt(tx, site, wanted, digest, credit)


def _check(wanted: TopUp) -> None:
    if type(wanted.amount_nano) is not int or not 0 < wanted.amount_nano <= INT64_MAX:
        raise MoneyRefusedError("amount", "a top-up must be more than nothing")
    for name in ("key", "channel"):
        if not getattr(wanted, name):
            raise MoneyRefusedError(name, f"a top-up needs a {name}")
    for name in ("key", "channel", "reference", "actor"):
        if "\x00" in getattr(wanted, name) or len(getattr(wanted, name)) > 200:
            raise MoneyRefusedError(name, f"the {name} must be text of at most 200 characters")


async def _earlier(tx: Transaction, site: str, wanted: TopUp, digest: str) -> Receipt | None:
    """The receipt of the same top-up, made before; None where there is none."""
    same_key = await tx.fetch(_PAID.format(condition="tenant = ? AND key = ?"), site, wanted.tenant, wanted.key)
    if same_key:
        if same_key[0]["input_hash"] != digest:
            raise conflict(wanted.key)
        return _repeated(same_key[0])
    if wanted.reference:
        condition = "channel = ? AND reference = ? AND reference <> ''"
        same = await tx.fetch(_PAID.format(condition=condition), site, wanted.channel, wanted.reference)
        if same:
            detail = f"{wanted.channel} {wanted.reference} is credited already, as payment {same[0]['payment']}"
            raise MoneyRefusedError("duplicate_reference", detail)
    return None


def _repeated(row: Row) -> Receipt:
    return Receipt(
        payment=row["payment"],
        tenant=row["tenant"],
        amount_nano=row["amount_nano"],
        credits_nano=row["credits_nano"],
        seq=row["act_seq"],
        ts=row["ts"],
        repeated=True,
    )


async def _check_hoarding(tx: Transaction, site: str, wanted: TopUp, tenant_params: str) -> None:
    """Refuse a top-up above the hoarding limit, if the tenant or the site has one."""
    settings = msgspec.json.decode((await tx.fetch("SELECT settings FROM site WHERE id = ?", site))[0][0])
    params: dict[str, Any] = {**settings.get("params", {}), **msgspec.json.decode(tenant_params)}
    limit = params.get(HOARDING_PARAM)
    if limit is None:
        return
    try:
        limit_nano = parse_money(limit)
    except MoneyError as error:
        raise MoneyRefusedError("hoarding", f"parameter {HOARDING_PARAM}: {error}") from error
    rows = await tx.fetch(
        "SELECT credits_nano - charges_nano FROM account WHERE site = ? AND account = ?", site, wallet(wanted.tenant)
    )
    balance_nano = rows[0][0] if rows else 0
    if balance_nano + wanted.amount_nano > limit_nano:
        detail = f"the balance {format_nano(balance_nano)} would rise above the limit of {format_nano(limit_nano)}"
        raise MoneyRefusedError("hoarding", detail)


async def _receipt(tx: Transaction, site: str, wanted: TopUp, digest: str, credit: Credit) -> Receipt:
    payment = f"P{credit.journal_seq}"
    seq = credit.pending.act.seq
    paid = (wanted.channel, wanted.reference, wanted.key, digest, wanted.actor, wanted.ts)
    await tx.execute(
        _PAYMENT,
        *(site, payment, wanted.tenant, wanted.amount_nano, *paid),
        *(credit.journal_seq, seq, credit.credits_nano),
    )
    before = {"credits_nano": credit.credits_nano - wanted.amount_nano}
    after = {"credits_nano": credit.credits_nano, "payment": payment, "channel": wanted.channel}
    entry = AuditEntry(wanted.ts, wanted.actor, "topup", f"tenant {wanted.tenant}", before, after)
    await record_audit(tx, site, [entry])
    return Receipt(payment, wanted.tenant, wanted.amount_nano, credit.credits_nano, seq, wanted.ts)

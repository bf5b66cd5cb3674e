"""Money that comes in: a payment, what debts take out of it, the new total of credits, the act that tells the twin.

Two things make a top-up happen once: the caller's key within the tenant, and the channel's own reference. Both are
unique in the database; the site's row lock, taken first, makes the answers to a hundred parallel repetitions equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.account_acts import must_not_be_closed
from adapters.store.journals.accounts import clearing
from adapters.store.journals.approval_policy import site_settings
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.debts import instalment_movements, instalments, local_month, record_instalments
from adapters.store.journals.idempotency import answered, conflict, input_hash, remember
from adapters.store.journals.journal_book import open_book
from adapters.store.journals.wallet_booking import Credit, Movement, book_credit, book_movements, wallet_totals
from billing.money import INT64_MAX, MoneyError, format_nano, parse_money
from twin.core.messages import CreditsPosted
from twin.ports import Allocation, Instalment, MoneyRefusedError, Receipt

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Row, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.ports import TopUp

__all__ = ["Credit", "book_credit", "top_up"]

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


async def top_up(database: Database, site: str, wanted: TopUp) -> Receipt:
    """Credit a payment to a tenant, once.

    Raises MoneyRefusedError with code `amount`, `key`, `channel`, `unknown_tenant`, `idempotency_conflict` (the key
    came with another content), `duplicate_reference` (the channel's reference is credited already), `account_closed` or
    `hoarding`;
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
        await must_not_be_closed(tx, site, wanted.tenant)
        return await _credit(tx, book, wanted, digest, known[0][0])


async def _credit(tx: Transaction, book: JournalBook, wanted: TopUp, digest: str, tenant_params: str) -> Receipt:
    site, tenant, payment = book.site, wanted.tenant, f"P{book.seq + 1}"
    settings = await site_settings(tx, site)
    month = local_month(wanted.ts, settings["timezone"])
    taken = await instalments(tx, site, tenant, wanted.amount_nano, month)
    kept_nano = wanted.amount_nano - sum(one.amount_nano for one in taken)
    before = await wallet_totals(tx, site, tenant)
    _check_hoarding(settings, tenant_params, before.balance_nano, kept_nano)
    paid = Movement(
        kind="topup",
        amount_nano=wanted.amount_nano,
        contra=clearing(wanted.channel),
        reference=f"topup:{tenant}:{wanted.key}",
        memo=f"{wanted.channel} {wanted.reference}".rstrip(),
    )
    movements = [paid, *instalment_movements(tenant, payment, taken)]
    credit = await book_movements(tx, book, tenant=tenant, movements=movements, actor=wanted.actor, ts=wanted.ts)
    await book.flush(tx)
    receipt = await _receipt(tx, site, wanted, digest, credit)
    first = credit.journal_seq + 1
    by = {"month": month, "actor": wanted.actor, "ts": wanted.ts, "first_journal": first}
    await record_instalments(tx, site, tenant, payment, taken, **by)  # type: ignore[arg-type]
    emergency_nano = await _emergency_limit(tx, site, tenant)
    allocation = allocated(taken, kept_nano, before.balance_nano, emergency_nano)
    answer = msgspec.json.encode(allocation).decode()
    await remember(tx, site, f"topup:{tenant}", wanted.key, digest, answer, wanted.ts)
    return msgspec.structs.replace(receipt, allocation=allocation)


def allocated(taken: list[Instalment], kept_nano: int, balance_nano: int, emergency_nano: int) -> Allocation:
    """Where a payment goes: debts first, then arrears beyond the emergency credit, the emergency credit, the rest."""
    arrears_nano = min(kept_nano, max(0, -balance_nano - emergency_nano))
    used_nano = min(max(0, -balance_nano), emergency_nano)
    repaid_nano = min(kept_nano - arrears_nano, used_nano)
    return Allocation(tuple(taken), arrears_nano, repaid_nano, kept_nano - arrears_nano - repaid_nano)


async def _emergency_limit(tx: Transaction, site: str, tenant: str) -> int:
    sql = "SELECT emergency_credit_nano FROM tenant WHERE site = ? AND tenant = ?"
    return int((await tx.fetch(sql, site, tenant))[0][0])


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
        allocation = await answered(tx, site, f"topup:{wanted.tenant}", wanted.key, digest)
        return _repeated(same_key[0], allocation)
    if wanted.reference:
        condition = "channel = ? AND reference = ? AND reference <> ''"
        same = await tx.fetch(_PAID.format(condition=condition), site, wanted.channel, wanted.reference)
        if same:
            detail = f"{wanted.channel} {wanted.reference} is credited already, as payment {same[0]['payment']}"
            raise MoneyRefusedError("duplicate_reference", detail)
    return None


def _repeated(row: Row, allocation: str | None) -> Receipt:
    return Receipt(
        payment=row["payment"],
        tenant=row["tenant"],
        amount_nano=row["amount_nano"],
        credits_nano=row["credits_nano"],
        seq=row["act_seq"],
        ts=row["ts"],
        repeated=True,
        allocation=msgspec.json.decode(allocation, type=Allocation) if allocation else Allocation(),
    )


def _check_hoarding(settings: dict[str, Any], tenant_params: str, balance_nano: int, kept_nano: int) -> None:
    """Refuse a top-up above the hoarding limit, if the tenant or the site has one. What debts take does not count."""
    params: dict[str, Any] = {**settings.get("params", {}), **msgspec.json.decode(tenant_params)}
    limit = params.get(HOARDING_PARAM)
    if limit is None:
        return
    try:
        limit_nano = parse_money(limit)
    except MoneyError as error:
        raise MoneyRefusedError("hoarding", f"parameter {HOARDING_PARAM}: {error}") from error
    if balance_nano + kept_nano > limit_nano:
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
    act = credit.pending.act
    before = {"credits_nano": credit.credits_nano - (act.credited_nano if isinstance(act, CreditsPosted) else 0)}
    after = {"credits_nano": credit.credits_nano, "payment": payment, "channel": wanted.channel}
    entry = AuditEntry(wanted.ts, wanted.actor, "topup", f"tenant {wanted.tenant}", before, after)
    await record_audit(tx, site, [entry])
    return Receipt(payment, wanted.tenant, wanted.amount_nano, credit.credits_nano, seq, wanted.ts)

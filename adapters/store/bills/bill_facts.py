# ruff: noqa: S608 -- every statement is put together from constants
"""Reading what bills are made of: sums of energy, fee lines, credits, registers, balances of the bills before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills.bill_content import FeeRow, RegisterMark, WalletFacts
from adapters.store.bills.charge_sums import ChargeTotal, Window
from adapters.store.bills.fee_facts import load_spans
from adapters.store.engine.keyed_rows import in_list, key_table
from adapters.store.journals.accounts import wallet
from billing.bill import Credit, Original, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapters.store.bills.fee_facts import SiteTerms
    from adapters.store.engine.database import Transaction

OTHER_KINDS = "j.kind NOT IN ('charge', 'adjustment', 'fee', 'share')"
"""Journals that move a wallet without being a charge; the words of the partial index."""
_TOTALS = (
    "SELECT adjusted, account, meter, epoch, utility, tariff, version, month, period, tier, price_micro, quantity,"
    " amount_nano, from_qty, to_qty FROM charge_sum WHERE site = ? AND scope = ? AND {accounts}"
    " ORDER BY account, meter, month, tariff, version, period, tier, price_micro, epoch, adjusted"
)
_FEES = (
    "SELECT kind, tenant, meter, utility, tariff, version, name, month, day, revision, quantity, unit, price_micro,"
    " amount_nano, estimated, facts, journal_seq FROM fee_line WHERE site = ? AND {tenants} AND month <= ?"
    " AND journal_seq <= ? ORDER BY tenant, id"
)
_CREDITS = (
    "SELECT l.account, j.kind, j.ts, l.amount_nano, j.reference, j.memo, j.seq, p.channel, p.payment, p.reference"
    " FROM journal j JOIN leg l ON l.site = j.site AND l.seq = j.seq LEFT JOIN payment p ON p.site = j.site"
    f" AND p.journal_seq = j.seq WHERE j.site = ? AND {OTHER_KINDS} AND j.seq <= ? AND j.ts < ?"
    " AND (j.seq > ? OR j.ts >= ?) AND {accounts} ORDER BY j.seq"
)
_LAST_BILLS = (
    "SELECT w.account, w.closing_nano, w.through_month, w.end_ts, w.cut_rating, w.cut_adjustment, w.cut_seq"
    " FROM bill_wallet w WHERE w.site = ? AND {accounts} AND w.id = (SELECT max(l.id) FROM bill_wallet l"
    " WHERE l.site = w.site AND l.account = w.account)"
)
_BORDERS = (
    "SELECT k.meter, k.epoch, (SELECT e.from_ts FROM energy e WHERE e.site = ? AND e.meter = k.meter"
    " AND e.epoch = k.epoch AND e.from_qty = k.low), (SELECT e.to_ts FROM energy e WHERE e.site = ?"
    " AND e.meter = k.meter AND e.epoch = k.epoch AND e.to_qty = k.high),"
    " (SELECT COALESCE(sum(e.to_qty - e.from_qty), 0) FROM energy e WHERE e.site = ? AND e.meter = k.meter"
    " AND e.epoch = k.epoch AND e.estimated"
    " AND e.from_qty >= k.low AND e.from_qty < k.high), p.reason, p.opened_ts FROM {keys} k"
    " CROSS JOIN register_epoch p WHERE p.site = ? AND p.meter = k.meter AND p.epoch = k.epoch"
)
_STANDING = (
    "SELECT e.epoch, e.to_qty, e.to_ts FROM energy e WHERE e.site = ? AND e.meter = ? AND e.to_ts <= ?"
    " ORDER BY e.epoch DESC, e.to_qty DESC LIMIT 1"
)
_ISSUED = (
    "SELECT holder, month, bill, series, number FROM bill WHERE site = ? AND {holders} AND state = 'issued' ORDER BY id"
)


class Period(msgspec.Struct, frozen=True):
    """The period of a bill, real time."""

    from_ts: int
    to_ts: int


class Prior(msgspec.Struct, frozen=True):
    """Where a wallet's bills stand: what was on them, and the balance they left."""

    window: Window
    closing_nano: int
    billed: bool


async def load_wallets(
    tx: Transaction, terms: SiteTerms, scope: str, window: Window, period: Period, priors: dict[str, Prior]
) -> dict[str, WalletFacts]:
    """What the wallets of some tenants (the keys of `priors`) have for a window, by tenant."""
    tenants = sorted(priors)
    spans = await load_spans(tx, terms, period.from_ts, period.to_ts, tenants)
    facts = {
        tenant: WalletFacts(tenant, wallet(tenant), priors[tenant].closing_nano, [], [], [], {}, {})
        for tenant in tenants
    }
    for span in spans:
        facts[span.tenant].meters[span.meter] = span.tariff
    accounts, texts = in_list(tx, "account", [wallet(tenant) for tenant in tenants])
    for row in await tx.fetch(_TOTALS.format(accounts=accounts), terms.site, scope, *texts):
        values = tuple(row)
        facts[values[1].split(":")[1]].totals.append(ChargeTotal(bool(values[0]), *values[1:]))
    await _load_fees(tx, terms.site, window, priors, facts)
    earliest = min((prior.window for prior in priors.values()), key=lambda one: one.seq)
    for tenant, credit in await load_credits(tx, terms.site, window, earliest, tenants):
        before = priors[tenant].window
        if credit.journal_seq > before.seq or credit.ts >= before.end_ts:
            facts[tenant].credits.append(credit)
    await _load_idle(tx, terms.site, period.to_ts, facts.values())
    return facts


async def _load_fees(
    tx: Transaction, site: str, window: Window, priors: dict[str, Prior], facts: dict[str, WalletFacts]
) -> None:
    named, texts = in_list(tx, "tenant", sorted(priors))
    for row in await tx.fetch(_FEES.format(tenants=named), site, *texts, window.month, window.seq):
        *values, seq = tuple(row)
        values[14], values[15] = bool(values[14]), msgspec.json.decode(values[15])
        fee = FeeRow(*values)
        before = priors[fee.tenant].window
        if seq > before.seq or fee.month > before.month:
            facts[fee.tenant].fees.append(fee)


async def load_credits(
    tx: Transaction, site: str, window: Window, prior: Window, tenants: Sequence[str]
) -> list[tuple[str, Credit]]:
    """(tenant, credit) of what moved these wallets between two windows and is no charge, oldest first."""
    named, texts = in_list(tx, "l.account", [wallet(tenant) for tenant in tenants])
    rows = await tx.fetch(
        _CREDITS.format(accounts=named), site, window.seq, window.end_ts, prior.seq, prior.end_ts, *texts
    )
    return [(row[0].split(":")[1], _credit(row)) for row in rows]


def _credit(row: Sequence[Any]) -> Credit:
    _, kind, ts, amount_nano, reference, memo, seq, channel, payment, paid = tuple(row)
    return Credit(kind, ts, amount_nano, paid or reference, channel or "", payment or "", memo, seq)


async def _load_idle(tx: Transaction, site: str, end_ts: int, wallets: Iterable[WalletFacts]) -> None:
    for facts in wallets:
        used = {total.meter for total in facts.totals}
        for meter in facts.meters.keys() - used:
            rows = await tx.fetch(_STANDING, site, meter, end_ts)
            if rows:
                epoch, qty, ts = rows[0]
                facts.idle[meter] = Reading(epoch, qty, qty, ts, ts, 0)


async def load_priors(tx: Transaction, site: str, tenants: Sequence[str], otherwise: Prior) -> dict[str, Prior]:
    """Where the bills of wallets stand, by tenant; `otherwise` for one that was never billed."""
    named, texts = in_list(tx, "w.account", [wallet(tenant) for tenant in tenants])
    priors = dict.fromkeys(tenants, otherwise)
    for row in await tx.fetch(_LAST_BILLS.format(accounts=named), site, *texts):
        account, closing_nano, *cuts = tuple(row)
        priors[account.split(":")[1]] = Prior(Window(*cuts), closing_nano, billed=True)
    return priors


async def load_marks(
    tx: Transaction, site: str, totals: Iterable[ChargeTotal], period: Period
) -> dict[tuple[str, int], RegisterMark]:
    """When registers stood at the borders of what is billed, and how much of it was dated by a share of time."""
    borders: dict[tuple[str, int], tuple[int, int]] = {}
    for total in totals:
        if total.from_qty is not None and total.to_qty is not None:
            low, high = borders.get((total.meter, total.epoch), (total.from_qty, total.to_qty))
            borders[total.meter, total.epoch] = (min(low, total.from_qty), max(high, total.to_qty))
    if not borders:
        return {}
    keys = [(meter, epoch, low, high) for (meter, epoch), (low, high) in sorted(borders.items())]
    table, values = key_table(tx, "meter epoch:bigint low:bigint high:bigint", keys)
    rows = await tx.fetch(_BORDERS.format(keys=table), site, site, site, *values, site)
    return {
        (row[0], row[1]): RegisterMark(row[2], row[3], _reason(row[5], row[6], row[1], period), int(row[4]))
        for row in rows
    }


def _reason(reason: str, opened_ts: int | None, epoch: int, period: Period) -> str:
    began = opened_ts is not None and period.from_ts <= opened_ts < period.to_ts
    return reason if began and epoch > 1 else ""


async def load_originals(tx: Transaction, site: str, holders: Sequence[str]) -> dict[tuple[str, int], Original]:
    """The last issued bill of each (holder, month)."""
    named, texts = in_list(tx, "holder", holders)
    rows = await tx.fetch(_ISSUED.format(holders=named), site, *texts)
    return {(row[0], row[1]): Original(row[1], row[2], statement_number(row[3], row[4])) for row in rows}


def statement_number(series: str, number: int) -> str:
    """The number as people read it: the series and six digits."""
    return f"{series}{number:06d}"

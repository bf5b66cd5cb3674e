"""Posting charges born in SQL: fees, demand, shares. Each is a fee line with its facts, and money in a journal.

Theory of operation. Whoever computes fees says what is *due* by key (kind, tenant, meter, name, month, day) for a whole
scope: all fees of some tenants in some months. What was posted for the same keys is subtracted, and only the difference
is posted, as the next revision of the key. So posting twice posts nothing, a crash loses nothing, and a fee whose facts
have changed (a move-out entered late, a price) is corrected by a line that can be traced to the first one.

The lines of one tenant go into one journal for each revenue account, whose memo is a digest of its lines. A share that
stays with the landlord has a line and no journal: no wallet moves.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.engine.keyed_rows import in_list
from adapters.store.journals.accounts import VACANCY, revenue, wallet
from adapters.store.journals.wallet_booking import Movement, book_movements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from adapters.store.engine.database import Row, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.ports import PendingAct

FEE = "fee"
SHARE = "share"
JOURNAL_KINDS = (FEE, SHARE)
"""Kinds of journals that fee lines stand behind."""

_LINES = BulkInsert(
    "fee_line",
    "site kind tenant account meter utility tariff version:bigint name month:bigint day:bigint revision:bigint"
    " quantity:bigint unit price_micro:bigint amount_nano:bigint estimated:boolean facts ts:bigint journal_seq:bigint",
)
_POSTED = (
    "SELECT kind, tenant, meter, name, month, day, max(revision) AS revision, sum(amount_nano) AS amount_nano,"
    " sum(quantity) AS quantity, max(utility) AS utility, max(tariff) AS tariff, max(version) AS version,"
    " max(unit) AS unit FROM fee_line WHERE site = ? AND {tenants} AND {months} AND {kinds}"
    " GROUP BY kind, tenant, meter, name, month, day"
)
Key = tuple[str, str, str, str, int, int]


class FeeDue(msgspec.Struct, frozen=True):
    """What one key must have been charged in all. `quantity` times `price_micro` is the amount where both are given."""

    kind: str
    tenant: str
    """Empty for the landlord."""
    meter: str
    name: str
    month: int
    amount_nano: int
    day: int = 0
    utility: str = ""
    tariff: str = ""
    version: int = 0
    quantity: int | None = None
    unit: str = ""
    price_micro: int | None = None
    estimated: bool = False
    facts: dict[str, Any] = {}

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.kind, self.tenant, self.meter, self.name, self.month, self.day


class FeeScope(msgspec.Struct, frozen=True):
    """What a computation of fees covers: what was posted there and is not due any more is taken back."""

    tenants: tuple[str, ...]
    months: tuple[int, ...]
    kinds: tuple[str, ...]


Lines = list[tuple[FeeDue, int]]
"""Fees to be posted, each with its revision."""


def fee_memo(rows: Iterable[tuple[Any, ...]]) -> str:
    """The memo of a journal of fees: a digest of its lines, each (kind, tenant, meter, name, month, day, revision,
    quantity, price, amount, facts)."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(list(rows))).hexdigest()


async def post_fees(
    tx: Transaction, book: JournalBook, scope: FeeScope, due: Sequence[FeeDue], *, actor: str, ts: int
) -> list[PendingAct]:
    """Post what differs from what is due; returns the acts for the twins. The caller flushes nothing: this does.

    Raises MoneyRefusedError `amount` where a wallet would leave 64 bits.
    """
    posted = {_row_key(row): row for row in await _posted(tx, book.site, scope)}
    lines = [line for line in _differences(due, posted) if line[0].amount_nano or line[0].quantity]
    by_tenant: dict[str, Lines] = {}
    for line in lines:
        by_tenant.setdefault(line[0].tenant, []).append(line)
    acts: list[PendingAct] = []
    rows: list[tuple[Any, ...]] = []
    for tenant, of_tenant in sorted(by_tenant.items()):
        rows += await _post_tenant(tx, book, tenant, of_tenant, acts, actor=actor, ts=ts)
    await book.flush(tx)
    await _LINES.run(tx, rows)
    return acts


async def _posted(tx: Transaction, site: str, scope: FeeScope) -> Sequence[Row]:
    tenants, tenant_values = in_list(tx, "tenant", scope.tenants)
    months, month_values = in_list(tx, "month", scope.months)
    kinds, kind_values = in_list(tx, "kind", scope.kinds)
    sql = _POSTED.format(tenants=tenants, months=months, kinds=kinds)
    return await tx.fetch(sql, site, *tenant_values, *month_values, *kind_values)


def _row_key(row: Row) -> Key:
    return row["kind"], row["tenant"], row["meter"], row["name"], row["month"], row["day"]


def _differences(due: Iterable[FeeDue], posted: Mapping[Key, Row]) -> Lines:
    """Lines to post, each with its revision, in the order of their keys."""
    wanted = {fee.key: fee for fee in due}
    lines: Lines = []
    for key in sorted({*wanted, *posted}):
        fee, known = wanted.get(key), posted.get(key)
        if known is None:
            assert fee is not None
            lines.append((fee, 1))
            continue
        amount_nano = (fee.amount_nano if fee else 0) - int(known["amount_nano"])
        charged = None if known["quantity"] is None else int(known["quantity"])
        quantity = None if charged is None else (fee.quantity or 0 if fee else 0) - charged
        if amount_nano or quantity:
            lines.append((_correction(fee, known, amount_nano, quantity), known["revision"] + 1))
    return lines


def _correction(fee: FeeDue | None, known: Row, amount_nano: int, quantity: int | None) -> FeeDue:
    kind, tenant, meter, name, month, day = _row_key(known)
    price = fee.price_micro if fee else None
    exact = price is not None and quantity is not None and quantity * price == amount_nano
    return FeeDue(
        *(kind, tenant, meter, name, month, amount_nano, day),
        utility=fee.utility if fee else known["utility"],
        tariff=fee.tariff if fee else known["tariff"],
        version=fee.version if fee else int(known["version"]),
        quantity=quantity,
        unit=known["unit"],
        price_micro=price if exact else None,
        estimated=fee.estimated if fee else False,
        facts={**(fee.facts if fee else {}), "corrects_revision": known["revision"]},
    )


async def _post_tenant(
    tx: Transaction,
    book: JournalBook,
    tenant: str,
    lines: Lines,
    acts: list[PendingAct],
    *,
    actor: str,
    ts: int,
) -> list[tuple[Any, ...]]:
    """Book the lines of one tenant; returns the rows, to be written once their journals are."""
    movements: list[Movement] = []
    numbered: list[tuple[Lines, int | None]] = []
    for kind, contra, of_journal in _journals(lines):
        if tenant and any(fee.amount_nano for fee, _ in of_journal):
            numbered.append((of_journal, book.seq + len(movements) + 1))
            movements.append(_movement(kind, contra, of_journal))
        else:
            numbered.append((of_journal, None))
    if movements:
        credit = await book_movements(tx, book, tenant=tenant, movements=movements, actor=actor, ts=ts)
        acts.append(credit.pending)
    return [_row(book.site, fee, revision, ts, seq) for of_journal, seq in numbered for fee, revision in of_journal]


def _journals(lines: Lines) -> Iterator[tuple[str, str, Lines]]:
    """(kind, revenue account, lines) of each journal; lines that cancel each other out get a journal each."""
    by_contra: dict[tuple[str, str], Lines] = {}
    for line in lines:
        by_contra.setdefault(_journal_of(line[0]), []).append(line)
    for (kind, contra), of_contra in sorted(by_contra.items()):
        if sum(fee.amount_nano for fee, _ in of_contra):
            yield kind, contra, of_contra
        else:
            for line in of_contra:
                yield kind, contra, [line]


def _journal_of(fee: FeeDue) -> tuple[str, str]:
    """Kind of journal, and the account that earns."""
    utility = fee.utility or "electricity"
    return (SHARE, f"apportioned:{utility}") if fee.kind in ("share", "loss") else (FEE, revenue(utility))


def _movement(kind: str, contra: str, lines: Lines) -> Movement:
    first, revision = lines[0]
    reference = f"{kind}:{first.kind}:{first.tenant}:{first.meter}:{first.name}:{first.month}:{first.day}:{revision}"
    memo = fee_memo(_digest(fee, number) for fee, number in lines)
    return Movement(kind, -sum(fee.amount_nano for fee, _ in lines), contra, reference, memo)


def _digest(fee: FeeDue, revision: int) -> tuple[Any, ...]:
    return (*fee.key, revision, fee.quantity, fee.price_micro, fee.amount_nano, _facts(fee))


def _facts(fee: FeeDue) -> str:
    return msgspec.json.encode(fee.facts, order="sorted").decode()


def _row(site: str, fee: FeeDue, revision: int, ts: int, seq: int | None) -> tuple[Any, ...]:
    account = wallet(fee.tenant) if fee.tenant else VACANCY
    named = (site, fee.kind, fee.tenant, account, fee.meter, fee.utility, fee.tariff, fee.version, fee.name)
    counted = (fee.month, fee.day, revision, fee.quantity, fee.unit, fee.price_micro, fee.amount_nano)
    return (*named, *counted, fee.estimated, _facts(fee), ts, seq)

"""Posting energy: the chain, its prices and the charge journals.

Theory of operation. The end of each touched chain is read once a batch; a charge must start exactly there. One that
starts earlier was posted before: when it says the same it is skipped, when it says something else it is refused. One
that starts later would leave a gap and is refused. What is refused never blocks what follows. The constraints of the
database check all this a second time and know nothing of this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.accounts import revenue, wallet
from adapters.store.journals.charge_digest import charge_memo
from adapters.store.journals.refusals import Item, Refusal
from billing.points import Point, compress, pack
from twin.core.effects import ChargePosted, EpochOpened
from twin.core.samples import unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Row, Transaction
    from adapters.store.journals.charge_digest import ChargeRow
    from adapters.store.journals.journal_book import JournalBook

_EPOCHS = BulkInsert(
    "register_epoch",
    "site meter epoch:bigint opening:bigint opened_ts:bigint reason ratio:bigint head_qty:bigint head_ts:bigint"
    " month:bigint month_use:bigint year_use:bigint event:bigint",
    "(site, meter, epoch) DO UPDATE SET head_qty = excluded.head_qty, head_ts = excluded.head_ts,"
    " month = excluded.month, month_use = excluded.month_use, year_use = excluded.year_use",
)
_ENERGY = BulkInsert(
    "energy",
    "site meter epoch:bigint from_qty:bigint to_qty:bigint from_ts:bigint to_ts:bigint tenant estimated:boolean"
    " points:bytea",
)
_RATING = BulkInsert(
    "rating",
    "site meter epoch:bigint from_qty:bigint to_qty:bigint revision:bigint active:boolean account utility tariff"
    " version:bigint month:bigint period tier:bigint price_micro:bigint amount_nano:bigint journal_seq:bigint",
)
_ACCOUNTS = BulkInsert(
    "account",
    "site account tenant credits_nano:bigint credits_seq:bigint charges_nano:bigint version:bigint",
    "(site, account) DO UPDATE SET charges_nano = account.charges_nano + excluded.charges_nano,"
    " version = account.version + 1",
)
# CROSS JOIN keeps SQLite from putting the keys into the inner loop, where it would parse them once for every row.
_HEADS = (
    "SELECT e.meter, e.epoch, e.opening, e.opened_ts, e.reason, e.ratio, e.head_qty, e.head_ts, e.month, e.month_use,"
    " e.year_use, e.event"
    " FROM {keys} CROSS JOIN register_epoch e WHERE e.site = ? AND e.meter = k.meter AND e.epoch = k.epoch"
)
_POSTED = (
    "SELECT e.meter, e.epoch, e.from_qty, e.to_qty, e.from_ts, e.to_ts, e.tenant, r.account, r.utility, r.tariff,"
    " r.version, r.month, r.price_micro, r.amount_nano, r.period, r.tier, e.estimated"
    " FROM {keys} CROSS JOIN energy e CROSS JOIN rating r WHERE e.site = ? AND e.meter = k.meter AND e.epoch = k.epoch"
    " AND e.from_qty = k.from_qty AND r.site = e.site AND r.meter = e.meter AND r.epoch = e.epoch"
    " AND r.from_qty = e.from_qty AND r.revision = 1"
)
_INT64_MAX = 2**63 - 1


class ChainHead(msgspec.Struct):
    """The end of one chain while a batch is being posted."""

    opening: int
    opened_ts: int | None
    reason: str
    ratio: int
    qty: int
    ts: int | None
    month: int = 0
    month_use: int = 0
    year_use: int = 0
    event: int = 0


class ChainPosting:
    """Energy of one batch: takes items in order, then writes everything at once."""

    def __init__(self, site: str, book: JournalBook) -> None:
        self.site = site
        self.book = book
        self.refusals: list[Refusal] = []
        self.posted: list[tuple[str, int]] = []
        """(entry, number of the journal) of what was charged."""
        self._heads: dict[tuple[str, int], ChainHead] = {}
        self._touched: set[tuple[str, int]] = set()
        self._energy: list[tuple[Any, ...]] = []
        self._accepted: dict[tuple[str, int, int], ChargePosted] = {}
        self._journals: dict[tuple[str, str], list[ChargePosted]] = {}
        self._repeats: list[Item] = []

    async def post(self, tx: Transaction, items: Sequence[Item]) -> None:
        """Post the chain effects among the items. What was refused is in `refusals` afterwards."""
        chain = [item for item in items if isinstance(item.effect, ChargePosted | EpochOpened)]
        if not chain:
            return
        keys = {(item.effect.meter, item.effect.epoch) for item in chain}
        keys |= {(item.effect.meter, item.effect.epoch - 1) for item in chain if isinstance(item.effect, EpochOpened)}
        await self._load_heads(tx, keys)
        for item in chain:
            if isinstance(item.effect, EpochOpened):
                self._open(item, item.effect)
            else:
                self._charge(item, item.effect)
        await self._compare_repeats(tx)
        await self._write(tx)

    async def _load_heads(self, tx: Transaction, keys: set[tuple[str, int]]) -> None:
        for meter, epoch, *head in await tx.fetch(*_by_keys(tx, _HEADS, sorted(keys)), self.site):
            self._heads[meter, epoch] = ChainHead(*head)

    def _open(self, item: Item, effect: EpochOpened) -> None:
        head = self._heads.get((effect.meter, effect.epoch))
        if head is None:
            # Tiers count a meter's use of the month, which a new register does not begin anew.
            before = self._heads.get((effect.meter, effect.epoch - 1))
            used = (before.month, before.month_use, before.year_use) if before else (0, 0, 0)
            self._heads[effect.meter, effect.epoch] = ChainHead(
                effect.opening, effect.ts, effect.reason, effect.ratio, effect.opening, effect.ts, *used, effect.event
            )
            self._touched.add((effect.meter, effect.epoch))
            points = pack([Point(effect.ts, effect.opening, effect.rates)])
            row = (self.site, effect.meter, effect.epoch, None, effect.opening, None, effect.ts, "", False, points)
            self._energy.append(row)
        elif head.opening != effect.opening:
            reason = f"epoch {effect.epoch} was opened at {head.opening}, not at {effect.opening}"
            self.refusals.append(Refusal(item, reason))

    def _charge(self, item: Item, charge: ChargePosted) -> None:
        head = self._heads.get((charge.meter, charge.epoch))
        reason = _why_wrong(charge, head)
        if reason:
            self.refusals.append(Refusal(item, reason))
        elif head is not None and charge.from_qty < head.qty:
            self._repeats.append(item)
        elif head is not None:
            self._accept(item, charge, head)

    def _accept(self, item: Item, charge: ChargePosted, head: ChainHead) -> None:
        quantity = charge.to_qty - charge.from_qty
        head.month_use = head.month_use + quantity if head.month == charge.month else quantity
        head.year_use = head.year_use + quantity if head.month // 100 == charge.month // 100 else quantity
        head.month, head.qty, head.ts = charge.month, charge.to_qty, charge.to_ts
        self._touched.add((charge.meter, charge.epoch))
        self._accepted[charge.meter, charge.epoch, charge.from_qty] = charge
        self._journals.setdefault((item.entry, _account(charge)), []).append(charge)
        # No bytes are no samples: an earlier row carries them. NULL are samples that nobody kept.
        points = pack(compress(unpack(charge.points)))
        self._energy.append((self.site, *_chain_row(charge), charge.tenant, charge.estimated, points))

    async def _compare_repeats(self, tx: Transaction) -> None:
        """Charges from before the chain's end: the same again is nothing, anything else is refused."""
        known = dict(self._accepted)
        keys = [_key(item.effect) for item in self._repeats]
        unknown = sorted({key for key in keys if key not in known})
        if unknown:
            for row in await tx.fetch(*_by_keys(tx, _POSTED, unknown), self.site):
                known[row[0], row[1], row[2]] = _posted_charge(row)
        for item, key in zip(self._repeats, keys, strict=True):
            if key not in known:
                reason = f"overlaps the chain: no posted interval starts at {key[2]}"
                self.refusals.append(Refusal(item, reason))
            elif _normal(item.effect) != _normal(known[key]):
                reason = f"another charge is posted from {key[2]}: {_differences(item.effect, known[key])}"
                self.refusals.append(Refusal(item, reason))

    async def _write(self, tx: Transaction) -> None:
        rows = [(self.site, *key, *_head_row(self._heads[key])) for key in sorted(self._touched)]
        await _EPOCHS.run(tx, rows)
        await _ENERGY.run(tx, self._energy)
        rating: list[tuple[Any, ...]] = []
        totals: dict[str, tuple[str, int]] = {}
        for (entry, account), charges in self._journals.items():
            seq = self._journal(account, charges)
            if seq is not None:
                self.posted.append((entry, seq))
            rating += [(self.site, *_rating_row(charge), seq) for charge in charges]
            amount_nano = sum(charge.amount_nano for charge in charges)
            totals[account] = (charges[0].tenant, totals.get(account, ("", 0))[1] + amount_nano)
        await self.book.flush(tx)
        await _RATING.run(tx, rating)
        accounts = [(self.site, account, tenant, 0, 0, nano, 1) for account, (tenant, nano) in sorted(totals.items())]
        await _ACCOUNTS.run(tx, accounts)

    def _journal(self, account: str, charges: list[ChargePosted]) -> int | None:
        """One journal for the charges of one account in one entry; none where they cost nothing."""
        earned: dict[str, int] = {}
        for charge in charges:
            earned[charge.utility] = earned.get(charge.utility, 0) + charge.amount_nano
        total_nano = sum(earned.values())
        legs = [(account, -total_nano), *((revenue(utility), nano) for utility, nano in sorted(earned.items()))]
        legs = [leg for leg in legs if leg[1]]
        if len(legs) < 2:
            return None
        first = charges[0]
        return self.book.add(
            kind="charge",
            ts=max(charge.to_ts for charge in charges),
            reference=f"charge:{first.meter}:{first.epoch}:{first.from_qty}",
            actor="platform",
            memo=charge_memo(map(_digest_row, charges)),
            legs=tuple(legs),
        )


def _why_wrong(charge: ChargePosted, head: ChainHead | None) -> str:
    """What makes a charge impossible to post, or an empty text."""
    if head is None:
        return f"epoch {charge.epoch} of the register was never opened"
    if charge.to_qty <= charge.from_qty:
        return f"the interval ends at {charge.to_qty}, not above its start {charge.from_qty}"
    expected_nano = (charge.to_qty - charge.from_qty) * charge.price_micro
    if charge.amount_nano != expected_nano:
        return f"amount {charge.amount_nano} is not quantity times price, {expected_nano}"
    if abs(charge.amount_nano) > _INT64_MAX:
        return f"amount {charge.amount_nano} is beyond 64 bits"
    if charge.from_qty > head.qty:
        return f"a gap: the chain ends at {head.qty}, the charge starts at {charge.from_qty}"
    return ""


def _by_keys(tx: Transaction, sql: str, keys: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The statement joined to (meter, epoch[, from_qty]) keys as table `k`, and the values that carry the keys."""
    wide = bool(keys) and len(keys[0]) == 3
    if tx.engine == "sqlite":
        columns = "value ->> 0 AS meter, value ->> 1 AS epoch"
        columns += ", value ->> 2 AS from_qty" if wide else ""
        table = f"(SELECT {columns} FROM json_each(?)) k"  # noqa: S608 -- constants
        return sql.format(keys=table), msgspec.json.encode(keys).decode()
    columns = "meter, epoch, from_qty" if wide else "meter, epoch"
    arrays = "?::text[], ?::bigint[], ?::bigint[]" if wide else "?::text[], ?::bigint[]"
    return sql.format(keys=f"unnest({arrays}) k({columns})"), *map(list, zip(*keys, strict=True))


def _account(charge: ChargePosted) -> str:
    return charge.account or wallet(charge.tenant)


def _key(charge: Any) -> tuple[str, int, int]:
    return charge.meter, charge.epoch, charge.from_qty


def _posted_charge(row: Row) -> ChargePosted:
    fields = dict(row)
    return ChargePosted(**{**fields, "estimated": bool(fields["estimated"])})


def _normal(charge: ChargePosted) -> ChargePosted:
    # A repetition after a rebuild may know other samples: they are no part of what was charged.
    return msgspec.structs.replace(charge, account=_account(charge), points=b"")


def _differences(wanted: Any, posted: ChargePosted) -> str:
    ours, theirs = msgspec.structs.asdict(_normal(wanted)), msgspec.structs.asdict(_normal(posted))
    return ", ".join(
        f"{name} {theirs[name]!r} is posted, {ours[name]!r} came" for name in ours if ours[name] != theirs[name]
    )


def _head_row(head: ChainHead) -> tuple[Any, ...]:
    opened = (head.opening, head.opened_ts, head.reason, head.ratio)
    return *opened, head.qty, head.ts, head.month, head.month_use, head.year_use, head.event


def _chain_row(charge: ChargePosted) -> tuple[Any, ...]:
    return charge.meter, charge.epoch, charge.from_qty, charge.to_qty, charge.from_ts, charge.to_ts


def _rating_row(charge: ChargePosted) -> tuple[Any, ...]:
    priced = (charge.period, charge.tier, charge.price_micro, charge.amount_nano)
    named = (_account(charge), charge.utility, charge.tariff, charge.version, charge.month)
    return charge.meter, charge.epoch, charge.from_qty, charge.to_qty, 1, True, *named, *priced


def _digest_row(charge: ChargePosted) -> ChargeRow:
    return (
        *(charge.meter, charge.epoch, charge.from_qty, charge.to_qty, charge.from_ts, charge.to_ts, charge.tenant),
        *(charge.tariff, charge.version, charge.month, charge.period, charge.tier),
        *(charge.price_micro, charge.amount_nano, charge.estimated),
    )

"""Any line of the ledger explained: the tree from the journal down to the register readings it was computed from.

Theory of operation. What stands behind a journal depends on its kind. Behind charges are rows of the chain; each is
shown as it holds now, because later adjustments may have overlaid it, and each part that holds is derived anew from
its samples. Behind adjustments are the stretches that changed, with what they were and what they are. Behind fees and
shares are fee lines with the facts they were computed from. Everything else is money that a person or a channel moved;
its journal says who, when and why.

All of it is read from one instant of the database.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills.fee_posting import JOURNAL_KINDS
from adapters.store.meters.meter_history import load_history, load_prices
from adapters.store.posting.adjustment_posting import KIND as ADJUSTMENT
from billing.derivation import Node, derive, derive_difference
from billing.rerating import Assignment, Facts
from twin.explained import ExplainedLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Database, Row, Transaction
    from adapters.store.meters.meter_history import MeterHistory, SitePrices

_JOURNAL = "SELECT seq, kind, ts, reference, actor, memo FROM journal WHERE site = ? AND seq = ?"
_LEGS = "SELECT account, amount_nano FROM leg WHERE site = ? AND seq = ? ORDER BY place"
_ROWS = (
    "SELECT r.meter, r.epoch, r.from_qty, r.to_qty, e.from_ts, e.to_ts, e.tenant, e.estimated, r.account, r.utility,"
    " r.tariff, r.version, r.month, r.period, r.tier, r.price_micro FROM rating r JOIN energy e ON e.site = r.site"
    " AND e.meter = r.meter AND e.epoch = r.epoch AND e.from_qty = r.from_qty WHERE r.site = ? AND r.journal_seq = ?"
    " ORDER BY r.meter, r.epoch, r.from_qty"
)
_BATCH = "SELECT * FROM adjustment WHERE site = ? AND batch = ? AND (account = ? OR old_account = ?) ORDER BY number"
_FEES = "SELECT * FROM fee_line WHERE site = ? AND journal_seq = ? ORDER BY id"
MOST_ROWS = 200
"""So many rows of one journal are derived; a journal that posted more says how many were left out."""


class SqlExplanations:
    """Explanations of ledger lines from the SQL store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def line(self, site: str, seq: int) -> ExplainedLine | None:
        """Journal `seq` of a site explained; None where there is none. Raises LookupError for an unknown site."""
        async with self._database.snapshot() as tx:
            prices = await load_prices(tx, site)
            rows = await tx.fetch(_JOURNAL, site, seq)
            if not rows:
                return None
            legs = [tuple(leg) for leg in await tx.fetch(_LEGS, site, seq)]
            tree = await _tree(tx, prices, rows[0], legs)
        accounts: dict[str, int] = {}
        for account, nano in legs:
            accounts[account] = accounts.get(account, 0) + nano
        tenants = tuple(sorted(account.split(":")[1] for account in accounts if account.startswith("tenant:")))
        return ExplainedLine(seq, rows[0]["kind"], rows[0]["ts"], accounts, tenants, tree, prices.timezone)


async def _tree(tx: Transaction, prices: SitePrices, journal: Row, legs: Sequence[tuple[Any, ...]]) -> Node:
    kind, seq = journal["kind"], journal["seq"]
    if kind == "charge":
        rows = await tx.fetch(_ROWS, prices.site, seq)
        found = [node for _, own in groupby(rows, _meter) for node in await _of_meter(tx, prices, list(own))]
    elif kind == ADJUSTMENT:
        _, batch, account = journal["reference"].split(":", 2)
        rows = await tx.fetch(_BATCH, prices.site, int(batch), account, account)
        found = [
            node for _, own in groupby(rows, _meter) for node in await _of_adjustments(tx, prices, list(own), account)
        ]
    elif kind in JOURNAL_KINDS:
        found = [_of_fee(row) for row in await tx.fetch(_FEES, prices.site, seq)]
    else:
        found = []
    facts = {"seq": seq, "journal": kind, "ts": journal["ts"], "actor": journal["actor"], "memo": journal["memo"]}
    moved = [Node("leg", {"account": account, "amount_nano": nano}) for account, nano in legs]
    return Node("line", facts, (Node("legs", {}, tuple(moved)), *found))


def _meter(row: Row) -> str:
    return str(row["meter"])


async def _of_meter(tx: Transaction, prices: SitePrices, rows: list[Row]) -> list[Node]:
    """Every posted row as it holds now, part by part."""
    meter, utility = rows[0]["meter"], rows[0]["utility"]
    history = await _history(tx, prices, meter, min(_begin(row) for row in rows))
    nodes: list[Node] = []
    for row in rows[:MOST_ROWS]:
        facts = {"meter": meter, "amount_nano": (row["to_qty"] - row["from_qty"]) * row["price_micro"]}
        parts = [
            part for part in history.effective if (part.epoch, part.original_from) == (row["epoch"], row["from_qty"])
        ]
        children = [_derived(part, utility, history, prices) for part in parts]
        nodes.append(Node("posted", facts | {"adjusted": any(part.number for part in parts)}, tuple(children)))
    if len(rows) > MOST_ROWS:
        nodes.append(Node("more", {"rows": len(rows) - MOST_ROWS}))
    return nodes


async def _of_adjustments(tx: Transaction, prices: SitePrices, rows: list[Row], account: str) -> list[Node]:
    """What each stretch was and what it is; the other side of a change of tenant is not shown to this one."""
    meter, utility = rows[0]["meter"], rows[0]["utility"]
    history = await _history(tx, prices, meter, min(_begin(row) for row in rows))
    nodes: list[Node] = []
    for row in rows[:MOST_ROWS]:
        old = _plain(row, "old_") if row["old_account"] == account else None
        new = None
        if row["account"] == account:
            new = _derived(_assignment(row), utility, history, prices)
        nothing = Node("charge", {"amount_nano": 0})
        nodes.append(derive_difference(old or nothing, new or nothing, row["reason"]))
    if len(rows) > MOST_ROWS:
        nodes.append(Node("more", {"rows": len(rows) - MOST_ROWS}))
    return nodes


async def _history(tx: Transaction, prices: SitePrices, meter: str, from_ts: int) -> MeterHistory:
    history = await load_history(tx, prices, meter, from_ts)
    assert history is not None, "a posted row has a chain"
    return history


def _derived(part: Assignment, utility: str, history: MeterHistory, prices: SitePrices) -> Node:
    tariff = prices.tariffs.get(part.facts.tariff)
    version = next((one for one in tariff.versions if one.start_ms == part.facts.version), None) if tariff else None
    return derive(part, utility, history.epochs, history.occupancy, version)


def _begin(row: Row) -> int:
    return int(row["to_ts"] if row["from_ts"] is None else row["from_ts"])


def _assignment(row: Row) -> Assignment:
    facts = Facts(*(row[name] for name in Facts.__struct_fields__))
    place = (row["epoch"], row["from_qty"], row["to_qty"], row["from_ts"], row["to_ts"])
    return Assignment(*place, facts, bool(row["estimated"]), row["original_from"], row["number"])


def _plain(row: Row, prefix: str) -> Node:
    """What a stretch was charged before: its facts. Why it was charged so is the explanation of its own line."""
    facts = {
        "quantity": row["to_qty"] - row["from_qty"],
        "price_micro": row[f"{prefix}price_micro"],
        "amount_nano": row[f"{prefix}amount_nano"],
        "utility": row["utility"],
        "tenant": row[f"{prefix}tenant"],
    }
    return Node("charge", facts)


def _of_fee(row: Row) -> Node:
    names = (
        "kind",
        "name",
        "meter",
        "utility",
        "tariff",
        "month",
        "day",
        "revision",
        "quantity",
        "unit",
        "price_micro",
    )
    facts = {name: row[name] for name in (*names, "amount_nano") if row[name] not in (None, "", 0)}
    details = msgspec.json.decode(row["facts"])
    children = [Node("fact", {"name": name, "value": _scalar(value)}) for name, value in sorted(details.items())]
    return Node("fee", facts, tuple(children))


def _scalar(value: Any) -> str | int | bool | None:
    return value if isinstance(value, str | int | bool | None) else msgspec.json.encode(value).decode()

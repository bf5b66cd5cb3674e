"""Books on PostgreSQL read by plain SQL, and the invariants that they must satisfy; nothing of the product judges here.

The ledger model of the simulation (`tests/simulation/ledger_model.py`) calculates chains, prices, journals, hashes,
balances and payments anew. It speaks to a connection of sqlite3; `PlainSql` lends PostgreSQL the same three words.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import asyncpg

from tests.simulation.ledger_model import LedgerModel
from tests.simulation.park import SITE

NANO = 10**9


class Rows:
    """The answer to one question."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = [tuple(row) for row in rows]

    def fetchall(self) -> list[Any]:
        """All rows."""
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)


class PlainSql:
    """One connection to PostgreSQL, asked as sqlite3 is: `execute(sql, values).fetchall()`; sees one instant."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("asyncpg://", "postgresql://")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="plain-sql", daemon=True)

    def __enter__(self) -> PlainSql:
        self._thread.start()
        self._connection = self._run(asyncpg.connect(self._url))
        self._run(self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Ask."""
        head, *tail = sql.split("?")
        numbered = head + "".join(f"${number}{part}" for number, part in enumerate(tail, 1))
        return Rows(self._run(self._connection.fetch(numbered, *values)))

    def _run(self, work: Any) -> Any:
        async def do() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(60)


def faults_of_the_books(
    url: str, *, told_wh: Mapping[str, int], paid_nano: Mapping[str, Mapping[str, int]], doubted: frozenset[str]
) -> list[str]:
    """What is wrong with the ledger once everything is calm; raises ViolationError where a row contradicts another.

    `told_wh`: the highest register that each meter has told. `paid_nano`: what was confirmed to have been paid, by
    tenant and key. `doubted`: meters whose clocks were wrong, so that a true reading may have been put aside.
    I1 chains, I3 journals and balances, I8 hashes: the model itself. I2, I4, I9 are held against the outside here.
    """
    found: list[str] = []
    model = LedgerModel()
    with PlainSql(url) as db:
        model.read(db)  # type: ignore[arg-type]
        for device, told in told_wh.items():
            head = model.heads.get((device, 1))
            if head is None or head > told:
                found.append(f"I2: {device} told {told} Wh, it is billed to {head}")
        booked: dict[str, dict[str, int]] = {}
        for (tenant, key), amount in model.payments.items():
            booked.setdefault(tenant, {})[key] = amount
        if booked != {tenant: dict(payments) for tenant, payments in paid_nano.items() if payments}:
            found.append(f"I4: booked {booked}, people were told {paid_nano}")
        found += _left_over(db, doubted)
    return found


def _left_over(db: PlainSql, doubted: frozenset[str]) -> list[str]:
    """I9: nothing was refused, put aside without a reason, or never reached its twin."""
    found = []
    refused = db.execute("SELECT entry, reason FROM refused_effect WHERE site = ?", (SITE,)).fetchall()
    if refused:
        found.append(f"I9: the ledger refused {refused[:3]}")
    for (meter,) in db.execute("SELECT DISTINCT meter FROM quarantined_reading WHERE site = ?", (SITE,)):
        if meter not in doubted:
            found.append(f"I9: a true reading of {meter} was not believed")
    ((waiting,),) = db.execute("SELECT count(*) FROM act WHERE site = ? AND NOT delivered", (SITE,)).fetchall()
    if waiting:
        found.append(f"I4: {waiting} acts never reached their twins")
    return found


def posted_nano(url: str) -> dict[str, int]:
    """Charges of every tenant as the ledger has them."""
    with PlainSql(url) as db:
        sql = "SELECT account, charges_nano FROM account WHERE site = ? AND account LIKE 'tenant:%:wallet'"
        return {account.split(":")[1]: charges for account, charges in db.execute(sql, (SITE,))}

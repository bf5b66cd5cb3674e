"""C5: the ledger writer is killed inside a batch, at every statement of it; the whole batch is absent, and posted once
when it comes again. Each death is a kill -9 of a process of its own, on both engines."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import SITE, charge, entry
from twin.ports import Entry

ROOT = Path(__file__).parents[2]
CHARGES = 8

_WRITER = """
import asyncio, os, signal, sys
from adapters.store.engine import database as store
from adapters.store.posting.ledger import SqlLedger
from tests.faults.test_c5_postings import batch
from tests.unit.adapters.store.park import SITE

def mortal(kind, dies_at):
    # The process dies just after its n-th statement, with everything of the transaction still open.
    seen = 0
    def after(method):
        async def statement(self, *values):
            nonlocal seen
            found = await method(self, *values)
            seen += 1
            if seen == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return found
        return statement
    for name in ("fetch", "execute", "execute_many"):
        setattr(kind, name, after(getattr(kind, name)))

async def post(url, dies_at):
    mortal(store.SQLiteTransaction, dies_at)
    mortal(store.PostgresTransaction, dies_at)
    opened = await store.open_database(url)
    await SqlLedger(opened).post(SITE, batch())
    await opened.close()

for dies_at in map(int, sys.stdin):
    child = os.fork()
    if not child:
        asyncio.run(post(sys.argv[1], dies_at))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def batch() -> list[Entry]:
    """Charges that follow each other, an entry each."""
    return [entry(number, charge((number - 1) * 10, number * 10)) for number in range(1, CHARGES + 1)]


def plain_url(database: Database) -> str:
    """Where a database is."""
    if database.sqlite_path is not None:
        return f"sqlite://{database.sqlite_path}"
    parts: Any = database.context.db("default")
    return f"postgresql://{parts.user}@{parts.host}:{parts.port}/{parts.database}"


async def written(database: Database) -> list[int]:
    """How many rows the batch has in each of its tables."""
    tables = ("energy WHERE from_qty IS NOT NULL", "rating", "journal", "leg", "refused_effect")
    return [(await database.fetch(f"SELECT count(*) FROM {table}"))[0][0] for table in tables]


async def test_a_writer_killed_at_any_statement_leaves_nothing_of_its_batch(park: Database, ledger: SqlLedger) -> None:
    before = await written(park)
    writer = subprocess.Popen(  # noqa: ASYNC220 -- asked a line at a time
        [sys.executable, "-c", _WRITER, plain_url(park)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdin is not None
    assert writer.stdout is not None
    deaths = 0
    try:
        for dies_at in range(1, 100):
            writer.stdin.write(f"{dies_at}\n")
            writer.stdin.flush()
            ended = int(writer.stdout.readline())
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            deaths += 1
            assert await written(park) == before, f"killed after statement {dies_at}"
            assert await ledger.position(SITE) == "0-0"
    finally:
        writer.stdin.close()
        writer.wait(20)
    assert deaths > 5, "a batch has more statements than this"
    await ledger.post(SITE, batch())  # what was posted at the end comes again
    charged = await park.fetch("SELECT charges_nano FROM account WHERE tenant = 't-002'")
    assert charged[0][0] == CHARGES * 10 * 850_000
    assert [finding async for finding in verify_sql(park, SITE)] == []

"""The partitioned layout on a real PostgreSQL: filled ledgers are divided, every guard holds, work goes on, and nothing
that a proof needs can be taken away unnoticed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from adapters.store.engine.database import Database, open_database
from adapters.store.engine.partitions import KEYS, PartitionError, partition_counts, partition_tables
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from tests.integration.installation import TWINMETER
from tests.integration.test_settlement import january
from tests.integration.test_sql_attacks import ATTACKS, LEG, REFUSED
from tests.integration.test_sql_attacks import posted as posted_park
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.engines import Attack, fresh_url
from tests.unit.adapters.store.park import SITE, charge, entry
from tests.unit.adapters.store.settling import DAY, Park
from tests.unit.adapters.store.settling import SITE as SETTLED_SITE

pytestmark = pytest.mark.postgres
PARTS = 4
posted = posted_park


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """PostgreSQL alone: SQLite has no partitions."""
    return fresh_url(request, tmp_path, "postgres")


@pytest_asyncio.fixture
async def divided(posted: Database) -> Database:
    """The posted park, divided."""
    assert await partition_tables(posted, PARTS, print) == list(KEYS)
    return posted


async def refused(attack: Attack, statements: str, name: str) -> None:
    """Fails the test, with the name of the attack, where the database lets it through."""
    try:
        await attack(statements)
    except REFUSED:
        return
    pytest.fail(f"accepted: {name}")


async def findings(database: Database, site: str = SITE) -> list:
    return [finding async for finding in verify_sql(database, site)]


async def holding(database: Database, table: str) -> list[str]:
    """Partitions of a table that hold rows."""
    rows = await database.fetch(f"SELECT DISTINCT tableoid::regclass::text FROM {table} ORDER BY 1")
    return [row[0] for row in rows]


async def test_every_attack_is_refused_on_the_divided_ledger(divided: Database, attack: Attack):
    assert await partition_counts(divided) == dict.fromkeys(KEYS, PARTS)
    for name, statements in ATTACKS.items():
        await refused(attack, statements, name)
    for table in KEYS:
        with pytest.raises(REFUSED):
            await attack(f"TRUNCATE {table} CASCADE")
    assert await findings(divided) == []


async def test_an_attack_that_names_a_partition_is_refused_too(divided: Database, attack: Attack):
    """A statement on a partition fires the triggers of that partition, not those of the table."""
    for table in KEYS:
        parts = await holding(divided, table)
        assert parts
        for part in parts:
            for statement in (f"TRUNCATE {part} CASCADE", f"DELETE FROM {part}", f"UPDATE {part} SET site = 'other'"):
                with pytest.raises(REFUSED):
                    await attack(statement)
    home = {table: (await holding(divided, table))[0] for table in KEYS}
    for name in (
        "a gap in the chain", "a fork", "a second opening row", "a price without its interval",
        "a second active price", "an amount that is not quantity times price", "a journal without legs",
        "a journal with a skipped number", "an unbalanced journal",
    ):  # fmt: skip
        statements = ATTACKS[name]
        for table, part in home.items():
            statements = statements.replace(f"INSERT INTO {table} (", f"INSERT INTO {part} (id, ")
        statements = statements.replace(" VALUES (", " VALUES (900001, ")
        statements = statements.replace("SELECT 'park-1'", "SELECT 900002, 'park-1'")
        await refused(attack, statements, name)
    for part in [f"leg_p{number:03d}" for number in range(PARTS)]:
        leg = LEG.format(seq=1, place=9, amount=5).replace("INTO leg (", f"INTO {part} (id, ")
        await refused(attack, leg.replace("('park", "(1, 'park"), part)
    assert await findings(divided) == []


async def test_posting_goes_on_and_ids_go_on_behind_the_old_ones(divided: Database):
    before = (await divided.fetch("SELECT max(id) FROM energy"))[0][0]
    await SqlLedger(divided).post(SITE, [entry(7, charge(300, 400))])
    rows = await divided.fetch("SELECT id FROM energy WHERE to_qty = 400")
    assert rows[0][0] > before
    assert await findings(divided) == []


async def test_what_was_divided_stays_and_a_wish_that_cannot_be_is_refused(divided: Database, sqlite_template: Path):
    assert await partition_tables(divided, 8, print) == []
    with pytest.raises(PartitionError, match="2 to 256"):
        await partition_tables(divided, 1, print)
    sqlite = await open_database(f"sqlite://{sqlite_template}")
    try:
        with pytest.raises(PartitionError, match="SQLite has no partitions"):
            await partition_tables(sqlite, 4, print)
    finally:
        await sqlite.close()


SPOILERS: dict[str, str] = {
    "is unique without": "ALTER TABLE leg ADD CONSTRAINT odd UNIQUE (id, place)",
    "is used by the view": "CREATE VIEW seen AS SELECT count(*) FROM rating",
}


@pytest.mark.parametrize("why", SPOILERS)
async def test_what_cannot_be_carried_over_stops_everything(posted: Database, attack: Attack, why: str):
    await attack(SPOILERS[why])
    with pytest.raises(PartitionError, match=why):
        await partition_tables(posted, PARTS, print)
    assert await partition_counts(posted) == dict.fromkeys(KEYS, 0)
    with pytest.raises(REFUSED):
        await attack(ATTACKS["a gap in the chain"])
    assert await findings(posted) == []


async def test_grants_and_guards_are_the_same_before_and_after(posted: Database, attack: Attack):
    role = f"reader_{posted.context.db('default').database}"[:60]
    await attack(f'CREATE ROLE "{role}"; GRANT SELECT ON energy, leg TO "{role}"')
    before = await guards(posted)
    await partition_tables(posted, PARTS, print)
    assert await guards(posted) == before
    for table, may in {"energy": True, "leg": True, "journal": False}.items():
        assert (await posted.fetch(f"SELECT has_table_privilege('{role}', '{table}', 'SELECT')"))[0][0] is may
    await attack(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


async def guards(database: Database) -> dict[str, set[str]]:
    """Checks, keys, triggers and indexes of the large tables, as the catalogue describes them."""
    found: dict[str, set[str]] = {}
    for table in KEYS:
        rows = await database.fetch(
            "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
            f" WHERE conrelid = '{table}'::regclass AND contype <> 'p' AND conparentid = 0"
            " UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger"
            f" WHERE tgrelid = '{table}'::regclass AND NOT tgisinternal"
            f" UNION ALL SELECT replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes WHERE tablename = '{table}'"
            f" AND indexname <> '{table}_pkey'"
        )
        found[table] = {row[0] for row in rows}
        assert len(found[table]) > 3
    return found


async def test_a_month_settled_on_one_table_goes_on_in_partitions(database: Database):
    site = Park(database)
    await site.import_site()
    first = await january(site)
    await partition_tables(database, PARTS, print)
    assert await findings(database, SETTLED_SITE) == []
    await site.month(202602)
    site.clock.at = site.start_of(202603) + DAY
    settled = await site.settle(202602)
    assert settled.state == "done"
    assert len(first) == 2
    assert await findings(database, SETTLED_SITE) == []
    assert len(await holding(database, "leg")) == PARTS


async def test_a_partition_cannot_leave_without_being_missed(divided: Database, attack: Attack):
    """Nobody may take a part of a chain away: PostgreSQL refuses what others refer to, `verify` finds the rest."""
    refused_by: dict[str, set[str]] = {table: set() for table in KEYS}
    for table in KEYS:
        for part in await holding(divided, table):
            try:
                await attack(f"ALTER TABLE {table} DETACH PARTITION {part}")
            except asyncpg.ForeignKeyViolationError:
                refused_by[table].add("PostgreSQL")
                continue
            assert await findings(divided), f"verify does not miss {part}"
            refused_by[table].add("verify")
            bounds = f"FOR VALUES WITH (MODULUS {PARTS}, REMAINDER {int(part.rpartition('_p')[2])})"
            await attack(f"ALTER TABLE {table} ATTACH PARTITION {part} {bounds}")
            assert await findings(divided) == []
    assert "PostgreSQL" in refused_by["energy"]
    assert refused_by["journal"] == {"PostgreSQL"}
    assert refused_by["rating"] == refused_by["leg"] == {"verify"}


async def test_the_command_divides_only_when_told_to(posted: Database, url: str):
    def run(*options: str) -> str:
        command = [TWINMETER, "ledger", "partition", "--database-url", url.replace("asyncpg://", "postgresql://")]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run().count("not divided") == len(KEYS)
    assert run("--parts", "3", "--yes").split() == [word for table in KEYS for word in (table, "3")]
    assert await partition_counts(posted) == dict.fromkeys(KEYS, 3)
    assert await findings(posted) == []

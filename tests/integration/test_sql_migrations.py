"""Models, migrations and the schema that they make agree, on both engines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tortoise.migrations.autodetector import MigrationAutodetector

from adapters.store.engine.database import Database, DatabaseURLError, open_database, tortoise_config
from adapters.store.engine.migrate import migrate
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.engines import ENGINES


def models(database: Database) -> dict[str, Any]:
    """Table -> model, as Tortoise has loaded them."""
    assert database.context.apps is not None
    return {model._meta.db_table: model for model in database.context.apps["store"].values()}


async def columns(database: Database, table: str) -> dict[str, tuple[str, bool]]:
    """Column -> (type, nullable) as the database says."""
    if database.engine == "sqlite":
        rows = await database.fetch(f"SELECT name, type, \"notnull\" = 0 AND pk = 0 FROM pragma_table_info('{table}')")
    else:
        rows = await database.fetch(
            "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns WHERE table_name = ?",
            table,
        )
    return {name: (kind.upper(), bool(nullable)) for name, kind, nullable in rows}


MIGRATIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "adapters/store/migrations").glob("[0-9]*.py"))

KINDS = {
    "sqlite": {"BigIntField": "INTEGER", "BooleanField": "INTEGER", "BinaryField": "BLOB"},
    "postgres": {"BigIntField": "BIGINT", "BooleanField": "BOOLEAN", "BinaryField": "BYTEA"},
}


async def test_models_and_tables_agree(database: Database) -> None:
    kinds = KINDS[database.engine]
    tables = models(database)
    assert len(tables) >= 38
    for table, model in tables.items():
        fields = model._meta.fields_map
        expected = {name: (kinds.get(type(field).__name__, "TEXT"), field.null) for name, field in fields.items()}
        assert await columns(database, table) == expected, table


async def test_migrations_make_the_models(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tortoise itself finds nothing to migrate; a docstring is no part of a schema."""
    for model in models(database).values():
        monkeypatch.setattr(model._meta, "table_description", "")
    assert database.context.apps is not None
    with database.context:
        changes = await MigrationAutodetector(database.context.apps, tortoise_config({})["apps"]).changes()
    assert changes == []


async def test_money_and_energy_are_strict_integers_on_sqlite(database: Database) -> None:
    if database.engine != "sqlite":
        pytest.skip("PostgreSQL is always strict")
    rows = await database.fetch("SELECT name FROM pragma_table_list WHERE strict = 1")
    assert {row[0] for row in rows} >= set(models(database))


async def test_migrating_twice_does_nothing(url: str) -> None:
    assert await migrate(url) == []


@pytest.mark.parametrize("engine", ENGINES)
async def test_services_that_start_together_migrate_once(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    if engine == "sqlite":
        fresh = f"sqlite://{tmp_path}/new/dir/store.db"
    else:
        fresh = request.getfixturevalue("postgres_server").fresh_database()
    told: list[str] = []
    applied = await asyncio.gather(*(migrate(fresh, told.append) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(MIGRATIONS)]
    assert told[0] == "database: migration 0001_registry"
    assert len(told) == len(MIGRATIONS)


async def test_an_interrupted_migration_is_applied_again(url: str) -> None:
    database = await open_database(url)
    async with database.write() as tx:
        await tx.execute("DELETE FROM tortoise_migrations WHERE name >= '0003'")
    await database.close()
    assert len(await migrate(url)) == len(MIGRATIONS) - 2


@pytest.mark.parametrize("url", ["mysql://u:secret@h/db", "sqlite://:memory:", "sqlite://", "nonsense"])
async def test_an_unknown_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseURLError, match="expected sqlite") as error:
        await open_database(url)
    assert "secret" not in str(error.value)


async def test_sqlite_is_durable_and_checked(database: Database) -> None:
    if database.engine != "sqlite":
        pytest.skip("PostgreSQL has its own settings")
    async with database.write() as tx:
        found = [(await tx.fetch(f"PRAGMA {name}"))[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["wal", 2, 1]


async def test_a_cancelled_writer_leaves_no_transaction_open(database: Database) -> None:
    started = asyncio.Event()

    async def stall() -> None:
        async with database.write() as tx:
            await tx.execute("INSERT INTO act_head (site, group_id, seq) VALUES ('s', 'g', 1)")
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stall())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as tx:
        assert list(await tx.fetch("SELECT 1 FROM act_head")) == []


async def test_a_snapshot_sees_one_instant(database: Database) -> None:
    async with database.snapshot() as before:
        assert list(await before.fetch("SELECT 1 FROM act_head")) == []
        async with database.write() as tx:
            await tx.execute("INSERT INTO act_head (site, group_id, seq) VALUES ('s', 'g', 1)")
        assert list(await before.fetch("SELECT 1 FROM act_head")) == []
    assert len(await database.fetch("SELECT 1 FROM act_head")) == 1

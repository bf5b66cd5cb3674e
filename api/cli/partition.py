"""`twinmeter ledger partition`: divide the large tables of PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import say
from api.cli.options import Config, DatabaseUrl, settings_of

Parts = Annotated[int, typer.Option("--parts", help="Partitions of each table.", min=2, max=256)]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say how the tables are divided now.")]


def partition(parts: Parts = 16, yes: Yes = False, config: Config = None, database_url: DatabaseUrl = None) -> None:
    """Divide energy, ratings, journals and legs of PostgreSQL into partitions, with every guard they have.

    In one transaction; services may run and wait meanwhile. Take a backup first: there is no way back but that one.
    """
    settings = settings_of(config, database_url=database_url)
    if not settings.database_url:
        raise WrongUsageError("give --database-url or TWINMETER_DATABASE_URL of a PostgreSQL database")
    asyncio.run(_partition(settings.database_url, parts, yes))


async def _partition(url: str, parts: int, yes: bool) -> None:
    from api.bootstrap import PartitionError, open_database, partition_counts, partition_tables

    database = await open_database(url)
    try:
        if yes:
            done = await partition_tables(database, parts, say)
            say(f"divided: {', '.join(done)}" if done else "every table is divided already")
        for table, count in (await partition_counts(database)).items():
            print(f"{table:<8} {count or 'not divided'}")
    except PartitionError as error:
        raise CommandError(str(error)) from None
    finally:
        await database.close()

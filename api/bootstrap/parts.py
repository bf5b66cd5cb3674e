"""Parts of an installation opened alone, for whoever looks and changes nothing: leases, lags, the recorded past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.engine.database import open_database
from adapters.store.engine.migration_state import migration_state
from adapters.store.past.history import SqlHistory
from adapters.store.past.past import SqlPast
from adapters.store.sites.registry import SqlRegistry
from adapters.store.watching.gauges import SqlGauges
from adapters.twins.connection import connect
from adapters.twins.leases import RedisLeases
from adapters.twins.store import RedisTwinStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from adapters.documents.fonts import Font
    from adapters.store.engine.database import Database
    from api.settings import Settings


def open_font() -> Font:
    """The font for printing. Raises DocumentError where there is none."""
    from adapters.documents.fonts import open_font

    return open_font()


def open_leases(redis_url: str) -> tuple[RedisLeases, Callable[[], Awaitable[None]]]:
    """The leases alone, to look at, and how to close the connection."""
    client = connect(redis_url)
    return RedisLeases(client), client.aclose


async def recorded_lag(settings: Settings) -> int | None:
    """How many seconds the recorded history is behind the newest effect, at the worst site; None without any."""
    if (await migration_state(settings.database_url)).missing:
        return None
    database, client = await open_database(settings.database_url, pool_size=1), connect(settings.redis_url)
    store, gauges = RedisTwinStore(client, cache_groups=0), SqlGauges(database)
    behind: list[int] = []
    try:
        for site in await SqlRegistry(database).sites():
            known, recorded = await store.generation(site), await gauges.recorded(site)
            if known is not None and recorded is not None:
                behind.append(max(0, int(known[1].partition("-")[0]) - recorded) // 1000)
    finally:
        await store.close()
        await database.close()
    return max(behind, default=None)


async def open_recorded(database_url: str) -> tuple[Database, SqlPast, SqlHistory]:
    """The recorded past alone, for a process that only replays; close the database afterwards."""
    database = await open_database(database_url)
    return database, SqlPast(database), SqlHistory(database)

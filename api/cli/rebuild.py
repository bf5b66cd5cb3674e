"""`twinmeter rebuild`: twins anew from SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.cli.errors import CommandError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.options import Clock, Config, Data, DatabaseUrl, RedisUrl, Site, settings_of

if TYPE_CHECKING:
    from api.bootstrap import Platform


def rebuild(
    site: Site = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Write all twins anew from SQL. What they knew since the last posting is charged again by the next reading."""
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    set_up_logs("warning")
    counts = run_on_platform(settings, lambda platform, _: _rebuild(platform, site))
    for name, count in counts.items():
        print(f"{name}: {count} groups rebuilt from SQL")
    if not counts:
        print("there is no site yet")


async def _rebuild(platform: Platform, only: str | None) -> dict[str, int]:
    from twin.flows.rebuild_twins import rebuild_and_mark

    sites = await platform.registry.sites()
    if only is not None and only not in sites:
        raise CommandError(f"site {only!r} is not in the database; known: {', '.join(sites) or 'none'}")
    wanted = sites if only is None else [only]
    parts = (platform.registry, platform.store, platform.clock, platform.ledger, platform.marks)
    return {name: await rebuild_and_mark(*parts, name) for name in wanted}

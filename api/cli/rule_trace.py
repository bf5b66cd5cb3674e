"""`twinmeter rules trace`: every look that a rule took at a twin over a recorded span."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.language import language
from api.cli.options import Clock, Config, Data, DatabaseUrl, Json, Language, RedisUrl, Site, settings_of
from api.cli.rule_history import instant
from api.cli.rule_versions import site_of

if TYPE_CHECKING:
    from datetime import tzinfo

    from api.bootstrap import Platform
    from twin.flows.trace_rules import Look


def trace(
    rule: Annotated[str, typer.Argument(help="Id of the rule.")],
    twin: Annotated[str, typer.Option("--twin", help="Tenant or device; of a tenant also its devices.")],
    from_: Annotated[str, typer.Option("--from", help="Begin, ISO 8601 (local time of the site) or Unix ms.")],
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive; without it: now.")] = None,
    site: Site = None,
    as_json: Json = False,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
    _lang: Language = None,
) -> None:
    """Every look of a rule at a twin over a span of the recorded history: which gate stopped it, and each clause."""
    from twin.flows.replay_rules import HistoryMissingError, zone_of
    from twin.flows.trace_rules import looks, render

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    set_up_logs("warning")

    async def work(platform: Platform, _found: object) -> tuple[list[Look], tzinfo]:
        name = await site_of(platform, site)
        zone = zone_of(await platform.registry.policy_sources(name))
        begin = instant(from_, zone, "--from")
        end = instant(to, zone, "--to") if to is not None else platform.clock.now()
        if end <= begin:
            raise WrongUsageError("--to must be later than --from")
        return await looks(platform, name, rule, twin, begin, end), zone

    try:
        found, zone = run_on_platform(settings, work)
    except (LookupError, HistoryMissingError) as error:
        raise CommandError(str(error)) from None
    print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False, indent=2) if as_json
          else render(found, language(), zone))  # fmt: skip

"""`twinmeter rules trace`: every look that a rule took at a twin over a recorded span."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.instants import instant
from api.cli.language import language
from api.cli.on_site import Place, on_data

if TYPE_CHECKING:
    from datetime import tzinfo

    from api.bootstrap import Platform
    from twin.flows.trace_rules import Look


@on_data
def trace(
    place: Place,
    rule: Annotated[str, typer.Argument(help="Id of the rule.")],
    twin: Annotated[str, typer.Option("--twin", help="Tenant or device; of a tenant also its devices.")],
    from_: Annotated[str, typer.Option("--from", help="Begin, ISO 8601 (local time of the site) or Unix ms.")],
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive; without it: now.")] = None,
) -> None:
    """Every look of a rule at a twin over a span of the recorded history: which gate stopped it, and each clause."""
    from twin.flows.replay_rules import HistoryMissingError, zone_of
    from twin.flows.trace_rules import looks, render

    async def near(platform: Platform, name: str) -> tuple[list[Look], tzinfo]:
        zone = zone_of(await platform.registry.policy_sources(name))
        begin = instant(from_, zone, "--from")
        end = instant(to, zone, "--to") if to is not None else platform.clock.now()
        if end <= begin:
            raise WrongUsageError("--to must be later than --from")
        return await looks(platform, name, rule, twin, begin, end), zone

    try:
        found, zone = place.near(near)
    except (LookupError, HistoryMissingError) as error:
        raise CommandError(str(error)) from None
    print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False, indent=2) if place.json
          else render(found, language(), zone))  # fmt: skip

"""`twinmeter switch why DEVICE`: why a breaker or valve is off, and what would close it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError
from api.cli.instants import At, far_instant, instant
from api.cli.language import language
from api.cli.on_site import Place, on_site

if TYPE_CHECKING:
    from api.bootstrap import Platform

Device = Annotated[str, typer.Argument(help="Id of the breaker, valve, or meter that can switch.")]


@on_site
def why(place: Place, device: Device, at: At = None) -> None:
    """Why it is open, and what would close it: locks, releases, what is missing, every command."""

    async def near(platform: Platform, site: str) -> Any:
        from api.http.routes.breaker_why import MAY_RELEASE, breaker_body
        from twin.flows.breaker_why import explain_breaker
        from twin.flows.replay_rules import HistoryMissingError, zone_of

        ts = None if at is None else instant(at, zone_of(await platform.registry.policy_sources(site)), "--at")
        try:
            found = await explain_breaker(platform, site, device, ts, may_release=MAY_RELEASE)
        except (LookupError, HistoryMissingError) as error:
            raise CommandError(str(error)) from None
        return msgspec.to_builtins(breaker_body(found))

    found = place.ask(lambda far: far.get("devices", device, "why", at=far_instant(at)), near)
    print(json.dumps(found, ensure_ascii=False, indent=2) if place.json else found["text"][language()])

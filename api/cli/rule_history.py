"""`twinmeter rules replay|explain|why`: what rules would have done, and why they did what they did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import say
from api.cli.instants import At, far_instant, instant
from api.cli.language import language
from api.cli.on_site import Place, on_data, on_site
from api.cli.options import InputFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from api.bootstrap import Platform
    from api.cli.remote import Remote
    from twin.flows.replay_rules import ReplayResult


@on_data
def replay(
    place: Place,
    file: InputFile,
    from_: Annotated[str, typer.Option("--from", help="Begin, ISO 8601 (local time of the site) or Unix ms.")],
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive; without it: what is recorded.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every row and difference.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; otherwise one a core.", min=1)] = None,
) -> None:
    """Run a rule file over recorded history beside the active rules: who would have been cut, told, alarmed.

    Nothing is changed anywhere. Exit code 0, whether or not the versions differ; 1 where the span is not recorded.
    """
    from api.cli.rule_files import load_rules

    document, _ = load_rules(file)

    async def near(platform: Platform, name: str) -> tuple[ReplayResult, tzinfo]:
        return await _replayed(platform, name, document.data, (from_, to), workers)

    result, zone = place.near(near)
    if place.json:
        print(json.dumps(msgspec.to_builtins(result), ensure_ascii=False, indent=2))
        return
    from twin.flows.replay_text import render_replay

    print(render_replay(result, language(), zone, full=full))


async def _replayed(
    platform: Platform, site: str, document: dict[str, Any], span: tuple[str, str | None], workers: int | None
) -> tuple[ReplayResult, tzinfo]:
    from api.replaying import replay as run
    from twin.flows.replay_rules import HistoryMissingError, prepare, zone_of

    sources = await platform.registry.policy_sources(site)
    zone = zone_of(sources)
    extent = await platform.history.extent(site)
    begin = instant(span[0], zone, "--from")
    end = instant(span[1], zone, "--to") if span[1] is not None else (extent.to_ts + 1 if extent else begin + 1)
    if end <= begin:
        raise WrongUsageError("--to must be later than --from")
    try:
        plan = await prepare(platform.history, sources, document, begin, end, skew_ms=platform.skew_ms)
    except HistoryMissingError as error:
        raise CommandError(str(error)) from None
    return await run(platform.past, platform.settings.database_url, plan, workers=workers, progress=say), zone


@on_site
def explain(
    place: Place,
    rule: Annotated[str, typer.Argument(help="Id of the rule.")],
    twin: Annotated[str, typer.Option("--twin", help="Tenant or device.")],
    at: At = None,
) -> None:
    """Why a rule fired for a twin, or did not: now, or at any instant of the recorded history."""

    async def work(platform: Platform, name: str, ts: int | None) -> Any:
        from rules.explain import render
        from twin.flows.explain_rules import explain as ask

        records = await ask(platform, name, rule, twin, ts)
        zone = (await platform.policies.policy(name)).zone
        told = [render(record, language(), zone) for record in records]
        return {"records": msgspec.to_builtins(records), "text": told}

    def far(api: Remote) -> Any:
        return api.get("rules", rule, "explain", twin=twin, at=far_instant(at), lang=language())

    found = _asked(place, at, far, work)
    print(json.dumps(found, ensure_ascii=False, indent=2) if place.json else "\n".join(found["text"]))


@on_site
def why(
    place: Place,
    tenant: Annotated[str, typer.Argument(help="Id of the tenant.")],
    at: At = None,
) -> None:
    """Why a tenant is cut off, or is not, in words the tenant can act on."""

    async def work(platform: Platform, name: str, ts: int | None) -> Any:
        from twin.flows.tenant_why import tenant_why

        return msgspec.to_builtins(await tenant_why(platform, name, tenant, ts))

    found = _asked(place, at, lambda far: far.get("tenants", tenant, "why", at=far_instant(at)), work)
    print(json.dumps(found, ensure_ascii=False, indent=2) if place.json else found["text"][language()])


def _asked(place: Place, at: str | None, far: Callable[[Remote], Any], ask: Any) -> Any:
    """The API's answer, or that of the data; what cannot be explained is a failed check with its reason."""
    from twin.flows.replay_rules import HistoryMissingError, zone_of

    async def near(platform: Platform, name: str) -> Any:
        zone = zone_of(await platform.registry.policy_sources(name))
        return await ask(platform, name, None if at is None else instant(at, zone, "--at"))

    try:
        return place.ask(far, near)
    except (LookupError, HistoryMissingError) as error:
        raise CommandError(str(error)) from None

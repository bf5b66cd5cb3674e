"""`twinmeter rules replay|explain|why`: what rules would have done, and why they did what they did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import run_on_platform, say, set_up_logs
from api.cli.language import language
from api.cli.options import Clock, Config, Data, DatabaseUrl, InputFile, Json, Language, RedisUrl, Site, settings_of
from api.cli.remote import Remote, Url
from api.cli.rule_versions import site_of

if TYPE_CHECKING:
    from datetime import tzinfo

    from api.bootstrap import Platform
    from api.cli.installation import Installation
    from twin.flows.replay_rules import ReplayResult

At = Annotated[
    str | None, typer.Option("--at", help="Instant, ISO 8601 (local time of the site without an offset) or Unix ms.")
]


def replay(
    file: InputFile,
    from_: Annotated[str, typer.Option("--from", help="Begin, ISO 8601 (local time of the site) or Unix ms.")],
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive; without it: what is recorded.")] = None,
    site: Site = None,
    as_json: Json = False,
    full: Annotated[bool, typer.Option("--full", help="Show every row and difference.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; otherwise one a core.", min=1)] = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
    _lang: Language = None,
) -> None:
    """Run a rule file over recorded history beside the active rules: who would have been cut, told, alarmed.

    Nothing is changed anywhere. Exit code 0, whether or not the versions differ; 1 where the span is not recorded.
    """
    from api.cli.rule_files import load_rules

    document, _ = load_rules(file)
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    set_up_logs("warning")

    async def work(platform: Platform, found: Installation) -> tuple[ReplayResult, tzinfo]:
        name = await site_of(platform, site)
        return await _replayed(platform, found.settings.database_url, name, document.data, (from_, to), workers)

    result, zone = run_on_platform(settings, work)
    if as_json:
        print(json.dumps(msgspec.to_builtins(result), ensure_ascii=False, indent=2))
        return
    from twin.flows.replay_text import render_replay

    print(render_replay(result, language(), zone, full=full))


async def _replayed(
    platform: Platform,
    database_url: str,
    site: str,
    document: dict[str, Any],
    span: tuple[str, str | None],
    workers: int | None,
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
    return await run(platform.past, database_url, plan, workers=workers, progress=say), zone


def explain(
    rule: Annotated[str, typer.Argument(help="Id of the rule.")],
    twin: Annotated[str, typer.Option("--twin", help="Tenant or device.")],
    at: At = None,
    site: Site = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
    _lang: Language = None,
) -> None:
    """Why a rule fired for a twin, or did not: now, or at any instant of the recorded history."""
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)

    async def work(platform: Platform, name: str, ts: int | None) -> Any:
        from rules.explain import render
        from twin.flows.explain_rules import explain as ask

        records = await ask(platform, name, rule, twin, ts)
        zone = (await platform.policies.policy(name)).zone
        told = [render(record, language(), zone) for record in records]
        return {"records": msgspec.to_builtins(records), "text": told}

    if url is not None:
        far = Remote(url, site)
        found = far.get("rules", rule, "explain", twin=twin, at=far_instant(at), lang=language())
    else:
        found = _near(settings, site, at, work)
    print(json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(found["text"]))


def why(
    tenant: Annotated[str, typer.Argument(help="Id of the tenant.")],
    at: At = None,
    site: Site = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
    _lang: Language = None,
) -> None:
    """Why a tenant is cut off, or is not, in words the tenant can act on."""
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)

    async def work(platform: Platform, name: str, ts: int | None) -> Any:
        from twin.flows.tenant_why import tenant_why

        return msgspec.to_builtins(await tenant_why(platform, name, tenant, ts))

    if url is not None:
        found = Remote(url, site).get("tenants", tenant, "why", at=far_instant(at))
    else:
        found = _near(settings, site, at, work)
    print(json.dumps(found, ensure_ascii=False, indent=2) if as_json else found["text"][language()])


def _near(settings: Any, site: str | None, at: str | None, ask: Any) -> Any:
    """Work on the data directly; what cannot be explained is a failed check with its reason."""
    from twin.flows.replay_rules import HistoryMissingError, zone_of

    set_up_logs("warning")

    async def work(platform: Platform, _found: object) -> Any:
        name = await site_of(platform, site)
        zone = zone_of(await platform.registry.policy_sources(name))
        return await ask(platform, name, None if at is None else instant(at, zone, "--at"))

    try:
        return run_on_platform(settings, work)
    except (LookupError, HistoryMissingError) as error:
        raise CommandError(str(error)) from None


def instant(text: str, zone: tzinfo, option: str) -> int:
    """Unix ms of what a person wrote; without an offset it is local time of the site. Raises WrongUsageError."""
    from datetime import datetime

    if text.isdigit():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsageError(f"{option} {text!r}: write an instant such as 2026-01-12T09:30 or Unix ms") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone)
    return int(found.timestamp()) * 1000 + found.microsecond // 1000


def far_instant(text: str | None) -> int | None:
    """Unix ms for the API, which alone knows the site's zone: an offset must be written."""
    if text is None or text.isdigit():
        return None if text is None else int(text)
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise WrongUsageError(f"--at {text!r}: with --url write an offset, such as 2026-01-12T09:30+08:00, or Unix ms")
    return instant(text, UTC, "--at")

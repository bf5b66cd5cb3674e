"""`twinmeter rules add|versions|activate|rollback|deactivate|shadow`: which version of the rules decides."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.language import tell
from api.cli.options import Clock, Config, Data, DatabaseUrl, InputFile, Json, RedisUrl, Site, settings_of
from api.cli.remote import Remote, Url

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from api.bootstrap import Platform
    from api.settings import Settings

shadow = typer.Typer(help="Evaluate a version on what happens, without acting.", no_args_is_help=True)

Ruleset = Annotated[str, typer.Argument(help="Name of the ruleset.")]
Version = Annotated[int, typer.Argument(help="Version that was added before.", min=1)]
Why = Annotated[str, typer.Option("--why", help="Why; kept in the audit.")]
Accept = Annotated[bool, typer.Option("--accept-conflicts", help="Although rules get into each other's way.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")]


def add(
    file: InputFile,
    site: Site = None,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Check a rule file and store it as a version, not active. A version never changes: raise its number instead."""
    from api.cli.rule_files import load_rules

    document, _ = load_rules(file)

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import add_version

        added = await add_version(platform, name, document.data, who=_who())
        return {"ruleset": document.data["ruleset"], "version": document.data["version"], "added": added}

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    done = _either(settings, site, url, lambda far: far.post("rulesets", body={"document": document.data}), work)
    named = f"{done['ruleset']} {done['version']}"
    if done["added"]:
        print(tell(f"已添加 {named}，尚未启用", f"added {named}, not active yet"))
    else:
        print(tell(f"{named} 已存在，内容相同", f"no change: {named} is there already"))


def versions(
    ruleset: Annotated[str | None, typer.Argument(help="Only this ruleset.")] = None,
    site: Site = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Versions of the rulesets, which are active, and who moved the pointers, when and why."""

    async def work(platform: Platform, name: str) -> Any:
        moves = await platform.rule_book.activations(name)
        return _plain({"versions": await platform.rule_book.versions(name), "activations": moves[::-1]})

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url)
    found = _either(settings, site, url, lambda far: far.get("rulesets"), work)
    if ruleset is not None:
        found = {key: [row for row in rows if row["ruleset"] == ruleset] for key, rows in found.items()}
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for row in found["versions"]:
        mark = "*" if row["active"] else " "
        print(f"{mark} {row['ruleset']} {row['version']}  {_instant(row['ts'])}  {row['who']}  {row['digest'][:12]}")
    for row in found["activations"]:
        moved = f"{row['previous'] or '-'} -> {row['version'] or '-'}"
        print(f"  {_instant(row['ts'])}  {row['ruleset']} {moved}  {row['source']}  {row['who']}: {row['why']}")


def activate(
    ruleset: Ruleset,
    version: Version,
    why: Why,
    site: Site = None,
    accept_conflicts: Accept = False,
    dry_run: DryRun = False,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Let a version decide from now on; every service follows within a second. Conflicts are shown before."""

    async def look(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import preview_activation

        return _plain(await preview_activation(platform, name, ruleset, version))

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import activate_version

        preview, activation = await activate_version(
            platform, name, ruleset, version, who=_who(), why=why, accept_conflicts=accept_conflicts
        )
        return _plain({"preview": preview, "activation": activation})

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    path = ("rulesets", ruleset, "versions", str(version), "preview")
    _show_preview(_either(settings, site, url, lambda far: far.get(*path), look))
    if dry_run:
        print(tell("试运行：未作任何改变", "dry run: nothing was changed"))
        return
    body = {"version": version, "why": why, "accept_conflicts": accept_conflicts}
    done = _either(settings, site, url, lambda far: far.post("rulesets", ruleset, "activations", body=body), work)
    _show_activation(done["activation"])


def rollback(
    ruleset: Ruleset,
    why: Why,
    site: Site = None,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Back to the version that was active before; once more, to the one before that."""

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import roll_back

        preview, activation = await roll_back(platform, name, ruleset, who=_who(), why=why)
        return _plain({"preview": preview, "activation": activation})

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    done = _either(settings, site, url, lambda far: far.post("rulesets", ruleset, "rollbacks", body={"why": why}), work)
    _show_preview(done["preview"])
    _show_activation(done["activation"])


def deactivate(
    ruleset: Ruleset,
    why: Why,
    site: Site = None,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Switch a ruleset off; locks that its rules placed stand until somebody releases them."""

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import deactivate as switch_off

        return _plain({"activation": await switch_off(platform, name, ruleset, who=_who(), why=why)})

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    body = {"why": why}
    done = _either(settings, site, url, lambda far: far.post("rulesets", ruleset, "deactivations", body=body), work)
    _show_activation(done["activation"])


@shadow.command()
def start(
    ruleset: Ruleset,
    version: Version,
    site: Site = None,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Evaluate a version from now on beside the active one; it acts on nothing. The recorder must run."""

    async def work(platform: Platform, name: str) -> Any:
        from api.http.shadow_views import shadow_body
        from twin.flows.rule_versions import preview_activation

        await preview_activation(platform, name, ruleset, version)
        begun = await platform.shadows.start(name, ruleset, version, who=_who(), now=platform.clock.now())
        return _plain(await shadow_body(platform.shadows, begun))

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    _show_shadow(
        _either(settings, site, url, lambda far: far.post("shadows", ruleset, body={"version": version}), work)
    )


@shadow.command()
def stop(
    ruleset: Ruleset,
    site: Site = None,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """End a shadow run; what it found stays."""

    async def work(platform: Platform, name: str) -> Any:
        from api.http.shadow_views import shadow_body

        ended = await platform.shadows.stop(name, ruleset, who=_who(), now=platform.clock.now(), state="stopped")
        if ended is None:
            raise CommandError(f"no shadow runs for {ruleset} at {name}")
        return _plain(await shadow_body(platform.shadows, ended))

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    _show_shadow(_either(settings, site, url, lambda far: far.delete("shadows", ruleset), work))


@shadow.command()
def status(
    site: Site = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
) -> None:
    """The newest shadow run of each ruleset: how far it is, and where it differs from the active version."""

    async def work(platform: Platform, name: str) -> Any:
        from api.http.shadow_views import shadow_body

        found = await platform.shadows.latest(name)
        return _plain({"items": [await shadow_body(platform.shadows, one) for one in found]})

    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url)
    found = _either(settings, site, url, lambda far: far.get("shadows"), work)["items"]
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    if not found:
        print(tell("没有影子运行", "no shadow runs"))
    for item in found:
        _show_shadow(item)


async def site_of(platform: Platform, wanted: str | None) -> str:
    """The site that is meant: the one named, or the only one there is."""
    sites = await platform.registry.sites()
    if wanted in sites and wanted is not None:
        return wanted
    if wanted is None and len(sites) == 1:
        return sites[0]
    known = ", ".join(sites) or "none"
    if wanted is None:
        raise WrongUsageError(f"there are {len(sites)} sites: name one with --site; known: {known}")
    raise CommandError(f"site {wanted!r} is not in the database; known: {known}")


def _either(
    settings: Settings,
    site: str | None,
    url: str | None,
    far: Callable[[Remote], Any],
    near: Callable[[Platform, str], Coroutine[Any, Any, Any]],
) -> Any:
    """Ask the API where `--url` names one, else work on the data; the answers have one shape."""
    from twin.recorded import VersionRefusedError

    if url is not None:
        return far(Remote(url, site))
    set_up_logs("warning")

    async def work(platform: Platform, _found: object) -> Any:
        return await near(platform, await site_of(platform, site))

    try:
        return run_on_platform(settings, work)
    except VersionRefusedError as error:
        lines = [f"{error.code}: {error.detail}", *(f"  {problem}" for problem in error.problems)]
        raise CommandError("\n".join(lines)) from None


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _who() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"


def _instant(ts: int) -> str:
    from rules.literals import print_timestamp

    return print_timestamp(ts)


def _show_preview(preview: dict[str, Any]) -> None:
    print(f"{preview['ruleset']}: {preview['active'] or '-'} -> {preview['version']}")
    for sign, key in (("+", "added"), ("-", "removed"), ("~", "changed"), ("~", "settings")):
        for name in preview[key]:
            print(f"{sign} {name}")
    if preview["kept"]:
        kept = ", ".join(preview["kept"])
        print(
            tell(
                f"计时延续（when 与 for 未变）：{kept}", f"a running `for` goes on (`when` and `for` unchanged): {kept}"
            )
        )
    for line in preview["new_conflicts"]:
        print(tell(f"新的冲突：{line}", f"new conflict: {line}"))
    for line in preview["standing_conflicts"]:
        print(tell(f"已有的冲突：{line}", f"conflict as before: {line}"))


def _show_activation(activation: dict[str, Any]) -> None:
    named = f"{activation['ruleset']} {activation['version'] or '-'}"
    print(tell(f"现行版本：{named}（{activation['source']}）", f"active: {named} ({activation['source']})"))


def _show_shadow(item: dict[str, Any]) -> None:
    run = item["shadow"]
    seen = _instant(run["seen_ts"]) if run.get("seen_ts") else "-"
    print(f"{run['ruleset']} {run['version']}  {run['state']}  {_instant(run['started_ts'])} .. {seen}")
    print(f"  active {item['active']}  candidate {item['candidate']}  differences {item['differences_total']}")
    for found in item["differences"]:
        when = [_instant(ts) if ts else "-" for ts in (found["active_ts"], found["candidate_ts"])]
        who, what = found["tenant"] or found["twin"], f"{found['kind']} {found['detail']}".strip()
        print(f"  {who}: {what}, {found['rule']}  {' / '.join(when)}")

"""`twinmeter rules add|versions|activate|rollback|deactivate|shadow`: which version of the rules decides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError
from api.cli.language import tell
from api.cli.on_site import Place, on_site, user
from api.cli.options import InputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from api.bootstrap import Platform
    from api.cli.remote import Remote

shadow = typer.Typer(help="Evaluate a version on what happens, without acting.", no_args_is_help=True)

Ruleset = Annotated[str, typer.Argument(help="Name of the ruleset.")]
Version = Annotated[int, typer.Argument(help="Version that was added before.", min=1)]
Why = Annotated[str, typer.Option("--why", help="Why; kept in the audit.")]
Accept = Annotated[bool, typer.Option("--accept-conflicts", help="Although rules get into each other's way.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")]


@on_site
def add(place: Place, file: InputFile) -> None:
    """Check a rule file and store it as a version, not active. A version never changes: raise its number instead."""
    from api.cli.rule_files import load_rules

    document, _ = load_rules(file)

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import add_version

        added = await add_version(platform, name, document.data, who=user())
        return {"ruleset": document.data["ruleset"], "version": document.data["version"], "added": added}

    done = _either(place, lambda far: far.post("rulesets", body={"document": document.data}), work)
    _print(place, done, _show_added)


@on_site
def versions(place: Place, ruleset: Annotated[str | None, typer.Argument(help="Only this ruleset.")] = None) -> None:
    """Versions of the rulesets, which are active, and who moved the pointers, when and why."""

    async def work(platform: Platform, name: str) -> Any:
        moves = await platform.rule_book.activations(name)
        return _plain({"versions": await platform.rule_book.versions(name), "activations": moves[::-1]})

    found = _either(place, lambda far: far.get("rulesets"), work)
    if ruleset is not None:
        found = {key: [row for row in rows if row["ruleset"] == ruleset] for key, rows in found.items()}
    _print(place, found, _show_versions)


@on_site
def activate(
    place: Place,
    ruleset: Ruleset,
    version: Version,
    why: Why,
    accept_conflicts: Accept = False,
    dry_run: DryRun = False,
) -> None:
    """Let a version decide from now on; every service follows within a second. Conflicts are shown before."""

    async def look(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import preview_activation

        return _plain(await preview_activation(platform, name, ruleset, version))

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import activate_version

        preview, activation = await activate_version(
            platform, name, ruleset, version, who=user(), why=why, accept_conflicts=accept_conflicts
        )
        return _plain({"preview": preview, "activation": activation})

    path = ("rulesets", ruleset, "versions", str(version), "preview")
    seen = _either(place, lambda far: far.get(*path), look)
    if dry_run:
        _print(place, seen, _show_unchanged)
        return
    if not place.json:
        _show_preview(seen)
    body = {"version": version, "why": why, "accept_conflicts": accept_conflicts}
    done = _either(place, lambda far: far.post("rulesets", ruleset, "activations", body=body), work)
    _print(place, done, _show_activation)


@on_site
def rollback(place: Place, ruleset: Ruleset, why: Why) -> None:
    """Back to the version that was active before; once more, to the one before that."""

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import roll_back

        preview, activation = await roll_back(platform, name, ruleset, who=user(), why=why)
        return _plain({"preview": preview, "activation": activation})

    done = _either(place, lambda far: far.post("rulesets", ruleset, "rollbacks", body={"why": why}), work)
    _print(place, done, _show_rollback)


@on_site
def deactivate(place: Place, ruleset: Ruleset, why: Why) -> None:
    """Switch a ruleset off; locks that its rules placed stand until somebody releases them."""

    async def work(platform: Platform, name: str) -> Any:
        from twin.flows.rule_versions import deactivate as switch_off

        return _plain({"activation": await switch_off(platform, name, ruleset, who=user(), why=why)})

    body = {"why": why}
    done = _either(place, lambda far: far.post("rulesets", ruleset, "deactivations", body=body), work)
    _print(place, done, _show_activation)


@shadow.command()
@on_site
def start(place: Place, ruleset: Ruleset, version: Version) -> None:
    """Evaluate a version from now on beside the active one; it acts on nothing. The recorder must run."""

    async def work(platform: Platform, name: str) -> Any:
        from api.http.shadow_views import shadow_body
        from twin.flows.rule_versions import preview_activation

        await preview_activation(platform, name, ruleset, version)
        begun = await platform.shadows.start(name, ruleset, version, who=user(), now=platform.clock.now())
        return _plain(await shadow_body(platform.shadows, begun))

    body = {"version": version}
    _print(place, _either(place, lambda far: far.post("shadows", ruleset, body=body), work), _show_shadow)


@shadow.command()
@on_site
def stop(place: Place, ruleset: Ruleset) -> None:
    """End a shadow run; what it found stays."""

    async def work(platform: Platform, name: str) -> Any:
        from api.http.shadow_views import shadow_body

        ended = await platform.shadows.stop(name, ruleset, who=user(), now=platform.clock.now(), state="stopped")
        if ended is None:
            raise CommandError(f"no shadow runs for {ruleset} at {name}")
        return _plain(await shadow_body(platform.shadows, ended))

    _print(place, _either(place, lambda far: far.delete("shadows", ruleset), work), _show_shadow)


@shadow.command()
@on_site
def status(place: Place) -> None:
    """The newest shadow run of each ruleset: how far it is, and where it differs from the active version."""

    async def work(platform: Platform, name: str) -> Any:
        from api.http.shadow_views import shadow_body

        found = await platform.shadows.latest(name)
        return _plain({"items": [await shadow_body(platform.shadows, one) for one in found]})

    found = _either(place, lambda far: far.get("shadows"), work)["items"]
    _print(place, found, _show_shadows)


def _either(
    place: Place,
    far: Callable[[Remote], Any],
    near: Callable[[Platform, str], Coroutine[Any, Any, Any]],
) -> Any:
    """Ask the API where `--url` names one, else work on the data; the answers have one shape."""
    from twin.recorded import VersionRefusedError

    try:
        return place.ask(far, near)
    except VersionRefusedError as error:
        lines = [f"{error.code}: {error.detail}", *(f"  {problem}" for problem in error.problems)]
        raise CommandError("\n".join(lines)) from None


def _print(place: Place, found: Any, show: Callable[[Any], None]) -> None:
    """An answer as JSON where that is asked for, else in words."""
    if place.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        show(found)


def _show_added(done: dict[str, Any]) -> None:
    named = f"{done['ruleset']} {done['version']}"
    if done["added"]:
        print(tell(f"已添加 {named}，尚未启用", f"added {named}, not active yet"))
    else:
        print(tell(f"{named} 已存在，内容相同", f"no change: {named} is there already"))


def _show_versions(found: dict[str, Any]) -> None:
    for row in found["versions"]:
        mark = "*" if row["active"] else " "
        print(f"{mark} {row['ruleset']} {row['version']}  {_instant(row['ts'])}  {row['who']}  {row['digest'][:12]}")
    for row in found["activations"]:
        moved = f"{row['previous'] or '-'} -> {row['version'] or '-'}"
        print(f"  {_instant(row['ts'])}  {row['ruleset']} {moved}  {row['source']}  {row['who']}: {row['why']}")


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


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


def _show_unchanged(preview: dict[str, Any]) -> None:
    _show_preview(preview)
    print(tell("试运行：未作任何改变", "dry run: nothing was changed"))


def _show_rollback(done: dict[str, Any]) -> None:
    _show_preview(done["preview"])
    _show_activation(done)


def _show_activation(done: dict[str, Any]) -> None:
    activation = done["activation"]
    named = f"{activation['ruleset']} {activation['version'] or '-'}"
    print(tell(f"现行版本：{named}（{activation['source']}）", f"active: {named} ({activation['source']})"))


def _show_shadows(items: list[dict[str, Any]]) -> None:
    if not items:
        print(tell("没有影子运行", "no shadow runs"))
    for item in items:
        _show_shadow(item)


def _show_shadow(item: dict[str, Any]) -> None:
    run = item["shadow"]
    seen = _instant(run["seen_ts"]) if run.get("seen_ts") else "-"
    print(f"{run['ruleset']} {run['version']}  {run['state']}  {_instant(run['started_ts'])} .. {seen}")
    print(f"  active {item['active']}  candidate {item['candidate']}  differences {item['differences_total']}")
    for found in item["differences"]:
        when = [_instant(ts) if ts else "-" for ts in (found["active_ts"], found["candidate_ts"])]
        who, what = found["tenant"] or found["twin"], f"{found['kind']} {found['detail']}".strip()
        print(f"  {who}: {what}, {found['rule']}  {' / '.join(when)}")

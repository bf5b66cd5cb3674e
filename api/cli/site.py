"""`twinmeter site import|export`: tenants, devices, contracts and tariffs of a park, in and out."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli import site_workbook
from api.cli.errors import CommandError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.on_site import user
from api.cli.options import Clock, Config, Data, DatabaseUrl, InputFile, RedisUrl, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.bootstrap import Platform
    from api.settings import Settings
    from twin.flows.import_site import Imported
    from twin.flows.read_site import SiteFiles
    from twin.ports import SiteDifference, SiteDocument
    from twin.workbook import CellProblem

app = typer.Typer(help="Import a site file, or export what is in the database.", no_args_is_help=True)

SHOWN = 12
"""Lines of one kind (`+ device`) that are shown of a long difference."""
COLOURS = {"+": "green", "-": "red", "~": "yellow"}


@app.command("import")
def import_(
    file: InputFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, change nothing.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every line of the difference.")] = False,
    reprice: Annotated[
        bool, typer.Option("--reprice", help="Let changed prices hold for energy already charged: charge it again.")
    ] = False,
    site: Annotated[str | None, typer.Option("--site", help="Site of an Excel workbook that names none.")] = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Import a site file with its tariffs and rules, or tenants and meters from Excel; twice changes nothing."""
    if site_workbook.is_workbook(file):
        settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
        _import_workbook(file, site, settings, dry_run=dry_run, full=full)
        return
    files = read(file)
    if reprice:
        document = msgspec.structs.replace(files.document, reprice=True)
        files = msgspec.structs.replace(files, document=document)
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    set_up_logs("warning")
    if dry_run:
        shown = run_on_platform(settings, lambda platform, _: _difference(platform, files))
        show_difference(shown, full=full)
        print("dry run: nothing was changed" if shown.lines else "no change")
        return
    imported = run_on_platform(settings, lambda platform, _: import_files(platform, files))
    show_difference(imported.difference, full=full)
    print(_summary(imported))


@app.command()
def template(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File ending in .xlsx.")],
    filled: Annotated[bool, typer.Option("--filled", help="With the tenants, meters and supplies there are.")] = False,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write the Excel workbook in which tenants and meters are filled in."""
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url)
    set_up_logs("warning")
    content = run_on_platform(settings, lambda platform, _: site_workbook.template(platform, site, filled=filled))
    try:
        output.write_bytes(content)
    except OSError as error:
        raise CommandError(f"{output}: cannot be written: {error.strerror}") from None
    print(output)


@app.command()
def export(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File; .json for JSON, otherwise YAML.")] = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write a site, its tariffs and its rules as one file that imports back unchanged."""
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url)
    set_up_logs("warning")
    document = run_on_platform(settings, lambda platform, _: _document(platform, site))
    text = as_text(document, as_json=output is not None and output.suffix == ".json")
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{output}: cannot be written: {error.strerror}") from None
    print(f"{output}: site {site}, {len(document.site.get('tenants', ()))} tenants")


def _import_workbook(file: Path, site: str | None, settings: Settings, *, dry_run: bool, full: bool) -> None:
    set_up_logs("warning")
    if dry_run:
        shown, notes = run_on_platform(settings, lambda platform, _: site_workbook.preview_file(platform, file, site))
        _show_notes(file, notes)
        show_difference(shown, full=full)
        print("dry run: nothing was changed" if shown.lines else "no change")
        return

    async def work(platform: Platform, _found: object) -> tuple[Imported, list[CellProblem]]:
        with _Progress() as bar:
            return await site_workbook.import_file(platform, file, site, user(), bar.told)

    imported, notes = run_on_platform(settings, work)
    _show_notes(file, notes)
    show_difference(imported.difference, full=full)
    print(_summary(imported))


def _show_notes(file: Path, notes: list[CellProblem]) -> None:
    for note in notes:
        print(site_workbook.line_of(file, note), file=sys.stderr)


def read(file: Path) -> SiteFiles:
    """The files of a site, checked; raises CommandError with every problem at its place."""
    from twin.flows.read_site import SiteFilesError, read_site

    try:
        return read_site(file)
    except SiteFilesError as error:
        raise CommandError(str(error)) from None


async def import_files(
    platform: Platform, files: SiteFiles, progress: Callable[[str, int, int], None] | None = None
) -> Imported:
    """Import into an open platform, with a progress bar on a terminal; raises CommandError with places."""
    from api.bootstrap import SiteError
    from twin.flows.import_site import import_site

    with _Progress() as bar:
        try:
            return await import_site(platform, files.document, who=user(), progress=progress or bar.told)
        except SiteError as error:
            raise CommandError("\n".join(files.locate(problem) for problem in error.problems)) from None


def show_difference(difference: SiteDifference, *, full: bool = False) -> None:
    """Print what changes and what is refused, coloured on a terminal; of each kind the first lines, unless `full`."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    seen: Counter[str] = Counter()
    for line in difference.lines:
        kind = " ".join(line.split(maxsplit=2)[:2])
        seen[kind] += 1
        if seen[kind] > SHOWN and not full:
            continue
        console.print(Text(line, style=COLOURS.get(line[:1], "")))
    for kind, count in seen.items():
        if count > SHOWN and not full:
            console.print(Text(f"{kind}: {count - SHOWN} more, see --full", style="dim"))
    for line in difference.refused:
        console.print(Text(f"refused {line}", style="magenta"))


def as_text(document: SiteDocument, *, as_json: bool) -> str:
    """One self-contained site file: tariffs and rulesets stand inside."""
    import io
    import json

    whole: dict[str, Any] = {
        **document.site,
        "tariffs": list(document.tariffs.values()),
        "rulesets": list(document.rulesets.values()),
    }
    if as_json:
        return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.allow_unicode = True
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 120
    yaml.representer.ignore_aliases = lambda _value: True
    buffer = io.StringIO()
    yaml.dump(whole, buffer)
    return buffer.getvalue()


async def _difference(platform: Platform, files: SiteFiles) -> SiteDifference:
    from api.bootstrap import SiteError

    try:
        return await platform.registry.difference(files.document)
    except SiteError as error:
        raise CommandError("\n".join(files.locate(problem) for problem in error.problems)) from None


async def _document(platform: Platform, site: str) -> SiteDocument:
    known = await platform.registry.sites()
    if site not in known:
        raise CommandError(f"site {site!r} is not in the database; known: {', '.join(known) or 'none'}")
    return await platform.registry.document(site)


def _summary(imported: Imported) -> str:
    if not imported.difference.lines:
        refused = len(imported.difference.refused)
        return f"no change, {refused} refused" if refused else "no change"
    return (
        f"imported: {len(imported.difference.lines)} changes, {len(imported.difference.refused)} refused, "
        f"{imported.built or imported.delivered} twins {'built' if imported.built else 'told'}"
    )


class _Progress:
    """A bar on a terminal, silence elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def told(self, what: str, done: int, total: int) -> None:
        """Something is so far."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)

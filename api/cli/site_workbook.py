"""`twinmeter site import FILE.xlsx` and `twinmeter site template`: tenants and meters in Excel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.cli.errors import CommandError
from api.cli.language import tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from api.bootstrap import Platform
    from twin.flows.import_site import Imported
    from twin.flows.import_workbook import Preview
    from twin.ports import SiteDifference
    from twin.workbook import CellProblem, Workbook

MOST_SHOWN = 200


def is_workbook(file: Path) -> bool:
    """Whether a file is an Excel workbook, by its name."""
    return file.suffix.lower() in (".xlsx", ".xlsm", ".xls")


async def preview_file(platform: Platform, file: Path, site: str | None) -> tuple[SiteDifference, list[CellProblem]]:
    """What an import would change. Raises CommandError with every problem at its cell."""
    from twin.flows.import_workbook import preview_workbook
    from twin.ports import SiteDifference

    workbook = read(platform, file)
    shown = await preview_workbook(platform, await _site(platform, workbook, site), workbook)
    _must_be_right(file, shown)
    return SiteDifference(shown.lines, shown.refused), list(shown.notes)


async def import_file(
    platform: Platform, file: Path, site: str | None, who: str, progress: Callable[[str, int, int], None]
) -> tuple[Imported, list[CellProblem]]:
    """Import a workbook. Raises CommandError with every problem at its cell; then nothing was changed."""
    from twin.flows.import_workbook import import_workbook

    workbook = read(platform, file)
    name = await _site(platform, workbook, site)
    shown, imported = await import_workbook(platform, name, workbook, plan=None, who=who, progress=progress)
    _must_be_right(file, shown)
    assert imported is not None
    return imported, list(shown.notes)


async def template(platform: Platform, site: str, *, filled: bool) -> bytes:
    """The workbook to fill in."""
    try:
        document = await platform.registry.document(site)
    except LookupError as error:
        raise CommandError(str(error.args[0])) from None
    return platform.documents.site_workbook(document, filled=filled)


def read(platform: Platform, file: Path) -> Workbook:
    """What a file says."""
    try:
        return platform.documents.read_workbook(file.read_bytes())
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from None


def line_of(file: Path, entry: CellProblem) -> str:
    """A problem with its file and cell, in the language in use."""
    place = f"{file}:{entry.place}" if str(entry.place) else str(file)
    return f"{place}: {tell(entry.zh, entry.en)}"


def _must_be_right(file: Path, shown: Preview) -> None:
    if not shown.problems:
        return
    lines = [line_of(file, problem) for problem in shown.problems[:MOST_SHOWN]]
    if len(shown.problems) > MOST_SHOWN:
        lines.append(
            tell(f"还有 {len(shown.problems) - MOST_SHOWN} 处", f"and {len(shown.problems) - MOST_SHOWN} more")
        )
    raise CommandError("\n".join(lines))


async def _site(platform: Platform, workbook: Workbook, wanted: str | None) -> str:
    """The site that is meant: the one named, the one the workbook names, or the only one."""
    known = await platform.registry.sites()
    name = wanted or workbook.site or (known[0] if len(known) == 1 else "")
    if name not in known:
        text = f"name the site with --site; known: {', '.join(known) or 'none'}"
        raise CommandError(f"site {name!r} is not in the database; {text}" if name else text)
    return name

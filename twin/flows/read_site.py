"""Reading a site file with the tariff and rule files it names, everything compiled before anything is touched.

All files are read and checked before a word is said, so a person sees every mistake at once, each as
`file:line:col: path: message`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from billing.tariff import TariffError, compile_tariff
from rules.errors import RulesetError
from rules.ruleset import compile_ruleset
from schemas.documents import Document, DocumentError, load_checked
from schemas.registry import PathTuple, Problem, path_text
from twin.core.view import TWIN_MODEL
from twin.ports import SiteDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_SHOWN = 100
Part = tuple[Document, PathTuple, dict[str, Any]]
"""One tariff or ruleset: the file it stands in, where in it, and its data."""


class SiteFilesError(Exception):
    """What is wrong with a site file or a file it names; `str()` gives one line a problem with its place."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        more = len(self.lines) - MOST_SHOWN
        super().__init__("\n".join(self.lines[:MOST_SHOWN]) + (f"\n... and {more} more" if more > 0 else ""))


class SiteFiles(msgspec.Struct, frozen=True):
    """A site file and what it names, checked; `document` is what the registry imports."""

    site: Document
    document: SiteDocument

    def locate(self, problem: str) -> str:
        """A problem told as `path: message` about the site file, with the file, line and column before it."""
        path, separator, _ = problem.partition(": ")
        line, column = locate_text(self.site, path) if separator else (1, 1)
        return f"{self.site.source}:{line}:{column}: {problem}"


def read_site(path: Path) -> SiteFiles:
    """Read a site file, follow its `tariffs` and `rulesets` relative to it, and compile them.

    Raises SiteFilesError with every problem of every file.
    """
    try:
        site = load_checked(path, "site")
    except DocumentError as error:
        raise SiteFilesError(str(error).splitlines()) from None
    wrong: list[str] = []
    tariffs = _parts(site, "tariffs", "tariff", wrong)
    rulesets = _parts(site, "rulesets", "ruleset", wrong)
    timezone = site.data["timezone"]
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        wrong.append(_line(site, ("timezone",), "timezone", f"unknown time zone {timezone!r}; one is Asia/Shanghai"))
    else:
        _check(tariffs, lambda part: _compile_tariff(part, timezone), wrong)
    _check(rulesets, _compile_ruleset, wrong)
    if wrong:
        raise SiteFilesError(wrong)
    document = SiteDocument(
        site.data,
        {name: data for name, (_, _, data) in tariffs.items()},
        {n: data for n, (_, _, data) in rulesets.items()},
    )
    return SiteFiles(site, document)


def locate_text(document: Document, path: str, under: PathTuple = ()) -> tuple[int, int]:
    """Line and column of the value at a path below `under`, or of the nearest value around it."""
    known = {path_text(place[len(under) :]): place for place in document.places.paths() if place[: len(under)] == under}
    while path and path not in known:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return document.locate(known.get(path, under))


def _parts(site: Document, field: str, kind: str, wrong: list[str]) -> dict[str, Part]:
    """Tariffs or rulesets by name, from their own files or from inside the site file."""
    parts: dict[str, Part] = {}
    for index, entry in enumerate(site.data.get(field, ())):
        place = (field, index)
        try:
            part: Part = (site, place, entry) if isinstance(entry, dict) else _named_file(site, entry, kind)
        except DocumentError as error:
            wrong += [*str(error).splitlines(), _line(site, place, path_text(place), f"names the file {error.source}")]
            continue
        name = part[2][kind]
        if name in parts:
            wrong.append(_line(site, place, path_text(place), f"{kind} {name!r} is given twice; keep one"))
        parts[name] = part
    return parts


def _named_file(site: Document, entry: str, kind: str) -> Part:
    document = load_checked(Path(site.source).parent / entry, kind)
    return document, (), document.data


def _check(parts: dict[str, Part], compile_part: Callable[[Part], list[str]], wrong: list[str]) -> None:
    for part in parts.values():
        wrong += compile_part(part)


def _compile_tariff(part: Part, timezone: str) -> list[str]:
    document, under, data = part
    try:
        compile_tariff(data, timezone)
    except TariffError as error:
        line, column = locate_text(document, error.path, under)
        return [f"{document.source}:{Problem(line, column, _below(under, error.path), error.message)}"]
    return []


def _compile_ruleset(part: Part) -> list[str]:
    document, under, data = part
    try:
        compile_ruleset(data, TWIN_MODEL, lambda place: document.locate(under + place))
    except RulesetError as error:
        hints = [f" ({problem.suggestion})" if problem.suggestion else "" for problem in error.problems]
        return [
            f"{document.source}:{Problem(item.line, item.column, _below(under, item.path), item.message + hint)}"
            for item, hint in zip(error.problems, hints, strict=True)
        ]
    return []


def _below(under: PathTuple, path: str) -> str:
    return f"{path_text(under)}.{path}" if under else path


def _line(document: Document, place: PathTuple, path: str, message: str) -> str:
    return f"{document.source}:{Problem(*document.locate(place), path, message)}"

"""`twinmeter rules check|test`: look over rule files, and run the tests that stand in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.cli import rule_history, rule_trace, rule_versions
from api.cli.errors import FAILED, CommandError
from api.cli.options import InputFile, InputFiles, TimeZone
from api.cli.rule_files import load_rules

if TYPE_CHECKING:
    pass

app = typer.Typer(
    help="Check and test rule files, replay and explain them, say which version decides.", no_args_is_help=True
)
_MORE: tuple[Callable[..., None], ...] = (
    rule_history.replay,
    rule_history.explain,
    rule_history.why,
    rule_trace.trace,
    rule_versions.add,
    rule_versions.versions,
    rule_versions.activate,
    rule_versions.rollback,
    rule_versions.deactivate,
)
for _command in _MORE:
    app.command()(_command)
app.add_typer(rule_versions.shadow, name="shadow")

Format = Annotated[Literal["text", "json"], typer.Option("--format", help="text or json.")]
Coverage = Annotated[bool, typer.Option("--coverage", help="Say which rules, clauses and gates the tests never try.")]
JUnit = Annotated[Path | None, typer.Option("--junit", help="Also write the results as JUnit XML.", dir_okay=False)]


@app.command()
def check(files: InputFiles, format: Format = "text") -> None:
    """Check rule files: schema, paths, types, units, calendars, contradictions. Every mistake is told at once."""
    results = [_examine(file) for file in files]
    failed = any(result["problems"] for result in results)
    _warn(results)
    if format == "json":
        print(json.dumps({"ok": not failed, "files": results}, ensure_ascii=False, indent=2))
        raise typer.Exit(FAILED if failed else 0)
    for result in results:
        if not result["problems"]:
            found = f"ruleset {result['ruleset']} version {result['version']}, {result['rules']} rules"
            print(f"{result['file']}: ok: {found}")
        for item in result["warnings"]:
            print(_line(result["file"], {**item, "message": f"warning: {item['message']}"}))
    if failed:
        raise CommandError("\n".join(_line(result["file"], item) for result in results for item in result["problems"]))


@app.command("test")
def run_tests_of(
    file: InputFile, timezone: TimeZone = "Asia/Shanghai", coverage: Coverage = False, junit: JUnit = None
) -> None:
    """Run the tests in a rule file with the evaluator that runs live."""
    from zoneinfo import ZoneInfo

    from rules.coverage import render
    from rules.junit import junit_xml
    from rules.testing import run_suite
    from twin.core.rehearsal import rehearse

    document, ruleset = load_rules(file)
    suite = run_suite(ruleset, document.data, ZoneInfo(timezone), rehearse)
    for result in suite.results:
        print(f"{'ok    ' if result.passed else 'FAILED'} {result.name}")
        for failure in result.failures:
            print(f"       {failure}")
    if coverage:
        print(render(suite.coverage))
    if junit is not None:
        _write(junit, junit_xml([(str(file), ruleset.name, suite.results)]))
    print(f"{file}: {sum(result.passed for result in suite.results)} of {len(suite.results)} tests passed")
    if not suite.passed:
        raise typer.Exit(FAILED)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from None


def _examine(file: Path) -> dict[str, Any]:
    from schemas.documents import DocumentError

    try:
        document, ruleset = load_rules(file)
    except DocumentError as error:
        problems = [
            {"line": item.line, "column": item.column, "path": item.path, "message": item.message}
            for item in error.problems
        ]
        return {"file": str(file), "problems": problems, "warnings": []}
    return {
        "file": str(file),
        "ruleset": ruleset.name,
        "version": ruleset.version,
        "rules": len(ruleset.rules),
        "problems": [],
        "warnings": [],
        "loaded": (document, ruleset),
    }


def _warn(results: list[dict[str, Any]]) -> None:
    """Add to each file the conflicts its rules take part in; those between files as well, as they run together."""
    from rules.conflicts import find_conflicts

    whole = [(result, *result.pop("loaded")) for result in results if "loaded" in result]
    for conflict in find_conflicts([ruleset for _, _, ruleset in whole]):
        place = conflict.places[0]
        result, document, _ = whole[place.ruleset]
        line, column = document.locate(place.path)
        path = f"rules[{place.path[1]}]"
        others = [f"{whole[other.ruleset][0]['file']}: {other.rule}" for other in conflict.places[1:]]
        warning = {"line": line, "column": column, "path": path, "kind": conflict.kind, "message": conflict.message}
        result["warnings"].append({**warning, "with": others})


def _line(file: str, problem: dict[str, Any]) -> str:
    place = f"{problem['line']}:{problem['column']}: " if problem["line"] else ""
    return f"{file}:{place}{problem['path'] or 'document'}: {problem['message']}"

"""The shape of the house: what import-linter cannot see, held by reading the source."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PURE = ("twin/core", "rules", "billing")
LONGEST_FUNCTION = 70
LONGEST_FILE = 450
OUR_FOLDERS = {"deploy", "docs", "web"}
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


PYTHON = tracked("*.py")
PURE_FILES = [path for path in PYTHON if str(path.relative_to(ROOT)).startswith(PURE)]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path):
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def roots() -> set[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return set(config["tool"]["importlinter"]["root_packages"])


def test_every_top_level_package_is_declared():
    packages = {path.relative_to(ROOT).parts[0] for path in PYTHON if len(path.relative_to(ROOT).parts) > 1}
    assert packages - OUR_FOLDERS == roots()


def impurities(path: Path):
    for node in nodes(path):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global):
            yield f"{name(path)}:{node.lineno} {type(node).__name__}"
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in ("open", "__import__", "eval", "exec", "input", "print"):
            yield f"{name(path)}:{node.lineno} {called.id}()"
        on_name = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
        if on_name and called.value.id in ("datetime", "date", "time") and called.attr in CLOCKS:
            yield f"{name(path)}:{node.lineno} {called.value.id}.{called.attr}()"


def test_pure_rooms_await_nothing_open_nothing_and_read_no_clock():
    assert [found for path in PURE_FILES for found in impurities(path)] == []


def test_pure_rooms_know_no_floats():
    floats = [
        f"{name(path)}:{node.lineno} {node.value}"
        for path in PURE_FILES
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
    ]
    assert [found for found in floats if not found.startswith("rules/errors.py")] == []  # how near a suggestion must be


def test_files_keep_their_size():
    lengths = {
        name(path): path.read_text(encoding="utf-8").count("\n") for path in PYTHON if "migrations" not in path.parts
    }
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_keep_their_size():
    long = [
        f"{name(path)}:{node.lineno} {node.name} {length}"
        for path in PYTHON
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def test_modules_say_what_they_are_for():
    trees = {name(path): ast.parse(path.read_text(encoding="utf-8")) for path in PYTHON if "tests" not in path.parts}
    assert [path for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_nothing_is_left_open():
    marks = ("TO" + "DO", "FIX" + "ME", "HA" + "CK:")
    left = [(name(path), mark) for path in PYTHON for mark in marks if mark in path.read_text(encoding="utf-8")]
    assert left == []


def test_architecture_page_is_short():
    assert (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").count("\n") < 200

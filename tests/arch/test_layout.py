"""The shape of the house: what import-linter cannot see, held by reading the source."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from pathlib import Path

import pytest

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


def roots() -> set[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return set(config["tool"]["importlinter"]["root_packages"])


def test_every_top_level_package_is_declared():
    packages = {path.relative_to(ROOT).parts[0] for path in PYTHON if len(path.relative_to(ROOT).parts) > 1}
    assert packages - OUR_FOLDERS == roots()


@pytest.mark.parametrize("path", PURE_FILES, ids=name)
def test_pure_rooms_await_nothing_open_nothing_and_read_no_clock(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global), f"{path}:{node.lineno}"
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                assert called.id not in ("open", "__import__", "eval", "exec", "input", "print"), (
                    f"{path}:{node.lineno}"
                )
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                owner = called.value.id
                assert not (owner in ("datetime", "date", "time") and called.attr in CLOCKS), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", PURE_FILES, ids=name)
def test_pure_rooms_know_no_float_literals_for_money(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            allowed = name(path).endswith("errors.py")  # the cutoff of a spelling suggestion
            assert allowed, f"{path}:{node.lineno} has the float {node.value}"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_functions_and_files_keep_their_size(path: Path):
    text = path.read_text(encoding="utf-8")
    if "migrations" not in path.parts:
        assert text.count("\n") <= LONGEST_FILE, f"{name(path)} has become the place for everything"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{name(path)}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", [path for path in PYTHON if "tests" not in path.parts], ids=name)
def test_modules_say_what_they_are_for(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body:
        assert ast.get_docstring(tree), f"{name(path)} has no docstring"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_nothing_is_left_open(path: Path):
    if path == Path(__file__):
        return
    text = path.read_text(encoding="utf-8")
    for mark in ("TODO", "FIXME", "XXX", "HACK", "NotImplementedError"):
        assert mark not in text, f"{name(path)} contains {mark}"


def test_architecture_page_is_short():
    assert (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").count("\n") < 200

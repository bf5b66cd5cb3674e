"""The second look saves an accident of the machine from failing a run, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONCE = """
from pathlib import Path

def test_it():
    seen = Path("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""
NEVER = "def test_it():\n    assert False\n"
FINE = "def test_it():\n    pass\n"


def look(folder: Path, tests: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it on tests of its own, as in a clone of the repository."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in tests.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    script = ROOT / "tests" / "second_look.py"
    command = [sys.executable, str(script), "-q", "--import-mode=importlib"]
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, check=False, timeout=120)


def test_what_passes_alone_passes_and_is_named(tmp_path: Path) -> None:
    done = look(tmp_path, {"tests/faults/test_a.py": ONCE, "tests/unit/test_b.py": FINE})
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "FAILED IN COMPANY, PASSED ALONE (see above what it missed):",
        "  tests/faults/test_a.py::test_it",
    ]


@pytest.mark.parametrize(
    "tests",
    [
        {"tests/faults/test_a.py": NEVER},
        {"tests/faults/test_a.py": ONCE, "tests/unit/test_b.py": ONCE.replace("seen", "seen-b", 1)},
        {f"tests/e2e/test_{name}.py": ONCE.replace("seen", f"seen-{name}", 1) for name in "abcd"},
    ],
    ids=["again", "one without servers", "too many"],
)
def test_everything_else_fails(tmp_path: Path, tests: dict[str, str]) -> None:
    done = look(tmp_path, tests)
    assert done.returncode != 0
    assert "PASSED ALONE" not in done.stdout


def test_what_passes_at_once_is_run_once(tmp_path: Path) -> None:
    done = look(tmp_path, {"tests/faults/test_a.py": FINE})
    assert (done.returncode, done.stdout.count("1 passed")) == (0, 1)

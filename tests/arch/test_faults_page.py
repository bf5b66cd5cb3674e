"""The page of faults names every fault, and for each a test that exists or the reason why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
_NUMBERS = {"C": 6, "D": 4, "T": 1, "R": 3, "S": 7, "B": 4, "P": 4, "X": 3, "A": 1, "U": 1}
FAULTS = [f"{letter}{number}" for letter, most in _NUMBERS.items() for number in range(1, most + 1)]
_CELLS = [[part.strip() for part in line.split("|")[1:-1]] for line in PAGE.splitlines()]
ROWS = {cells[0]: cells for cells in _CELLS if len(cells) == 4}
TEST = re.compile(r"`(tests/[\w/]+\.py)`")


def test_every_fault_has_its_row() -> None:
    assert [name for name in ROWS if re.fullmatch(r"[A-Z]\d", name)] == FAULTS


@pytest.mark.parametrize("name", FAULTS)
def test_a_row_names_tests_that_exist_or_says_why_not(name: str) -> None:
    _, fault, holds, shown_by = ROWS[name]
    assert fault
    assert holds
    named = TEST.findall(shown_by)
    assert named or "cannot be made here" in shown_by, shown_by
    assert "not yet" not in shown_by, shown_by
    for path in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert "def test_" in text or path == "tests/faults/nemesis.py", f"{name}: {path} has no test"


def test_every_test_of_faults_is_named() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "faults").glob("test_*.py")}
    assert there - set(TEST.findall(PAGE)) <= {"tests/faults/test_link.py", "tests/faults/test_nemesis.py"}

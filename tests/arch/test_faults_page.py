"""The page of faults names every fault, and for each a test that exists or the reason why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
FAULTS = [
    "C1",
    "C2",
    "C3",
    "C4",
    "C5",
    "C6",
    "D1",
    "D2",
    "D3",
    "D4",
    "T1",
    "R1",
    "R2",
    "R3",
    "S1",
    "S2",
    "S3",
    "S4",
    "S5",
    "S6",
    "S7",
    "B1",
    "B2",
    "B3",
    "B4",
    "P1",
    "P2",
    "P3",
    "P4",
    "X1",
    "X2",
    "X3",
    "A1",
    "U1",
]
ROWS = {
    cells[0]: cells for line in PAGE.splitlines() if len(cells := [part.strip() for part in line.split("|")[1:-1]]) == 4
}
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

"""Runbooks have the same parts, and begin with an alert that exists. Their commands: `test_shown_commands.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import metrics_page

FOLDER = Path(__file__).parents[2] / "docs" / "operations"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.stem not in ("README", "metrics", "tracing"))
PARTS = ["Symptom", "First look", "Decide", "Repair", "Proof", "What to tell tenants"]


def name(path: Path) -> str:
    return path.stem


def test_there_are_the_ten_worst_nights_and_two_more() -> None:
    assert len(RUNBOOKS) == 12


@pytest.mark.parametrize("path", RUNBOOKS, ids=name)
def test_a_runbook_has_its_parts_and_is_in_the_index(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    assert f"({path.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")
    told = text.partition("## What to tell tenants")[2]
    assert re.search(r"[\u4e00-\u9fff]{8}", told), "Chinese first"
    assert re.search(r"> [A-Z][a-z]* ", told), "and English"


def test_alerts_that_runbooks_name_exist() -> None:
    known = {rule["alert"] for rule in metrics_page.alerts()}
    for path in [*RUNBOOKS, FOLDER / "README.md"]:
        named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", path.read_text(encoding="utf-8")))
        wrong = {alert for alert in named - known if not alert.endswith("Error")}
        assert not wrong, f"{path.name} names {wrong}"

"""Runbooks say what to do in commands that exist, in the same parts, from an alert that exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from api.cli.main import app
from docs import metrics_page

FOLDER = Path(__file__).parents[2] / "docs" / "operations"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.stem not in ("README", "metrics", "tracing"))
PARTS = ["Symptom", "First look", "Decide", "Repair", "Proof", "What to tell tenants"]
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = [
    (path, line)
    for path in sorted(FOLDER.glob("*.md"))
    for block in FENCE.findall(path.read_text(encoding="utf-8"))
    for line in block.splitlines()
    if line.startswith("twinmeter ")
]


def name(path: Path) -> str:
    return path.stem


def test_there_are_the_ten_worst_nights_and_two_more() -> None:
    assert len(RUNBOOKS) == 12
    assert len(COMMANDS) > 30


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


@pytest.mark.parametrize(("path", "line"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value.stem)
def test_commands_exist_with_their_options(path: Path, line: str) -> None:
    command: Any = get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    options = {option: one for one in command.params for option in (*one.opts, *one.secondary_opts)}
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    plain = 0
    while words:
        word = words.pop(0)
        if word == "--help":
            continue
        if not word.startswith("--"):
            plain += 1
            continue
        assert word in options, f"{path.name}: {line}: {command.name} has no option {word}"
        if not getattr(options[word], "is_flag", False):
            assert words, f"{line}: {word} needs a value"
            words.pop(0)
    many = any(one.nargs == -1 for one in arguments)
    assert many or plain <= len(arguments), f"{path.name}: {line}: too many words for {command.name}"
    if "--help" not in line:
        needed = [one for one in arguments if one.required]
        assert plain >= len(needed), f"{path.name}: {line}: {command.name} needs {[one.name for one in needed]}"

"""Commands that pages show can be typed: they exist, know the options they are shown with, and get all they need."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from api.cli.main import app
from tests.arch.test_docs import PAGES, name

BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^(?:\.venv/bin/)?twinmeter ((?:\S| (?! ))+)", re.MULTILINE)
"""A command begins the line and ends before a comment or before two spaces."""
PASSED_ON = ("conformance",)
"""Commands that hand their arguments to a program of its own."""


def shown(page: Path) -> list[str]:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [re.split(r" [#>] ", line)[0] for block in blocks for line in SHOWN.findall(block)]


def wrong_with(line: str) -> str:
    """What keeps a line from being typed; empty where nothing does."""
    words = shlex.split(line)
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    if "--help" in words:
        return ""
    if hasattr(command, "commands") and not command.invoke_without_command:
        return f"{' '.join(words) or 'nothing'} is no command of {command.name}"
    flags = {flag: option for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    given, plain = set(), 0
    while words:
        word, _, value = words.pop(0).partition("=")
        if not word.startswith("-") or word == "-":
            plain += 1
        elif word not in flags:
            return f"{command.name} has no option {word}"
        else:
            given.add(flags[word].name)
            if not value and not getattr(flags[word], "is_flag", False) and not words:
                return f"{word} needs a value"
            del words[: 0 if value or getattr(flags[word], "is_flag", False) else 1]
    if plain > len(arguments) and not any(one.nargs == -1 for one in arguments):
        return f"too many words for {command.name}"
    missing = [one.name for one in arguments[plain:] if one.required]
    options = [one for one in command.params if one not in arguments]
    missing += [one.opts[0] for one in options if one.required and one.name not in given]
    return f"{command.name} needs {missing}" if missing else ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_of_a_page_can_be_typed(page: Path):
    lines = [line for line in shown(page) if not line.startswith(PASSED_ON) and "|" not in line and "..." not in line]
    assert {line: wrong for line in lines if (wrong := wrong_with(line))} == {}


def test_enough_commands_are_shown():
    assert sum(len(shown(page)) for page in PAGES) > 50, "the pattern no longer finds them"

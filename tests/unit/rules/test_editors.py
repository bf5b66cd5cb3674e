"""The published schema as editors use it: an independent validator takes every pack and refuses what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.rules.twin_model import PACKS, one_rule

SCHEMA = Path(__file__).parents[3] / "schemas" / "ruleset.v1.json"
MODELINE = "# yaml-language-server: $schema="


def validated(*files: Path) -> tuple[int, str]:
    """Status and output of check-jsonschema."""
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_every_pack_is_valid_and_names_the_schema() -> None:
    packs = sorted(PACKS.glob("*.yaml"))
    status, said = validated(*packs)
    assert status == 0, said
    for pack in packs:
        first = pack.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith(MODELINE), f"{pack.name} names no schema for editors"
        assert (pack.parent / first.removeprefix(MODELINE)).resolve() == SCHEMA


WRONG: dict[str, Any] = {
    "when and levels": {"levels": [{"severity": "minor", "when": "true"}]},
    "an unknown action": {"then": [{"breaker.open": {}}]},
    "two actions in one": {"then": [{"alarm": {"severity": "minor"}, "notify": {"template": "x"}}]},
    "a compound duration": {"for": "1h30m"},
    "a lock until tomorrow": {"then": [{"breaker.lock": {"lock": "manual", "until": "tomorrow"}}]},
    "a typo": {"cooldwon": "5m"},
    "no trigger": {"on": []},
}


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    for name, change in WRONG.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(one_rule(**change)))
    (tmp_path / "right.json").write_text(json.dumps(one_rule()))
    status, said = validated(*sorted(tmp_path.glob("*.json")))
    assert status == 1
    for name in WRONG:
        assert f"{name}.json::$.rules[0]" in said, name
    assert "right.json" not in said


@pytest.mark.parametrize("path", [("rule", "then"), ("rule", "active"), ("param", "type"), ("test", "expect")])
def test_what_an_editor_completes_is_described(path: tuple[str, str]) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    part, field = path
    assert schema["$defs"][part]["properties"][field]["description"]
    undescribed = [
        f"{part}.{name}"
        for part in ("rule", "param", "action", "test", "span")
        for name, told in schema["$defs"][part]["properties"].items()
        if "description" not in told
    ]
    assert undescribed == []

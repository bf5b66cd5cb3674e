"""Meters at the command line, beside nothing but the data: read, replaced, handed over, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.cli import twinmeter
from tests.e2e.test_cli_site import FLAT, SITE


def test_a_meter_is_read_replaced_and_handed_to_the_landlord(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    data = ("--data", "data")
    assert twinmeter("site", "import", "site.yaml", *data, cwd=tmp_path).returncode == 0
    why = ("--reason", "checked on site", *data)

    none = twinmeter("meters", "review", *data, cwd=tmp_path)
    assert (none.returncode, none.stdout) == (0, "nothing\n"), none.stderr
    read = twinmeter("meters", "read", "em-1", "5000", "--photo", "doc-7", "--key", "k1", *why, cwd=tmp_path)
    assert (read.returncode, json.loads(read.stdout)["effect"]) == (0, "current"), read.stderr
    replaced = twinmeter("meters", "replace", "em-1", "--final", "5100", "--opening", "3", *why, cwd=tmp_path)
    assert (replaced.returncode, json.loads(replaced.stdout)["state"]) == (0, "done"), replaced.stderr
    unknown = twinmeter("meters", "replace", "em-1", "--opening", "3", *why, cwd=tmp_path)
    assert json.loads(unknown.stdout)["state"] == "requested"
    left = twinmeter("meters", "handover", "--from", "t-1", *why, cwd=tmp_path)
    assert (left.returncode, json.loads(left.stdout)["handovers"]) == (0, {"em-1": "H1"}), left.stderr

    events = twinmeter("meters", "events", "em-1", "--json", *data, cwd=tmp_path)
    told = [json.loads(line) for line in events.stdout.splitlines()]
    assert [event["kind"] for event in told] == ["handover", "replacement", "reading"]
    assert told[2]["body"]["photo"] == "doc-7"
    wrong = twinmeter("meters", "handover", *why, cwd=tmp_path)
    assert wrong.returncode == 2
    refused = twinmeter("meters", "read", "em-9", "1", *why, cwd=tmp_path)
    assert refused.returncode == 1
    assert "unknown_meter" in refused.stderr

"""`twinmeter settle` and `twinmeter bills` on an installation of their own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.cli import PARK, twinmeter


def test_a_month_is_previewed_settled_and_shown(tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    imported = twinmeter("site", "import", PARK / "site.yaml", *data, cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    site = json.loads(_site(PARK / "site.yaml"))
    month = ("--site", site, "--month", "2026-01")
    preview = twinmeter("settle", *month, "--dry-run", "--json", *data, cwd=tmp_path)
    assert preview.returncode == 0, preview.stderr
    foreseen = [json.loads(line) for line in preview.stdout.splitlines()]
    assert foreseen
    assert {bill["state"] for bill in foreseen} == {"draft"}
    # Nothing has ever been read here, so the settlement waits and names the meters.
    waiting = twinmeter("settle", *month, *data, cwd=tmp_path)
    assert waiting.returncode == 1
    assert "no reading after the month" in waiting.stdout
    done = twinmeter("settle", *month, "--missing", "settle", "--json", *data, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "done"), done.stderr
    shown = twinmeter("bills", "show", "--site", site, foreseen[0]["id"], "--json", *data, cwd=tmp_path)
    bill = json.loads(shown.stdout)
    assert (bill["state"], bool(bill["number"])) == ("issued", True)
    pushed = twinmeter("bills", "push", *month, "--json", *data, cwd=tmp_path)
    assert json.loads(pushed.stdout)["delivered"] == len(foreseen)
    wrong = twinmeter("settle", "--site", site, "--month", "January", *data, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "2026-01" in wrong.stderr


def _site(file: Path) -> str:
    """The id of a site file, as JSON text."""
    line = next(line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("site:"))
    return json.dumps(line.split(":", 1)[1].strip().strip('"'))

"""`twinmeter switch` beside nothing but the data: preview, code, start, stop, report, plans of circuits."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.cli import twinmeter
from tests.e2e.test_cli_site import FLAT, SITE

DATA = ("--data", "data", "--lang", "en")
NIGHT = 'off: [{times: ["23:00-06:00"]}]\n'


def test_many_by_code_and_a_schedule_from_a_file(tmp_path: Path) -> None:
    site = SITE.replace("relay: false", "relay: true")
    (tmp_path / "site.yaml").write_text(site, encoding="utf-8")
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    (tmp_path / "night.yaml").write_text(NIGHT, encoding="utf-8")
    imported = twinmeter("site", "import", "site.yaml", *DATA[:2], cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr

    seen = twinmeter("switch", "preview", "open", "--all", "--json", *DATA, cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    preview = json.loads(seen.stdout)
    assert preview["taking_part"] >= 1
    device = preview["affected"][0]["device"]
    unseen = twinmeter("switch", "start", "open", "--all", "--why", "works", *DATA, cwd=tmp_path)
    assert unseen.returncode == 2
    assert preview["code"] in unseen.stderr + unseen.stdout

    started = twinmeter(
        *("switch", "start", "open", "--all", "--why", "works", "--code", preview["code"], "--no-watch"),
        *DATA, cwd=tmp_path,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    assert started.stdout.startswith("S1  open  running")
    stopped = twinmeter("switch", "stop", "S1", "--why", "one moment", *DATA, cwd=tmp_path)
    assert "stopped" in stopped.stdout
    report = twinmeter("switch", "report", "S1", *DATA, cwd=tmp_path)
    assert f"{device}," in report.stdout
    assert "waiting" in report.stdout
    shown = twinmeter("switch", "plan", "preview", "schedules", "night.yaml", *DATA, cwd=tmp_path)
    assert shown.stdout.count("off  ") >= 7, shown.stderr
    named = twinmeter(
        *("switch", "plan", "set", "schedules", "night", "night.yaml", "--why", "house rules"), *DATA, cwd=tmp_path
    )
    assert named.returncode == 0, named.stderr
    given = twinmeter(*("switch", "plan", "assign", "schedules", "night", device, "--why", "room"), *DATA, cwd=tmp_path)
    assert "1 groups of devices follow" in given.stdout, given.stderr
    assert "23:00" in twinmeter("switch", "plan", "show", device, *DATA, cwd=tmp_path).stdout

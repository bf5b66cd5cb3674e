"""Incidents and backups at the command line, beside nothing but the data: listed, closed; taken, proved, put back."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

from adapters.store.engine.database import open_database
from adapters.store.posting.ledger import SqlLedger
from tests.e2e.cli import twinmeter
from tests.e2e.test_cli_site import FLAT, SITE
from twin.core.effects import IncidentOpened
from twin.ports import Entry

SINCE = 1_767_888_000_000
DATA = ("--data", "data")


def small_site(folder: Path) -> Path:
    """A site in a database of its own; returns its file."""
    (folder / "site.yaml").write_text(SITE, encoding="utf-8")
    (folder / "flat.yaml").write_text(FLAT, encoding="utf-8")
    imported = twinmeter("site", "import", "site.yaml", *DATA, cwd=folder)
    assert imported.returncode == 0, imported.stderr
    return folder / "data" / "twinmeter.sqlite3"


async def open_incident(file: Path) -> None:
    """What the ledger writer does with an incident of a twin."""
    database = await open_database(f"sqlite:///{file}")
    try:
        opened = IncidentOpened("em-1", "register_reset", SINCE, "register fell from 9000 to 5")
        position = await SqlLedger(database).position("small")
        at = int(position.partition("-")[0]) + 1
        await SqlLedger(database).post("small", [Entry(f"{at}-0", "t-1", (opened,))])
    finally:
        await database.close()


def done(command: subprocess.CompletedProcess[str]) -> str:
    assert command.returncode == 0, command.stderr
    return command.stdout


def test_an_incident_is_listed_and_closed_with_a_reason(tmp_path: Path) -> None:
    file = small_site(tmp_path)
    assert done(twinmeter("incidents", "list", *DATA, cwd=tmp_path)) == "no incidents\n"
    asyncio.run(open_incident(file))

    text = done(twinmeter("incidents", "list", "--open", *DATA, cwd=tmp_path))
    assert "register_reset" in text
    assert "register fell from 9000 to 5" in text
    (listed,) = json.loads(done(twinmeter("incidents", "list", "--json", "--device", "em-1", *DATA, cwd=tmp_path)))
    assert (listed["kind"], listed["since"]) == ("register_reset", SINCE)
    number = listed["id"]

    nobody = twinmeter("incidents", "close", number + 7, "--reason", "x", *DATA, cwd=tmp_path)
    assert nobody.returncode == 1
    assert str(number + 7) in nobody.stderr.splitlines()[-1]
    closing = ("incidents", "close", number, "--reason", "meter replaced", "--who", "lin", "--key", "once", *DATA)
    assert "closed by lin: meter replaced" in done(twinmeter(*closing, cwd=tmp_path))
    done(twinmeter(*closing, cwd=tmp_path))  # the same key does it once
    assert done(twinmeter("incidents", "list", "--open", *DATA, cwd=tmp_path)) == "no incidents\n"
    told = done(twinmeter("incidents", "list", *DATA, cwd=tmp_path, LC_ALL="zh_CN.UTF-8"))
    assert "关闭：lin: meter replaced" in told


def test_a_backup_is_taken_proved_and_put_back(tmp_path: Path) -> None:
    small_site(tmp_path)
    done(twinmeter("backup", "create", "--to", "kept", *DATA, cwd=tmp_path))
    (folder,) = (tmp_path / "kept").iterdir()
    assert "small: 1 journals" in done(twinmeter("backup", "verify", folder, cwd=tmp_path))

    beside = twinmeter("backup", "restore", folder, *DATA, cwd=tmp_path)
    assert (beside.returncode, "--replace" in beside.stderr) == (1, True)
    back = twinmeter("backup", "restore", folder, "--replace", *DATA, cwd=tmp_path)
    assert "small: 1 journals" in done(back)
    assert "restored; the ledger rebuilds the twins when it starts" in back.stderr
    done(twinmeter("verify", *DATA, cwd=tmp_path))

    copy = next(folder.glob("ledger.*"))
    copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    broken = twinmeter("backup", "verify", folder, cwd=tmp_path)
    assert broken.returncode == 1
    assert "SHA-256" in broken.stderr.splitlines()[-1]

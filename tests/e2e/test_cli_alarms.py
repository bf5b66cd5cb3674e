"""Alarms at the command line, beside nothing but the data: listed, seen, assigned, put aside and taken back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from adapters.store.engine.database import open_database
from adapters.store.posting.ledger import SqlLedger
from tests.e2e.cli import twinmeter
from tests.e2e.test_cli_site import FLAT, SITE
from twin.core.effects import AlarmChanged
from twin.ports import Entry

SINCE = 1_767_888_000_000
PROOF = {
    "kind": "power_step", "meter": "em-1", "at": SINCE, "step_w": 1_500, "step_pf_milli": 998, "class": "malignant",
    "restored": False, "params": {"malignant_allow": "980-1120"}, "source": "stream",
    "before": [[SINCE - 1_000, 100, 0]], "after": [[SINCE, 1_600, None]],
}  # fmt: skip


async def raise_alarm(file: Path) -> None:
    """What the ledger writer does with an alarm of a rule."""
    database = await open_database(f"sqlite:///{file}")
    try:
        alarm = AlarmChanged("volts", 1, "em-1", SINCE, SINCE, "major", True, "t-1", {"evidence": PROOF})
        position = await SqlLedger(database).position("small")
        at = int(position.partition("-")[0]) + 1
        await SqlLedger(database).post("small", [Entry(f"{at}-0", "t-1", (alarm,))])
    finally:
        await database.close()


def test_alarms_from_raised_to_shelved_and_back(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    data = ("--data", "data")
    assert twinmeter("site", "import", "site.yaml", *data, cwd=tmp_path).returncode == 0
    none = twinmeter("alarms", "list", *data, cwd=tmp_path)
    assert (none.returncode, none.stdout) == (0, "no alarms\n"), none.stderr
    asyncio.run(raise_alarm(tmp_path / "data" / "twinmeter.sqlite3"))

    listed = json.loads(twinmeter("alarms", "list", "--json", *data, cwd=tmp_path).stdout)
    number = listed[0]["id"]
    told = twinmeter("alarms", "show", number, *data, cwd=tmp_path)
    assert "a step of 1500 W, increment factor 0.998 (from 100 W to 1600 W)" in told.stdout, told.stderr
    assert "malignant_allow=980-1120" in told.stdout
    assert "恶性负载" in twinmeter("alarms", "show", number, *data, cwd=tmp_path, LC_ALL="zh_CN.UTF-8").stdout
    whole = json.loads(twinmeter("alarms", "show", number, "--json", *data, cwd=tmp_path).stdout)
    assert (whole["alarm"]["id"], whole["evidence"]) == (number, PROOF)
    acked = twinmeter("alarms", "ack", number, "--comment", "seen", "--who", "lin", *data, cwd=tmp_path)
    assert acked.returncode == 0, acked.stderr
    assert "active, acknowledged" in acked.stdout
    assert "wang" in twinmeter("alarms", "assign", number, "wang", *data, cwd=tmp_path).stdout

    shelf = ("alarms", "shelve", number, "--reason", "repair", "--for", "2h", "--key", "same", *data)
    assert "shelved until" in twinmeter(*shelf, cwd=tmp_path).stdout
    assert twinmeter("alarms", "list", *data, cwd=tmp_path).stdout == "no alarms\n"
    shown = twinmeter("alarms", "list", "--shelved", "only", "--json", *data, cwd=tmp_path)
    assert json.loads(shown.stdout)[0]["shelf_reason"] == "repair"
    back = twinmeter("alarms", "unshelve", number, *data, cwd=tmp_path, LC_ALL="zh_CN.UTF-8")
    assert "持续, 已确认" in back.stdout, back.stderr

    nobody = twinmeter("alarms", "comment", "999", "x", *data, cwd=tmp_path)
    assert (nobody.returncode, nobody.stderr.splitlines()[-1]) == (1, "error: site small has no alarm 999")
    wrong = twinmeter("alarms", "shelve", number, "--reason", "x", "--for", "soon", *data, cwd=tmp_path)
    assert wrong.returncode == 2

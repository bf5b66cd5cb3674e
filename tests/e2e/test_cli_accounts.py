"""Accounts and the books at the command line: a wallet moved, the ledger anchored, exported and proved, and a forgery
told by the anchor kept elsewhere."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from tests.e2e.cli import twinmeter
from tests.e2e.test_cli_site import FLAT, SITE

DATA = ("--data", "data")


def test_accounts_and_books_from_a_recharge_to_a_forgery(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    assert twinmeter("site", "import", "site.yaml", *DATA, cwd=tmp_path).returncode == 0
    opened = twinmeter("accounts", "open", "t-9", "--opening-credit", "5.00", "--why", "moves in", *DATA, cwd=tmp_path)
    assert opened.returncode == 0, opened.stderr
    paid = twinmeter("accounts", "recharge", "t-9", "50.00", "--reference", "R-1", "--json", *DATA, cwd=tmp_path)
    receipt = json.loads(paid.stdout)
    assert (receipt["credits"], receipt["allocation"]["balance"]) == ("55.000000000", "50.000000000")
    refund = ("accounts", "refund", "t-9", receipt["payment"], "20.00", "--why", "paid twice", "--json", *DATA)
    asked = json.loads(twinmeter(*refund, cwd=tmp_path).stdout)
    own = twinmeter("approvals", "approve", asked["approval"], "--why", "ok", *DATA, cwd=tmp_path)
    assert (own.returncode, "own_approval" in own.stderr) == (1, True)
    assert "refund.approve" in twinmeter("approvals", "list", *DATA, cwd=tmp_path).stdout
    gone = twinmeter("approvals", "cancel", asked["approval"], "--why", "mistake", *DATA, cwd=tmp_path)
    assert gone.returncode == 0, gone.stderr
    anchored = twinmeter("ledger", "anchor", "--file", "anchors.jsonl", *DATA, cwd=tmp_path)
    assert anchored.stdout == "1 anchors added to anchors.jsonl\n", anchored.stderr
    assert twinmeter("ledger", "export", "--file", "ledger.jsonl", *DATA, cwd=tmp_path).returncode == 0
    proved = twinmeter("verify", "--export", "ledger.jsonl", "--anchor", "anchors.jsonl", cwd=tmp_path)
    assert (proved.returncode, proved.stdout) == (0, "ok\n"), proved.stderr

    forged = (tmp_path / "ledger.jsonl").read_text().replace('"memo":"cash R-1"', '"memo":"cash R-2"')
    (tmp_path / "forged.jsonl").write_text(forged)
    told = twinmeter("verify", "--export", "forged.jsonl", cwd=tmp_path)
    assert told.returncode == 1
    assert "journal_edited" in told.stdout
    database = sqlite3.connect(tmp_path / "data" / "twinmeter.sqlite3")
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {name}")
    database.execute("UPDATE audit SET who = 'nobody' WHERE what = 'topup'")
    database.commit()
    database.close()
    broken = twinmeter("verify", "--anchor", "anchors.jsonl", "--json", *DATA, cwd=tmp_path)
    assert broken.returncode == 1
    codes = {finding["code"] for site in json.loads(broken.stdout)["sites"] for finding in site["findings"]}
    assert codes == {"anchor_seal"}
